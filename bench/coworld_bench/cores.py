"""One core per side: which core serves and which one loads, so that neither takes the other's time."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

__all__ = ["Cores", "pin", "plan_cores"]


class Cores(msgspec.Struct, frozen=True, kw_only=True):
    """Where the two sides run.

    Attributes:
        server: core of the server.
        load: core of the load generator, or of the players.
        note: what a reader has to know about them.
    """

    server: int
    load: int
    note: str


def plan_cores() -> Cores:
    """Two of the cores that this process may use, if there are two; no two threads of one core when that can be had."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not usable:
        return Cores(server=0, load=0, note="this system does not let a process choose its core: nothing is pinned")
    server = usable[0]
    if len(usable) == 1:
        return Cores(server=server, load=server, note="one core for both sides: they take each other's time")
    siblings = _siblings(server)
    apart = [core for core in usable[1:] if core not in siblings]
    load = apart[0] if apart else usable[1]
    kind = "one core per side" if apart else "two threads of one core"
    return Cores(server=server, load=load, note=f"{kind}: server on {server}, load on {load}")


def pin(core: int, pid: int = 0) -> None:
    """Keep a process, by default this one, on a core; does nothing where that cannot be."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {core})


def _siblings(core: int) -> set[int]:
    listed = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    found = {core}
    try:
        for part in listed.read_text().strip().split(","):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    except (OSError, ValueError):
        pass
    return found
