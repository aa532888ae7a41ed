"""The usher's actor: sees which players have connected, so that a player that never came is told from one that left."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from coworld_actors.actors import Actor, ActorRef
from coworld_actors.episode.events import SeatJoined
from coworld_actors.episode.findings import Looked, SeatConnected
from coworld_actors.episode.referee import RefereeMessage
from coworld_drivers.driver import Address, Site

__all__ = ["Usher"]

LOOK_PAUSE = 0.05
"""Seconds between looks at who is connected; they end when everybody has been seen."""

LOOK_SHARE = 40
"""A look is followed by a pause of at least so many times its length: each episode's looks cost at most a fortieth of a core."""


class Usher(Actor[None]):
    """Tells the referee once of every seat that is seen connected.

    Args:
        site: where the episode runs; sees connections.
        address: the game's.
        seats: name of a player's launch to its slot.
        referee: whom it reports to.
    """

    def __init__(
        self, site: Site, address: Address, seats: Mapping[str, int], referee: ActorRef[RefereeMessage]
    ) -> None:
        self._site = site
        self._address = address
        self._missing = dict(seats)
        self._referee = referee

    async def on_start(self) -> None:
        """Begin to look."""
        self.context.spawn(self._look)

    async def _look(self) -> None:
        while self._missing:
            began = trio.current_time()
            seen = await self._site.connected(self._address)
            for name in seen.names & self._missing.keys():
                slot = self._missing.pop(name)
                self.context.publish(SeatJoined(slot=slot))
                await self._referee.tell(SeatConnected(at=trio.current_time(), slot=slot))
            now = trio.current_time()
            # An incomplete look proves nobody's absence: the connection without an owner may be anybody's.
            if seen.complete:
                await self._referee.tell(Looked(at=began))
            await trio.sleep(max(LOOK_PAUSE, LOOK_SHARE * (now - began)))
