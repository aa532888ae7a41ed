"""How many episodes fit at once, by what there is a limit of: open files, memory, processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import trio

from coworld_actors.batch.pacing.machine import cores
from coworld_actors.batch.pacing.room import MEMORY_SHARE, OWN_DESCRIPTORS, OWN_PROCESSES, Limits, limits_here, needs_of
from coworld_actors.doctor.finding import Finding, Status, Surroundings, quantity
from coworld_actors.runtime.place import DRIVERS

__all__ = ["check_room", "judge_room"]

LEAST_DESCRIPTORS = 8
"""Open files for ourselves beside those of the moment without which no episode is played at all: `run` of Orchard with 2 seats ends
well with 36 of them, and not with 30. What a batch leaves free (`OWN_DESCRIPTORS`) is more."""

LITTLE_MEMORY = 256 * 1024 * 1024
"""Bytes with which games of any size begin to be in want."""


async def check_room(here: Surroundings) -> Sequence[Finding]:
    """Descriptors, memory and processes of this machine."""
    limits = await trio.to_thread.run_sync(limits_here, abandon_on_cancel=True)
    return judge_room(limits, here, cores())


def judge_room(limits: Limits, here: Surroundings, workers: int) -> list[Finding]:
    """What these limits mean; of several drivers, for the one for which there is the least room.

    Args:
        limits: what there is.
        here: the drivers, and the seats of an episode.
        workers: processors; fewer episodes at once than these leave some of them idle.
    """
    found: dict[str, _Judged] = {}
    for driver in sorted(here.drivers & set(DRIVERS)) or ["process"]:
        for each in _judge(limits, driver, here.seats, workers):
            if each.finding.name not in found or each.fits < found[each.finding.name].fits:
                found[each.finding.name] = each
    return [each.finding for each in found.values()]


class _Judged(NamedTuple):
    """A finding, and how many episodes it leaves room for."""

    finding: Finding
    fits: float


def _judge(limits: Limits, driver: str, seats: int, workers: int) -> Iterator[_Judged]:
    needs = needs_of(driver, seats)
    sized = f"of {seats} seats with --driver {driver}"

    def line(name: str, text: str, fits: float, todo: str, *, little: bool = False, one: bool = False) -> _Judged:
        """One limit; `one` says that one episode fits, although it is less than what is kept free for more."""
        status = Status.FAIL if fits < 1 and not one else Status.WARN if fits < workers or little else Status.OK
        text = f"{text}: room for {max(int(fits), int(one)):,} episodes {sized} at once"
        return _Judged(Finding(name=name, status=status, text=text, todo="" if status is Status.OK else todo), fits)

    free = limits.hard_files - limits.open_files
    yield line(
        "descriptors",
        f"{limits.hard_files:,} open files allowed, {limits.soft_files:,} before we raise it",
        (free - OWN_DESCRIPTORS) / needs.descriptors,
        "raise the limit of open files (ulimit -Hn, or LimitNOFILE of the service)",
        one=free - LEAST_DESCRIPTORS >= needs.descriptors,
    )
    if limits.memory:
        least = min(limits.memory)
        yield line(
            "memory",
            f"{quantity(least.left)} can be used",
            least.left * MEMORY_SHARE / needs.memory,
            "end other programs, or play where there is more memory",
            little=least.left < LITTLE_MEMORY,
        )
    if limits.processes and needs.processes:
        least = min(limits.processes)
        yield line(
            "tasks",
            least.why,
            (least.left - OWN_PROCESSES) / needs.processes,
            "raise the limit of processes (ulimit -u, kernel.pid_max, or TasksMax of the service)",
        )
