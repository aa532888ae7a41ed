"""The goals table."""

from __future__ import annotations

import pytest

from coworld_bench.goals import judge_tap, judge_ws, verdict_of
from coworld_bench.harness import spread
from coworld_bench.plan import Cell, Figure


def cell(scenario: str, connections: int, size: int = 200, **figures: Figure) -> Cell:
    named = {name.replace("_", "-"): figure for name, figure in figures.items()}
    return Cell(scenario=scenario, title="", connections=connections, size=size, unit="messages/s", figures=named)


def rate(*values: float) -> Figure:
    return Figure(value=spread(values))


@pytest.mark.parametrize(
    ("measured", "at_most", "verdict"),
    [
        (None, False, "not measured"),
        (1.99, False, "missed"),
        (2.0, False, "met"),
        (2.99, False, "met"),
        (3.0, False, "aim met"),
        (3.01, True, "missed"),
        (3.0, True, "met"),
        (2.0, True, "aim met"),
    ],
)
def test_a_bound_itself_is_good_enough(measured: float | None, at_most: bool, verdict: str) -> None:
    """A figure is measured against what has to be reached and what is hoped for, whichever way is better."""
    least, aim = (3.0, 2.0) if at_most else (2.0, 3.0)
    assert verdict_of(measured, least, aim, at_most=at_most) == verdict


def test_a_ratio_is_of_the_right_cell_and_of_each_round() -> None:
    """The goal is about 64 connections with small messages: other cells do not count."""
    cells = [
        cell("echo", 8, pump=rate(1, 1), trio_websocket=rate(1, 1)),
        cell("echo", 64, pump=rate(60, 90), trio_websocket=rate(10, 10)),
        cell("echo", 64, size=2048, pump=rate(1, 1), trio_websocket=rate(1, 1)),
    ]
    goal = next(goal for goal in judge_ws(cells) if goal.measure == "pump echo vs trio-websocket")
    assert goal.measured is not None
    assert goal.measured.values == (6.0, 9.0)
    assert goal.measured.median == 7.5
    assert goal.verdict == "aim met"


def test_who_did_not_take_part_is_not_judged() -> None:
    """A rival that is missing makes a goal unmeasured, neither met nor missed."""
    goals = judge_ws([cell("echo", 64, pump=rate(60))])
    assert {goal.verdict for goal in goals} == {"not measured"}
    assert len({goal.measure for goal in goals}) == len(goals)


def test_every_left_column_of_the_table_is_there() -> None:
    """Echo, connection, broadcast, Orchard, lockstep and p99: nothing that was promised is left out."""
    assert len(judge_ws([])) == 3 + 1 + 3 + 1 + 6 + 2
    assert len(judge_tap([])) == 2


def test_the_tail_is_compared_with_raw_sockets() -> None:
    """A round trip's p99 at one connection may be larger than that of bare trio, but not by much."""
    ours = Figure(value=spread([1.0]), p99=spread([120.0]))
    raw = Figure(value=spread([1.0]), p99=spread([100.0]))
    goals = judge_ws([cell("echo", 1, pump=ours, connection=raw, raw_trio=raw)])
    verdicts = {goal.measure: goal.verdict for goal in goals if goal.measure.startswith("p99")}
    assert list(verdicts.values()) == ["met", "aim met"]


def test_what_the_tap_adds_is_a_difference() -> None:
    """The median round trip through the tap, less the one without it, in microseconds."""
    through = Figure(value=spread([90.0]), p50=spread([70.0]))
    direct = Figure(value=spread([200.0]), p50=spread([15.0]))
    relay = Figure(value=spread([100.0]), p50=spread([80.0]))
    cells = [cell("tap", n, tap=through, direct=direct, trio_relay=relay) for n in (1, 64)]
    throughput, added = judge_tap(cells)
    assert throughput.measured is not None
    assert throughput.measured.median == 0.9
    assert throughput.verdict == "met"
    assert added.measured is not None
    assert added.measured.median == 55.0
    assert added.verdict == "met"
