"""The viewer's actor: holds `/global` open from before the first player until the game ends, and knows when it last spoke."""

from __future__ import annotations

import math
from typing import Any

import trio

from coworld_actors.actors import Actor, ActorRef, Deferred, Request
from coworld_actors.episode import probes
from coworld_actors.episode.findings import FrameSeen, ViolationKind
from coworld_actors.episode.probe_socket import SocketClosed
from coworld_actors.episode.probes import ContractBroken
from coworld_actors.episode.referee import RefereeMessage
from coworld_drivers.driver import Address
from coworld_protocol import contract

__all__ = ["FirstFrame", "Silence", "Viewer"]


NAP = 0.02
"""Seconds between reads of a game's frames, of which only the first has to be seen at once: woken by each of the several hundred of
a short episode, this runtime would spend half of its time on them."""

NAP_AFTER = 0.0002
"""Seconds a frame takes at least that was not there already."""

NAP_LENGTH = 4096
"""Bytes of a frame after which there is no nap: frames as large as this could fill the socket's buffer meanwhile, and a game that
waits for its viewers would be held up."""


class FirstFrame(Request[float], frozen=True):
    """Asks for the first frame; answered when it is there, with the time it came at."""


class Silence(Request[float], frozen=True):
    """Asks how many seconds the game has been silent; infinite when it never spoke."""


class Viewer(Actor[FirstFrame | Silence]):
    """Watches a game through `/global`. Started means connected.

    Args:
        address: the game's.
        referee: whom it tells of the first frame.
    """

    def __init__(self, address: Address, referee: ActorRef[RefereeMessage]) -> None:
        self._address = address
        self._referee = referee
        self._connected = trio.Event()
        self._broken: ContractBroken | None = None
        self._first: float | None = None
        self._last: float | None = None
        self._waiting: list[Deferred[float]] = []

    async def on_start(self) -> None:
        """Connect.

        Raises:
            ContractBroken: the game does not let a viewer in.
        """
        self.context.spawn(self._watch)
        await self._connected.wait()
        if self._broken:
            raise self._broken

    async def _watch(self) -> None:
        try:
            async with probes.open_viewer(self._address, contract.ROUTE_GLOBAL) as socket:
                self._connected.set()
                while True:
                    began = trio.current_time()
                    length = await socket.receive()
                    await self._frame(length)
                    # One frame that had to be waited for is followed by a nap, and those that come meanwhile are read at one go.
                    if length < NAP_LENGTH and trio.current_time() - began > NAP_AFTER:
                        await trio.sleep(NAP)
        except ContractBroken as broken:
            self._break(broken)
        except SocketClosed as closed:
            if self._first is None:
                self._break(
                    ContractBroken(
                        ViolationKind.FIRST_FRAME,
                        "the game closed /global before it sent a frame",
                        str(closed),
                    )
                )

    async def _frame(self, length: int) -> None:
        now = self._last = trio.current_time()
        if self._first is None:
            if not length:
                raise ContractBroken(ViolationKind.FIRST_FRAME, "the game's first frame on /global is empty")
            self._first = now
            await self._referee.tell(FrameSeen(at=now))
            for waiting in self._waiting:
                waiting.reply(now)
            self._waiting.clear()

    def _break(self, broken: ContractBroken) -> None:
        self._broken = broken
        self._connected.set()
        for waiting in self._waiting:
            waiting.fail(broken)
        self._waiting.clear()

    async def handle(self, message: FirstFrame | Silence) -> Any:
        """Answer, for the first frame as soon as there is one."""
        if isinstance(message, Silence):
            return math.inf if self._last is None else trio.current_time() - self._last
        if self._first is not None:
            return self._first
        self._waiting.append(self.context.defer())
        if self._broken:
            self._break(self._broken)
        return None
