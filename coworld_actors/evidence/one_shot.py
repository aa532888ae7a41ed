"""A role that runs once: start it, wait for its end, never longer than it may take."""

from __future__ import annotations

from typing import Any

import msgspec

from coworld_actors.actors import ActorError, AskTimeout, ChildSpec, Deferred, Request, Restart, SupervisorRef
from coworld_actors.episode.role import STOP_GRACE, Role, last_line
from coworld_drivers.driver import ExitStatus, Handle, Launch, Site
from coworld_protocol.errors import PreconditionMissing

__all__ = ["OneShotEnd", "run_once"]


class OneShotEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a one-shot role ended.

    Attributes:
        ok: whether it ended by itself with status 0.
        evidence: exit code or signal or the limit it exceeded, and the last line it wrote.
    """

    ok: bool
    evidence: str


class _End(Request[OneShotEnd], frozen=True):
    """Asks how it ended; answered when it has."""


class _OneShot(Role[_End]):
    def __init__(self, site: Site, launch: Launch) -> None:
        super().__init__(site, launch)
        self._waiting: Deferred[OneShotEnd] | None = None

    async def handle(self, message: _End) -> Any:
        """Start the process and answer when it has ended."""
        del message
        self._waiting = self.context.defer()
        try:
            await self.start()
        except PreconditionMissing as error:
            self._waiting.reply(OneShotEnd(ok=False, evidence="; ".join(error.lines())))
            self.context.stop()
            return
        self.context.spawn(self.watch)

    async def ended(self, handle: Handle, status: ExitStatus, *, overstayed: bool) -> None:
        """Answer whoever waits."""
        del overstayed
        assert self._waiting is not None
        line = last_line(handle)
        self._waiting.reply(OneShotEnd(ok=status.ok, evidence=f"{status}; last line: {line}" if line else str(status)))


async def run_once(house: SupervisorRef, site: Site, launch: Launch, limit: float) -> OneShotEnd:
    """Run a role to its end, at most `limit` seconds; after that it is stopped. Whatever goes wrong is in the returned end."""
    spec = ChildSpec(
        name=launch.name, start=lambda: _OneShot(site, launch), restart=Restart.TEMPORARY, shutdown=2 * STOP_GRACE
    )
    try:
        role = await house.start_actor(spec)
        try:
            end = await role.ask(_End(), deadline=limit)
        except AskTimeout:
            end = OneShotEnd(ok=False, evidence=f"still running after {limit:g} s")
            await role.stop()
        await role.wait()
    except ActorError as error:
        return OneShotEnd(ok=False, evidence="; ".join(error.lines()))
    return end
