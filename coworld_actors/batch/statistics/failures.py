"""What went wrong and whose doing it was: counted apart, never as a loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from coworld_actors.batch.records import EpisodeLine, Status
from coworld_actors.episode.verdict import Blame

__all__ = [
    "MOST_UNPLAYED",
    "Counts",
    "FailureCount",
    "count_episodes",
    "count_failures",
    "count_faults",
    "failing_always",
    "inconclusive_because",
]

MOST_UNPLAYED = 0.05
"""Above this share of invalid and unplayed episodes nothing is concluded.

If all of them would have ended one way, the share of points would be off by half as much: 2.5 points, 17 Elo at an even score.
"""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Episodes by status.

    Attributes:
        requested: in the schedule.
        good: that count, whether or not their block is complete.
        failed: by the game's or a player's doing.
        invalid: played while the machine was choking.
        infrastructure: not played for a reason of the machine's.
        open: not played yet.
    """

    requested: int
    good: int = 0
    failed: int = 0
    invalid: int = 0
    infrastructure: int = 0
    open: int = 0

    @property
    def unplayed(self) -> float:
        """Share of the episodes that came to an end without saying anything about a player."""
        ended = self.requested - self.open
        return (self.invalid + self.infrastructure) / ended if ended else 0.0


class FailureCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often one thing went wrong.

    Attributes:
        status: of the episodes; `good` for a seat that failed in an episode that counts.
        reason: end reason of the episodes or end of the seats.
        entrant: whose doing it was; None for the game's or the machine's.
        count: how often.
        example: index of one such episode.
    """

    status: str
    reason: str
    entrant: int | None = None
    count: int
    example: int


def count_episodes(requested: int, lines: Iterable[EpisodeLine]) -> Counts:
    """Episodes by status.

    Args:
        requested: how many the schedule has.
        lines: one for each episode that has ended.
    """
    found = Counter(line.status for line in lines)
    return Counts(
        requested=requested,
        good=found[Status.GOOD],
        failed=found[Status.FAILED],
        invalid=found[Status.INVALID],
        infrastructure=found[Status.INFRASTRUCTURE],
        open=requested - found.total(),
    )


def count_failures(lines: Iterable[EpisodeLine]) -> tuple[FailureCount, ...]:
    """Everything that went wrong, most frequent first.

    An episode that is the players' doing counts once for each player with a fault in it; one that is the game's or the machine's
    counts once for nobody. In a good episode every seat with a fault counts.

    Args:
        lines: one for each episode, in schedule order: the first one with a cause is its example.
    """
    found: Counter[tuple[str, str, int | None]] = Counter()
    examples: dict[tuple[str, str, int | None], int] = {}
    for line in lines:
        keys: list[tuple[str, str, int | None]]
        if line.status is Status.GOOD:
            keys = [(line.status.value, seat.end, seat.entrant) for seat in line.seats if seat.fault]
        else:
            guilty: set[int] = set()
            if line.status is Status.FAILED and line.blame == Blame.PLAYERS:
                guilty = {seat.entrant for seat in line.seats if seat.fault}
            whose: list[int | None] = [*sorted(guilty)] or [None]
            keys = [(line.status.value, line.reason, entrant) for entrant in whose]
        for key in keys:
            found[key] += 1
            examples.setdefault(key, line.index)
    return tuple(
        FailureCount(status=key[0], reason=key[1], entrant=key[2], count=count, example=examples[key])
        for key, count in sorted(
            found.items(),
            key=lambda item: (-item[1], item[0][0], item[0][1], -1 if item[0][2] is None else item[0][2]),
        )
    )


def count_faults(lines: Iterable[EpisodeLine]) -> dict[int, dict[str, int]]:
    """By entrant and by the name of the end: the seats that ended by their player's own fault.

    Episodes in which the machine was choking, or which it kept from being played, prove nothing about a player and are left out.
    """
    found: dict[int, Counter[str]] = {}
    for line in lines:
        if line.status.settled:
            for seat in line.seats:
                if seat.fault:
                    found.setdefault(seat.entrant, Counter())[seat.end] += 1
    return {entrant: dict(sorted(ends.items())) for entrant, ends in sorted(found.items())}


def failing_always(lines: Iterable[EpisodeLine]) -> frozenset[int]:
    """The entrants with a fault of their own in every settled episode in which they had a seat."""
    seated: set[int] = set()
    fine: set[int] = set()
    for line in lines:
        if line.status.settled:
            here = {seat.entrant for seat in line.seats}
            seated |= here
            fine |= here - {seat.entrant for seat in line.seats if seat.fault}
    return frozenset(seated - fine)


def inconclusive_because(episodes: Counts) -> str:
    """Why nothing should be concluded from a batch, in a sentence; empty when that is not so."""
    if episodes.unplayed <= MOST_UNPLAYED:
        return ""
    lost, ended = episodes.invalid + episodes.infrastructure, episodes.requested - episodes.open
    return (
        f"Nothing should be concluded: the machine kept {lost} of {ended} episodes ({episodes.unplayed:.0%}) from counting, and more "
        f"than {MOST_UNPLAYED:.0%} may decide who is ahead. Play them again with fewer at once."
    )
