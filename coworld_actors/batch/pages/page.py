"""`summary.html`: a batch as one page that needs nothing but itself, with the text of strangers in it escaped once.

Plain SVG is drawn by hand, as `page_plots` says why. Every plot and table has a limit of its own, so a page of ten thousand episodes
is as large as one of a hundred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import msgspec

from coworld_actors.batch.pages.data import counted
from coworld_actors.batch.pages.frame import clipped, document, table, text
from coworld_actors.batch.pages.plots import Curve, curves, figure
from coworld_actors.batch.pages.scale import Axis
from coworld_actors.batch.pages.sections import distributions, durations, failures, latencies, over_time, seat_effects
from coworld_actors.batch.pages.standings import HEAT_STYLE, head_to_head, headline, standings
from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.statistics.summary import Summary

__all__ = ["Panel", "page"]

PANEL_ROWS = 200
"""Rows of a panel's table at most."""

PANEL_POINTS = 400
"""Points of a panel's curve at most."""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One more part of a page: what `compare` and `pickup` have found. All of it is text, not yet escaped.

    Attributes:
        heading: above it.
        sentences: a paragraph each.
        headings: of its table's columns.
        rows: as many cells each.
        curve: a value after each block, such as a test's log-likelihood ratio.
        levels: values at which something is decided.
        across: what the curve's values are.
    """

    heading: str
    sentences: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    curve: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()
    across: str = ""


def page(
    summary: Summary,
    lines: Sequence[EpisodeLine],
    *,
    title: str,
    panels: Sequence[Panel] = (),
    about: Mapping[str, str] | None = None,
) -> str:
    """The page. Equal input gives equal bytes: it holds no time of day, and the order of the lines does not matter.

    Args:
        summary: what is said about the players.
        lines: the newest line of each episode that has one.
        title: of the page.
        panels: further parts, below the headline.
        about: further facts on what was played and where, by name.
    """
    # Where no block is complete, the largest ones are not either.
    blocks = counted(lines) if summary.blocks else []
    parts = [
        f"<h1>{text(title, 300)}</h1>",
        headline(summary),
        _notes(summary, len(blocks)),
        *map(_panel, panels),
        standings(summary),
        head_to_head(summary),
        distributions(summary, blocks),
        over_time(summary, blocks),
        seat_effects(summary),
        latencies(summary),
        durations(summary, blocks),
        failures(summary, {line.index: line for line in lines}),
        _played(summary, about or {}),
    ]
    return document(
        title,
        f"<main>{''.join(f'<section>{part}</section>{chr(10)}' for part in parts if part)}</main>",
        style=HEAT_STYLE,
    )


def _notes(summary: Summary, blocks: int) -> str:
    notes = list(summary.notes)
    if blocks != summary.blocks:
        notes.append(f"the plots rest on {blocks} complete blocks, the tables on {summary.blocks}")
    if not notes:
        return ""
    items = "".join(f"<li>{text(note, 600)}</li>" for note in notes)
    return f"<h2>To be known first</h2><ul>{items}</ul>"


def _panel(panel: Panel) -> str:
    parts = [f"<h2>{text(panel.heading)}</h2>"]
    parts += [f"<p>{text(sentence, 600)}</p>" for sentence in panel.sentences]
    if len(panel.curve) > 1:
        step = max(1, -(-len(panel.curve) // PANEL_POINTS))
        kept = [*range(0, len(panel.curve) - 1, step), len(panel.curve) - 1]
        points = tuple((float(place + 1), panel.curve[place], None, None) for place in kept)
        plot = curves(
            [Curve(place=0, name=panel.across, points=points)],
            label=f"{clipped(panel.across)} after each block; it ends at {panel.curve[-1]:.4g}",
            across="blocks",
            marks=lambda axis: _marks(axis, panel.levels),
            levels=panel.levels,
        )
        parts.append(figure(plot, text(panel.across, 300)) if plot else "")
    if panel.rows:
        rows = [[text(each, 300) for each in row] for row in panel.rows[:PANEL_ROWS]]
        parts.append(table(text(panel.heading), [text(each) for each in panel.headings], rows))
        left_out = len(panel.rows) - PANEL_ROWS
        parts.append(f"<p>{left_out} more rows are in summary.json.</p>" if left_out > 0 else "")
    return "".join(parts)


def _marks(axis: Axis, levels: Sequence[float]) -> list[tuple[float, str]]:
    """The levels, and round values that are not too close to one of them to be read."""
    marks = [(level, f"{level:.3g}") for level in levels]
    others = (mark for mark in axis.marks() if all(abs(axis.at(mark) - axis.at(level)) > 14 for level in levels))
    return marks + [(mark, f"{mark:,.6g}") for mark in others]


def _played(summary: Summary, about: Mapping[str, str]) -> str:
    counts = summary.episodes
    facts = {
        "game": f"{summary.coworld} {summary.game_version}",
        "variants": ", ".join(summary.variants[:20])
        + (f" and {len(summary.variants) - 20} more" if len(summary.variants) > 20 else ""),
        "players": str(len(summary.players)),
        "seating": summary.seating,
        "first seed": str(summary.seed),
        "seeds": "given to the game"
        if summary.seed_applied
        else "not given to the game: equal seeds do not mean equal episodes",
        "direction": "lower scores are better" if summary.lower_is_better else "higher scores are better",
        "episodes": f"{counts.requested} in the schedule: {counts.good} good, {counts.failed} failed, {counts.invalid} invalid, "
        f"{counts.infrastructure} not played for a reason of the machine's, {counts.open} open",
        "complete blocks": str(summary.blocks),
        **about,
    }
    items = "".join(f"<dt>{text(name)}</dt><dd>{text(value, 600)}</dd>" for name, value in facts.items())
    return f"<h2>{escape('What was played')}</h2><dl>{items}</dl>"
