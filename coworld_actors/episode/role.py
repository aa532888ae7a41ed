"""A role as an actor: it owns one started process, watches it all the time, and tells once how it ended."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Generic, TypeVar

import trio

from coworld_actors.actors import Actor, StopReason
from coworld_actors.episode.events import RoleEnded, RoleStarted
from coworld_drivers.driver import Address, ExitStatus, Handle, Launch, Site
from coworld_protocol.errors import CoworldError

__all__ = ["STOP_GRACE", "Role", "address_of", "in_a_sentence", "last_line", "telling"]

STOP_GRACE = 5.0
"""Seconds between asking a role to end and killing it."""

LOG_LOOK = 1.0
"""Seconds between looks at whether a role's log could be written: on a full disk nobody should wait for the deadline."""

URL_QUERY = re.compile(r"(\b\w+://[^\s?]*)\?\S*")

_ADVICE = re.compile(r"\s*(try|files): ")
_EVIDENCE = re.compile(r"^\s*evidence: ")

M = TypeVar("M")


def address_of(handle: Handle) -> Address:
    """Where a serving role is reached."""
    assert handle.address is not None, f"{handle.name} was launched to serve"
    return handle.address


def last_line(handle: Handle) -> str:
    """The last line that a role wrote: printable characters only, at most 200 of them, URLs without their query.

    A player may well print the URL that it connects to, and the query of that is its token.
    """
    lines = telling(handle.tail().splitlines())
    if not lines:
        return ""
    return "".join(c if c.isprintable() else " " for c in URL_QUERY.sub(r"\1", lines[-1]))[:200].strip()


def telling(lines: Iterable[str]) -> list[str]:
    """Lines that say what happened: without blank ones and, where others are left, without advice.

    Programs on our SDK end as our commands do, with advice in their last line; what they rest it on is the line before.
    """
    said = [line for line in lines if line.strip()]
    return [_EVIDENCE.sub("", line) for line in said if not _ADVICE.match(line)] or said


def in_a_sentence(error: CoworldError) -> str:
    """What an error says and what it rests on, without its next step: a verdict has one of its own."""
    return f"{error.what}: {error.evidence}" if error.evidence else error.what


class Role(Actor[M], Generic[M]):
    """Base of the actors that own a process.

    A subclass calls `start` from `on_start` and says in `ended` what the end means. Nobody restarts a role: a game that starts
    again has lost its episode, and a player's seat is the game's to keep.

    Args:
        site: where it runs.
        launch: how.
        slot: seat number of a player.
    """

    def __init__(self, site: Site, launch: Launch, *, slot: int | None = None) -> None:
        self.site = site
        self.launch = launch
        self.slot = slot
        self.process: Handle | None = None
        self._overstayed = False
        self._reported = False
        self._log_failed = False

    async def start(self) -> Handle:
        """Start the process.

        Raises:
            coworld_drivers.driver.MachineFault: it cannot be started, and no role is to blame for that.
            coworld_drivers.driver.StartFailed: it cannot be started.
        """
        self.process = await self.site.start(self.launch)
        self.context.publish(RoleStarted(role=self.launch.role, name=self.launch.name, slot=self.slot))
        return self.process

    async def watch(self) -> None:
        """Wait for the process to end, report it, and end this actor. Meant for `context.spawn`."""
        assert self.process is not None
        # A log in this process is written by ourselves, a little at a time: there is nothing to look at meanwhile.
        look = LOG_LOOK if self.site.insight is None else math.inf
        while self.process.status is None:
            with trio.move_on_after(look):
                await self.process.wait()
            if self.process.log_error is not None and not self._log_failed:
                self._log_failed = True
                await self.log_failed(in_a_sentence(self.process.log_error))
        await self._report(self.process.status)
        self.context.stop()

    async def log_failed(self, message: str) -> None:
        """Its log is not complete, which is the machine's fault; called at most once, while it runs or at its end."""

    async def patience(self) -> bool:
        """Return when the process has had its time to end by itself; False when it was given none."""
        return False

    async def ended(self, handle: Handle, status: ExitStatus, *, overstayed: bool) -> None:
        """The process is gone; called exactly once.

        Args:
            handle: its handle.
            status: how it ended.
            overstayed: it had `patience` and used it up.
        """
        raise NotImplementedError

    async def on_stop(self, reason: StopReason) -> None:
        """Let the process use up its patience, then make it end."""
        del reason
        process = self.process
        if process is None:
            return
        if process.status is None:
            self._overstayed = await self._wait_patiently(process)
        await self._report(await process.stop(STOP_GRACE))

    async def _wait_patiently(self, process: Handle) -> bool:
        """Wait until the process has ended or the patience is used up; True for the latter."""
        used_up = False
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await process.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(leave)
            used_up = await self.patience()
            nursery.cancel_scope.cancel()
        return used_up

    async def discard(self) -> None:
        """End a process whose start is being given up; restores the rule that a failed start leaves nothing behind."""
        if self.process is not None:
            with trio.move_on_after(2 * STOP_GRACE, shield=True):
                self._publish_end(self.process, await self.process.stop(0))

    async def _report(self, status: ExitStatus) -> None:
        if self._reported:
            return
        self._reported = True
        assert self.process is not None
        self._publish_end(self.process, status)
        await self.ended(self.process, status, overstayed=self._overstayed)

    def _publish_end(self, process: Handle, status: ExitStatus) -> None:
        self.context.publish(
            RoleEnded(
                role=self.launch.role,
                name=self.launch.name,
                slot=self.slot,
                end=str(status),
                ok=status.ok,
                usage=process.usage,
            )
        )
