"""A comparison block by block: the same answer while it is played and from the lines afterwards."""

from __future__ import annotations

import random

import pytest

from coworld_actors.batch.options import Bounds
from coworld_actors.batch.records import EpisodeLine, Status
from coworld_actors.batch.statistics.comparison import Comparison
from tests.batches import line, schedule

BLOCKS = 60
BOUNDS = Bounds(nelo1=200)


def lines(win: float) -> list[EpisodeLine]:
    """The lines of blocks of two episodes, which the first player wins so often."""
    drawn = random.Random(1)
    found: list[EpisodeLine] = []
    for each in schedule(2 * BLOCKS, block=2).episodes:
        won = drawn.random() < win
        found.append(line(each, [float((entrant == 0) == won) for entrant in each.seats]))
    return found


def decided_while_played(comparison: Comparison, played: list[EpisodeLine]) -> int | None:
    for number in range(BLOCKS):
        if comparison.decide(played[2 * number : 2 * number + 2]) is not None:
            return number
    return None


@pytest.mark.parametrize(("win", "decision"), [(0.85, "h1"), (0.15, "h0")])
def test_the_report_stops_where_the_play_stopped(win: float, decision: str) -> None:
    """And what was played beyond it changes nothing."""
    comparison = Comparison(schedule(2 * BLOCKS, block=2), BOUNDS)
    played = lines(win)
    number = decided_while_played(comparison, played)
    assert number is not None
    reports = [comparison.report(played), comparison.report(reversed(played[: 2 * number + 2]))]
    assert reports[0] == reports[1]
    report = reports[0]
    assert (report.decided, report.state.decision, report.biased) == (number, decision, True)
    assert len(report.ratios) == report.state.blocks == number + 1


def test_an_open_end_is_not_looked_at() -> None:
    """Blocks behind one that is not over do not count: they may be over sooner because they are shorter."""
    comparison = Comparison(schedule(2 * BLOCKS, block=2), BOUNDS)
    played = [each for each in lines(0.5) if each.index != 5]
    report = comparison.report(played)
    assert report.state.blocks == 2
    assert report.state.decision is None
    assert not report.biased
    assert "not known yet" in report.answer


def test_a_block_that_does_not_count_is_left_out() -> None:
    """It is neither a win nor a loss of anybody."""
    comparison = Comparison(schedule(2 * BLOCKS, block=2), BOUNDS)
    played = lines(0.85)
    played[0] = line(0, status=Status.FAILED, reason="game_crashed")
    assert comparison.decide(played[:2]) is None
    report = comparison.report(played)
    assert report.skipped == 1
    assert report.decided == report.state.blocks


def test_lower_scores_may_be_better() -> None:
    """Then the same lines say the opposite."""
    played = lines(0.85)
    report = Comparison(schedule(2 * BLOCKS, block=2), BOUNDS, lower_is_better=True).report(played)
    assert report.state.decision == "h0"


def test_answers_with_other_bounds_name_them() -> None:
    """`better` is for a difference above 0; a test of no regression says what it has found."""
    for win, words in ((0.9, "a less b is 0 normalised Elo or more"), (0.1, "a less b is -100 normalised Elo or less")):
        report = Comparison(schedule(2 * BLOCKS, block=2), Bounds(nelo0=-100, nelo1=0)).report(lines(win))
        assert words in report.answer
