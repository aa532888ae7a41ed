"""How the runtime meets a game: as a stranger behind a port, of which everything has to be seen, or as a task of our own.

`Play` knows when each of these things is done; a reception knows how.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import httpx
import trio

from coworld_actors.actors import (
    ActorError,
    ActorRef,
    AskTimeout,
    ChildSpec,
    Event,
    Restart,
    StartFailed,
    SupervisorRef,
)
from coworld_actors.episode import launches, probes
from coworld_actors.episode.dialect import OLD, Compat, Dialect, dialects
from coworld_actors.episode.events import OldNamesSpoken, SeatJoined
from coworld_actors.episode.findings import FrameSeen, SeatConnected, Tapped, ViolationKind
from coworld_actors.episode.pages import Pages, find_pages, pages_at
from coworld_actors.episode.probes import ContractBroken
from coworld_actors.episode.referee import ASK_DEADLINE, RefereeMessage
from coworld_actors.episode.role import address_of
from coworld_actors.episode.usher import Usher
from coworld_actors.episode.viewer import FirstFrame, Silence, Viewer
from coworld_drivers.driver import Address, Handle, Insight, Site

__all__ = ["AskHealth", "NetworkReception", "OwnReception", "Reception", "asking"]

AskHealth = Callable[[Handle], Awaitable[str]]
"""Asks a game once whether it is ready; empty when it is, otherwise what it answered, in a few words."""


def asking(http: httpx.AsyncHTTPTransport) -> AskHealth:
    """Asks by HTTP."""

    async def ask(game: Handle) -> str:
        return await probes.ask_health(http, address_of(game))

    return ask


class Reception(Protocol):
    """What is done with a game besides starting it and waiting for its end."""

    @property
    def health(self) -> AskHealth:
        """Asked again and again until the game is ready."""
        ...

    async def probe(self, address: Address) -> None:
        """Look at the game before the first player comes, and begin to watch it.

        Raises:
            ContractBroken: it does not keep a clause of the contract.
            ActorError: the tree came down meanwhile.
        """
        ...

    async def pages(self, address: Address) -> Pages | None:
        """Where people find the game; None for a game that nobody can reach from outside of this process."""
        ...

    async def look_out(self, address: Address) -> None:
        """Begin to see which players connect to the game itself; not called when a tap sees them.

        Raises:
            ActorError: the tree came down meanwhile.
        """
        ...

    async def first_frame(self, limit: float) -> None:
        """Wait until the game has shown something, at most `limit` seconds.

        Raises:
            ContractBroken: it shows nothing.
            ActorError: the tree came down meanwhile.
        """
        ...

    async def silence(self) -> float:
        """Seconds since the game was last heard of; infinite when it never was.

        Raises:
            ActorError: nobody can tell any more.
        """
        ...


class NetworkReception:
    """For a stranger behind a port: probes, a viewer of ours on `/global`, and looks at who is connected.

    Args:
        supervisor: `play`, which gets the actors for that.
        site: where the game runs.
        referee: whom they report to.
        http: for health and pages.
        tokens: one per seat.
        people: seats that people have.
        strict: whether the game is held to the clauses that an episode can do without.
        compat: which generations of games are understood.
        publish: publishes an event of the episode.
    """

    def __init__(
        self,
        supervisor: SupervisorRef,
        site: Site,
        referee: ActorRef[RefereeMessage],
        http: httpx.AsyncHTTPTransport,
        tokens: tuple[str, ...],
        *,
        people: frozenset[int] = frozenset(),
        strict: bool = True,
        compat: Compat = Compat.CURRENT,
        publish: Callable[[Event], object] = lambda _: None,
    ) -> None:
        self._dialects: Sequence[Dialect] = dialects(compat)
        self._publish = publish
        self._people = people
        self._strict = strict
        self._supervisor = supervisor
        self._site = site
        self._referee = referee
        self._http = http
        self._tokens = tokens
        self._viewer: ActorRef[FirstFrame | Silence] | None = None
        self.health = asking(http)

    async def probe(self, address: Address) -> None:
        """The checks that come before the first player, then a viewer."""
        if self._strict:
            await self._check(address)
        try:
            self._viewer = await self._supervisor.start_actor(
                ChildSpec(name="viewer", start=lambda: Viewer(address, self._referee), restart=Restart.TEMPORARY)
            )
        except StartFailed as failed:
            if self._strict or not isinstance(failed.cause, ContractBroken):
                raise

    async def _check(self, address: Address) -> None:
        if self._tokens:
            await self._look_at(address, lambda names: names.client_player, slot=0, token=self._tokens[0])
            await probes.check_bad_token(address)
        await self._look_at(address, lambda names: names.client_global)

    async def _look_at(self, address: Address, page: Callable[[Dialect], str], **query: str | int) -> None:
        """Check a page; the first that is found tells what the game speaks, and every other one has to agree."""
        found = await probes.find_dialect(self._http, address, self._dialects, page, redirects=False, **query)
        if found is OLD and len(self._dialects) > 1:
            self._publish(OldNamesSpoken())
        self._dialects = (found,)

    async def pages(self, address: Address) -> Pages:
        """Looked for where people play or watch; where nobody does, what the checks have just seen."""
        if self._strict and not self._people:
            return pages_at(address, self._tokens, self._people, self._dialects[0])
        if len(self._dialects) > 1:
            # A page that is nowhere is told below, by the name that it has today.
            with contextlib.suppress(ContractBroken):
                await self._look_at(address, lambda names: names.client_global)
        return await find_pages(self._http, address, self._tokens, self._people, self._dialects[0])

    async def look_out(self, address: Address) -> None:
        """An usher, where connections can be seen."""
        if self._site.sees_connections:
            others = (slot for slot in range(len(self._tokens)) if slot not in self._people)
            seats = {launches.player_name(slot): slot for slot in others}
            await self._supervisor.start_actor(
                ChildSpec(
                    name="usher",
                    start=lambda: Usher(self._site, address, seats, self._referee),
                    restart=Restart.TEMPORARY,
                )
            )

    async def first_frame(self, limit: float) -> None:
        """Wait for the first sign of life on `/global`."""
        assert self._viewer is not None, "only a game that was held to its viewer has to show something in time"
        try:
            await self._viewer.ask(FirstFrame(), deadline=limit)
        except AskTimeout:
            raise ContractBroken(
                ViolationKind.FIRST_FRAME, "the game sends nothing to its viewers", f"no frame within {limit:g} s"
            ) from None

    async def silence(self) -> float:
        """What the viewer has seen."""
        return math.inf if self._viewer is None else await self._viewer.ask(Silence(), deadline=ASK_DEADLINE)


class OwnReception:
    """For a game on our SDK in this process: what would be probed is our own code, and the site sees everybody who comes.

    Args:
        insight: what the site knows.
        referee: whom it reports to.
        publish: publishes an event of the episode.
        seats: name of a player's launch to its slot.
    """

    def __init__(
        self,
        insight: Insight,
        referee: ActorRef[RefereeMessage],
        publish: Callable[[Event], object],
        seats: Mapping[str, int],
    ) -> None:
        self._insight = insight
        self._referee = referee
        self._publish = publish
        self._seats = seats

    @property
    def health(self) -> AskHealth:
        """Waits for the doors to open, or for the end."""
        return self._serving

    async def _serving(self, game: Handle) -> str:
        return "" if await self._insight.serving(game) else "it let nobody in"

    async def probe(self, address: Address) -> None:
        """Nothing to look at: the first frame was encoded before the doors opened."""
        del address
        await self._referee.tell(FrameSeen(at=trio.current_time()))

    async def pages(self, address: Address) -> None:
        """None: its address is one of this process alone."""
        del address

    async def look_out(self, address: Address) -> None:
        """Have every arrival told."""
        del address
        await self._referee.tell(Tapped(at=trio.current_time()))
        self._insight.on_arrival(self._arrived)

    def _arrived(self, name: str) -> None:
        slot = self._seats.get(name)
        if slot is not None:
            self._publish(SeatJoined(slot=slot))
            # The referee outlives all players; it is gone only when the whole tree has come down.
            with contextlib.suppress(ActorError):
                self._referee.tell_nowait(SeatConnected(at=trio.current_time(), slot=slot))

    async def first_frame(self, limit: float) -> None:
        """It is there already."""

    async def silence(self) -> float:
        """What the site knows."""
        return self._insight.silence()
