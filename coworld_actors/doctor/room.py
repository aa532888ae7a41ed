"""How many episodes fit at once, by what there is a limit of: open files, memory, processes."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from coworld_actors.batch.pacing.machine import cores
from coworld_actors.batch.pacing.room import MEMORY_SHARE, OWN_DESCRIPTORS, OWN_PROCESSES, Limits, limits_here, needs_of
from coworld_actors.doctor.finding import Finding, Status, Surroundings, quantity

__all__ = ["check_room", "judge_room"]

LITTLE_MEMORY = 256 * 1024 * 1024
"""Bytes with which games of any size begin to be in want."""


async def check_room(here: Surroundings) -> Sequence[Finding]:
    """Descriptors, memory and processes of this machine."""
    limits = await trio.to_thread.run_sync(limits_here, abandon_on_cancel=True)
    return judge_room(limits, here, cores())


def judge_room(limits: Limits, here: Surroundings, workers: int) -> list[Finding]:
    """What these limits mean.

    Args:
        limits: what there is.
        here: the drivers, and the seats of an episode.
        workers: processors; fewer episodes at once than these leave some of them idle.
    """
    driver = next(iter(sorted(here.drivers - {"kubectl"})), "process")
    needs = needs_of(driver, here.seats)
    sized = f"of {here.seats} seats with --driver {driver}"

    def line(name: str, text: str, fits: float, todo: str, *, little: bool = False) -> Finding:
        status = Status.FAIL if fits < 1 else Status.WARN if fits < workers or little else Status.OK
        text = f"{text}: room for {max(int(fits), 0):,} episodes {sized} at once"
        return Finding(name=name, status=status, text=text, todo="" if status is Status.OK else todo)

    found = [
        line(
            "descriptors",
            f"{limits.hard_files:,} open files allowed, {limits.soft_files:,} before we raise it",
            (limits.hard_files - limits.open_files - OWN_DESCRIPTORS) / needs.descriptors,
            "raise the limit of open files (ulimit -Hn, or LimitNOFILE of the service)",
        )
    ]
    if limits.memory:
        least = min(limits.memory)
        found.append(
            line(
                "memory",
                f"{quantity(least.left)} can be used",
                least.left * MEMORY_SHARE / needs.memory,
                "end other programs, or play where there is more memory",
                little=least.left < LITTLE_MEMORY,
            )
        )
    if limits.processes and needs.processes:
        least = min(limits.processes)
        found.append(
            line(
                "tasks",
                least.why,
                (least.left - OWN_PROCESSES) / needs.processes,
                "raise the limit of processes (ulimit -u, kernel.pid_max, or TasksMax of the service)",
            )
        )
    return found
