"""The upper half of a batch's page: who is first, and everybody against everybody."""

from __future__ import annotations

import re

import msgspec

from coworld_actors.batch.pages.page import page
from coworld_actors.batch.pages.standings import span
from coworld_actors.batch.statistics.summary import Estimate
from tests.summaries import batch_lines, batch_summary


def test_the_headline_says_who_is_first_and_whether_that_is_known() -> None:
    """First, the interval, and a sentence on the second one: apart, not apart, or the other way round head to head."""
    lines = batch_lines(2, 9)
    summary = batch_summary(["greedy", "random"], lines, blocks=9)

    def lead(**score: float | None) -> str:
        pair = msgspec.structs.replace(summary.pairs[0], score=Estimate(**score))
        text = page(msgspec.structs.replace(summary, pairs=(pair,)), lines, title="t")
        found = re.search(r'<p class="lead">(.*?)</p>', text)
        assert found
        return re.sub(r"<.*?>", "", found[1])

    assert lead(value=0.75, low=0.65, high=0.85) == (
        "greedy is first of 2: 40.00 a seat (95 % interval 39.40 to 40.60). Against random, who is second, it takes 75.0 % of "
        "the points (65.0 % to 85.0 %): it is the better one."
    )
    assert lead(value=0.52, low=0.45, high=0.6).endswith("that does not tell them apart.")
    assert lead(value=0.3, low=0.2, high=0.4).endswith("head to head it is the weaker one.")
    assert lead(value=1.0, low=0.9, high=None).endswith(
        "takes 100.0 % of the points (90.0 % or more): it is the better one."
    )
    assert lead(value=None).endswith("(95 % interval 39.40 to 40.60).")


def test_equals_share_the_first_place() -> None:
    """Nobody is called first who is not."""
    lines = batch_lines(3, 9)
    summary = batch_summary(["a", "b", "c"], lines, blocks=9)
    players = tuple(msgspec.structs.replace(player, rank=1) for player in summary.players[:2]) + summary.players[2:]
    assert "share the first place" in page(msgspec.structs.replace(summary, players=players), lines, title="t")


def test_the_matrix_shows_each_pair_from_both_sides() -> None:
    """Row against column, and the opposite cell has the rest; every number can be read on its ground."""
    lines = batch_lines(2, 9)
    text = page(batch_summary(["a", "b"], lines, blocks=9), lines, title="t")
    matrix = text[text.index('<table class="heat">') :]
    assert re.findall(r'<td class="(h\d+)" title="(.*?)">(\d+)</td>', matrix) == [
        ("h8", "8 won, 1 drawn, 3 lost; 65.0 % to 85.0 %", "75"),
        ("h2", "3 won, 1 drawn, 8 lost; 15.0 % to 35.0 %", "25"),
    ]
    for rule in re.findall(r"\.h\d+ \{ background: rgb\((\d+), (\d+), (\d+)\); color: (#\w+); \}", text):
        parts = [int(each) / 255 for each in rule[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        ink = 1.0 if rule[3] == "#fff" else 0.0
        assert (max(light, ink) + 0.05) / (min(light, ink) + 0.05) >= 4.5


def test_intervals_with_open_ends_are_told_as_such() -> None:
    """Nothing is infinite: an end that is not there has other words."""
    assert span(Estimate(low=1, high=2), str) == "1 to 2"
    assert span(Estimate(low=1), str) == "1 or more"
    assert span(Estimate(high=2), str) == "2 or less"
    assert span(Estimate(value=1), str) == ""


def test_what_could_not_be_estimated_says_why() -> None:
    """The note stands where the figure would."""
    lines = batch_lines(2, 9)
    summary = batch_summary(["a", "b"], lines, blocks=9)
    players = (
        msgspec.structs.replace(summary.players[0], elo=Estimate(low=400, note="n/a (all wins)")),
        *summary.players[1:],
    )
    text = page(msgspec.structs.replace(summary, players=players), lines, title="t")
    assert "<td>n/a (all wins)<small>+400 or more</small></td>" in text


def test_the_columns_of_ratings_are_there_only_with_ratings() -> None:
    """Without the extra there is no rating, and no empty column."""
    lines = batch_lines(2, 9)
    summary = batch_summary(["a", "b"], lines, blocks=9)
    assert '<th scope="col">ladder</th>' in page(summary, lines, title="t")
    bare = tuple(msgspec.structs.replace(player, rating=None, ladder=None) for player in summary.players)
    text = page(msgspec.structs.replace(summary, players=bare), lines, title="t")
    assert "ladder" not in text
    assert '<th scope="col">rating</th>' not in text
