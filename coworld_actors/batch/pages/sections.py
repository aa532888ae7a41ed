"""How the figures came about: scores, blocks, seats, times, failures, answers; the lower half of a batch's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from urllib.parse import quote

from coworld_actors.batch.pages.data import BINS, Course, Spread, courses, histogram, score_spreads
from coworld_actors.batch.pages.frame import clipped, number, table, text
from coworld_actors.batch.pages.plots import Curve, Row, bars, curves, figure, interval_rows, legend, ridges
from coworld_actors.batch.pages.scale import Axis
from coworld_actors.batch.pages.standings import cell, span
from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.statistics.summary import PlayerSummary, Summary
from coworld_actors.traffic.report import seconds_text

__all__ = ["distributions", "durations", "episode_link", "failures", "latencies", "over_time", "seat_effects"]

PLAYERS_SHOWN = 64
"""Players with a row of their own in a plot, at most."""

LINES_SHOWN = 8
"""Players with a line in a plot that all share, at most: more cannot be told apart."""

SEATS_SHOWN = 64
"""Seats of a variant in the plot of seats, at most."""

VARIANTS_SHOWN = 8

FAILURES_SHOWN = 100

_SHARES = ((0.0, "0 %"), (0.25, "25 % (-191)"), (0.5, "50 % (0)"), (0.75, "75 % (+191)"), (1.0, "100 %"))
"""Share of points, and the Elo difference 400 * log10(p / (1 - p)) that it stands for."""


def distributions(summary: Summary, blocks: Sequence[Sequence[EpisodeLine]]) -> str:
    """How the scores of each player are spread."""
    shown = summary.players[:PLAYERS_SHOWN]
    names = {player.entrant: player.name for player in shown}
    places = {player.entrant: place for place, player in enumerate(shown)}
    spreads = score_spreads(blocks, names)
    if not spreads:
        return ""
    rows = [
        (
            places[spread.entrant],
            names[spread.entrant],
            spread.histogram,
            _spread_words(names[spread.entrant], spread),
        )
        for spread in spreads
    ]
    plot = ridges(
        rows, label="Score distributions. " + "; ".join(words for *_, words in rows), across="score of a seat"
    )
    width = "one whole number wide" if spreads[0].histogram.whole else f"of equal width, {BINS} at most"
    caption = f"Scores of all seats in counted episodes; bars are {width}, and each player's tallest one fills its row."
    figures = table(
        "Scores of a seat",
        ("player", "scores", "least", "a quarter below", "median", "three quarters below", "most"),
        [
            (
                f"<bdi>{text(names[spread.entrant])}</bdi>",
                str(spread.count),
                *map(number, (spread.least, spread.quarter, spread.median, spread.three_quarters, spread.most)),
            )
            for spread in spreads
        ],
    )
    left_out = _more(len(summary.players) - len(shown), "players are in summary.csv")
    return (
        f"<h2>Scores</h2>{figure(plot, caption)}<details><summary>The scores in figures</summary>{figures}</details>"
        + left_out
    )


def _spread_words(name: str, spread: Spread) -> str:
    return (
        f"{clipped(name, 60)}: {spread.count} scores from {number(spread.least)} to {number(spread.most)}, "
        f"half of them between {number(spread.quarter)} and {number(spread.three_quarters)}"
    )


def over_time(summary: Summary, blocks: Sequence[Sequence[EpisodeLine]]) -> str:
    """How the means settled, block by block."""
    shown = summary.players[:LINES_SHOWN]
    scores, points = courses(blocks, [player.entrant for player in shown], lower_is_better=summary.lower_is_better)
    names = {player.entrant: (place, player.name) for place, player in enumerate(shown)}
    across = "complete blocks played"
    first = curves(
        _lines(scores, names),
        label="Running mean of the score a seat, for each player, with its 95 % band",
        across=across,
        marks=_plain_marks,
    )
    second = curves(
        _lines(points, names),
        label="Running share of the points against opponents, for each player, with its 95 % band",
        across=across,
        marks=lambda _: _SHARES,
        limits=(0.0, 1.0),
        levels=(0.5,),
    )
    if not first:
        return ""
    parts = [
        "<h2>Over time</h2>",
        legend([names[course.entrant] for course in scores]),
        figure(
            first, "Mean of the score a seat over the blocks so far; the band is 1.96 standard errors of that mean."
        ),
    ]
    if second:
        parts.append(
            figure(
                second,
                "Rating over time: share of the points against opponents over the blocks so far, in brackets the Elo "
                "difference to the field that it stands for.",
            )
        )
    parts.append(_more(len(summary.players) - len(shown), "players have no line here"))
    return "".join(parts)


def _lines(found: Sequence[Course], names: Mapping[int, tuple[int, str]]) -> list[Curve]:
    return [
        Curve(place=names[course.entrant][0], name=names[course.entrant][1], points=course.points) for course in found
    ]


def _plain_marks(axis: Axis) -> list[tuple[float, str]]:
    return [(mark, f"{mark:,.6g}") for mark in axis.marks()]


def seat_effects(summary: Summary) -> str:
    """What each seat is worth."""
    parts: list[str] = []
    variants = list(dict.fromkeys(effect.variant for effect in summary.seat_effects))
    for variant in variants[:VARIANTS_SHOWN]:
        found = [effect for effect in summary.seat_effects if effect.variant == variant]
        rows = [
            Row(
                place=0,
                name=f"seat {effect.slot}",
                value=effect.effect.value,
                low=effect.effect.low,
                high=effect.effect.high,
                words=f"seat {effect.slot}: {number(effect.effect.value)}, {span(effect.effect, number)}",
            )
            for effect in found[:SEATS_SHOWN]
        ]
        across = "score of the seat less the mean of its episode"
        label = f"What each seat of variant {clipped(variant, 60)} is worth. " + "; ".join(row.words for row in rows)
        plot = interval_rows(rows, label=label, across=across, zero=True, words=lambda value: f"{value:,.4g}")
        if not plot:
            continue
        figures = table(
            "Worth of a seat",
            ("seat", "episodes", "worth"),
            [(str(effect.slot), str(effect.episodes), cell(effect.effect, number)) for effect in found[:SEATS_SHOWN]],
        )
        heading = f"<h3>Variant {text(variant)}</h3>" if len(variants) > 1 else ""
        parts.append(
            f"{heading}{figure(plot, 'An interval that leaves out 0 shows a seat that is better or worse, whoever sits there.')}"
            f"<details><summary>The seats in figures</summary>{figures}</details>"
            + _more(len(found) - len(rows), "seats are in summary.json")
        )
    if not parts:
        return ""
    return f"<h2>Seats</h2>{''.join(parts)}{_more(len(variants) - VARIANTS_SHOWN, 'variants are in summary.json')}"


def durations(summary: Summary, blocks: Sequence[Sequence[EpisodeLine]]) -> str:
    """How long the counted episodes took."""
    found = histogram(line.seconds for block in blocks for line in block)
    if found is None or summary.duration is None:
        return ""
    times = summary.duration
    words = (
        f"From {_seconds(times.shortest)} to {_seconds(times.longest)}; half of the episodes took no more than "
        f"{_seconds(times.median)}, 95 % no more than {_seconds(times.p95)}."
    )
    plot = bars(found, label=f"Durations of episodes. {words}", across="duration of an episode", words=_axis_seconds)
    return f"<h2>Durations</h2>{figure(plot, text(words, 400))}"


def failures(summary: Summary, lines: Mapping[int, EpisodeLine]) -> str:
    """What went wrong, with an episode to look at for each."""
    if not summary.failures:
        return ""
    names = {player.entrant: player.name for player in summary.players}
    rows: list[tuple[str, ...]] = []
    for failure in summary.failures[:FAILURES_SHOWN]:
        whose = (
            "" if failure.entrant is None else f"<bdi>{text(names.get(failure.entrant, str(failure.entrant)))}</bdi>"
        )
        example = lines.get(failure.example)
        shown = f"episode {failure.example}" if example is None else episode_link(example)
        rows.append(
            (
                text(failure.reason),
                text(failure.status),
                whose or "-",
                str(failure.count),
                shown + f"<small>{text(_words_of(example, failure.entrant), 300)}</small>",
            )
        )
    caption = "Failures by cause; they are never counted as losses. Status good: the episode counts, and this seat in it had a fault."
    heads = ("cause", "status", "whose", "how often", "for example")
    more = _more(len(summary.failures) - len(rows), "causes are in summary.json")
    return f"<h2>Failures</h2>{table(caption, heads, rows, left=(1, 2, 4))}{more}"


def episode_link(line: EpisodeLine) -> str:
    """An episode's number as a link to its directory, if that is one inside of the batch's."""
    words = f"episode {line.index}"
    place = PurePosixPath(line.directory)
    if not line.directory or place.is_absolute() or ".." in place.parts:
        return words
    # `./` and the quoted colon: whatever the directory is called, this is a path and no other kind of address.
    return f'<a href="./{quote(str(place).encode("utf-8", "surrogateescape"))}/">{words}</a>'


def _words_of(line: EpisodeLine | None, entrant: int | None) -> str:
    if line is None:
        return ""
    said = [line.message] if line.message else []
    said += [
        f"seat {slot}: {seat.evidence}"
        for slot, seat in enumerate(line.seats)
        if seat.fault and seat.evidence and entrant in {None, seat.entrant}
    ]
    said += [line.overload] if line.overload else []
    return "; ".join(said)


def latencies(summary: Summary) -> str:
    """How long players took to answer, where the tap ran."""
    found = [(place, player) for place, player in enumerate(summary.players) if player.latency is not None]
    if not found:
        return ""
    rows = [_latency_row(place, player) for place, player in found[:PLAYERS_SHOWN]]
    plot = interval_rows(
        rows,
        label="How long players took to answer. " + "; ".join(row.words for row in rows),
        across="time to answer: the dot is the median, the bar ends at 99 %",
        logarithmic=True,
        words=_axis_seconds,
    )
    figures = table(
        "Time to answer, medians of the episodes",
        ("player", "answers", "p50", "p99", "longest of all"),
        [
            (
                f"<bdi>{text(player.name)}</bdi>",
                str(player.latency.answers),
                seconds_text(player.latency.p50),
                seconds_text(player.latency.p99),
                seconds_text(player.latency.longest),
            )
            for _, player in found[:PLAYERS_SHOWN]
            if player.latency is not None
        ],
    )
    drawn = figure(plot, "Equal ratios are equally long.") if plot else ""
    return f"<h2>Answers</h2>{drawn}{figures}{_more(len(found) - len(rows), 'players are in summary.csv')}"


def _latency_row(place: int, player: PlayerSummary) -> Row:
    times = player.latency
    assert times is not None
    words = f"{clipped(player.name, 60)}: median {seconds_text(times.p50)}, 99 % {seconds_text(times.p99)}"
    return Row(place=place, name=player.name, value=times.p50, low=times.p50, high=times.p99, words=words)


def _more(count: int, words: str) -> str:
    return f"<p>{count} more {words}.</p>" if count > 0 else ""


def _seconds(value: float) -> str:
    return seconds_text(value) if value < 60 else f"{value / 60:.1f} min" if value < 3600 else f"{value / 3600:.1f} h"


def _axis_seconds(value: float) -> str:
    if value >= 60:
        return f"{value:,.6g} s"
    size, unit = (1.0, "s") if value >= 1 or value <= 0 else (1e3, "ms") if value >= 1e-3 else (1e6, "µs")
    return f"{value * size:.6g} {unit}"
