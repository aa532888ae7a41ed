"""Tables for people."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from coworld_bench.documents import Report
from coworld_bench.goals import judge_ws
from coworld_bench.harness import spread
from coworld_bench.plan import Cell, Figure
from coworld_bench.tables import markdown, number, tables


def figure(*values: float, busy: float) -> Figure:
    return Figure(value=spread(values), p50=spread([50.0]), p99=spread([75.5]), load_busy=spread([busy]))


@pytest.fixture
def report() -> Report:
    figures = {"pump": figure(130_000, 135_000, busy=0.4), "picows-uvloop": figure(100_000, 150_000, busy=0.5)}
    figures["c-raw"] = figure(184_000, 185_000, busy=0.95)
    cell = Cell(scenario="echo", title="64 x 200 B", connections=64, size=200, unit="messages/s", figures=figures)
    return Report(
        benchmark="ws",
        machine={"cpu": "2 x Example", "python": "3.11.7"},
        cores="one core per side: server on 0, load on 1",
        generator="c",
        rounds=2,
        seconds=0.4,
        quick=False,
        skipped={"aiohttp": "aiohttp"},
        cells=(cell,),
        goals=tuple(judge_ws([cell])),
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.183, "0.18"),
        (12.34, "12.3"),
        (9.999, "10.0"),
        (123.4, "123"),
        (1234.5, "1234"),
        (12345.0, "12.3 k"),
        (-1234.5, "-1234"),
        (183_999, "184 k"),
    ],
)
def test_a_number_has_three_digits_that_count(value: float, text: str) -> None:
    """More digits than that would be noise."""
    assert number(value) == text


def test_the_page_has_machine_goals_tables_and_who_was_skipped(report: Report) -> None:
    """Nothing that a reader needs in order to believe the figures is left out."""
    text = markdown(report)
    assert text.startswith("cpu 2 x Example, python 3.11.7 \\\none core per side: server on 0, load on 1; 2 rounds")
    assert "| ours, pump | 132 k (130 k..135 k) |" in text
    assert "| ours, pump | 50.0 / 75.5 |" in text
    assert "| pump echo vs picows + uvloop | 0.9 x | 1 x | 1.10 (0.90..1.30) x | aim met |" in text
    assert "at most 50% of its core (picows + uvloop, echo 64 x 200 B)" in text
    assert "against a server in C it managed 184 k at 64 x 200 B" in text
    assert "skipped: aiohttp (needs aiohttp)" in text


def test_a_terminal_gets_the_same(report: Report) -> None:
    """The tables on the screen have the figures of the page."""
    out = io.StringIO()
    console = Console(file=out, width=160)
    for part in tables(report):
        console.print(part, markup=False)
    assert "132 k (130 k..135 k)" in out.getvalue()
    assert "aim met" in out.getvalue()
    assert "missed" not in out.getvalue()


def test_a_slow_generator_is_named(report: Report) -> None:
    """Load from Python is a bottleneck, and the page says so."""
    import msgspec

    assert "a bottleneck" in markdown(msgspec.structs.replace(report, generator="python"))
