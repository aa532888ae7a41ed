"""What dead processes of this user have left on this machine that is nobody's result: control sockets, scratch directories.

Directories of episodes and batches are results, whatever became of their run: they are never looked for.
"""

from __future__ import annotations

import contextlib
import enum
import os
from pathlib import Path

import msgspec

from coworld_actors.control.place import is_dead, sockets, stale
from coworld_drivers.scratch import remove_scratch, stale_scratch
from coworld_protocol.errors import CoworldError

__all__ = ["Remnant", "RemnantKind", "find_remnants", "remove_remnant"]


class RemnantKind(enum.StrEnum):
    """What a remnant is."""

    SOCKET = "socket"
    SCRATCH = "scratch directory"


class Remnant(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a dead process has left.

    Attributes:
        kind: what it is.
        path: where.
        since: Unix time of its last change; None when it is gone already.
    """

    kind: RemnantKind
    path: Path
    since: float | None


def find_remnants() -> tuple[list[Remnant], list[CoworldError]]:
    """All that is left; and what is wrong with places where there might be more."""
    dead, troubles = sockets(stale)
    found = [_remnant(RemnantKind.SOCKET, path) for path in dead]
    found += [_remnant(RemnantKind.SCRATCH, path) for path in stale_scratch()]
    return found, troubles


def remove_remnant(remnant: Remnant) -> str:
    """Remove it, if it is still a dead process's; why that cannot be done, or nothing when it is gone."""
    path = remnant.path
    try:
        if remnant.kind is RemnantKind.SCRATCH:
            return "" if remove_scratch(path) else "somebody uses it now"
        if os.path.lexists(path) and not is_dead(path):
            return "somebody listens at it now"
        path.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    # The last one out closes the door, as the living do.
    with contextlib.suppress(OSError):
        path.parent.rmdir()
    return ""


def _remnant(kind: RemnantKind, path: Path) -> Remnant:
    since = None
    with contextlib.suppress(OSError):
        since = path.lstat().st_mtime
    return Remnant(kind=kind, path=path, since=since)
