"""Roles that only print."""

from __future__ import annotations

import trio

from coworld_protocol.sdk.environment import environment


async def main() -> None:
    print(*environment())


async def say(word: str) -> None:
    print(word)
    await trio.sleep_forever()
