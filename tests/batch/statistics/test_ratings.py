"""Ratings by libraries."""

from __future__ import annotations

import math
import sys
from random import Random

import pytest

from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.schedule import Schedule
from coworld_actors.batch.statistics.points import select
from coworld_actors.batch.statistics.ratings import HELD, MISSING, Ratings, rate
from tests.played import line_of, pairs_of, play, schedule_of


def blocks_of(schedule: Schedule, lines: list[EpisodeLine]) -> tuple[tuple[EpisodeLine, ...], ...]:
    return select(schedule, lines).blocks


def duel(wins: int, draws: int, losses: int) -> Ratings:
    """Two players, one episode in each block, the first one's results given."""
    schedule = schedule_of([[(0, 1)]] * (wins + draws + losses))
    scores = [(1, 0)] * wins + [(1, 1)] * draws + [(0, 1)] * losses
    lines = [line_of(planned, pair) for planned, pair in zip(schedule.episodes, scores, strict=True)]
    return rate(blocks_of(schedule, lines))


def test_two_players_have_their_log_odds() -> None:
    """Bradley-Terry of two is the odds of the points: 30 wins, 10 draws, 10 losses are 35 to 15."""
    found = duel(30, 10, 10)
    assert found.model == "bradley-terry"
    first, second = found.strengths[0], found.strengths[1]
    assert first.value is not None
    assert second.value is not None
    assert first.value - second.value == pytest.approx(400 * math.log10(35 / 15), abs=0.01)
    assert first.value == pytest.approx(-second.value)
    assert found.notes == ()


def test_a_draw_leans_to_nobody() -> None:
    """Only draws: equal strengths, whatever the order of the players."""
    found = duel(0, 20, 0)
    assert found.strengths[0].value == pytest.approx(0, abs=1e-6)
    assert found.strengths[1].value == pytest.approx(0, abs=1e-6)


def test_intervals_are_those_of_the_blocks() -> None:
    """With independent episodes the interval is the one of a binomial share; repeated within a block it does not shrink."""
    found = duel(60, 0, 40).strengths[0]
    assert found.low is not None
    assert found.high is not None
    # The strength is half the log odds: +- t * 1 / (2 sqrt(n p q)).
    expected = 1.984 * 400 / math.log(10) / 2 / math.sqrt(100 * 0.24)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.03)

    schedule = schedule_of([[(0, 1)] * 4] * 100)
    lines = play(schedule, lambda planned, slot, entrant: float((planned.block % 10 < 6) == (entrant == 0)))
    same = rate(blocks_of(schedule, lines)).strengths[0]
    assert same.low is not None
    assert same.high is not None
    assert same.high - same.low == pytest.approx(found.high - found.low, rel=0.03)


def test_many_players_have_their_plackett_luce_strengths() -> None:
    """Four players with known strengths: each lies in its interval of 600 episodes, or nearly."""
    truth = [0.9, 0.3, -0.2, -1.0]
    random = Random(3)
    schedule = schedule_of([[(0, 1, 2, 3)]] * 600)
    lines = [
        line_of(planned, [strength - math.log(-math.log(random.random())) for strength in truth])
        for planned in schedule.episodes
    ]
    found = rate(blocks_of(schedule, lines))
    assert found.model == "plackett-luce"
    for entrant, strength in enumerate(truth):
        estimate = found.strengths[entrant]
        assert estimate.value == pytest.approx(strength * 400 / math.log(10), abs=40)
        assert estimate.low is not None
        assert estimate.high is not None
        assert 20 < estimate.high - estimate.low < 80
    mu = [found.ladder[entrant].value or 0.0 for entrant in range(4)]
    assert mu == sorted(mu, reverse=True)


def test_lower_scores_turn_the_ratings_round() -> None:
    """The direction of the scores reaches rating and ladder."""
    schedule = schedule_of([[(0, 1)]] * 10)
    lines = play(schedule, lambda planned, slot, entrant: float((planned.block < 7) == (entrant == 0)))
    high = rate(blocks_of(schedule, lines))
    low = rate(blocks_of(schedule, lines), lower_is_better=True)
    assert (high.strengths[0].value or 0) > 0 > (low.strengths[0].value or 0)
    assert (high.ladder[0].value or 0) > (high.ladder[1].value or 0)
    assert (low.ladder[0].value or 0) < (low.ladder[1].value or 0)


def test_who_won_everything_has_a_finite_lower_end() -> None:
    """No infinity and no hanging: the value is missing, the end that exists is finite, and the note says how."""
    found = duel(50, 0, 0)
    best, worst = found.strengths[0], found.strengths[1]
    assert (best.value, best.high, best.note) == (None, None, "n/a (all wins)")
    assert (worst.value, worst.low, worst.note) == (None, None, "n/a (all losses)")
    assert best.low is not None
    assert 0 < best.low < 1000
    assert any(HELD in note for note in found.notes)


def test_groups_that_never_met_are_said_not_to_compare() -> None:
    """Two separate duels: everything is finite, and a note tells."""
    schedule = schedule_of([[(0, 1)], [(2, 3)]] * 10)
    lines = play(schedule, lambda planned, slot, entrant: float((planned.block // 2 % 3 > 0) == (entrant % 2 == 0)))
    found = rate(blocks_of(schedule, lines))
    assert all(estimate.value is not None and math.isfinite(estimate.value) for estimate in found.strengths.values())
    assert any("never met" in note for note in found.notes)


def test_a_chain_of_all_wins_is_rated_in_order() -> None:
    """Five players of whom each always beats the next ones: the three in the middle get finite values in the right order."""
    schedule = schedule_of([[(0, 1, 2, 3, 4)]] * 40)
    found = rate(blocks_of(schedule, play(schedule, lambda planned, slot, entrant: -float(entrant))))
    values = [found.strengths[entrant].value for entrant in (1, 2, 3)]
    assert all(value is not None for value in values)
    assert values == sorted(values, key=lambda value: -(value or 0))


def test_huge_scores_do_not_overflow() -> None:
    """Ratings use the order of scores only."""
    schedule = pairs_of(5)
    found = rate(blocks_of(schedule, play(schedule, lambda planned, slot, entrant: 1e100 * (slot - 0.5))))
    assert all(math.isfinite(estimate.value or 0) for estimate in [*found.strengths.values(), *found.ladder.values()])


def test_a_single_player_is_not_rated() -> None:
    """Nobody to compare with: no rating, no note, no error."""
    schedule = schedule_of([[(0, 0)]] * 3)
    assert rate(blocks_of(schedule, play(schedule, lambda planned, slot, entrant: 1.0))) == Ratings()


@pytest.mark.parametrize("missing", ["numpy", "choix", "openskill.models"])
def test_without_the_extra_a_note_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else works; the one note names the command."""
    monkeypatch.setitem(sys.modules, missing, None)
    found = duel(3, 0, 2)
    assert found == Ratings(notes=(MISSING,))
    assert "pip install 'coworld-actors[stats]'" in MISSING


def test_the_libraries_are_imported_late() -> None:
    """Importing the statistics imports none of the extra."""
    import subprocess

    code = "import sys, coworld_actors.batch.statistics.summary, coworld_actors.batch.statistics.pickup, coworld_actors.batch.statistics.sprt; "
    code += "print([name for name in ('numpy', 'scipy', 'choix', 'openskill') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
