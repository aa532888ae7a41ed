"""The report in words and as a document."""

from __future__ import annotations

import msgspec
import pytest

from coworld_actors.traffic.budget import judge, parse_budget
from coworld_actors.traffic.latency import Latency, Series
from coworld_actors.traffic.report import (
    OMISSION,
    CloseCount,
    Flow,
    Pace,
    TapCost,
    TapReport,
    TapSeatReport,
    lines,
    seconds_text,
    span_text,
)


def latency(*durations: float) -> Latency:
    series = Series()
    for seconds in durations:
        series.record(seconds)
    return series.latency()


def report() -> TapReport:
    own = TapCost(cost=latency(2e-5), lag=latency(1e-4))
    seats = (
        TapSeatReport(
            slot=0,
            connects=2,
            upgraded=2,
            open=1,
            to_player=Flow(messages=10, control=1, bytes=12_345),
            to_game=Flow(messages=9, bytes=999),
            answers=latency(0.01, 0.02),
            corrected=latency(0.01, 0.02, 0.3),
            pace=Pace(interval=0.05, regular=0.9, ticked=True),
            closes=(CloseCount(by="game", code=1000, count=1),),
        ),
        TapSeatReport(slot=1, unread="it is odd"),
    )
    return TapReport(seats=seats, own=own, budget=judge(parse_budget("55ms:0"), seats, own), notes=("a note",))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 µs"),
        (8.5e-5, "85.0 µs"),
        (9.996e-4, "1.00 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (123.4, "123 s"),
    ],
)
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    """And the unit that suits them."""
    assert seconds_text(seconds) == text


def test_a_span_has_one_unit() -> None:
    """That of its longer end."""
    assert span_text(0.00085, 0.0012) == "0.85 to 1.20 ms"


def test_the_report_says_everything_in_lines() -> None:
    """Traffic, both series, who closed, our own cost, the verdict, what could not be followed."""
    text = "\n".join(lines(report()))
    for part in (
        "seat 0: 10 messages to the player, 9 back, 12.3 kB and 999 B; 2 connections, 1 closed by game (1000), 1 open",
        "answers n=2 p50 10.0 ms",
        "corrected, a tick every 50.0 ms: n=3",
        "not followed: it is odd",
        "tap: cost n=1 p50 20.0 µs",
        "our own loop's lag n=1",
        "budget 55ms:0: failed: seat 0: 1 answers took longer than 55.0 ms, 0 may",
        "a note",
    ):
        assert part in text


def test_a_seat_that_missed_no_tick_has_one_series_in_words() -> None:
    """Twice the same figures say nothing."""
    answers = latency(0.01)
    seat = TapSeatReport(slot=0, answers=answers, corrected=answers, pace=Pace(interval=0.05, regular=1, ticked=True))
    text = "\n".join(lines(TapReport(seats=(seat,))))
    assert "no tick missed, a tick every 50.0 ms" in text
    assert "corrected" not in text


def test_the_document_is_read_back() -> None:
    """As JSON, with its version, its histograms, and the definition of its series."""
    document = msgspec.json.encode(report())
    assert msgspec.json.decode(document, type=TapReport) == report()
    plain = msgspec.json.decode(document)
    assert plain["version"] == 1
    assert plain["definition"] == OMISSION
    assert "coordinated omission" in OMISSION
