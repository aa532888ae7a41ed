"""Children that are down, in the order in which they come up again."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.actors.revivals import Revivals


def test_nothing_is_due_where_nothing_is_down():
    """And nobody can join it."""
    revivals = Revivals()
    assert revivals.due == math.inf
    assert not revivals.join(object())


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])), st.sets(st.integers(0, 12)))
def test_what_is_left_comes_in_the_order_of_its_time_whatever_was_called_off(times, called_off):
    """Of equal times, in the order in which it was scheduled."""
    revivals = Revivals()
    for number, due in enumerate(times):
        revivals.schedule(due, [number, -1 - number])
    revivals.forget(called_off)
    left = sorted((due, number) for number, due in enumerate(times) if number not in called_off)
    for due, number in left:
        assert revivals.due == due
        assert revivals.pop() == [number, -1 - number]
    assert revivals.due == math.inf


def test_who_joins_is_the_last_of_those_that_come_first():
    """The group that it belongs to is the one that is down."""
    revivals = Revivals()
    revivals.schedule(2.0, ["later"])
    revivals.schedule(1.0, ["a", "b"])
    assert revivals.join("c")
    assert revivals.pop() == ["a", "b", "c"]
    revivals.clear()
    assert revivals.due == math.inf
