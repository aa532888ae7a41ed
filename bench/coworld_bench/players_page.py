"""Players side by side as one page of HTML: a table, and the curves of how long answers took. Nothing in it is loaded from anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import msgspec

from coworld_actors.batch.pages.frame import COLOURS, DASHES, document
from coworld_actors.traffic.latency import Latency
from coworld_actors.traffic.report import OMISSION, seconds_text, span_text
from coworld_bench.players import QUANTILES, Interval, PlayerFigures, PlayersReport

__all__ = ["page"]

_WIDTH, _HEIGHT = 860, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 28, 16, 48
_STEP = 0.04


class _Curve(msgspec.Struct, frozen=True):
    """One player's line: how rare (decades: 1 is one answer in ten), and how long in seconds."""

    name: str
    colour: str
    dash: str
    points: tuple[tuple[float, float], ...]
    intervals: tuple[Interval, ...]


def page(report: PlayersReport) -> str:
    """The page. Every text of a stranger's - names, ids, messages - is escaped."""
    title = f"{report.coworld}: who answers how fast"
    answers = [(player.answers, player.intervals) for player in report.players]
    corrected = ""
    if report.corrects():
        corrected = f"""<h2>Corrected: every tick counts, missed ones included</h2>
<p>A player without figures here has answered in a seat in which no pace was seen.</p>
{_series(report.players, "ticks", [(player.corrected, player.corrected_intervals) for player in report.players])}"""
    ran = escape(", ".join(f"{name} {value}" for name, value in report.machine.items()))
    stopped = "<p>The measurement was stopped before its end.</p>" if report.interrupted is not None else ""
    return document(
        title,
        f"""<h1>{escape(title)}</h1>
<p>Variant {escape(report.variant)}, {report.rounds} episode{"" if report.rounds == 1 else "s"} of each player, interleaved; in each episode it had every seat.</p>
{stopped}
{_series(report.players, "answers", answers)}
{corrected}
<p class="faint">Small figures are 95 % intervals from resampling whole episodes; bars in the plot show the same. A curve tells how long the
slowest part of the answers took: at 99 %, one answer in a hundred took longer.</p>
<p class="faint">{escape(OMISSION)}.</p>
<p class="faint">{ran}</p>""",
    )


def _series(
    players: Sequence[PlayerFigures], counted: str, figures: Sequence[tuple[Latency | None, Sequence[Interval]]]
) -> str:
    """Table and plot of one series of every player; series are never mixed in one."""
    rows: list[str] = []
    curves: list[_Curve] = []
    for place, (player, (latency, intervals)) in enumerate(zip(players, figures, strict=True)):
        rows.append(_row(place, player, latency, intervals))
        if latency is not None and latency.count:
            curves.append(_curve(place, player.player, latency, intervals))
    heads = "".join(f"<th>{_name(share)}</th>" for share in QUANTILES)
    body = "\n".join(rows)
    return f"""<table>
<thead><tr><th>player</th><th>episodes</th><th>{counted}</th>{heads}</tr></thead>
<tbody>
{body}
</tbody>
</table>
{_plot(curves, counted)}"""


def _row(place: int, player: PlayerFigures, latency: Latency | None, intervals: Sequence[Interval]) -> str:
    cells = [
        f'<td><span class="key" style="background:{_colour(place)}"></span>{escape(player.player)}{_remarks(player)}</td>'
    ]
    failed = f"<small>{player.failed} failed</small>" if player.failed else ""
    failed += f"<small>{player.faults} seats at fault</small>" if player.faults else ""
    cells.append(f"<td>{player.episodes}{failed}</td>")
    cells.append("<td>-</td>" if latency is None else f"<td>{latency.count}</td>")
    cells += [_cell(interval) for interval in intervals] or ["<td>-</td>"] * len(QUANTILES)
    return f"<tr>{''.join(cells)}</tr>"


def _remarks(player: PlayerFigures) -> str:
    return "".join(f"<small>{escape(text)}</small>" for text in (player.note, player.trouble) if text)


def _cell(interval: Interval) -> str:
    around = ""
    if interval.low is not None and interval.high is not None:
        around = f"<small>{span_text(interval.low, interval.high)}</small>"
    return f"<td>{seconds_text(interval.value)}{around}</td>"


def _curve(place: int, name: str, latency: Latency, intervals: Sequence[Interval]) -> _Curve:
    dash = DASHES[place // len(COLOURS) % len(DASHES)]
    return _Curve(name, _colour(place), dash, _points(latency), tuple(intervals))


def _points(latency: Latency) -> tuple[tuple[float, float], ...]:
    """Quantiles at even steps of rarity, as far as there are answers to know them."""
    classes = list(latency.series().classes())
    points: list[tuple[float, float]] = []
    seen, place = classes[0][2], 0
    for step in range(int(math.log10(latency.count) / _STEP) + 1):
        rarity = step * _STEP
        wanted = (1 - 10**-rarity) * latency.count
        while seen < wanted and place + 1 < len(classes):
            place += 1
            seen += classes[place][2]
        points.append((rarity, min(classes[place][1], latency.max)))
    points.append((math.log10(latency.count), latency.max))
    return tuple(points)


def _plot(curves: Sequence[_Curve], counted: str) -> str:
    if not curves:
        return "<p>No player has answered, so there is nothing to draw.</p>"
    times = [max(time, 1e-9) for curve in curves for _, time in curve.points]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    high = max(high, low + 1)
    rarest = max(max(curve.points)[0] for curve in curves)
    rarest = max(rarest * 1.02, 1.0)

    def x(rarity: float) -> float:
        return round(_LEFT + rarity / rarest * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(seconds: float) -> float:
        height = (math.log10(max(seconds, 1e-9)) - low) / (high - low)
        return round(_HEIGHT - _BOTTOM - height * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="How long {counted} took, by percentile">']
    for decade in range(low, high + 1):
        at = y(10.0**decade)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at}" x2="{_WIDTH - _RIGHT}" y2="{at}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">{_decade(decade)}</text>')
    for decade in range(int(rarest) + 1):
        at = x(decade)
        parts.append(f'<line class="grid" x1="{at}" y1="{_TOP}" x2="{at}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(
            f'<text x="{at}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{_name(1 - 10.0**-decade)}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{counted} that took no longer</text>')
    for curve in curves:
        line = " ".join(f"{x(rarity)},{y(seconds)}" for rarity, seconds in curve.points)
        dash = f' stroke-dasharray="{curve.dash}"' if curve.dash else ""
        name = escape(curve.name)
        parts.append(
            f'<polyline class="curve" stroke="{curve.colour}"{dash} points="{line}"><title>{name}</title></polyline>'
        )
        parts += [
            _bar(x(-math.log10(1 - each.share)), y, each, curve.colour) for each in curve.intervals if each.share < 1
        ]
    parts.append("</svg>")
    return "\n".join(part for part in parts if part)


def _bar(at: float, y: Callable[[float], float], interval: Interval, colour: str) -> str:
    if interval.low is None or interval.high is None:
        return ""
    words = f"{_name(interval.share)}: {span_text(interval.low, interval.high)}"
    return (
        f'<line stroke="{colour}" stroke-width="5" stroke-opacity="0.35" x1="{at}" y1="{y(interval.low)}" x2="{at}" '
        f'y2="{y(interval.high)}"><title>{words}</title></line>'
    )


def _name(share: float) -> str:
    return "longest" if share == 1 else f"{share * 100:.6g} %"


def _decade(decade: int) -> str:
    """`100 µs` and the like, without digits behind a point."""
    unit, power = (
        ("s", 0) if decade >= 0 else ("ms", -3) if decade >= -3 else ("µs", -6) if decade >= -6 else ("ns", -9)
    )
    return f"{10 ** (decade - power)} {unit}"


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
