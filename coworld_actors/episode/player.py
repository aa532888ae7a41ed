"""A player's actor: one process, one seat, and the grace it shares with all the others once the game is over."""

from __future__ import annotations

import math

import trio

from coworld_actors.actors import ActorRef
from coworld_actors.episode.findings import InfrastructureFault, MayStay, SeatEnded, SeatStarted
from coworld_actors.episode.referee import RefereeMessage
from coworld_actors.episode.role import Role, in_a_sentence, last_line
from coworld_drivers.driver import ExitStatus, Handle, Launch, MachineFault, Site
from coworld_protocol.errors import PreconditionMissing

__all__ = ["Player"]


class Player(Role[None]):
    """Runs one player.

    Args:
        site: where it runs.
        launch: how.
        slot: its seat.
        referee: whom it reports to.
    """

    def __init__(self, site: Site, launch: Launch, slot: int, referee: ActorRef[RefereeMessage]) -> None:
        super().__init__(site, launch, slot=slot)
        self._slot = slot
        self._referee = referee

    async def on_start(self) -> None:
        """Start the process. One that cannot be started is a fact about its seat, not the end of the episode."""
        try:
            await self.start()
        except PreconditionMissing as error:
            now = trio.current_time()
            await self._referee.tell(
                InfrastructureFault(at=now, message=in_a_sentence(error))
                if isinstance(error, MachineFault)
                else SeatEnded(at=now, slot=self._slot, status=None, tail="; ".join(error.lines()))
            )
            self.context.stop()
            return
        except BaseException:
            await self.discard()
            raise
        await self._referee.tell(SeatStarted(at=trio.current_time(), slot=self._slot))
        self.context.spawn(self.watch)

    async def patience(self) -> bool:
        """The grace that all players share."""
        return await self._referee.ask(MayStay(), deadline=math.inf)

    async def ended(self, handle: Handle, status: ExitStatus, *, overstayed: bool) -> None:
        """Tell the referee."""
        now = trio.current_time()
        await self._referee.tell(
            SeatEnded(at=now, slot=self._slot, status=status, overstayed=overstayed, tail=last_line(handle))
        )

    async def log_failed(self, message: str) -> None:
        """Tell the referee of a fault of the machine's."""
        await self._referee.tell(InfrastructureFault(at=trio.current_time(), message=message))
