"""Orchard's greedy player on the `websockets` library; it chooses with the same function as our own.

python -m coworld_bench.rivals.orchard_websockets URL, with Orchard's directory on the path.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any

import msgspec
from websockets.asyncio.client import connect

from coworld_bench.rivals.job import end_with_parent

__all__ = ["main"]


def main(words: list[str]) -> None:
    """Play until the game is over."""
    end_with_parent()
    asyncio.run(_play(words[0]))


async def _play(url: str) -> None:
    # Not installed: it comes from the checkout's examples.
    messages: Any = importlib.import_module("orchard.messages")
    choose = importlib.import_module("orchard.players.greedy").choose
    decoder = msgspec.json.Decoder(messages.Welcome | messages.Observation | messages.Final)
    encoder = msgspec.json.Encoder()
    welcome = None
    async with connect(url, compression=None, ping_interval=None, max_size=None, proxy=None) as socket:
        async for text in socket:
            message = decoder.decode(text)
            if isinstance(message, messages.Welcome):
                welcome = message
            elif isinstance(message, messages.Final):
                return
            else:
                move = messages.Move(move=choose(welcome, message), tick=message.tick)
                await socket.send(encoder.encode(move), text=True)


if __name__ == "__main__":
    main(sys.argv[1:])
