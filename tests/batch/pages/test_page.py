"""The page of a batch: whole, by itself, safe whatever anybody is called, and no larger for more episodes."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import msgspec
import pytest

from coworld_actors.batch.pages.page import Panel, page
from coworld_actors.batch.statistics.summary import Counts, FailureCount, Summary
from tests.summaries import HOSTILE, batch_lines, batch_summary, drawn, svgs


def whole(count: int, blocks: int = 30) -> str:
    """A page of so many players."""
    lines = batch_lines(count, blocks)
    return page(batch_summary([f"bot-{place}" for place in range(count)], lines, blocks=blocks), lines, title="a batch")


@pytest.mark.parametrize("count", [1, 2, 3, 8, 64])
def test_every_player_is_there(count: int) -> None:
    """Each has its row with its interval drawn, every drawing is well-formed and named, and nothing leaves the paper."""
    text = whole(count)
    for place in range(count):
        assert text.count(f"<bdi>bot-{place}</bdi>") >= 1
    for svg in drawn(text):
        assert svg.attrib["aria-label"]
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        for line in svg.iter("polyline"):
            for point in line.attrib["points"].split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= width
                assert 0 <= y <= height
    assert ("Head to head" in text) is (count > 1)


def test_a_batch_without_anything_has_a_page_that_says_so() -> None:
    """No player, no episode, no figure: a page all the same, without a drawing."""
    counts = Counts(requested=0)
    summary = Summary(
        coworld="", game_version="", variants=(), seating="rotate", seed=1, seed_applied=False, episodes=counts
    )
    text = page(summary, [], title="")
    assert "Nothing can be said about the players yet" in text
    assert "not given to the game" in text
    assert drawn(text) == []


@pytest.mark.parametrize(
    "where", ["player", "coworld", "variant", "note", "reason", "message", "evidence", "title", "panel", "about"]
)
def test_a_strangers_text_is_text_and_nothing_else(where: str) -> None:
    """In any place it comes out escaped once, cut, and without what turns or hides the text after it."""
    lines = batch_lines(2, 9)
    seats = (msgspec.structs.replace(lines[0].seats[0], fault=True, evidence=HOSTILE if where == "evidence" else ""),)
    lines[0] = msgspec.structs.replace(
        lines[0], message=HOSTILE if where == "message" else "", seats=seats + lines[0].seats[1:]
    )
    summary = batch_summary(
        [HOSTILE if where == "player" else "a", "b"],
        lines,
        blocks=9,
        coworld=HOSTILE if where == "coworld" else "c",
        variants=(HOSTILE if where == "variant" else "v",),
        notes=(HOSTILE if where == "note" else "n",),
        failures=(
            FailureCount(status="good", reason=HOSTILE if where == "reason" else "r", entrant=0, count=1, example=0),
        ),
    )
    panel = Panel(
        heading=HOSTILE, sentences=(HOSTILE,), headings=(HOSTILE,), rows=((HOSTILE,),), across=HOSTILE, curve=(1, 2)
    )
    text = page(
        summary,
        lines,
        title=HOSTILE if where == "title" else "t",
        panels=[panel] if where == "panel" else [],
        about={HOSTILE: HOSTILE} if where == "about" else None,
    )
    assert "&lt;script&gt;" in text
    assert "&amp;lt;" not in text
    assert not re.search(r"<(script|img)", text)
    assert not set(text) & {"\u202e", "\x1b", "\x00"}
    assert "x" * 1000 not in text
    svgs(text)


def test_the_page_needs_nothing_from_anywhere() -> None:
    """No script, no address outside of its own directory, and a policy that forbids both."""
    text = whole(3)
    assert "default-src 'none'" in text
    assert not re.search(r"<script|https?:|src=|url\(|@import|<link", text)
    assert all(link.startswith("./episodes/") for link in re.findall(r'href="(.*?)"', text))


def test_equal_input_gives_equal_bytes_in_any_order_of_the_lines() -> None:
    """The order in which episodes ended leaves no trace."""
    lines = batch_lines(3, 20)
    summary = batch_summary(["a", "b", "c"], lines, blocks=20)
    shuffled = list(lines)
    random.Random(1).shuffle(shuffled)
    assert page(summary, lines, title="t") == page(summary, shuffled, title="t")


def test_ten_thousand_episodes_make_no_large_page() -> None:
    """A page has as much as can be seen: 10,000 episodes of 8 players, and hardly more bytes than for 2,000."""
    few = whole(8, 1000)
    begun = time.process_time()
    many = whole(8, 5000)
    seconds = time.process_time() - begun
    assert len(many.encode()) < min(1.05 * len(few.encode()), 500_000)
    # Measured: 0.5 s, with the making of the lines. A busy machine costs wall-clock time and little of this.
    assert seconds < 10


def test_sixty_four_players_stay_below_the_limit() -> None:
    """A matrix of 4096 cells and 64 rows in each plot are still a page that a browser opens at once."""
    assert len(whole(64, 200).encode()) < 2_000_000


def test_blocks_that_are_not_complete_are_left_out_of_the_plots() -> None:
    """As they are left out of the figures; where the two differ the page says so."""
    lines = batch_lines(2, 9)[:-1]
    agreed = page(batch_summary(["a", "b"], lines, blocks=8), lines, title="t")
    assert "the plots rest on" not in agreed
    assert "the plots rest on 8 complete blocks, the tables on 9" in page(
        batch_summary(["a", "b"], lines, blocks=9), lines, title="t"
    )


@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e15, 1e300])
def test_scores_of_any_size_can_be_drawn(scale: float) -> None:
    """All equal, all but nothing, or close to what a float can hold: no plot is broken by it."""
    lines = [
        msgspec.structs.replace(
            line, seats=tuple(msgspec.structs.replace(seat, score=(seat.score or 0) * scale) for seat in line.seats)
        )
        for line in batch_lines(2, 9)
    ]
    text = page(batch_summary(["a", "b"], lines, blocks=9), lines, title="t")
    assert not re.search(r'[",M ](nan|inf)', "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL)))
    svgs(text)


def test_a_panel_has_its_curve_its_levels_and_its_table() -> None:
    """What `compare` found: sentences, the test's course between its bounds, and figures."""
    panel = Panel(
        heading="Sequential test",
        sentences=("H1 is accepted.",),
        headings=("bound", "value"),
        rows=(("upper", "2.94"),),
        curve=tuple(place / 300 for place in range(1000)),
        levels=(-2.94, 2.94),
        across="log-likelihood ratio",
    )
    lines = batch_lines(2, 9)
    text = page(batch_summary(["a", "b"], lines, blocks=9), lines, title="t", panels=[panel])
    plot = next(
        each for each in drawn(text) if each.attrib["aria-label"].startswith("log-likelihood ratio after each block")
    )
    assert len(next(plot.iter("polyline")).attrib["points"].split()) <= 401
    assert {"-2.94", "2.94"} <= {each.text for each in plot.iter("text")}
    assert "H1 is accepted." in text


def test_a_page_can_be_kept_as_a_file(tmp_path: Path) -> None:
    """It is UTF-8 whatever is in it: not even half a character is left over from a broken name."""
    lines = batch_lines(1, 3)
    path = tmp_path / "summary.html"
    path.write_text(page(batch_summary(["a\ud800"], lines, blocks=3), lines, title="\udcff"), encoding="utf-8")
    assert "a\\ud800" in path.read_text(encoding="utf-8")
