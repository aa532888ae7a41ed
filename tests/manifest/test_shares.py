"""Largest remainder: golden vectors of the public evaluation's rule, and what holds for all inputs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.manifest.shares import largest_remainder
from coworld_protocol.errors import Refused

WEIGHTS = st.lists(st.floats(0.001, 1000, allow_nan=False), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("total", "weights", "counts"),
    [
        (4, [1, 1], [2, 2]),
        (5, [1, 1], [3, 2]),
        (8, [3, 5], [3, 5]),
        (10, [3, 5], [4, 6]),
        (7, [1, 1, 1], [3, 2, 2]),
        (2, [1, 1, 1], [1, 1, 0]),
        (1, [1, 1], [1, 0]),
        (3, [0.5, 0.5], [2, 1]),
        (4, [1, 0], [4, 0]),
        (10, [1, 1, 8], [1, 1, 8]),
        (0, [1, 2], [0, 0]),
        (10, [0.1, 0.2, 0.7], [1, 2, 7]),
        (3, [1e300, 1e300, 1e300], [1, 1, 1]),
        (1, [5e-324, 5e-324], [1, 0]),
    ],
)
def test_golden_vectors(total: int, weights: list[float], counts: list[int]) -> None:
    """The first ten were computed by the public evaluation's own code; the rest is where rounding would go wrong."""
    assert largest_remainder(total, weights) == counts


@given(st.integers(0, 500), WEIGHTS)
def test_all_seats_are_given_and_nobody_is_one_off_its_ideal(total: int, weights: list[float]) -> None:
    """The sum is the total, every count is the ideal's floor or the next number."""
    counts = largest_remainder(total, weights)
    assert sum(counts) == total
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - total * weight / math.fsum(weights)) < 1 + 1e-6


@given(st.integers(0, 500), st.integers(1, 30))
def test_equal_weights_differ_by_one_at_most_and_the_earlier_have_more(total: int, players: int) -> None:
    """Ties go to the earlier one."""
    counts = largest_remainder(total, [1.0] * players)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] - counts[-1] <= 1


@given(st.integers(0, 200), WEIGHTS, st.integers(1, 64))
def test_the_scale_of_the_weights_is_nothing(total: int, weights: list[float], power: int) -> None:
    """Weights are ratios; powers of two keep floats exact."""
    assert largest_remainder(total, weights) == largest_remainder(total, [weight * 2**power for weight in weights])


@pytest.mark.parametrize(
    ("total", "weights", "said"),
    [
        (-1, [1], ["-1 seats cannot be shared", "try: give 0 seats or more"]),
        (
            1,
            [],
            [
                "seats cannot be shared by these weights",
                "evidence: weights: none",
                "try: give finite weights of 0 or more, at least one of them above 0",
            ],
        ),
        (
            1,
            [0, -1.5],
            [
                "seats cannot be shared by these weights",
                "evidence: weights: 0, -1.5",
                "try: give finite weights of 0 or more, at least one of them above 0",
            ],
        ),
    ],
)
def test_what_cannot_be_shared_is_refused(total: int, weights: list[float], said: list[str]) -> None:
    """Every message."""
    with pytest.raises(Refused) as caught:
        largest_remainder(total, weights)
    assert caught.value.lines() == said


@pytest.mark.parametrize("weights", [[0.0], [0, 0], [math.nan], [math.inf, 1], [1, -math.inf]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    """Neither zeros alone nor what is not finite can be a ratio."""
    with pytest.raises(Refused):
        largest_remainder(3, weights)
