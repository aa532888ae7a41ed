"""From lines to numbers per block."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.batch.records import Status
from coworld_actors.batch.statistics.points import constant_sum, outcome, pair_share, select, tabulate, usable
from tests.played import line_of, pairs_of, play, schedule_of


def test_a_block_has_the_means_of_its_episodes() -> None:
    """Two seatings of one seed: scores are averaged over both, a win and a draw are three quarters."""
    schedule = pairs_of(1)
    lines = [line_of(schedule.episodes[0], [3, 1]), line_of(schedule.episodes[1], [2, 2])]
    points = tabulate(select(schedule, lines))
    assert points.entrants[0].scores == [2.5]
    assert points.entrants[1].scores == [1.5]
    pair = points.pairs[0, 1]
    assert (pair.shares, pair.margins, pair.wins, pair.draws, pair.losses) == ([0.75], [1.0], 1, 1, 0)
    assert (points.entrants[1].wins, points.entrants[1].draws, points.entrants[1].losses) == (0, 1, 1)
    assert points.entrants[0].met == [2]
    assert points.entrants[0].points == [1.5]
    assert points.seats == {("duel", 0): [0.5], ("duel", 1): [-0.5]}


def test_lower_scores_can_be_the_better_ones() -> None:
    """The direction turns wins round, and leaves the scores as the game names them."""
    schedule = pairs_of(1)
    lines = play(schedule, lambda planned, slot, entrant: float(entrant))
    points = tabulate(select(schedule, lines), lower_is_better=True)
    assert points.pairs[0, 1].wins == 2
    assert points.pairs[0, 1].margins == [-1.0]


def test_several_seats_are_one_player() -> None:
    """A player with two of three seats meets the other once, with the mean of both."""
    schedule = schedule_of([[(0, 0, 1)]])
    points = tabulate(select(schedule, [line_of(schedule.episodes[0], [1, 5, 4])]))
    assert points.entrants[0].scores == [3.0]
    assert points.entrants[0].seats == 2
    assert points.entrants[0].episodes == 1
    assert (points.pairs[0, 1].wins, points.pairs[0, 1].losses) == (0, 1)


def test_an_incomplete_block_counts_for_nobody() -> None:
    """A block with a failed, invalid, missing or scoreless episode is left out, and said to be."""
    schedule = pairs_of(5)
    lines = play(schedule, lambda planned, slot, entrant: 1.0)
    lines[2] = line_of(schedule.episodes[2], [1, 1], status=Status.FAILED)
    lines[4] = line_of(schedule.episodes[4], [1, 1], status=Status.INVALID)
    lines[6] = line_of(schedule.episodes[6], [1, None])
    selection = select(schedule, lines[:9])
    assert [block[0].block for block in selection.blocks] == [0]
    assert selection.incomplete == (1, 2, 3, 4)
    assert selection.unscored == 1
    assert len(selection.counted) == 2


def test_what_was_never_begun_is_not_incomplete() -> None:
    """Blocks without a line are open, no more."""
    assert select(pairs_of(3), []).incomplete == ()


def test_lines_of_another_schedule_are_strangers() -> None:
    """An index out of range, other seats, another seed: left out and counted."""
    schedule = pairs_of(1)
    good = play(schedule, lambda planned, slot, entrant: 1.0)
    wrong = [
        msgspec.structs.replace(good[0], index=7),
        msgspec.structs.replace(good[0], index=-1),
        msgspec.structs.replace(good[0], seed=1),
        msgspec.structs.replace(good[0], seats=good[0].seats[::-1]),
    ]
    selection = select(schedule, [*wrong, *good])
    assert selection.strangers == 4
    assert len(selection.blocks) == 1


def test_a_later_line_takes_the_place_of_an_earlier_one() -> None:
    """What settled an episode beats what did not, and the later start the earlier one, in whatever order they come."""
    schedule = pairs_of(1)
    second = line_of(schedule.episodes[1], [0, 0])
    lost = line_of(schedule.episodes[0], [9, 9], status=Status.INFRASTRUCTURE, started="2026-01-03T00:00:00Z")
    old = line_of(schedule.episodes[0], [0, 1], started="2026-01-01T00:00:00Z")
    new = line_of(schedule.episodes[0], [1, 0], started="2026-01-02T00:00:00Z")
    for lines in ([lost, old, new, second], [second, new, old, lost], [new, lost, second, old]):
        assert select(schedule, lines).lines == (new, second)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 1e101])
def test_scores_that_are_no_numbers_are_not_used(score: float) -> None:
    """An episode with such a score does not count, and no infinity gets into a mean."""
    schedule = pairs_of(1)
    assert not usable(line_of(schedule.episodes[0], [score, 1]))
    assert usable(line_of(schedule.episodes[0], [-1e100, 1]))


def test_equal_means_are_equal_however_they_were_rounded() -> None:
    """Three seats at 0.1 are a draw with one at 0.1; two single scores are compared exactly."""
    assert outcome([0.1, 0.2, 0.3], [0.2]) == 0.5
    assert outcome([0.1, 0.1, 0.1], [0.1]) == 0.5
    assert outcome([1.0], [1.0 + 2e-16 * 2]) == 0
    assert outcome([1.0, 1.0], [1.1]) == 0
    assert outcome([1.0, 1.0], [1.1], lower_is_better=True) == 1


@settings(deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=4), st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=4))
def test_one_wins_what_the_other_loses(mine: list[float], theirs: list[float]) -> None:
    """The two sides of an episode add up to one point, in both directions of the scores."""
    for lower in (False, True):
        assert outcome(mine, theirs, lower_is_better=lower) + outcome(theirs, mine, lower_is_better=lower) == 1


def test_a_blocks_share_is_known_from_its_lines() -> None:
    """What `compare` looks at: the mean outcome, or nothing when an episode does not count or they never met."""
    schedule = pairs_of(1)
    lines = [line_of(schedule.episodes[0], [3, 1]), line_of(schedule.episodes[1], [2, 2])]
    assert pair_share(lines, 0, 1) == 0.75
    assert pair_share(lines, 1, 0) == 0.25
    assert pair_share(lines, 0, 1, lower_is_better=True) == 0.25
    assert pair_share(lines, 0, 2) is None
    assert pair_share([lines[0], line_of(schedule.episodes[1], [2, None])], 0, 1) is None


def test_a_constant_sum_is_seen() -> None:
    """Totals that never change, with seats that differ; two equal seats or a single episode show nothing."""
    schedule = pairs_of(2)
    zero = play(schedule, lambda planned, slot, entrant: (-1.0) ** (slot + planned.index % 3))
    assert constant_sum(zero)
    assert not constant_sum(zero[:1])
    assert not constant_sum(play(schedule, lambda planned, slot, entrant: 1.0))
    assert not constant_sum(play(schedule, lambda planned, slot, entrant: float(slot * planned.index)))
