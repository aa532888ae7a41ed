"""Names by their beginnings: a reader sees all that match, whoever changes something has to mean exactly one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coworld_protocol.errors import Refused

__all__ = ["CANDIDATES", "Ambiguous", "Unknown", "candidates", "matching", "only"]

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


def only(prefix: str, names: Iterable[str], *, noun: str) -> str:
    """The one name that a prefix means.

    Args:
        prefix: beginning of a name, or all of it.
        names: what there is.
        noun: what the names are names of, for sentences.

    Raises:
        Unknown: none begins so.
        Ambiguous: several do.
    """
    there = list(names)
    found = matching(prefix, there)
    if not found:
        raise Unknown(
            f"no {noun} begins with {prefix!r}",
            evidence=f"there are: {candidates(there)}" if there else f"there is no {noun} at this moment",
            todo="give the beginning of one that is listed",
        )
    if len(found) > 1:
        raise Ambiguous(
            f"{len(found)} {noun}s begin with {prefix!r}, and this is done to exactly one",
            evidence=candidates(found),
            todo="give more of its beginning",
        )
    return found[0]
