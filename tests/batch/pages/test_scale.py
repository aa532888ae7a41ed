"""Axes: every value has a place on the paper, and marks are round."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.batch.pages.scale import Axis, decades

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE, FINITE, FINITE)
def test_every_value_has_a_place(low: float, high: float, value: float) -> None:
    """Whatever the ends are, a place is between the paper's, and the ends are at its ends."""
    low, high = sorted((low, high))
    axis = Axis(low, high, 10, 110)
    assert 10 <= axis.at(value) <= 110
    # As far apart as floats can tell: of two neighbours neither end needs to be exact.
    if high - low > 1e-9 * max(abs(low), abs(high), 1e-290):
        assert (axis.at(low), axis.at(high)) == (10, 110)
    assert all(math.isfinite(mark) for mark in axis.marks())
    assert 1 <= len(axis.marks()) <= 20


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (37, 61, [40, 45, 50, 55, 60]),
        (5, 5, [3, 4, 5, 6, 7]),
    ],
)
def test_marks_are_round(low: float, high: float, marks: list[float]) -> None:
    """Steps of 1, 2 or 5 times a power of ten, and none beyond the axis."""
    assert Axis(low, high, 0, 1).marks() == pytest.approx(marks)


def test_a_logarithmic_axis_gives_equal_room_to_equal_ratios() -> None:
    """Nought is at its start, for a logarithm of it there is not."""
    axis = Axis(0.001, 10, 0, 400, logarithmic=True)
    assert [axis.at(value) for value in (0, 0.001, 0.01, 0.1, 1, 10, 99)] == [0, 0, 100, 200, 300, 400, 400]


def test_decades_surround_the_values() -> None:
    """At least two, so that an axis has a length."""
    assert decades(0.002, 0.5) == pytest.approx([0.001, 0.01, 0.1, 1])
    assert decades(1, 1) == [1, 10]
