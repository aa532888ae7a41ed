"""What the plots of a batch's page show, from its lines: values, no drawing. Every list here is as long as a plot is wide, not as the batch."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from coworld_actors.batch.records import EpisodeLine, SeatLine

__all__ = ["Course", "Histogram", "Spread", "counted", "courses", "histogram", "score_spreads"]

BINS = 40
"""Bars of a histogram at most."""

POINTS = 160
"""Points of a curve at most."""

SIGMAS = 1.96
"""Standard errors on either side of a mean that make 95 %."""


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """How often values fell between two edges.

    Attributes:
        edges: in order; one more than there are counts.
        counts: from one edge to the next; the last edge belongs to the last count.
        whole: every bar is one whole number, which lies in its middle.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    whole: bool = False


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """One player's scores: least, quarters, most, and how they are spread over the bars that all players share."""

    entrant: int
    count: int
    least: float
    quarter: float
    median: float
    three_quarters: float
    most: float
    histogram: Histogram


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """How a player's mean came about, block by block.

    Attributes:
        entrant: its index.
        points: how many blocks so far, the mean over those it played in, and the ends of the mean's 95 % band; None before the
            second of them.
    """

    entrant: int
    points: tuple[tuple[int, float, float | None, float | None], ...]


def counted(lines: Iterable[EpisodeLine]) -> list[list[EpisodeLine]]:
    """The blocks that count, in schedule order: every episode of theirs counts and none is missing.

    A block is complete when it has as many episodes as the largest one of its variant and lineup: all have equally many.
    """
    blocks: dict[int, list[EpisodeLine]] = defaultdict(list)
    for line in lines:
        blocks[line.block].append(line)
    sizes: dict[tuple[str, int], int] = {}
    for block in blocks.values():
        kind = block[0].variant, block[0].lineup
        sizes[kind] = max(sizes.get(kind, 0), len(block))
    return [
        sorted(block, key=lambda line: line.index)
        for _, block in sorted(blocks.items())
        if len(block) == sizes[block[0].variant, block[0].lineup]
        and all(line.counts and all(map(_is_figure, line.seats)) for line in block)
    ]


def score_spreads(blocks: Sequence[Sequence[EpisodeLine]], entrants: Iterable[int]) -> list[Spread]:
    """How the scores of each seat of some players are spread, in the order asked for."""
    found: dict[int, list[float]] = {entrant: [] for entrant in entrants}
    for block in blocks:
        for line in block:
            for seat in line.seats:
                if seat.entrant in found and seat.score is not None:
                    found[seat.entrant].append(seat.score)
    found = {entrant: sorted(scores) for entrant, scores in found.items() if scores}
    if not found:
        return []
    edges, whole = _edges([value for scores in found.values() for value in scores])
    return [
        Spread(
            entrant=entrant,
            count=len(scores),
            least=scores[0],
            quarter=_quantile(scores, 0.25),
            median=_quantile(scores, 0.5),
            three_quarters=_quantile(scores, 0.75),
            most=scores[-1],
            histogram=Histogram(edges=edges, counts=_counts(scores, edges), whole=whole),
        )
        for entrant, scores in found.items()
    ]


def histogram(values: Iterable[float]) -> Histogram | None:
    """How values are spread; None without any."""
    found = sorted(value for value in values if math.isfinite(value))
    if not found:
        return None
    edges, whole = _edges(found)
    return Histogram(edges=edges, counts=_counts(found, edges), whole=whole)


def courses(
    blocks: Sequence[Sequence[EpisodeLine]], entrants: Iterable[int], *, lower_is_better: bool
) -> tuple[list[Course], list[Course]]:
    """The running means of the score per seat, and of the share of points against opponents, of some players.

    Points: in each episode one for every other player whose mean over its seats was worse, half a one for an equal.
    """
    wanted = list(entrants)
    scores: dict[int, list[tuple[int, float]]] = {entrant: [] for entrant in wanted}
    points: dict[int, list[tuple[int, float]]] = {entrant: [] for entrant in wanted}
    for number, block in enumerate(blocks, 1):
        seats: dict[int, list[float]] = defaultdict(list)
        shares: dict[int, list[float]] = defaultdict(list)
        for line in block:
            means = _means(line.seats)
            for seat in line.seats:
                seats[seat.entrant].append(seat.score or 0.0)
            if len(means) > 1:
                for entrant, share in _shares(means, lower_is_better=lower_is_better).items():
                    shares[entrant].append(share)
        for gathered, values in ((scores, seats), (points, shares)):
            for entrant, found in values.items():
                if entrant in gathered:
                    gathered[entrant].append((number, math.fsum(each / len(found) for each in found)))
    return (
        [Course(entrant=entrant, points=_running(scores[entrant])) for entrant in wanted if scores[entrant]],
        [Course(entrant=entrant, points=_running(points[entrant])) for entrant in wanted if points[entrant]],
    )


def _is_figure(seat: SeatLine) -> bool:
    return seat.score is not None and math.isfinite(seat.score)


def _means(seats: Sequence[SeatLine]) -> dict[int, float]:
    found: dict[int, list[float]] = defaultdict(list)
    for seat in seats:
        found[seat.entrant].append(seat.score or 0.0)
    return {entrant: math.fsum(each / len(scores) for each in scores) for entrant, scores in found.items()}


def _shares(means: Mapping[int, float], *, lower_is_better: bool) -> dict[int, float]:
    """Of the points that each player could have had: by order, as pairs of 64 seats would be two thousand comparisons."""
    ordered = sorted(means.values())
    others = len(ordered) - 1
    shares: dict[int, float] = {}
    for entrant, mean in means.items():
        below, through = bisect_left(ordered, mean), bisect_right(ordered, mean)
        better = len(ordered) - through if lower_is_better else below
        shares[entrant] = (better + (through - below - 1) / 2) / others
    return shares


def _running(values: Sequence[tuple[int, float]]) -> tuple[tuple[int, float, float | None, float | None], ...]:
    """Running mean and band; of many only as many as a plot can show, the last one always."""
    kept = _kept(len(values))
    points: list[tuple[int, float, float | None, float | None]] = []
    mean = squares = 0.0
    for count, (block, value) in enumerate(values, 1):
        # Welford: stable for values that are far from zero and close together.
        step = value - mean
        mean += step / count
        squares += step * (value - mean)
        if count in kept:
            half = SIGMAS * math.sqrt(max(squares, 0.0) / (count - 1) / count) if count > 1 else None
            points.append((block, mean, None, None) if half is None else (block, mean, mean - half, mean + half))
    return tuple(points)


def _kept(count: int) -> frozenset[int]:
    if count <= POINTS:
        return frozenset(range(1, count + 1))
    return frozenset(round(1 + place * (count - 1) / (POINTS - 1)) for place in range(POINTS))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the two nearest, as most programs have it."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    weight = place - low
    return ordered[low] * (1 - weight) + ordered[high] * weight


def _edges(values: Sequence[float]) -> tuple[tuple[float, ...], bool]:
    """Edges that suit all values: a bar for each whole number where they are few, else bars of equal width."""
    low, high = min(values), max(values)
    if high - low < BINS and all(value.is_integer() for value in set(map(float, values))):
        first = int(low)
        return tuple(first - 0.5 + place for place in range(int(high) - first + 2)), True
    if low == high:
        half = max(abs(low), 1.0) / 2
        return (low - half, high + half), False
    bars = min(BINS, max(10, math.ceil(2 * len(values) ** (1 / 3))))
    # Weighted rather than stepped: the difference of two floats may be no float any more.
    return tuple(low * (1 - place / bars) + high * (place / bars) for place in range(bars + 1)), False


def _counts(values: Iterable[float], edges: Sequence[float]) -> tuple[int, ...]:
    bars = len(edges) - 1
    found = Counter(min(max(bisect_right(edges, value) - 1, 0), bars - 1) for value in values)
    return tuple(found[place] for place in range(bars))
