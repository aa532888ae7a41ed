"""The frame of a page of HTML that needs nothing but itself: head, style, colours, and the one way of a stranger's text into it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from coworld_protocol.printable import printable

__all__ = [
    "COLOURS",
    "DASHES",
    "NAME_LIMIT",
    "clipped",
    "document",
    "key",
    "number",
    "percent",
    "stroke",
    "table",
    "text",
]

NAME_LIMIT = 120
"""Characters of a stranger's text that a page has room for; the whole of it is in the data that the page was made from."""

COLOURS = ("#2563eb", "#d9480f", "#0f8a6d", "#a16207", "#8b5cf6", "#0891b2", "#db2777", "#64748b")
"""Lines and dots: each has a contrast of 3 to 1 or more to the paper of either scheme, which is what WCAG 2.2 asks of graphics."""

DASHES = ("", "8 4", "2 3", "10 3 2 3", "4 2")
"""Patterns of lines. Their number and that of the colours have no common divisor, so forty lines differ in one or the other."""

STYLE = """
:root { color-scheme: light dark; --ink: #1f2937; --faint: #5b6472; --grid: #d8dce3; --paper: #ffffff; --band: #f3f4f6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e5e7eb; --faint: #9ca3af; --grid: #374151; --paper: #111827; --band: #1f2937; }
}
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 76rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.35rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; } h3 { font-size: 1rem; }
p, li, dd, figcaption, th[scope=row] { overflow-wrap: anywhere; } th[scope=row] { font-weight: normal; min-width: 8rem; }
.lead { font-size: 1.1rem; } .faint { color: var(--faint); }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, .left { text-align: left; }
td small { display: block; color: var(--faint); }
td + td { white-space: nowrap; } td.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 10rem; }
.scroll { overflow-x: auto; } .scroll:focus { outline: 2px solid currentColor; outline-offset: 2px; }
svg { display: block; width: 100%; height: auto; } figure svg { min-width: 36rem; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
.grid { stroke: var(--grid); } .zero { stroke: var(--faint); } .curve { fill: none; stroke-width: 2; }
.key { display: inline-block; width: 1.8rem; height: .7rem; margin-right: .5rem; vertical-align: middle; }
.keys { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; } dt { color: var(--faint); } dd { margin: 0; }
a { color: inherit; }
@media print { :root { --ink: #000; --faint: #444; --grid: #bbb; --paper: #fff; --band: #eee; }
  body { max-width: none; margin: 0; } .scroll { overflow: visible; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
figure { margin: 0 0 1rem; max-width: 64rem; } figcaption { color: var(--faint); }
"""


def document(title: str, body: str, *, style: str = "") -> str:
    """A whole page; its policy forbids scripts and everything that would have to be loaded.

    Args:
        title: as it is, not yet escaped.
        body: HTML.
        style: further rules.
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{text(title, 4 * NAME_LIMIT)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def clipped(value: str, limit: int = NAME_LIMIT) -> str:
    """The beginning of a text that is too long, with a mark that it goes on."""
    return value if len(value) <= limit else f"{value[: limit - 1]}…"


def text(value: str, limit: int = NAME_LIMIT) -> str:
    """A text as HTML, once and for all: nothing in it is obeyed by a browser, and nothing in it turns what follows around."""
    return escape(printable(clipped(value, limit)))


def number(value: float | None, around: float | None = None) -> str:
    """A figure: four digits, or as many as its uncertainty leaves it.

    Args:
        value: `-` for None and for what is no number.
        around: how far its interval reaches; two digits of that are shown.
    """
    if value is None or not math.isfinite(value):
        return "-"
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-4:
        return f"{value:.3g}"
    if around is not None and math.isfinite(around) and around > 0:
        places = min(max(1 - math.floor(math.log10(around)), 0), 4)
    else:
        places = min(max(3 - math.floor(math.log10(size)), 0), 4) if size else 0
        return f"{value:,.{places}f}".rstrip("0").rstrip(".") if places else f"{value:,.0f}"
    shown = f"{value:,.{places}f}"
    return shown.removeprefix("-") if float(shown.replace(",", "")) == 0 else shown


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return "-" if share is None or not math.isfinite(share) else f"{share * 100:.1f} %"


def stroke(place: int) -> str:
    """Attributes of the line of the player in that place of the standings."""
    dash = DASHES[place % len(DASHES)]
    return f'stroke="{COLOURS[place % len(COLOURS)]}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def key(place: int) -> str:
    """A piece of that line, for a legend or a table."""
    return (
        f'<svg class="key" viewBox="0 0 28 10" aria-hidden="true"><line {stroke(place)} stroke-width="3" x1="0" y1="5" '
        'x2="28" y2="5"/></svg>'
    )


def table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[int] = (), label: str = ""
) -> str:
    """A table that scrolls by itself where the window is too narrow for it.

    Args:
        caption: above it, already escaped, without tags.
        headings: HTML.
        rows: cells, HTML; the first one is the row's heading.
        left: columns that are text.
        label: what a screen reader calls it, as plain text; the caption unless it is given.
    """
    wrap = ["left wrap" if column in left else "" for column in range(len(headings))]
    head = "".join(
        f'<th scope="col"{_class("left" if wrap[column] else "")}>{each}</th>' for column, each in enumerate(headings)
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{cell}</th>' if column == 0 else f"<td{_class(wrap[column])}>{cell}</td>"
            for column, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    named = escape(label) if label else caption
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{named}"><table><caption>{caption}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
