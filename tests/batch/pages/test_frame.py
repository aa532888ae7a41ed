"""Text and figures on a page."""

from __future__ import annotations

import math

import pytest

from coworld_actors.batch.pages.frame import COLOURS, DASHES, clipped, document, number, percent, stroke, table, text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;"),
        ("a\u202eb\x00\n", "a\\u202eb\\u0000\\u000a"),
        ("ü漢🙂", "ü漢🙂"),
        ("\ud800", "\\ud800"),
        ("x" * 200, "x" * 119 + "…"),
    ],
)
def test_text_is_escaped_made_visible_and_cut(value: str, shown: str) -> None:
    """Markup, control codes, changes of direction, half characters and length."""
    assert text(value) == shown


def test_a_text_that_fits_is_whole() -> None:
    """The mark stands only where something is missing."""
    assert clipped("abc", 3) == "abc"
    assert clipped("abcd", 3) == "ab…"


@pytest.mark.parametrize(
    ("value", "around", "shown"),
    [
        (None, None, "-"), (math.nan, None, "-"), (math.inf, 1, "-"), (0.0, None, "0"), (12.0, None, "12"),
        (12.3456, None, "12.35"), (12345.678, None, "12,346"), (0.012345, None, "0.0123"), (1e9, None, "1e+09"),
        (1e-9, None, "1e-09"), (12.3456, 0.5, "12.35"), (12.3456, 20.0, "12"), (-0.001, 5.0, "0.0"), (1.5, 0.0, "1.5"),
        (1.5, math.inf, "1.5"),
    ],
)  # fmt: skip
def test_figures_have_the_digits_that_they_are_worth(value: float | None, around: float | None, shown: str) -> None:
    """Four of them, or two of the uncertainty; nothing is minus nought, and what is no number is a dash."""
    assert number(value, around) == shown


def test_shares_are_percentages() -> None:
    """One decimal; a dash for none."""
    assert [percent(0.5), percent(1), percent(None), percent(math.nan)] == ["50.0 %", "100.0 %", "-", "-"]


def test_forty_lines_can_be_told_apart() -> None:
    """By colour or by pattern: no two of them have both in common."""
    assert math.gcd(len(COLOURS), len(DASHES)) == 1
    assert len({stroke(place) for place in range(len(COLOURS) * len(DASHES))}) == 40


@pytest.mark.parametrize("paper", ["#ffffff", "#111827"])
def test_every_colour_stands_out_from_the_paper(paper: str) -> None:
    """3 to 1, which WCAG 2.2 asks of graphics, by day and by night."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in COLOURS:
        low, high = sorted((light(colour), light(paper)))
        assert (high + 0.05) / (low + 0.05) >= 3, colour


def test_a_table_names_its_rows_and_columns() -> None:
    """Headings have a scope, the table a caption, and the part that scrolls a name."""
    shown = table("figures", ("player", "note"), [("a", "b")], left=(1,))
    assert '<th scope="col">player</th><th scope="col" class="left">note</th>' in shown
    assert '<th scope="row">a</th><td class="left wrap">b</td>' in shown
    assert 'aria-label="figures"' in shown


def test_a_document_escapes_its_title() -> None:
    """Once."""
    assert "<title>&lt;a&gt;</title>" in document("<a>", "")
