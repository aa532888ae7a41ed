"""What a check has found, and what it may look at."""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

__all__ = ["Check", "Finding", "Status", "Surroundings", "quantity"]


class Status(enum.StrEnum):
    """What a finding means for playing."""

    OK = "ok"
    WARN = "warn"
    """It plays, but not everything or not everywhere."""
    FAIL = "fail"
    """It does not play."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a check-up.

    Attributes:
        name: what was looked at.
        status: whether it is as it should be.
        text: what was found, in a sentence without a full stop.
        todo: the next step, where there is one; a finding that is not ok has one.
    """

    name: str
    status: Status
    text: str
    todo: str = ""


def _current_directory() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at.

    Attributes:
        drivers: names of the drivers that have to work; what only others need is never worse than a warning.
        environ: the variables that clients are called with.
        directory: where the command was given, below which the files of episodes go; None when it is not there any more.
        seats: of the episode by which room is measured.
        patience: seconds for one call of a client.
    """

    drivers: frozenset[str] = frozenset({"process"})
    environ: Mapping[str, str] = msgspec.field(default_factory=lambda: dict(os.environ))
    directory: Path | None = msgspec.field(default_factory=_current_directory)
    seats: int = 2
    patience: float = 8.0

    def missing(self, driver: str) -> Status:
        """The status of something without which a driver does not work."""
        return Status.FAIL if driver in self.drivers else Status.WARN


Check = Callable[[Surroundings], Awaitable[Sequence[Finding]]]
"""Looks at one thing, or at things that one answer tells."""


def quantity(size: float) -> str:
    """Bytes as a person reads them, such as `23.5 GiB`."""
    power = min(int(math.log2(size) // 10), 4) if size >= 1 else 0
    return f"{size / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
