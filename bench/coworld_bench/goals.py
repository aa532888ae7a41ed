"""The project's goals: ratios within one run, what was found, and whether that is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from coworld_bench.harness import Spread, difference, ratio
from coworld_bench.plan import Cell, Figure

__all__ = ["Goal", "Verdict", "judge_tap", "judge_ws", "verdict_of"]

Verdict = Literal["aim met", "met", "missed", "not measured"]


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """One goal.

    Attributes:
        measure: what is compared with what.
        unit: `x` for a ratio, `us` for microseconds.
        least: what has to be reached.
        aim: what is hoped for.
        at_most: smaller is better.
        measured: the ratio of every round; None when one of the two did not take part.
        verdict: what that comes to; the median counts.
    """

    measure: str
    unit: str
    least: float
    aim: float
    at_most: bool
    measured: Spread | None
    verdict: Verdict


def verdict_of(measured: float | None, least: float, aim: float, *, at_most: bool) -> Verdict:
    """Whether a figure is good enough; the two bounds themselves are."""
    if measured is None:
        return "not measured"
    sign = -1 if at_most else 1
    if sign * measured >= sign * aim:
        return "aim met"
    return "met" if sign * measured >= sign * least else "missed"


def judge_ws(cells: Sequence[Cell]) -> list[Goal]:
    """The goals of `bench ws`."""
    goals = [
        _rates(cells, "pump echo vs trio-websocket", "echo", 64, "pump", "trio-websocket", 6, 7),
        _rates(cells, "pump echo vs FastAPI on uvicorn", "echo", 64, "pump", "fastapi", 3.3, 4),
        _rates(cells, "pump echo vs picows + uvloop", "echo", 64, "pump", "picows-uvloop", 0.9, 1),
        _rates(cells, "awaitable connection vs websockets asyncio", "echo", 64, "connection", "websockets", 1.3, 1.6),
        _rates(cells, "broadcast tick vs trio-websocket", "broadcast", 64, "pump", "trio-websocket", 7, 9),
        _rates(cells, "broadcast tick vs FastAPI on uvicorn", "broadcast", 64, "pump", "fastapi", 2.2, 3),
        _rates(cells, "broadcast tick vs picows + uvloop", "broadcast", 64, "pump", "picows-uvloop", 0.95, 1.2),
        _rates(
            cells,
            "Orchard, 64 greedy players, vs FastAPI with websockets players",
            "orchard",
            64,
            "orchard-sdk",
            "orchard-fastapi",
            2.5,
            4,
        ),
    ]
    for rival, title, bounds in (
        ("fastapi", "FastAPI with websockets players", ((4, 6), (3.5, 5), (3, 5))),
        ("picows-uvloop", "picows + uvloop", ((1.5, 4), (1.2, 2), (1.1, 1.5))),
    ):
        for players, (least, aim) in zip((1, 2, 4), bounds, strict=True):
            measure = f"lockstep, {players} player{'s' if players > 1 else ''}, vs {title}"
            goals.append(_rates(cells, measure, "lockstep", players, "sdk", rival, least, aim))
    for ours, title in (("pump", "pump"), ("connection", "awaitable connection")):
        measured = _ratio(cells, "echo", 1, ours, "raw-trio", _p99)
        goals.append(
            _goal(f"p99 at 1 connection, {title}, vs raw trio sockets", "x", 1.25, 1.1, measured, at_most=True)
        )
    return goals


def judge_tap(cells: Sequence[Cell]) -> list[Goal]:
    """The goals of `bench tap`."""
    return [
        _rates(cells, "tap throughput, 64 connections, vs a raw trio relay", "tap", 64, "tap", "trio-relay", 0.8, 0.95),
        _goal("tap, added p50 at 1 connection", "us", 80, 40, _added(cells), at_most=True),
    ]


def _goal(measure: str, unit: str, least: float, aim: float, measured: Spread | None, *, at_most: bool = False) -> Goal:
    verdict = verdict_of(None if measured is None else measured.median, least, aim, at_most=at_most)
    return Goal(measure=measure, unit=unit, least=least, aim=aim, at_most=at_most, measured=measured, verdict=verdict)


def _rates(
    cells: Sequence[Cell],
    measure: str,
    scenario: str,
    connections: int,
    ours: str,
    theirs: str,
    least: float,
    aim: float,
) -> Goal:
    measured = _ratio(cells, scenario, connections, ours, theirs, lambda figure: figure.value)
    return _goal(measure, "x", least, aim, measured)


def _ratio(
    cells: Sequence[Cell],
    scenario: str,
    connections: int,
    ours: str,
    theirs: str,
    pick: Callable[[Figure], Spread | None],
) -> Spread | None:
    for cell in cells:
        # The first of several cells with so many connections is the one with small messages.
        if cell.scenario == scenario and cell.connections == connections:
            mine, his = (cell.figures.get(name) for name in (ours, theirs))
            if mine is not None and his is not None:
                first, second = pick(mine), pick(his)
                if first is not None and second is not None:
                    return ratio(first.values, second.values)
            return None
    return None


def _p99(figure: Figure) -> Spread | None:
    return figure.p99


def _added(cells: Sequence[Cell]) -> Spread | None:
    for cell in cells:
        if cell.connections == 1:
            through, direct = (figure.p50 for figure in (cell.figures["tap"], cell.figures["direct"]))
            if through is not None and direct is not None:
                return difference(through.values, direct.values)
    return None
