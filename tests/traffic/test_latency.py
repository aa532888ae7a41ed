"""Series of durations against an HDR histogram and against sorting."""

from __future__ import annotations

import base64
import math

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coworld_actors.traffic.latency import LONGEST, Latency, Series

DURATIONS = st.lists(st.floats(min_value=0, max_value=100_000, allow_nan=False), min_size=1, max_size=200)
SHARES = st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999, 1.0])


def made(durations: list[float]) -> Series:
    series = Series()
    for seconds in durations:
        series.record(seconds)
    return series


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DURATIONS)
def test_the_classes_are_those_of_an_hdr_histogram(durations: list[float]) -> None:
    """What is encoded equals what an HDR histogram of the same nanoseconds counts, class by class."""
    theirs = HdrHistogram(1, int(LONGEST * 1e9), 3)
    for seconds in durations:
        theirs.record_value(min(int(seconds * 1e9), int(LONGEST * 1e9)))
    ours = HdrHistogram.decode(made(durations).encode().encode())
    assert ours.get_total_count() == len(durations)
    assert [ours.get_count_at_index(place) for place in range(ours.counts_len)] == [
        theirs.get_count_at_index(place) for place in range(theirs.counts_len)
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DURATIONS, SHARES)
def test_a_quantile_is_that_of_the_sorted_durations_to_a_thousandth(durations: list[float], share: float) -> None:
    """Never below the true one, and above it by no more than a class is wide."""
    capped = sorted(min(seconds, LONGEST) for seconds in durations)
    wanted = capped[max(math.ceil(share * len(capped)) - 1, 0)]
    found = made(durations).quantile(share)
    assert found <= max(durations)
    assert wanted - 2e-9 <= found <= wanted * 1.001 + 2e-9 or wanted == LONGEST


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DURATIONS, DURATIONS)
def test_merged_series_are_the_series_of_both(one: list[float], other: list[float]) -> None:
    """Merging is recording everything into one."""
    merged = made(one)
    merged.merge(made(other))
    assert merged.latency() == made(one + other).latency()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DURATIONS)
def test_figures_survive_their_encoding(durations: list[float]) -> None:
    """From the histogram in the report the same figures are made again, so that reports can be merged."""
    latency = made(durations).latency()
    assert latency.series().latency() == latency


def test_an_empty_series_has_no_figures() -> None:
    """All zeros, no histogram, and merging it changes nothing."""
    assert Series().latency() == Latency()
    assert Series().quantile(0.5) == 0
    assert not Latency().series().count
    series = made([1.0])
    series.merge(Series())
    assert series.latency() == made([1.0]).latency()


def test_a_duration_below_zero_counts_as_zero() -> None:
    """A clock of coarse steps may make one."""
    series = made([-1.0])
    assert (series.count, series.shortest, series.longest) == (1, 0.0, 0.0)


def test_memory_does_not_grow_with_the_number_of_durations() -> None:
    """A million durations over nine decades need some thousand counters."""
    series = Series()
    for place in range(1_000_000):
        series.record(10 ** (place % 9_000 / 1000 - 6))
    assert series.count == 1_000_000
    assert len(list(series.classes())) < 35_000


def test_above_leaves_the_limits_own_class_out() -> None:
    """A limit of 55 ms is not broken by 55 ms, nor by a class's width more, and it is by one percent more."""
    series = made([0.055, 0.05501, 0.0556, 0.2])
    assert series.above(0.055) == 2
    part = series.above_part(0.055)
    assert part.count == 2
    assert part.longest == pytest.approx(0.2, rel=0.001)
    assert series.within(0.05, 0.06) == 0.75


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "HISTFAAA",
        "é",
        "AAAA" * 100,
        base64.b64encode(b"\x1c\x84\x93\x14" + bytes(40)).decode(),
        "A" * 1_000_000,
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_histogram_is_said_to_be_none(text: str) -> None:
    """Whatever a report from elsewhere holds, it is a ValueError."""
    with pytest.raises(ValueError, match="HDR histogram"):
        Series.decode(text)
