"""What all rivals share: the job, the port they tell, and the game that `ticks` and `game` are about."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Coroutine
from typing import Any

import msgspec

__all__ = [
    "Final",
    "Job",
    "Move",
    "Observation",
    "Table",
    "answer",
    "end_with_parent",
    "listen",
    "ready",
    "run_asyncio",
    "token",
]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a rival is to do.

    Attributes:
        seats: connections to wait for before the first tick.
        size: bytes of an observation, about.
        warmup: seconds of a lockstep episode that are not counted.
        seconds: how long it goes on after that.
        url: where a player connects.
        uvloop: run on uvloop.
        legacy: take the older of two implementations.
        folder: directory of its own, for a game that reads and writes files.
        unix: path of a Unix socket that both ends use in place of TCP, if they can.
    """

    seats: int = 1
    size: int = 200
    warmup: float = 0.1
    seconds: float = 1.0
    url: str = ""
    uvloop: bool = False
    legacy: bool = False
    folder: str = ""
    unix: str = ""


class Observation(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="observation"):
    """To a player.

    Attributes:
        tick: ticks so far.
        pad: makes it as long as asked for.
    """

    tick: int
    pad: str


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """From a player.

    Attributes:
        move: where to go.
        tick: the observation that this answers.
    """

    move: str
    tick: int | None = None


class Final(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="final"):
    """To a player, last.

    Attributes:
        ticks: ticks played.
    """

    ticks: int


_BARE = len(msgspec.json.encode(Observation(tick=10_000, pad="")))
_encoder = msgspec.json.Encoder()
_read_move = msgspec.json.Decoder(Move)
_read_message = msgspec.json.Decoder(Observation | Final)


class Table:
    """The game: an observation to every seat, an answer from every seat, the next observation.

    Args:
        job: seats, size and times.

    Attributes:
        seats: what the rival's own module uses to send to each seat.
        done: a game's time is up.
    """

    def __init__(self, job: Job) -> None:
        self._count = job.seats
        self._pad = "x" * max(0, job.size - _BARE)
        self._warm_at = self._end_at = 0.0
        self._times = (job.warmup, job.seconds)
        self._warm: tuple[int, float] | None = None
        self._missing = job.seats
        self.tick = 0
        self.seats: set[Any] = set()
        self.done = False

    def sit(self, seat: Any) -> bool:
        """Somebody is here; True when the table is full and the first observation is due."""
        self.seats.add(seat)
        self._missing = self._count
        if len(self.seats) < self._count:
            return False
        self.begin()
        return True

    def leave(self, seat: Any) -> None:
        """Somebody has left; the next round begins when all seats are taken again."""
        self.seats.discard(seat)

    def look(self) -> Observation:
        """The observation that is due."""
        return Observation(tick=self.tick, pad=self._pad)

    def observation(self) -> bytes:
        """The observation that is due, as JSON."""
        return _encoder.encode(self.look())

    def answered(self) -> bool:
        """A seat has answered; True when it was the last and the next observation is due."""
        self._missing -= 1
        if self._missing:
            return False
        self._missing = self._count
        self.tick += 1
        return True

    def moved(self, data: str | bytes) -> bytes | None:
        """A seat of a game has moved; the message to all that is due now, if this was the last move."""
        _read_move.decode(data)
        self._missing -= 1
        if self._missing:
            return None
        self._missing = self._count
        self.advance()
        return _encoder.encode(Final(ticks=self.tick)) if self.done else self.observation()

    def begin(self) -> None:
        """A game's time runs from now on."""
        self._warm_at = time.perf_counter() + self._times[0]

    def advance(self) -> None:
        """One more tick of a game; says how many there were when the time is up."""
        self.tick += 1
        now = time.perf_counter()
        if self._warm is None:
            if now >= self._warm_at:
                self._warm = (self.tick, now)
                self._end_at = now + self._times[1]
        elif now >= self._end_at:
            self.done = True
            print(json.dumps({"ticks": self.tick - self._warm[0], "seconds": now - self._warm[1]}), flush=True)


def answer(data: str | bytes) -> bytes | None:
    """A player's answer to a message; None to the last one."""
    message = _read_message.decode(data)
    return _encoder.encode(Move(move="up", tick=message.tick)) if isinstance(message, Observation) else None


def token(slot: int) -> str:
    """The secret of a seat, for games that ask for one."""
    return f"token-{slot}"


def listen() -> socket.socket:
    """A listening socket on a free port of 127.0.0.1."""
    return socket.create_server(("127.0.0.1", 0), backlog=1024)


def ready(port: int) -> None:
    """Tell whoever started us where we listen."""
    print(f"ready {port}", flush=True)


def end_with_parent() -> None:
    """End this process when standard input does, which is when whoever started us is gone or has let go."""

    def watch() -> None:
        # A blocked read costs nothing; `sys.stdin` would be locked by it when the interpreter ends.
        while os.read(0, 1):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def run_asyncio(main: Coroutine[Any, Any, None], job: Job) -> None:
    """Run on the event loop that the job asks for."""
    if job.uvloop:
        import uvloop  # noqa: PLC0415 - optional

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
    else:
        asyncio.run(main)
