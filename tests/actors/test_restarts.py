"""Restart types, windows and back-off as arithmetic."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.actors.errors import SpecRefused
from coworld_actors.actors.monitors import DownReason
from coworld_actors.actors.restarts import Backoff, Restart, RestartPolicy, RestartWindow

ORDERLY = {DownReason.NORMAL, DownReason.SHUTDOWN}


@pytest.mark.parametrize("reason", list(DownReason))
def test_restart_types_answer_each_end(reason):
    """Permanent always, transient after abnormal ends, temporary never."""
    assert Restart.PERMANENT.brings_back(reason)
    assert Restart.TRANSIENT.brings_back(reason) is (reason not in ORDERLY)
    assert not Restart.TEMPORARY.brings_back(reason)


gaps = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 5.5, 8.0]), max_size=30)


@given(gaps, st.integers(0, 4), st.sampled_from([0.0, 1.0, 5.0]))
def test_a_window_admits_as_otp_counts(steps, limit, within):
    """A restart is admitted iff fewer than `max_restarts` admitted ones are not older than `within`."""
    window = RestartWindow(RestartPolicy(max_restarts=limit, within=within))
    admitted: list[float] = []
    now = 0.0
    for step in steps:
        now += step
        expected = sum(now - then <= within for then in admitted) < limit
        assert window.admit(now) is expected
        if expected:
            admitted.append(now)


backoffs = st.builds(
    Backoff,
    first=st.floats(0, 5),
    factor=st.floats(1, 4),
    maximum=st.floats(0, 60),
    jitter=st.floats(0, 1),
)


@given(backoffs, st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_never_below_its_floor_and_its_jitter_is_bounded(backoff, attempt, drawn):
    """Between min(first, maximum) and maximum plus jitter, for any attempt."""
    delay = backoff.delay(attempt, lambda: drawn)
    assert min(backoff.first, backoff.maximum) <= delay <= backoff.maximum * (1 + backoff.jitter)


@given(backoffs, st.integers(1, 200))
def test_delays_do_not_shrink_in_a_row(backoff, attempt):
    """Without jitter the next delay is at least as long."""
    assert backoff.delay(attempt, lambda: 0.0) <= backoff.delay(attempt + 1, lambda: 0.0)


def test_delays_grow_by_the_factor_up_to_the_maximum():
    """1, 2, 4, then the maximum."""
    backoff = Backoff(first=1.0, maximum=5.0, jitter=0.5)
    assert [backoff.delay(attempt, lambda: 0.0) for attempt in (1, 2, 3, 4, 5000)] == [1, 2, 4, 5, 5]
    assert backoff.delay(1, lambda: 0.5) == 1.25


def test_the_default_does_not_wait():
    """As OTP's supervisor."""
    assert Backoff().delay(7, lambda: 0.9) == 0.0


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Backoff(first=-1.0), "first=-1.0; use a finite number of at least 0"),
        (lambda: Backoff(maximum=math.inf), "maximum=inf; use a finite number"),
        (lambda: Backoff(factor=0.5), "factor=0.5; use a finite number of at least 1"),
        (lambda: Backoff(factor=math.nan), "factor=nan"),
        (lambda: Backoff(jitter=-0.1), "jitter=-0.1"),
        (lambda: Backoff(reset_after=math.nan), "reset_after=nan; use a number of at least 0"),
        (lambda: Backoff(first="soon"), "first='soon'"),
        (lambda: RestartPolicy(max_restarts=-1), "max_restarts=-1"),
        (lambda: RestartPolicy(max_restarts=2.5), "max_restarts=2.5, of type float; use a value of type int"),
        (lambda: RestartPolicy(max_restarts=True), "max_restarts=True"),
        (lambda: RestartPolicy(within=-1.0), "within=-1.0"),
        (lambda: RestartPolicy(within=math.inf), "within=inf; use a finite number"),
        (lambda: RestartPolicy(backoff=1.0), "backoff=1.0, of type float; use a value of type Backoff"),
    ],
)
def test_policies_refuse_what_makes_no_sense(build, words):
    """At construction, with a sentence that has the next step; what goes into events is finite, for JSON has no infinity."""
    with pytest.raises(SpecRefused, match=re.escape(words)):
        build()


def test_a_row_may_never_end():
    """`reset_after` goes into no event, so it may be infinite."""
    assert Backoff(reset_after=math.inf).reset_after == math.inf
