"""Intervals of means and shares."""

from __future__ import annotations

import math
import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.batch.statistics.intervals import (
    MOST_UNITS,
    Resampler,
    mean_estimate,
    percentile_interval,
    sample_deviation,
    share_estimate,
    standard_error,
    student_cdf,
    student_quantile,
    wilson,
)


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (9, 2.26216), (30, 2.04227), (200, 1.97190), (1000, 1.96234)],
)
def test_students_quantiles_are_the_tables(freedom: int, expected: float) -> None:
    """The 97.5 % points of Student's t, as printed in every table."""
    assert student_quantile(0.975, freedom) == pytest.approx(expected, abs=2e-5)


@settings(deadline=None)
@given(st.floats(-50, 50), st.integers(1, 600))
def test_students_distribution_is_symmetric(t: float, freedom: int) -> None:
    """P(T < t) + P(T < -t) = 1, and both are probabilities."""
    one = student_cdf(t, freedom)
    assert 0 <= one <= 1
    assert one + student_cdf(-t, freedom) == pytest.approx(1, abs=1e-12)


def test_wilson_gives_what_its_formula_gives() -> None:
    """0 of 10 and 5 of 10, worked out by hand from Wilson's formula; the ends stay in [0, 1]."""
    low, high = wilson(0.0, 10)
    assert low == 0
    assert high == pytest.approx(0.27754, abs=1e-5)
    assert wilson(0.5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert wilson(1.0, 1)[1] == 1


def test_a_bootstrap_of_many_blocks_is_the_normal_interval() -> None:
    """With 10,000 blocks, drawn in groups, the ends are within a tenth of the width of what theory says."""
    random = Random(3)
    values = [random.expovariate(1) for _ in range(10_003)]
    found = mean_estimate(values, Resampler())
    error = standard_error(values)
    assert error is not None
    assert found.value is not None
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.4 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.4 * error)


def test_ten_thousand_blocks_are_resampled_in_time() -> None:
    """A thousand resamples of 10,000 blocks cost less than 2 s of one core."""
    values = [float(at % 97) for at in range(10_000)]
    begin = time.process_time()
    mean_estimate(values, Resampler())
    assert time.process_time() - begin < 2


def test_groups_have_the_width_of_single_blocks() -> None:
    """Blocks drawn in groups by lot give the same interval as blocks drawn one by one, to a tenth."""
    random = Random(5)
    values = [random.gauss(0, 1) for _ in range(2000)]
    grouped = percentile_interval(Resampler(2000).means(values), MOST_UNITS)
    single = percentile_interval(Resampler(2000, units=2000).means(values), 2000)
    assert grouped[1] - grouped[0] == pytest.approx(single[1] - single[0], rel=0.1)


@pytest.mark.parametrize(("blocks", "normal", "exponential"), [(5, 0.82, 0.77), (10, 0.88, 0.83), (20, 0.915, 0.87)])
def test_intervals_hold_most_of_what_they_promise_with_few_blocks(
    blocks: int, normal: float, exponential: float
) -> None:
    """Of 400 intervals so many hold the mean of a normal and of a skewed distribution; with 20 blocks it is nearly 95 %."""
    random = Random(11)
    skewed = symmetric = 0
    resampler = Resampler(500)
    for _ in range(400):
        one = mean_estimate([random.expovariate(1) for _ in range(blocks)], resampler)
        two = mean_estimate([random.gauss(1, 1) for _ in range(blocks)], resampler)
        assert one.low is not None
        assert one.high is not None
        assert two.low is not None
        assert two.high is not None
        skewed += one.low <= 1 <= one.high
        symmetric += two.low <= 1 <= two.high
    assert symmetric >= 400 * normal
    assert skewed >= 400 * exponential


def test_equal_blocks_give_equal_intervals() -> None:
    """The random numbers are fixed: two resamplers agree to the last bit, and another salt differs."""
    values = [1.0, 2.0, 4.0, 8.0, 9.0]
    assert mean_estimate(values, Resampler()) == mean_estimate(values, Resampler())
    assert Resampler().sums(values) != Resampler(salt=1).sums(values)


def test_one_block_has_a_mean_and_no_interval() -> None:
    """Nothing is made up about the spread of a single block."""
    found = mean_estimate([3.5], Resampler())
    assert (found.value, found.low, found.high) == (3.5, None, None)
    assert found.note
    assert standard_error([3.5]) is None
    assert mean_estimate([], Resampler()).value is None


def test_weights_make_a_ratio() -> None:
    """Blocks count by what they are made of: 1 of 1 and 0 of 3 are a quarter, in every resample a ratio of sums."""
    found = share_estimate([1.0, 0.0], Resampler(), weights=[1.0, 3.0])
    assert found.value == 0.25
    assert (found.low, found.high) == (0.0, 1.0)


def test_blocks_without_weight_are_left_out() -> None:
    """A block in which a player met nobody says nothing about its share."""
    assert share_estimate([0.0, 2.0, 1.0], Resampler(), weights=[0.0, 2.0, 2.0]) == share_estimate(
        [2.0, 1.0], Resampler(), weights=[2.0, 2.0]
    )
    assert share_estimate([0.0], Resampler(), weights=[0.0]).value is None


def test_equal_outcomes_are_not_certain() -> None:
    """Three blocks won out of three leave room below; the room shrinks with their number."""
    three, many = share_estimate([1.0] * 3, Resampler()), share_estimate([1.0] * 300, Resampler())
    assert three.value == many.value == three.high == 1
    assert three.low is not None
    assert many.low is not None
    assert three.low < 0.5 < many.low < 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=30))
def test_estimates_are_finite_and_in_order(values: list[float]) -> None:
    """Whatever the scores, the ends are finite and lie around the mean."""
    found = mean_estimate(values, Resampler(20))
    assert found.value is not None
    assert math.isfinite(found.value)
    if len(values) > 1:
        assert found.low is not None
        assert found.high is not None
        assert math.isfinite(found.low)
        assert math.isfinite(found.high)
        assert found.low <= found.value <= found.high
        assert math.isfinite(sample_deviation(values))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=30))
def test_shares_stay_shares(values: list[float]) -> None:
    """Value and ends of a share lie in [0, 1]."""
    found = share_estimate(values, Resampler(20))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
