"""Names by their beginnings: a reader sees all that match, whoever changes something has to mean exactly one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coworld_protocol.errors import Refused

__all__ = ["CANDIDATES", "Ambiguous", "Unknown", "candidates", "matching"]

CANDIDATES = 8
"""Names that an error lists at most."""


class Unknown(Refused):
    """Nothing has a name that begins so."""


class Ambiguous(Refused):
    """More than one thing has a name that begins so."""


def matching(prefix: str, names: Iterable[str]) -> list[str]:
    """What a prefix means: the name that it is, alone; else every name that begins so, in the given order.

    Equal names are kept apart: two things of one name are two matches.
    """
    begins = [name for name in names if name.startswith(prefix)]
    return [name for name in begins if name == prefix] or begins


def candidates(names: Sequence[str]) -> str:
    """Names for an error's evidence, and how many were left out."""
    shown = ", ".join(names[:CANDIDATES])
    left_out = len(names) - CANDIDATES
    return f"{shown} and {left_out} more" if left_out > 0 else shown
