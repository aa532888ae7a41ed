"""The plots of a page as inline SVG.

Drawn by hand as the page of players side by side is: plotting libraries that need no download in the browser are either heavy extras
(matplotlib, 30 MB with what it needs, for a page that must always be there) or scripts that the page's policy forbids.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from coworld_actors.batch.pages.data import Histogram
from coworld_actors.batch.pages.frame import COLOURS, clipped, key, stroke, text
from coworld_actors.batch.pages.scale import Axis, decades

__all__ = ["Curve", "Row", "bars", "curves", "figure", "interval_rows", "legend", "ridges", "whisker"]

_WIDTH = 760
_LEFT, _RIGHT, _TOP, _BOTTOM = 88, 16, 12, 40
_ROW = 26
_NAMES = 190
_NAME_LETTERS = 24
_HEIGHT = 300


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A line with its band.

    Attributes:
        place: decides colour and pattern.
        name: as it is.
        points: x, y, and the ends of the band.
    """

    place: int
    name: str
    points: tuple[tuple[float, float, float | None, float | None], ...]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A value in a row of its own, with what lies around it.

    Attributes:
        place: decides the colour.
        name: as it is.
        value: None for none.
        low: where its bar begins.
        high: where it ends.
        words: all of it as a sentence.
    """

    place: int
    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    words: str = ""


def figure(svg: str, caption: str) -> str:
    """A plot with the words below it, which scrolls by itself where the window is too narrow.

    Args:
        svg: the plot.
        caption: HTML.
    """
    label = 'role="region" tabindex="0" aria-label="plot"'
    return f'<figure><div class="scroll" {label}>{svg}</div><figcaption>{caption}</figcaption></figure>'


def legend(names: Sequence[tuple[int, str]]) -> str:
    """Whose line is which: places and names, as they are."""
    items = "".join(f"<li>{key(place)}<bdi>{text(name)}</bdi></li>" for place, name in names)
    return f'<ul class="keys">{items}</ul>'


def curves(
    lines: Sequence[Curve],
    *,
    label: str,
    across: str,
    marks: Callable[[Axis], Sequence[tuple[float, str]]],
    limits: tuple[float, float] | None = None,
    levels: Sequence[float] = (),
) -> str:
    """Lines over a common axis; empty when there is nothing to draw.

    Args:
        lines: at least two points each.
        label: the plot in words, as they are.
        across: what the horizontal axis is.
        marks: values of the vertical axis and their words, as they are.
        limits: of the vertical axis; by the values unless given.
        levels: horizontal lines that mean something.
    """
    drawn = [
        (line, points) for line in lines if len(points := [each for each in line.points if math.isfinite(each[1])]) > 1
    ]
    if not drawn:
        return ""
    low, high = limits or _limits([points for _, points in drawn], levels)
    x = Axis(
        min(points[0][0] for _, points in drawn), max(points[-1][0] for _, points in drawn), _LEFT, _WIDTH - _RIGHT
    )
    y = Axis(low, high, _HEIGHT - _BOTTOM, _TOP)
    parts = [_open(_HEIGHT, label)]
    for value, words in marks(y):
        parts.append(_level(y.at(value), "grid"))
        parts.append(_words(_LEFT - 6, y.at(value) + 4, words, "end"))
    parts += [_words(x.at(mark), _HEIGHT - _BOTTOM + 16, f"{mark:,.6g}", "middle") for mark in x.marks(8)]
    parts.append(_words((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, across, "middle"))
    parts += [_level(y.at(value), "zero") for value in levels]
    for line, points in drawn:
        band = [(at, lower, upper) for at, _, lower, upper in points if lower is not None and upper is not None]
        if len(band) > 1:
            edge = [f"{x.at(at)},{y.at(upper)}" for at, _, upper in band]
            edge += [f"{x.at(at)},{y.at(lower)}" for at, lower, _ in reversed(band)]
            parts.append(f'<polygon fill="{_colour(line.place)}" fill-opacity="0.13" points="{" ".join(edge)}"/>')
    for line, points in drawn:
        places = " ".join(f"{x.at(at)},{y.at(value)}" for at, value, _, _ in points)
        parts.append(
            f'<polyline class="curve" {stroke(line.place)} points="{places}"><title>{text(line.name)}</title></polyline>'
        )
    return "\n".join([*parts, "</svg>"])


def ridges(rows: Sequence[tuple[int, str, Histogram, str]], *, label: str, across: str) -> str:
    """A small histogram for each player, one below the other over a common axis.

    Args:
        rows: place, name, bars over the same edges, and the row in words.
        label: the plot in words.
        across: what the axis is.
    """
    edges = rows[0][2].edges
    height = len(rows) * 2 * _ROW + _BOTTOM + _TOP
    x = Axis(edges[0], edges[-1], _NAMES, _WIDTH - _RIGHT)
    parts = [_open(height, label), *_across(x, height, across, whole=rows[0][2].whole)]
    for number, (place, name, found, words) in enumerate(rows):
        floor = _TOP + (number + 1) * 2 * _ROW - 4
        most = max(found.counts) or 1
        y = Axis(0, most, floor, floor - 2 * _ROW + 10)
        steps = [f"M{x.at(edges[0])},{floor}"]
        for left, right, count in zip(edges[:-1], edges[1:], found.counts, strict=True):
            steps.append(f"L{x.at(left)},{y.at(count)}L{x.at(right)},{y.at(count)}")
        steps.append(f"L{x.at(edges[-1])},{floor}Z")
        colour = _colour(place)
        parts.append(
            f'<path fill="{colour}" fill-opacity="0.55" stroke="{colour}" d="{"".join(steps)}">'
            f"<title>{text(words, 400)}</title></path>"
        )
        parts.append(_name(floor - 8, name))
    return "\n".join([*parts, "</svg>"])


def interval_rows(
    rows: Sequence[Row],
    *,
    label: str,
    across: str,
    zero: bool = False,
    logarithmic: bool = False,
    words: Callable[[float], str],
) -> str:
    """A dot with its interval for each row; empty when no row has a value.

    Args:
        rows: from above.
        label: the plot in words.
        across: what the axis is.
        zero: whether there is a line at 0.
        logarithmic: equal ratios are equally long; values of 0 are at its start.
        words: how a value of the axis is written, as it is.
    """
    values = [
        each for row in rows for each in (row.value, row.low, row.high) if each is not None and math.isfinite(each)
    ]
    if logarithmic:
        values = [value for value in values if value > 0]
    if not values:
        return ""
    height = len(rows) * _ROW + _BOTTOM + _TOP
    marks: Sequence[float]
    if logarithmic:
        marks = decades(min(values), max(values))
        x = Axis(marks[0], marks[-1], _NAMES, _WIDTH - _RIGHT - 24, logarithmic=True)
    else:
        values += [0.0] if zero else []
        x = Axis(min(values), max(values), _NAMES + 8, _WIDTH - _RIGHT - 8)
        marks = x.marks()
    parts = [_open(height, label)]
    for mark in marks:
        parts.append(_upright(x.at(mark), height, "zero" if zero and mark == 0 else "grid"))
        parts.append(_words(x.at(mark), height - _BOTTOM + 16, words(mark), "middle"))
    parts.append(_words((_NAMES + _WIDTH) / 2, height - 6, across, "middle"))
    for number, row in enumerate(rows):
        middle = _TOP + number * _ROW + _ROW / 2
        parts.append(_name(middle + 4, row.name))
        parts.append(f"<g>{_interval(x, row, middle)}<title>{text(row.words, 400)}</title></g>")
    return "\n".join([*parts, "</svg>"])


def bars(found: Histogram, *, label: str, across: str, words: Callable[[float], str]) -> str:
    """One histogram.

    Args:
        found: what is drawn.
        label: the plot in words.
        across: what the axis is.
        words: how a value of the axis is written, as it is.
    """
    height = _HEIGHT * 2 // 3
    x = Axis(found.edges[0], found.edges[-1], _LEFT, _WIDTH - _RIGHT)
    y = Axis(0, max(found.counts), height - _BOTTOM, _TOP)
    parts = [_open(height, label)]
    for mark in y.marks(3):
        parts.append(_level(y.at(mark), "grid"))
        parts.append(_words(_LEFT - 6, y.at(mark) + 4, f"{mark:,.6g}", "end"))
    parts += [_words(x.at(mark), height - _BOTTOM + 16, words(mark), "middle") for mark in x.marks(7)]
    parts.append(_words((_LEFT + _WIDTH - _RIGHT) / 2, height - 6, across, "middle"))
    for left, right, count in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True):
        if count:
            wide = max(round(x.at(right) - x.at(left) - 1, 1), 0.5)
            tall = round(y.at(0) - y.at(count), 1)
            parts.append(
                f'<rect fill="{COLOURS[0]}" x="{x.at(left)}" y="{y.at(count)}" width="{wide}" height="{tall}">'
                f"<title>{text(f'{count} from {words(left)} to {words(right)}')}</title></rect>"
            )
    return "\n".join([*parts, "</svg>"])


def whisker(row: Row, low: float, high: float, *, zero: bool = False) -> str:
    """One interval for the cell of a table, on an axis that all rows share."""
    x = Axis(low, high, 6, 174)
    line = f'<line class="zero" x1="{x.at(0)}" y1="0" x2="{x.at(0)}" y2="20"/>' if zero and low <= 0 <= high else ""
    return (
        f'<svg class="whisker" viewBox="0 0 180 20" role="img" aria-label="{text(row.words, 400)}">'
        f"{line}{_interval(x, row, 10)}</svg>"
    )


def _interval(x: Axis, row: Row, middle: float) -> str:
    if row.value is None or not math.isfinite(row.value):
        return ""
    colour = _colour(row.place)
    around = ""
    if row.low is not None and row.high is not None:
        left, right = x.at(row.low), x.at(row.high)
        around = (
            f'<path stroke="{colour}" stroke-width="2" fill="none" d="M{left},{middle - 5}v10m0,-5H{right}m0,-5v10"/>'
        )
    return f'{around}<circle fill="{colour}" cx="{x.at(row.value)}" cy="{middle}" r="4"/>'


def _limits(
    drawn: Sequence[Sequence[tuple[float, float, float | None, float | None]]], levels: Sequence[float]
) -> tuple[float, float]:
    """Room for every line and for the bands once they have settled: the first tenth of a mean jumps about."""
    values = [*levels]
    for points in drawn:
        settled = points[len(points) // 10 :] if len(points) > 10 else points[-2:]
        values += [value for _, *others in settled for value in others if value is not None and math.isfinite(value)]
    low, high = min(values), max(values)
    edge = high / 2 - low / 2
    return (
        (low - edge / 10, high + edge / 10) if math.isfinite(high + edge) and math.isfinite(low - edge) else (low, high)
    )


def _across(x: Axis, height: float, across: str, *, whole: bool) -> list[str]:
    found: list[str] = []
    for mark in x.marks(8):
        if not whole or mark == int(mark):
            found.append(_upright(x.at(mark), height, "grid"))
            found.append(_words(x.at(mark), height - _BOTTOM + 16, f"{mark:,.6g}", "middle"))
    return [*found, _words((_NAMES + _WIDTH) / 2, height - 6, across, "middle")]


def _open(height: float, label: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{text(label, 2000)}">'


def _level(at: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{_LEFT}" y1="{at}" x2="{_WIDTH - _RIGHT}" y2="{at}"/>'


def _upright(at: float, height: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{at}" y1="{_TOP}" x2="{at}" y2="{height - _BOTTOM}"/>'


def _words(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{text(words)}</text>'


def _name(y: float, name: str) -> str:
    return (
        f'<text x="0" y="{y:g}" style="unicode-bidi:isolate">{text(clipped(name, _NAME_LETTERS))}'
        f"<title>{text(name)}</title></text>"
    )


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
