"""How many episodes this machine has room for: open files, memory and processes, each with what one episode takes of it.

What an episode takes is a lower bound, so that nothing is refused that might have worked; whether it works well is measured while
it is played, by `coworld_actors.batch.pacing.strain`.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from coworld_actors.batch.pacing.machine import Machine, own_cgroups
from coworld_protocol.errors import Refused

__all__ = ["MEMORY_SHARE", "Limit", "Limits", "Needs", "Room", "limits_here", "needs_of", "require_room", "room"]

MOST = 100_000
"""More at once than anybody has tried."""
OWN_DESCRIPTORS = 64
"""Open files for ourselves beyond those of the moment: logs, the control socket, a driver's own pipes."""
OWN_PROCESSES = 16
"""Processes and threads for ourselves: watchdog, janitor, templates."""
MEMORY_SHARE = 0.9
"""Of the memory that is available: the rest is for the machine."""
_MIB = 1 << 20


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What one episode takes, at least.

    Attributes:
        descriptors: open files of this process.
        memory: bytes, of all its processes together.
        processes: processes and threads.
    """

    descriptors: int
    memory: int
    processes: int


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """How many episodes fit.

    Attributes:
        most: so many, at least 1.
        because: what there is not more of, in a sentence.
        notes: what was changed to make room, one sentence each.
    """

    most: int
    because: str
    notes: tuple[str, ...] = ()


class Limit(NamedTuple):
    """So much of one thing may still be used, and the sentence's half that says why."""

    left: float
    why: str


class Limits(NamedTuple):
    """What a machine leaves us.

    Attributes:
        soft_files: open files that this process may have now.
        hard_files: the number to which it may raise that.
        open_files: those that it has.
        memory: bytes.
        processes: processes and threads.
    """

    soft_files: int
    hard_files: int
    open_files: int
    memory: tuple[Limit, ...]
    processes: tuple[Limit, ...]


def needs_of(driver: str, seats: int, *, tap: bool = False) -> Needs:
    """What one episode takes.

    Measured on Orchard at its peak. As processes: 18 open files with 2 seats, 44 with 8, 269 with 64, and 4 more for each seat with
    the tap; 17 MB of its own for each role that is a cold Python, less for one forked from a warm template. As tasks: 175 KiB with 2
    seats, and no file that stays open.

    As containers, on engine 20.10: the same open files. Of memory 26 MB for a player that is a Python: 17.7 in its control group, 1 of
    them the kernel's, 5.2 of the client that carries its output, 2.4 of the engine's process beside it; 3 more for a game. Of
    processes and threads 8 are the client's, which count against every limit, and 12 the engine's and 2 the container's, which count
    against the machine's alone, as do 7 more of a game's port.

    Args:
        driver: its name. Of one that is not known here, as much is assumed as of a process for each role.
        seats: players.
        tap: whether it stands between every player and the game.
    """
    roles = 1 + seats
    if driver == "inproc":
        return Needs(descriptors=1, memory=roles * _MIB // 20, processes=0)
    descriptors = 12 + (9 if tap else 5) * seats
    if driver == "docker":
        return Needs(descriptors=descriptors, memory=roles * 16 * _MIB, processes=roles * 8)
    return Needs(descriptors=descriptors, memory=roles * 8 * _MIB, processes=roles)


def room(
    driver: str, seats: int, *, tap: bool = False, wanted: int | None = None, limits: Limits | None = None
) -> Room:
    """How many episodes this machine has room for.

    Where more open files are allowed than are allowed at the moment, and they are what there is too little of, this process's soft
    limit is raised as far as that helps, and the room says so. Roles that are started later inherit it.

    Args:
        driver: name of the driver that plays them.
        seats: the most that one of the episodes has.
        tap: whether they are played with it.
        wanted: how many will be asked for; None for as many as there is room for.
        limits: what there is; that of this machine if left out. With some given, nothing is changed, only said.
    """
    there = limits_here() if limits is None else limits
    needs = needs_of(driver, seats, tap=tap)
    found = [Limit(MOST, f"{MOST:,} at once are more than anybody has tried")]
    each = f"and an episode takes {needs.memory / _MIB:.2g} MiB at least"
    if driver == "docker":
        from coworld_drivers.docker_network_kinds import MOST_GAMES  # noqa: PLC0415 - others do not pay for it

        found.append(Limit(MOST_GAMES, f"a run can have {MOST_GAMES:,} games in containers at a time"))
    found += [Limit(limit.left * MEMORY_SHARE / needs.memory, f"{limit.why}, {each}") for limit in there.memory]
    if needs.processes:
        each = f"and an episode is {needs.processes} of them"
        found += [
            Limit((limit.left - OWN_PROCESSES) / needs.processes, f"{limit.why}, {each}") for limit in there.processes
        ]
    useful = min(min(found).left, math.inf if wanted is None else wanted)
    wished = there.open_files + OWN_DESCRIPTORS + math.ceil(max(useful, 1)) * needs.descriptors
    soft = there.soft_files
    notes: tuple[str, ...] = ()
    if wished > soft and (raised := min(wished, there.hard_files)) > soft and (limits is not None or _raise(raised)):
        soft, notes = raised, (f"the limit of open files was raised from {soft:,} to {raised:,}",)
    each = f"and an episode takes {needs.descriptors} of them"
    found.append(
        Limit(
            (soft - there.open_files - OWN_DESCRIPTORS) / needs.descriptors,
            f"this process may have {soft:,} open files (ulimit -n; at most {there.hard_files:,}), {each}",
        )
    )
    tightest = min(found)
    return Room(most=max(int(tightest.left), 1), because=tightest.why, notes=notes)


def require_room(wanted: int, there: Room) -> None:
    """Check that so many fit.

    Raises:
        Refused: they do not.
    """
    if wanted > there.most:
        raise Refused(
            f"--parallel {wanted} does not fit on this machine: {there.because}",
            todo=f"use --parallel {there.most} or less, or auto",
        )


def limits_here() -> Limits:
    """What this machine leaves us now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    return Limits(
        soft_files=MOST * 1000 if soft == unlimited else soft,
        hard_files=MOST * 1000 if hard == unlimited else hard,
        open_files=sum(1 for _ in Path("/proc/self/fd").glob("*")),
        memory=tuple(_memory()),
        processes=tuple(_processes()),
    )


def _raise(soft: int) -> bool:
    """Set the soft limit of open files; returns whether that was allowed."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    except (OSError, ValueError):
        return False
    return True


def _memory() -> Iterable[Limit]:
    with Machine() as machine:
        available = machine.available()
    if available is not None:
        yield Limit(available, f"{available / _MIB:,.0f} MiB of memory are available")
    for group in own_cgroups("memory"):
        most = _number(group / "memory.max", group / "memory.limit_in_bytes")
        used = _number(group / "memory.current", group / "memory.usage_in_bytes")
        if most is None or used is None or (available is not None and most > 2**60):
            continue
        left = max(most - used + _cache(group / "memory.stat"), 0)
        yield Limit(
            left, f"our control group may use {most / _MIB:,.0f} MiB of memory, {left / _MIB:,.0f} of them are left"
        )


def _processes() -> Iterable[Limit]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    # The kernel does not hold root to it.
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:
        yield Limit(soft - _tasks_of(os.getuid()), f"this user may have {soft:,} processes (ulimit -u)")
    most = _number(Path("/proc/sys/kernel/pid_max"))
    with Machine() as machine:
        tasks = machine.tasks()
    if most is not None and tasks is not None:
        yield Limit(most - tasks, f"this machine may have {most:,} processes")
    for group in own_cgroups("pids"):
        most, used = _number(group / "pids.max"), _number(group / "pids.current")
        if most is not None and used is not None:
            yield Limit(most - used, f"our control group may have {most:,} processes")


def _number(*places: Path) -> int | None:
    """The number in the first of these files that is there; None for `max`."""
    for place in places:
        try:
            text = place.read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() else None
    return None


def _cache(stat: Path) -> int:
    """Bytes of a group that are copies of files and would be given back."""
    try:
        lines = stat.read_text().splitlines()
    except OSError:
        return 0
    values = dict(line.split(" ", 1) for line in lines)
    return int(values.get("total_inactive_file", values.get("inactive_file", 0)))


def _tasks_of(user: int) -> int:
    """Processes and threads of a user."""
    tasks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == user:
                tasks += (process / "task").stat().st_nlink - 2
        except OSError:
            # It has ended meanwhile.
            continue
    return tasks
