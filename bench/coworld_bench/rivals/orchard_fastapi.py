"""Orchard's rules in lockstep behind FastAPI on uvicorn, with the messages and the replay of our own game.

python -m coworld_bench.rivals.orchard_fastapi CONFIG, with Orchard's directory on the path.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from coworld_bench.rivals.fastapi import serve_application
from coworld_bench.rivals.job import end_with_parent

__all__ = ["main"]

_encoder = msgspec.json.Encoder()


class _Game:
    """One episode: all seats, then ticks as fast as moves come."""

    def __init__(self, config: bytes) -> None:
        # Not installed: it comes from the checkout's examples.
        module = importlib.import_module("orchard.rules")
        decoded = msgspec.json.decode(config, type=module.OrchardConfig)
        self._tokens: tuple[str, ...] = decoded.tokens
        self._rules: Any = module.Orchard(decoded)
        self._read_move = msgspec.json.Decoder(importlib.import_module("orchard.messages").Move)
        self._seats: dict[int, WebSocket] = {}
        self._moves: dict[int, Any] = {}
        self._frames: list[bytes] = []
        self._began = 0.0
        self._done = False

    async def serve(self, socket: WebSocket) -> None:
        slot = int(socket.query_params.get("slot", "-1"))
        if not 0 <= slot < len(self._tokens) or socket.query_params.get("token") != self._tokens[slot]:
            await socket.close(1008)
            return
        await socket.accept()
        self._seats[slot] = socket
        await socket.send_text(_encoder.encode(self._rules.welcome(slot)).decode())
        await socket.send_text(_encoder.encode(self._rules.observe(slot)).decode())
        if len(self._seats) == len(self._tokens):
            self._began = time.perf_counter()
            await self._step_if_due()
        while not self._done:
            move = self._read_move.decode(await socket.receive_text())
            if move.tick is None or move.tick == self._rules.tick:
                self._moves[slot] = move
                await self._step_if_due()

    async def _step_if_due(self) -> None:
        if len(self._seats) < len(self._tokens) or len(self._moves) < len(self._tokens):
            return
        moves, self._moves = self._moves, {}
        self._rules.step(moves)
        self._frames.append(_encoder.encode(self._rules.frame()))
        self._done = self._rules.done
        if self._done:
            seconds = time.perf_counter() - self._began
            ticks = self._rules.tick
            print(f"the episode is over: {ticks} ticks in {seconds:.3f} s", flush=True)
        message = self._rules.final(0) if self._done else self._rules.observe(0)
        text = _encoder.encode(message).decode()
        for seat in self._seats.values():
            await seat.send_text(text)


def main(words: list[str]) -> None:
    """Serve the episode that a configuration file describes."""
    end_with_parent()
    game = _Game(Path(words[0]).read_bytes())
    application = FastAPI()

    @application.websocket("/player")
    async def player(socket: WebSocket) -> None:
        # RuntimeError is what Starlette raises for a send to a peer that has gone.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await game.serve(socket)

    serve_application(application)


if __name__ == "__main__":
    main(sys.argv[1:])
