"""From lines to numbers per block: who scored what, who outscored whom, in complete blocks only."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

import msgspec

from coworld_actors.batch.records import EpisodeLine, Status
from coworld_actors.batch.schedule import Schedule

__all__ = [
    "LARGEST_SCORE",
    "EntrantColumn",
    "PairColumn",
    "Points",
    "Selection",
    "constant_sum",
    "outcome",
    "pair_share",
    "select",
    "tabulate",
    "usable",
]

LARGEST_SCORE = 1e100
"""Scores beyond this, and those that are no numbers, are not used: their squares or sums would be infinite."""


def usable(line: EpisodeLine) -> bool:
    """Whether an episode's scores may be used: it is good, and every seat has a finite score."""
    return line.counts and all(
        seat.score is not None and abs(seat.score) <= LARGEST_SCORE  # False for a NaN, too
        for seat in line.seats
    )


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of a schedule: one for each episode that has ended, and which of them count.

    Attributes:
        lines: in schedule order, whatever became of the episode.
        blocks: the counted episodes by block, in schedule order; only complete blocks.
        incomplete: numbers of the blocks of which something has ended badly, or not all has ended.
        unscored: good episodes without a usable score for every seat.
        strangers: lines that do not fit the schedule; they are left out.
    """

    lines: tuple[EpisodeLine, ...]
    blocks: tuple[tuple[EpisodeLine, ...], ...]
    incomplete: tuple[int, ...] = ()
    unscored: int = 0
    strangers: int = 0

    @property
    def counted(self) -> list[EpisodeLine]:
        """The episodes of the complete blocks, in schedule order."""
        return sorted((line for block in self.blocks for line in block), key=lambda line: line.index)


def _precedence(line: EpisodeLine) -> tuple[bool, str, int, bytes]:
    return line.status.settled, line.started, line.attempts, msgspec.json.encode(line)


def select(schedule: Schedule, lines: Iterable[EpisodeLine]) -> Selection:
    """Sort out which episodes count.

    Of several lines for the same episode the one that settled it is used, then the one started last: what the order of the lines
    in the file says, too, but the answer does not depend on that order.

    Args:
        schedule: everything that was going to be played.
        lines: what has ended, in any order.
    """
    latest: dict[int, EpisodeLine] = {}
    strangers = 0
    for line in lines:
        planned = schedule.episodes[line.index] if 0 <= line.index < len(schedule.episodes) else None
        if (
            planned is None
            or (planned.block, planned.variant, planned.seed) != (line.block, line.variant, line.seed)
            or planned.seats != tuple([seat.entrant for seat in line.seats])
        ):
            strangers += 1
            continue
        known = latest.get(line.index)
        if known is None or _precedence(known) < _precedence(line):
            latest[line.index] = line

    blocks: defaultdict[int, list[int]] = defaultdict(list)
    for episode in schedule.episodes:
        blocks[episode.block].append(episode.index)
    complete: list[tuple[EpisodeLine, ...]] = []
    incomplete: list[int] = []
    for number, indices in blocks.items():
        played = [latest[index] for index in indices if index in latest]
        if len(played) == len(indices) and all(usable(line) for line in played):
            complete.append(tuple(played))
        elif played:
            incomplete.append(number)
    ordered = tuple(latest[index] for index in sorted(latest))
    return Selection(
        lines=ordered,
        blocks=tuple(complete),
        incomplete=tuple(incomplete),
        unscored=sum(line.status is Status.GOOD and not usable(line) for line in ordered),
        strangers=strangers,
    )


class EntrantColumn(msgspec.Struct, kw_only=True):
    """One player's numbers, one for each block that it played in.

    Attributes:
        scores: mean over its seats, in the game's own units.
        points: 1 for every opponent outscored, a half for every equal one.
        met: how many opponents that was out of, counted anew in every episode.
        wins: of all blocks.
        draws: of all blocks.
        losses: of all blocks.
        episodes: of all blocks.
        seats: of all blocks.
    """

    scores: list[float] = []
    points: list[float] = []
    met: list[float] = []
    wins: int = 0
    draws: int = 0
    losses: int = 0
    episodes: int = 0
    seats: int = 0


class PairColumn(msgspec.Struct, kw_only=True):
    """Two players' numbers, one for each block in which both played, from the side of the one with the smaller index.

    Attributes:
        shares: mean over the block's episodes of 1, a half or 0.
        margins: mean over the block's episodes of its score less the other's, in the game's own units.
        wins: of all blocks.
        draws: of all blocks.
        losses: of all blocks.
    """

    shares: list[float] = []
    margins: list[float] = []
    wins: int = 0
    draws: int = 0
    losses: int = 0


class Points(msgspec.Struct, kw_only=True):
    """The numbers of all complete blocks, blocks in schedule order.

    Attributes:
        entrants: by index; whoever never played is missing.
        pairs: by indices, the smaller one first; those that never met are missing.
        seats: by variant and slot, per block the mean of the seat's score less the mean of its episode's seats.
    """

    entrants: dict[int, EntrantColumn] = {}
    pairs: dict[tuple[int, int], PairColumn] = {}
    seats: dict[tuple[str, int], list[float]] = {}


def outcome(mine: Sequence[float], theirs: Sequence[float], *, lower_is_better: bool = False) -> float:
    """1 when the mean of my seats is the better one, a half when they are equal, 0 otherwise.

    Two single scores are compared exactly. Means over several seats are equal when they differ by no more than 1e-12 of the largest
    score: that is what rounding a mean may do.
    """
    if len(mine) == 1 and len(theirs) == 1:
        difference = mine[0] - theirs[0]
        slack = 0.0
    else:
        difference = math.fsum(mine) / len(mine) - math.fsum(theirs) / len(theirs)
        slack = 1e-12 * max(abs(score) for score in (*mine, *theirs))
    if abs(difference) <= slack:
        return 0.5
    return 1.0 if (difference < 0) == lower_is_better else 0.0


def _by_entrant(line: EpisodeLine) -> dict[int, list[float]]:
    scores: dict[int, list[float]] = {}
    for seat in line.seats:
        scores.setdefault(seat.entrant, []).append(0.0 if seat.score is None else seat.score)
    return scores


def pair_share(lines: Iterable[EpisodeLine], first: int, second: int, *, lower_is_better: bool = False) -> float | None:
    """The first player's share of the points against the second in one block.

    Args:
        lines: the block's episodes, all of them.
        first: index of the entrant.
        second: index of the other one.
        lower_is_better: the direction of the scores.

    Returns:
        None when one of the episodes does not count, or the two never met in it.
    """
    outcomes: list[float] = []
    for line in lines:
        if not usable(line):
            return None
        scores = _by_entrant(line)
        if first in scores and second in scores:
            outcomes.append(outcome(scores[first], scores[second], lower_is_better=lower_is_better))
    return math.fsum(outcomes) / len(outcomes) if outcomes else None


def constant_sum(lines: Iterable[EpisodeLine]) -> bool:
    """Whether the scores of all episodes of a variant have the same total, while seats differ: one's gain is another's loss.

    Args:
        lines: episodes whose scores are usable; fewer than two of a variant show nothing.
    """
    totals: dict[str, float] = {}
    uneven = repeated = False
    for line in lines:
        scores = [seat.score or 0.0 for seat in line.seats]
        if len(scores) < 2:
            return False
        total = math.fsum(scores)
        repeated = repeated or line.variant in totals
        if abs(total - totals.setdefault(line.variant, total)) > 1e-9 * max(map(abs, scores)):
            return False
        uneven = uneven or max(scores) > min(scores)
    return uneven and repeated


def tabulate(selection: Selection, *, lower_is_better: bool = False) -> Points:
    """Every block's numbers.

    Args:
        selection: what counts.
        lower_is_better: the direction of the scores.
    """
    table = Points()
    for block in selection.blocks:
        _tabulate_block(table, block, lower_is_better=lower_is_better)
    for (first, second), pair in table.pairs.items():
        one, other = table.entrants[first], table.entrants[second]
        one.wins, one.draws, one.losses = one.wins + pair.wins, one.draws + pair.draws, one.losses + pair.losses
        other.wins, other.draws, other.losses = (
            other.wins + pair.losses,
            other.draws + pair.draws,
            other.losses + pair.wins,
        )
    return table


def _mean(values: Sequence[float]) -> float:
    return values[0] + 0.0 if len(values) == 1 else math.fsum(values) / len(values) + 0.0


def _tabulate_block(table: Points, block: Sequence[EpisodeLine], *, lower_is_better: bool) -> None:
    seats: dict[int, list[float]] = {}
    episodes: dict[int, int] = {}
    effects: dict[tuple[str, int], list[float]] = {}
    pairs: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    for line in block:
        scores = _by_entrant(line)
        means = {entrant: _mean(own) for entrant, own in scores.items()}
        for entrant, own in scores.items():
            seats.setdefault(entrant, []).extend(own)
            episodes[entrant] = episodes.get(entrant, 0) + 1
        for both in combinations(sorted(scores), 2):
            first, second = both
            won, margins = pairs.setdefault(both, ([], []))
            won.append(outcome(scores[first], scores[second], lower_is_better=lower_is_better))
            margins.append(means[first] - means[second])
        if len(line.seats) > 1:
            everybody = [seat.score or 0.0 for seat in line.seats]
            mean = _mean(everybody)
            for slot, score in enumerate(everybody):
                effects.setdefault((line.variant, slot), []).append(score - mean)
    points = dict.fromkeys(seats, 0.0)
    met = dict.fromkeys(seats, 0.0)
    for both, (won, margins) in pairs.items():
        first, second = both
        pair = table.pairs.get(both)
        if pair is None:
            pair = table.pairs[both] = PairColumn()
        count, total = len(won), sum(won)  # halves: exact
        wins, draws = won.count(1.0), won.count(0.5)
        pair.wins, pair.draws, pair.losses = pair.wins + wins, pair.draws + draws, pair.losses + count - wins - draws
        pair.shares.append(total / count)
        pair.margins.append(_mean(margins))
        points[first] += total
        points[second] += count - total
        met[first] += count
        met[second] += count
    for entrant, own in seats.items():
        column = table.entrants.get(entrant)
        if column is None:
            column = table.entrants[entrant] = EntrantColumn()
        column.episodes += episodes[entrant]
        column.seats += len(own)
        column.scores.append(_mean(own))
        column.points.append(points[entrant])
        column.met.append(met[entrant])
    for seat_of, own in effects.items():
        table.seats.setdefault(seat_of, []).append(_mean(own))
