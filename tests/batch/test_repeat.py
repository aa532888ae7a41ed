"""Two times the same episode: what is called the same, and what is named when it is not."""

from __future__ import annotations

from pathlib import Path

import msgspec

from coworld_actors.batch.browse import EpisodeView, SeatView
from coworld_actors.batch.repeat import contrast
from coworld_actors.episode.verdict import EndReason, SeatEnd
from tests.records import bad, record, seat

BEFORE = EpisodeView(
    index=3, id="e", reason="completed",
    seats=(SeatView(player="a", score=0.0, end="finished"), SeatView(player="b", score=1.0, end="finished")),
)  # fmt: skip


def files(place: Path, results: str = '{"scores": [0, 1]}', replay: str = "r") -> Path:
    place.mkdir()
    (place / "results.json").write_text(results)
    (place / "replay").write_text(replay)
    return place


def test_the_same_is_the_same(tmp_path: Path) -> None:
    """Reason, ends, scores and results; spaces and the order of keys make no difference."""
    first = files(tmp_path / "1", '{"scores": [0, 1], "x": 1}')
    again = record(directory=str(files(tmp_path / "2", '{"x":1,"scores":[0,1]}')))
    found = contrast(BEFORE, first, again)
    assert found.same
    assert found.notes == ("the replays are equal byte by byte",)


def test_replays_that_differ_are_a_note(tmp_path: Path) -> None:
    """A time of day in them says nothing about the game."""
    again = record(directory=str(files(tmp_path / "2", replay="other")))
    found = contrast(BEFORE, files(tmp_path / "1"), again)
    assert found.same
    assert found.notes == ("the replays differ, which the results do not",)


def test_every_difference_is_named(tmp_path: Path) -> None:
    """Of the episode, each seat, and the results."""
    again = record(
        bad(EndReason.PLAYER_FAILED),
        seats=(seat(0, score=5.0), seat(1, SeatEnd.CRASHED, fault=True, score=None)),
        directory=str(files(tmp_path / "2", '{"scores": []}', "x")),
    )
    found = contrast(BEFORE, files(tmp_path / "1"), again)
    assert not found.same
    assert found.differences == (
        "it ended by player_failed, before by completed",
        "seat 0 (a) scored 5, before 0",
        "seat 1 (b) scored nothing, before 1",
        "seat 1 (b) ended by crashed, before by finished",
        "results.json is another one",
    )
    assert found.notes == ("the replays differ, too",)


def test_who_is_left_behind_by_a_crash_may_end_in_any_way(tmp_path: Path) -> None:
    """That is a race, and a note; a fault that was none before is a difference."""
    before = msgspec.structs.replace(BEFORE, reason="game_crashed")
    seats = (seat(0, SeatEnd.ORPHANED, score=0.0), seat(1))
    found = contrast(before, None, record(bad(EndReason.GAME_CRASHED), seats=seats, directory=str(tmp_path)))
    assert found.same
    assert found.notes[0] == "seat 0 (a) ended by orphaned, before by finished"
    seats = (seat(0, SeatEnd.CRASHED, fault=True, score=0.0), seat(1))
    assert not contrast(before, None, record(bad(EndReason.GAME_CRASHED), seats=seats, directory=str(tmp_path))).same


def test_without_files_of_the_first_time_the_line_is_compared(tmp_path: Path) -> None:
    """They may be gone, or were never kept."""
    for gone in (None, tmp_path / "gone"):
        found = contrast(BEFORE, gone, record(directory=str(tmp_path)))
        assert found.same
        assert found.notes == ("the first time left no files to compare",)


def test_an_episode_that_never_ended_has_nothing_to_be_the_same_as(tmp_path: Path) -> None:
    """What was open is not the same as an end."""
    open_one = msgspec.structs.replace(BEFORE, reason="", seats=())
    assert contrast(open_one, None, record()).differences == ("it ended by completed, before by nothing that is known",)
