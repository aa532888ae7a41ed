"""The game's actor. Started means healthy: it answers, and what answers is our process and no stranger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio

from coworld_actors.actors import ActorRef, Request
from coworld_actors.episode import probes
from coworld_actors.episode.events import GameRestarted
from coworld_actors.episode.findings import (
    GameEnded,
    GameStarted,
    HealthAnswer,
    InfrastructureFault,
    NeverServed,
    StartFault,
)
from coworld_actors.episode.referee import RefereeMessage
from coworld_actors.episode.role import Role, address_of, in_a_sentence, last_line
from coworld_drivers.driver import Address, ExitStatus, Handle, Launch, MachineFault, Site
from coworld_protocol import contract
from coworld_protocol.errors import PreconditionMissing

__all__ = ["Game", "GameNotServing", "Reached", "Served"]

FIRST_HEALTH_POLL = 0.005
"""Seconds until the second look at a game's health; doubled each time: a forked game of ours is ready after five thousandths of one,
one that starts by itself after a tenth."""

EAGER_HEALTH_POLL = 0.04
"""The longest pause while most games are still expected to become healthy: the reference's Paint Arena takes 0.4 s."""

LATENESS = 12
"""Later a pause is at most this share of the time waited so far, up to the contract's period: whoever starts slowly, as all do where
many start at once, is asked less often, and learns of it hardly later in proportion."""

PORT_ATTEMPTS = 5
"""Starts on ever new ports before a taken port is the verdict."""


class GameNotServing(Exception):
    """The game never got to serve; the referee knows why."""


class Reached(Request[Address], frozen=True):
    """Asks where the runtime reaches the game."""


class Served(Request[Address], frozen=True):
    """Asks where the other roles reach the game."""


class Game(Role[Reached | Served]):
    """Starts the game, waits until it is healthy, watches it.

    Args:
        site: where it runs.
        launch: how.
        referee: whom it reports to.
        health: asks it once whether it is ready; empty when it is, otherwise what it answered.
        startup: seconds it may take to become healthy.
    """

    def __init__(
        self,
        site: Site,
        launch: Launch,
        referee: ActorRef[RefereeMessage],
        health: Callable[[Handle], Awaitable[str]],
        startup: float,
    ) -> None:
        super().__init__(site, launch)
        self._referee = referee
        self._health = health
        self._startup = startup
        self._last_answer = ""

    async def on_start(self) -> None:
        """Start the game on a port of its own.

        Raises:
            GameNotServing: it does not get to serve.
        """
        try:
            with trio.move_on_after(self._startup) as limit:
                await self._start_on_free_port()
            if limit.cancelled_caught and self.process is None:
                # Its own program has not had a moment of that time.
                await self._blame_machine(f"the game was not started within {self._startup:g} s")
            if limit.cancelled_caught:
                waited = f"not healthy after {self._startup:g} s"
                last = f"; last answer: {self._last_answer}" if self._last_answer else ""
                await self._give_up(StartFault.NEVER_HEALTHY, detail=waited + last)
        except BaseException:
            await self.discard()
            raise
        await self._referee.tell(GameStarted(at=trio.current_time()))
        self.context.spawn(self.watch)

    async def _start_on_free_port(self) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                handle = await self.start()
            except PreconditionMissing as error:
                if isinstance(error, MachineFault):
                    await self._blame_machine(in_a_sentence(error))
                await self._give_up(StartFault.NOT_LAUNCHED, detail=in_a_sentence(error))
            if await self._healthy(handle):
                return
            port = address_of(handle).port
            await self.discard()
            self.context.publish(GameRestarted(port=port, attempt=attempt))
        await self._blame_machine(f"the game's port was taken by somebody else {PORT_ATTEMPTS} times in a row")

    async def _healthy(self, handle: Handle) -> bool:
        """Wait until the game is healthy; False when somebody else has its port."""
        pause = FIRST_HEALTH_POLL
        began = trio.current_time()
        while True:
            if handle.status is not None:
                status = await handle.wait()
                if await handle.port_taken():
                    return False
                await self._give_up(StartFault.EXITED, status, last_line(handle))
            answer = await self._health(handle)
            if not answer and await handle.owns_address():
                return True
            if answer != probes.NOBODY_LISTENS and await handle.port_taken():
                return False
            if answer != self._last_answer:
                self._last_answer = answer
                await self._referee.tell(HealthAnswer(at=trio.current_time(), answer=answer))
            with trio.move_on_after(pause):
                await handle.wait()
            longest = max(EAGER_HEALTH_POLL, (trio.current_time() - began) / LATENESS)
            pause = min(2 * pause, longest, contract.HEALTH_POLL)

    async def _give_up(self, fault: StartFault, status: ExitStatus | None = None, detail: str = "") -> NoReturn:
        await self._referee.tell(NeverServed(at=trio.current_time(), fault=fault, status=status, detail=detail))
        raise GameNotServing(fault)

    async def _blame_machine(self, message: str) -> NoReturn:
        await self._referee.tell(InfrastructureFault(at=trio.current_time(), message=message))
        raise GameNotServing(message)

    async def handle(self, message: Reached | Served) -> Address:
        """Answer with an address."""
        assert self.process is not None
        if isinstance(message, Reached):
            return address_of(self.process)
        return self.process.peer_address or address_of(self.process)

    async def ended(self, handle: Handle, status: ExitStatus, *, overstayed: bool) -> None:
        """Tell the referee."""
        del overstayed
        now = trio.current_time()
        await self._referee.tell(GameEnded(at=now, status=status, tail=last_line(handle)))

    async def log_failed(self, message: str) -> None:
        """Tell the referee of a fault of the machine's."""
        await self._referee.tell(InfrastructureFault(at=trio.current_time(), message=message))
