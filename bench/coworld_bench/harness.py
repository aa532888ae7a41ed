"""Rounds that are interleaved, and what they come to: medians with their spread, and ratios.

A shared machine has slow minutes. So every round measures every contestant once, a slow minute touches them all, and a ratio is
the median of the ratios within each round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

__all__ = ["Spread", "difference", "interleave", "ratio", "spread"]

T = TypeVar("T")


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Several measurements of one thing.

    Attributes:
        median: the middle one.
        low: the smallest.
        high: the largest.
        values: all, in the order of the rounds.
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...]


def spread(values: Sequence[float]) -> Spread:
    """What several measurements come to.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("nothing was measured")
    return Spread(median=statistics.median(values), low=min(values), high=max(values), values=tuple(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times theirs ours is, round by round.

    Raises:
        ValueError: nothing was measured, or a different number of rounds.
    """
    if len(ours) != len(theirs):
        raise ValueError("a ratio is one of rounds that both took part in")
    return spread([mine / his for mine, his in zip(ours, theirs, strict=True)])


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How much more ours is than theirs, round by round.

    Raises:
        ValueError: nothing was measured, or a different number of rounds.
    """
    if len(ours) != len(theirs):
        raise ValueError("a difference is one of rounds that both took part in")
    return spread([mine - his for mine, his in zip(ours, theirs, strict=True)])


def interleave(
    contestants: Mapping[str, Callable[[], T]],
    rounds: int,
    *,
    progress: Callable[[str], None] = lambda _: None,
    about: str = "",
) -> dict[str, list[T]]:
    """Measure every contestant once per round.

    The order turns from round to round, so that nobody always comes behind the same neighbour.

    Args:
        contestants: what to measure, by name.
        rounds: how often.
        progress: told who is next.
        about: what is measured, for `progress`.
    """
    found: dict[str, list[T]] = {name: [] for name in contestants}
    for place in range(rounds):
        for name in _turned(list(contestants), place):
            progress(f"{about}: {name}, round {place + 1} of {rounds}")
            found[name].append(contestants[name]())
    return found


def _turned(names: list[str], by: int) -> Iterator[str]:
    for place in range(len(names)):
        yield names[(place + by) % len(names)]
