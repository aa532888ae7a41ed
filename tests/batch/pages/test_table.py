"""The table for spreadsheets: a row for each player, and no formula."""

from __future__ import annotations

import csv
import io

import msgspec
import pytest

from coworld_actors.batch.pages.table import COLUMNS, table_csv
from coworld_actors.batch.statistics.summary import Counts, Estimate, PlayerSummary, Summary
from tests.summaries import HOSTILE, batch_lines, batch_summary


def rows(summary: Summary) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table_csv(summary), newline="")))


def test_every_player_has_a_row_with_all_digits() -> None:
    """In the order of the standings; numbers can be read back exactly."""
    summary = batch_summary(["greedy", "random"], batch_lines(2, 3), blocks=3)
    found = rows(summary)
    assert [row["player"] for row in found] == ["greedy", "random"]
    assert float(found[0]["score_low"]) == summary.players[0].score.low
    assert found[0]["wins"] == "9"
    assert (found[1]["faults"], found[1]["fault_kinds"]) == ("2", "crashed 2")
    assert found[0]["latency_p50_seconds"] == "0.002"
    assert tuple(found[0]) == COLUMNS


def test_what_is_not_known_is_an_empty_cell() -> None:
    """No rank, no interval, no rating; why there is no Elo stands beside it."""
    bare = PlayerSummary(entrant=0, name="a", elo=Estimate(low=-20.0, note="n/a (all wins)"))
    summary = Summary(
        coworld="c", game_version="1", variants=(), seating="rotate", seed=1, seed_applied=False,
        episodes=Counts(requested=0), players=(bare,),
    )  # fmt: skip
    row = rows(summary)[0]
    assert [row[name] for name in ("rank", "score", "rating", "ladder_low", "latency_answers", "elo")] == [""] * 6
    assert (row["elo_low"], row["elo_note"]) == ("-20.0", "n/a (all wins)")


def test_no_players_leave_the_first_row() -> None:
    """A spreadsheet without rows still has its columns."""
    summary = batch_summary([], [], blocks=0)
    assert table_csv(summary) == ",".join(COLUMNS) + "\r\n"


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1", "\n=1", '=HYPERLINK("x","y")']
)
def test_no_name_is_a_formula(name: str) -> None:
    """Whatever a spreadsheet would take for one begins with an apostrophe or with an escape."""
    row = rows(batch_summary([name], [], blocks=0))[0]
    assert row["player"][0] in {"'", "\\"}


@pytest.mark.parametrize("name", ['a,b "c"', "ü漢", "a=b", "'quoted", "x" * 10_000, " ", HOSTILE])
def test_other_names_are_as_they_are(name: str) -> None:
    """Quoted as CSV wants it; what cannot be printed is an escape, so a row is always one line."""
    text = table_csv(batch_summary([name], [], blocks=0))
    assert text.count("\n") == 2
    shown = rows(batch_summary([name], [], blocks=0))[0]["player"]
    assert shown == "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in name)


def test_a_number_that_is_none_is_an_empty_cell() -> None:
    """Spreadsheets read `inf` and `nan` as words."""
    summary = batch_summary(["a"], [], blocks=0)
    player = msgspec.structs.replace(summary.players[0], score=Estimate(value=float("inf"), low=float("nan")))
    row = rows(msgspec.structs.replace(summary, players=(player,)))[0]
    assert (row["score"], row["score_low"]) == ("", "")
