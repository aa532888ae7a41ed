"""The lower half of a batch's page: failures and where to look, what was left out, what is not there."""

from __future__ import annotations

import re

import msgspec
import pytest

from coworld_actors.batch.pages.page import page
from coworld_actors.batch.records import SeatLine, Status
from coworld_actors.batch.statistics.summary import Counts, Estimate, FailureCount, PlayerSummary, SeatEffect, Summary
from tests.summaries import batch_lines, batch_summary, drawn, estimate


@pytest.mark.parametrize(
    ("directory", "link"),
    [
        ("episodes/duel-e0001-s49", "./episodes/duel-e0001-s49/"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29/"),
        ('a b/ü?#"<', "./a%20b/%C3%BC%3F%23%22%3C/"),
        ("/etc", None),
        ("../secret", None),
        ("", None),
    ],
)
def test_an_example_links_to_its_directory_and_nowhere_else(directory: str, link: str | None) -> None:
    """A relative path inside of the batch's directory, whatever it is called; anything else is no link."""
    lines = batch_lines(2, 9)
    lines[0] = msgspec.structs.replace(lines[0], directory=directory)
    text = page(batch_summary(["a", "b"], lines, blocks=9), lines, title="t")
    assert re.findall(r'href="(.*?)"', text) == ([link] if link else [])
    assert "episode 0" in text


def test_players_who_have_not_played_have_dashes() -> None:
    """No rank, no score, no interval; what there is of the failures is told."""
    line = msgspec.structs.replace(
        batch_lines(2, 1)[0],
        status=Status.FAILED,
        message="the game crashed",
        seats=(SeatLine(entrant=0), SeatLine(entrant=1, end="crashed", fault=True, evidence="exit code 3")),
    )
    summary = Summary(
        coworld="o", game_version="1", variants=("duel",), seating="rotate", seed=1, seed_applied=True,
        episodes=Counts(requested=2, failed=1, open=1),
        players=(PlayerSummary(entrant=0, name="a"), PlayerSummary(entrant=1, name="b")),
        failures=(FailureCount(status="failed", reason="player_failed", entrant=1, count=1, example=0),),
    )  # fmt: skip
    text = page(summary, [line], title="t")
    assert "1 not played yet" in text
    assert "the game crashed; seat 1: exit code 3" in text
    assert drawn(text) == []


def test_what_does_not_fit_is_counted() -> None:
    """Of more players than a table has room for the page says how many it left out, and where they are."""
    lines = batch_lines(300, 10)
    text = page(batch_summary([f"p{place}" for place in range(300)], lines, blocks=10), lines, title="t")
    assert "100 more players are in summary.csv" in text
    assert "236 more players are in summary.json" in text
    assert "292 more players have no line here" in text


def test_seats_are_shown_by_variant() -> None:
    """Each variant has its own plot; with one there is no heading for it."""
    lines = batch_lines(2, 9)
    summary = batch_summary(["a", "b"], lines, blocks=9)
    assert "<h3>" not in page(summary, lines, title="t")
    effects = tuple(
        SeatEffect(variant=variant, slot=0, episodes=1, effect=effect)
        for variant, effect in (("duel", estimate(1, 2)), ("crowd", estimate(0, 1)), ("none", Estimate(note="n/a")))
    )
    text = page(msgspec.structs.replace(summary, seat_effects=effects), lines, title="t")
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["Variant duel", "Variant crowd"]


def test_without_the_tap_there_is_no_panel_of_answers() -> None:
    """And with it the figures are those of the summary."""
    lines = batch_lines(2, 9)
    summary = batch_summary(["a", "b"], lines, blocks=9)
    assert "<td>60.0 ms</td>" in page(summary, lines, title="t")
    bare = tuple(msgspec.structs.replace(player, latency=None) for player in summary.players)
    assert "<h2>Answers</h2>" not in page(msgspec.structs.replace(summary, players=bare), lines, title="t")
