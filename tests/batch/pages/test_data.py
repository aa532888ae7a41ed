"""What the plots show: complete blocks, spreads that add up, running means that end where the mean is."""

from __future__ import annotations

import math
import statistics

import msgspec
import pytest

from coworld_actors.batch.pages.data import BINS, POINTS, SIGMAS, counted, courses, histogram, score_spreads
from coworld_actors.batch.records import EpisodeLine, SeatLine, Status
from tests.summaries import batch_lines


def scored(*scores: float | None, index: int = 0, block: int = 0) -> EpisodeLine:
    """An episode in which every seat has a player of its own."""
    return EpisodeLine(
        index=index, variant="v", block=block, seed=1, seed_applied=True, status=Status.GOOD, reason="completed",
        blame="nobody", started="", seconds=1, seats=tuple(SeatLine(entrant=n, score=s) for n, s in enumerate(scores)),
    )  # fmt: skip


def test_only_complete_blocks_count() -> None:
    """One with a missing, a failed or a scoreless episode does not, nor one with a score that is no number."""
    lines = batch_lines(2, 6)
    lines[2] = msgspec.structs.replace(lines[2], status=Status.FAILED)
    lines[4] = msgspec.structs.replace(lines[4], status=Status.INVALID)
    lines[7] = msgspec.structs.replace(lines[7], seats=(SeatLine(entrant=0, score=None), *lines[7].seats[1:]))
    lines[9] = msgspec.structs.replace(lines[9], seats=(SeatLine(entrant=0, score=math.inf), *lines[9].seats[1:]))
    found = counted(reversed(lines[:-1]))
    assert [[line.index for line in block] for block in found] == [[0, 1]]


def test_lineups_may_have_blocks_of_their_own_size() -> None:
    """Self-play has one seating, a mixed lineup has several: neither makes the other incomplete."""
    alone = msgspec.structs.replace(scored(1, 2), lineup=1)
    lines = [alone, *(scored(1, 2, index=place, block=1) for place in (1, 2))]
    assert [len(block) for block in counted(lines)] == [1, 2]


def test_spreads_add_up() -> None:
    """Every score is in one bar, and the quarters are those of the standard library."""
    blocks = counted(batch_lines(3, 50))
    spreads = score_spreads(blocks, [2, 0, 7])
    assert [spread.entrant for spread in spreads] == [2, 0]
    for spread in spreads:
        scores = [
            seat.score for block in blocks for line in block for seat in line.seats if seat.entrant == spread.entrant
        ]
        assert sum(spread.histogram.counts) == spread.count == len(scores)
        values = [score for score in scores if score is not None]
        assert [spread.quarter, spread.median, spread.three_quarters] == pytest.approx(
            statistics.quantiles(values, n=4, method="inclusive")
        )
        assert (spread.least, spread.most) == (min(values), max(values))


@pytest.mark.parametrize(
    ("values", "bars", "whole"),
    [
        ([1.0, 2.0, 2.0, 5.0], 5, True),
        ([3.0], 1, True),
        ([0.5], 1, False),
        ([0.1 * n for n in range(20_000)], BINS, False),
    ],
)
def test_bars_suit_the_values(values: list[float], bars: int, whole: bool) -> None:
    """One for each whole number where there are few, else equal ones; none is without its edge."""
    found = histogram(values)
    assert found is not None
    assert (len(found.counts), found.whole) == (bars, whole)
    assert len(found.edges) == bars + 1
    assert list(found.edges) == sorted(set(found.edges))
    assert sum(found.counts) == len(values)


def test_nothing_has_no_histogram() -> None:
    """Neither has what is no number."""
    assert histogram([]) is None
    assert histogram([math.nan, math.inf]) is None


def test_a_running_mean_ends_at_the_mean() -> None:
    """With the standard error of block means, and as few points as a plot can show."""
    blocks = [[scored(float(place % 7), 3.0, index=place, block=place)] for place in range(1000)]
    scores, points = courses(blocks, [0, 1], lower_is_better=False)
    values = [float(place % 7) for place in range(1000)]
    count, mean, low, high = scores[0].points[-1]
    assert low is not None
    assert high is not None
    error = statistics.stdev(values) / math.sqrt(1000)
    assert (count, mean) == (1000, pytest.approx(statistics.mean(values)))
    assert (high - low) / 2 == pytest.approx(SIGMAS * error)
    assert scores[0].points[0] == (1, 0.0, None, None)
    assert len(scores[0].points) == POINTS
    wins = sum(1.0 if value > 3 else 0.5 if value == 3 else 0.0 for value in values) / 1000
    assert points[0].points[-1][1] == pytest.approx(wins)
    assert points[1].points[-1][1] == pytest.approx(1 - wins)


def test_points_follow_the_direction_of_the_scores() -> None:
    """Where lower is better the lower score wins; equals share; a player with two seats is their mean."""
    blocks = [[scored(1, 2, 2)]]
    shares = {False: [0.0, 0.75, 0.75], True: [1.0, 0.25, 0.25]}
    for lower, expected in shares.items():
        _, points = courses(blocks, [0, 1, 2], lower_is_better=lower)
        assert [course.points[0][1] for course in points] == expected
    seats = (SeatLine(entrant=0, score=9), SeatLine(entrant=1, score=4), SeatLine(entrant=0, score=1))
    mixed = [[msgspec.structs.replace(scored(), seats=seats)]]
    scores, points = courses(mixed, [0, 1], lower_is_better=False)
    assert [course.points[0][1] for course in scores] == [5, 4]
    assert [course.points[0][1] for course in points] == [1.0, 0.0]


def test_who_plays_alone_has_no_points() -> None:
    """There is nobody to take them from."""
    scores, points = courses([[scored(1.0)]], [0], lower_is_better=False)
    assert len(scores) == 1
    assert points == []
