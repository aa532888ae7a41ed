"""What the command shows: rows and lines, from values."""

from __future__ import annotations

from pathlib import Path

import msgspec

from coworld_actors.batch.browse import Browsed, EpisodeView, Kind, SeatView
from coworld_actors.batch.repeat import Contrast
from coworld_actors.batch.story import LogTail, Moment, Story
from coworld_actors.cli.episodes_view import (
    episode_rows,
    heading,
    left_out_line,
    repeat_lines,
    seat_rows,
    story_end,
    story_head,
)
from tests.batches import HEAD

SEATS = (
    SeatView(player="greedy", score=12.5, end="finished"),
    SeatView(player="random", end="crashed", fault=True, evidence="exit code 3"),
)
FAILED = EpisodeView(
    index=7, id="duel-e0007-s49", coworld="orchard 1", variant="duel", block=3, seed=49, status="failed",
    reason="player_failed", blame="players", message="seat 1 crashed", seats=SEATS, seconds=2.25, attempts=2,
    started="2030-01-01T00:00:00+00:00", directory="episodes/duel-e0007-s49",
)  # fmt: skip
BATCH = Browsed(directory=Path("a b"), kind=Kind.BATCH, head=HEAD, episodes=(FAILED,))


def test_a_batch_says_how_much_of_it_there_is() -> None:
    """Counts by status, and what is not played yet."""
    assert heading(BATCH) == "a b: run 20300101-000000-aaaaaaaa, orchard 0.1.0, 3 episodes; 1 failed, 2 not played yet"
    empty = msgspec.structs.replace(BATCH, episodes=())
    assert heading(empty).endswith("3 episodes; 3 not played yet")
    assert heading(Browsed(directory=Path("r"), kind=Kind.RUNS, episodes=(FAILED,))) == "r: 1 episode; 1 failed"


def test_a_row_has_the_seats_and_marks_faults() -> None:
    """As many as there is room for, and how many more; single runs have an id in the place of block and seed."""
    sheet = episode_rows(BATCH, [FAILED])
    assert sheet.rows == [
        ("7", "failed", "player_failed", "duel", "3", "49", "greedy 12.5, random -!", "2.2s", "seat 1 crashed")
    ]
    crowd = msgspec.structs.replace(FAILED, seats=SEATS * 5, message="x" * 200)
    row = episode_rows(Browsed(directory=Path("r"), kind=Kind.RUNS), [crowd]).rows[0]
    assert row[1] == "duel-e0007-s49"
    assert row[-3].endswith("and 6 more")
    assert (len(row[-1]), row[-1][-3:]) == (80, "...")
    assert all(len(each) == len(sheet.headings) for each in sheet.rows)


def test_what_is_left_out_is_counted() -> None:
    """By the limit, by the filters, by both, or not at all."""
    assert left_out_line(5, 5, 5) == ""
    assert left_out_line(3, 5, 5) == "and 2 more: see --limit"
    assert left_out_line(3, 3, 9) == "3 of 9 episodes are like that"
    assert left_out_line(2, 3, 9) == "and 1 more: see --limit; 3 of 9 episodes are like that"
    assert left_out_line(0, 0, 9) == "none of 9 episodes is like that"


def test_the_story_has_everything_that_one_looks_for() -> None:
    """What it was, how it ended, where it failed, what was written, what to do, and what shows more."""
    story = Story(
        episode=FAILED,
        timeline=(Moment(at=0, text="playing"), Moment(at=2, text="player-1 ended: exit code 3", bad=True)),
        left_out=4,
        failed_at="while playing",
        logs=(LogTail(name="logs/policy_agent_1.log", size=9000, lines=("y" * 500,), whole=False),),
        step="read logs/policy_agent_1.log",
        troubles=("episode.json is not there",),
        files="/x",
    )
    assert list(story_head(story)) == [
        "episode 7  duel-e0007-s49  orchard 1  duel",
        "failed, player_failed (players): seat 1 crashed",
        "block 3, seed 49, which the game was not given, 2 attempts, took 2.2s, began 2030-01-01T00:00:00+00:00",
    ]
    assert seat_rows(story).rows[1] == ("1", "random", "-", "crashed, its own fault", "exit code 3")
    lines = list(story_end(story, BATCH, timeline=True))
    assert lines[0] == "where it failed: while playing"
    assert "      2.00s ! player-1 ended: exit code 3" in lines
    assert "  and 4 more: see --all-events" in lines
    assert "logs/policy_agent_1.log (9000 bytes), its end:" in lines
    assert max(map(len, lines)) < 320
    assert "missing: episode.json is not there" in lines
    assert lines[-4:] == [
        "try: read logs/policy_agent_1.log",
        "files: /x",
        "more: coworld-actors episodes 'a b' 7 --all-events",
        "      coworld-actors episodes 'a b' 7 --rerun",
    ]
    assert "what happened:" not in story_end(story, BATCH, timeline=False)


def test_an_overloaded_machine_is_told() -> None:
    """An invalid episode says what shows it."""
    view = msgspec.structs.replace(FAILED, status="invalid", overload="the loop was 2 s late")
    assert "the machine was choking: the loop was 2 s late" in story_head(Story(episode=view))


def test_a_second_time_is_the_same_or_not() -> None:
    """And without a seed it was not to be expected."""
    assert list(repeat_lines(FAILED, Contrast(same=True, notes=("n",)))) == [
        "the same as episode 7 before: its end, every seat and the results", "n",
    ]  # fmt: skip
    lines = list(repeat_lines(FAILED, Contrast(same=False, differences=("seat 0 scored 1, before 2",))))
    assert lines[0] == "not the same as episode 7 before:"
    assert "no seed" in lines[-1]
    seeded = msgspec.structs.replace(FAILED, seed_applied=True)
    assert len(list(repeat_lines(seeded, Contrast(same=False, differences=("x",))))) == 2
