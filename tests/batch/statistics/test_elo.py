"""Shares as Elo."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.batch.statistics.elo import (
    ALL_LOSSES,
    ALL_WINS,
    elo,
    elo_estimate,
    nelo_estimate,
    share,
    superiority,
)
from coworld_actors.batch.statistics.intervals import Estimate


@settings(deadline=None)
@given(st.floats(-2000, 2000))
def test_elo_and_share_undo_each_other(difference: float) -> None:
    """A difference of so many points is the share that is so many points."""
    found = elo(share(difference))
    assert found == pytest.approx(difference, abs=1e-6)


def test_known_differences() -> None:
    """400 points are odds of ten to one; even is nothing; the golden pentanomial's mean of 0.4375 is -43.658."""
    assert elo(10 / 11) == pytest.approx(400)
    assert elo(0.5) == 0
    assert elo(0.4375) == pytest.approx(-43.658, abs=5e-4)
    assert share(1e6) == 1
    assert share(-1e6) == 0


def test_all_wins_have_a_finite_end_and_no_infinity() -> None:
    """Who won everything has no value but a lower end; who lost everything the other way round."""
    won = elo_estimate(Estimate(value=1.0, low=0.8, high=1.0))
    assert (won.value, won.high, won.note) == (None, None, ALL_WINS)
    assert won.low == pytest.approx(elo(0.8))
    lost = elo_estimate(Estimate(value=0.0, low=0.0, high=0.2))
    assert (lost.value, lost.low, lost.note) == (None, None, ALL_LOSSES)
    assert lost.high == pytest.approx(elo(0.2))


def test_an_end_at_the_edge_is_open() -> None:
    """An interval that reaches a share of 1 has no upper end in Elo."""
    found = elo_estimate(Estimate(value=0.9, low=0.7, high=1.0))
    assert found.value is not None
    assert found.high is None
    assert not found.note


def test_nothing_stays_nothing() -> None:
    """No share, no Elo; the note says why."""
    assert elo_estimate(Estimate(note="n/a (no opponent)")) == Estimate(note="n/a (no opponent)")
    assert nelo_estimate([], 2).value is None
    assert nelo_estimate([1.0, 1.0], 2).note == ALL_WINS
    assert superiority([]) is None


def test_the_golden_normalised_elo() -> None:
    """The published pentanomial is -63.968 normalised Elo."""
    counts = [13, 37, 50, 25, 3]
    blocks = [at / 4 for at, count in enumerate(counts) for _ in range(count)]
    assert nelo_estimate(blocks, 2).value == pytest.approx(-63.968, abs=5e-4)


def test_superiority_knows_few_blocks_from_many() -> None:
    """Even is a half; the same lead is surer with more blocks; three wins of three are 15 in 16."""
    assert superiority([0.5, 0.5, 0.5]) == 0.5
    assert superiority([1.0, 0.0]) == 0.5
    few, many = superiority([1.0, 0.5] * 2), superiority([1.0, 0.5] * 50)
    assert few is not None
    assert many is not None
    assert 0.8 < few < 0.99 < many <= 1
    assert superiority([1.0] * 3) == 15 / 16
    assert superiority([0.0] * 3) == 1 / 16


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_superiority_of_one_is_the_others_doubt(shares: list[float]) -> None:
    """What is sure for one is the complement for the other."""
    one, other = superiority(shares), superiority([1 - share for share in shares])
    assert one is not None
    assert other is not None
    assert math.isfinite(one)
    assert one + other == pytest.approx(1, abs=1e-6)
