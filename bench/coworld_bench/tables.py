"""What a benchmark found, for people: tables for a terminal and the same for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table

from coworld_bench.documents import Report, title_of
from coworld_bench.goals import Goal
from coworld_bench.harness import Spread
from coworld_bench.plan import Cell

__all__ = ["markdown", "number", "tables"]

_WIDE = 5
"""Columns that fit a screen with medians and brackets side by side."""


class _Grid(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(report: Report) -> list[str | Table]:
    """What to print: lines and tables."""
    parts: list[str | Table] = [*_about(report)]
    for grid in _grids(report):
        table = Table(title=grid.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for place, word in enumerate(grid.head):
            table.add_column(word, justify="right" if place else "left", no_wrap=True)
        # Below each other where they would not fit beside each other.
        narrow = len(grid.head) > _WIDE
        for row in grid.rows:
            table.add_row(*(cell.replace(" (", "\n(") if narrow and place else cell for place, cell in enumerate(row)))
        parts.append(table)
    return [*parts, *_closing(report)]


def markdown(report: Report) -> str:
    """The same for a page."""
    lines = [" \\\n".join(_about(report))]
    for grid in _grids(report):
        rows = ["| " + " | ".join(row) + " |" for row in (grid.head, *grid.rows)]
        rule = "|" + "|".join("---" if place == 0 else "--:" for place in range(len(grid.head))) + "|"
        lines += ["", f"**{grid.title}**", "", rows[0], rule, *rows[1:]]
    lines += ["", " \\\n".join(_closing(report))]
    return "\n".join(lines).rstrip() + "\n"


def number(value: float) -> str:
    """Three digits that count: 1.84 k is 1840, 0.42 stays."""
    size = abs(value)
    if size >= 99_950:
        return f"{value / 1000:.0f} k"
    if size >= 9_995:
        return f"{value / 1000:.1f} k"
    if size >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"


def _span(spread: Spread) -> str:
    return f"{number(spread.median)} ({number(spread.low)}..{number(spread.high)})"


def _about(report: Report) -> list[str]:
    ran = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    kind = "quick run, " if report.quick else ""
    rounds = f"{report.rounds} round{'s' if report.rounds > 1 else ''}"
    each = f", {report.seconds:g} s each" if report.seconds else ""
    how = f"{kind}{rounds}, interleaved{each}; medians, lowest..highest in brackets"
    return [ran, "; ".join(part for part in (report.cores, how) if part)]


def _grids(report: Report) -> Iterable[_Grid]:
    measured = [goal for goal in report.goals if goal.measured is not None]
    if measured:
        yield _goals(measured)
    for scenario, group in groupby(report.cells, key=lambda cell: cell.scenario):
        cells = list(group)
        yield _grid(f"{scenario}, {cells[0].unit}", cells, lambda cell, name: _span(cell.figures[name].value))
        if cells[0].figures and all(figure.p50 is not None for figure in cells[0].figures.values()):
            yield _grid(f"{scenario}, round trip p50 / p99 in microseconds", cells, _latency)
            yield _grid(f"{scenario}, processor time of the server per message in microseconds", cells, _server_us)


def _goals(goals: Sequence[Goal]) -> _Grid:
    rows = []
    for goal in goals:
        bound = "at most " if goal.at_most else ""
        found = "" if goal.measured is None else f"{_span(goal.measured)} {goal.unit}"
        rows.append(
            (
                goal.measure,
                f"{bound}{goal.least:g} {goal.unit}",
                f"{bound}{goal.aim:g} {goal.unit}",
                found,
                goal.verdict,
            )
        )
    return _Grid(title="goals", head=("measure", "goal", "aim", "measured", "verdict"), rows=rows)


def _grid(title: str, cells: Sequence[Cell], write: Callable[[Cell, str], str]) -> _Grid:
    names = list(dict.fromkeys(name for cell in cells for name in cell.figures))
    rows = [
        (title_of(cells[0], name), *(write(cell, name) if name in cell.figures else "-" for cell in cells))
        for name in names
    ]
    return _Grid(title=title, head=("", *(cell.title for cell in cells)), rows=rows)


def _latency(cell: Cell, name: str) -> str:
    figure = cell.figures[name]
    if figure.p50 is None or figure.p99 is None:
        return "-"
    return f"{number(figure.p50.median)} / {number(figure.p99.median)}"


def _server_us(cell: Cell, name: str) -> str:
    spread = cell.figures[name].server_us
    return "-" if spread is None else _span(spread)


def _closing(report: Report) -> list[str]:
    lines = []
    if report.generator:
        what = "a C program" if report.generator == "c" else "a Python program, for want of a C compiler: a bottleneck"
        lines.append(f"load generator: {what}; {_headroom(report.cells)}")
    absent = [goal.measure for goal in report.goals if goal.measured is None]
    if absent:
        lines.append(f"goals that this run says nothing about: {'; '.join(absent)}")
    if report.skipped:
        missing = ", ".join(f"{name} (needs {what})" for name, what in report.skipped.items())
        lines.append(f"skipped: {missing}")
    return lines


def _headroom(cells: Sequence[Cell]) -> str:
    """How it was made sure that the load generator is not the bottleneck."""
    busy = [
        (figure.load_busy.high, cell, name)
        for cell in cells
        for name, figure in cell.figures.items()
        if figure.load_busy is not None and not name.startswith("c-") and name != "direct"
    ]
    if not busy:
        return "not used"
    share, cell, name = max(busy, key=lambda entry: entry[0])
    text = f"it was busy for at most {share:.0%} of its core ({title_of(cell, name)}, {cell.scenario} {cell.title})"
    ceilings = [
        f"{number(each.figures[fastest].value.median)} at {each.title}"
        for each in cells
        for fastest in ("c-raw", "direct")
        if fastest in each.figures
    ]
    if ceilings:
        text += f"; against a server in C it managed {', '.join(ceilings)}"
    return text
