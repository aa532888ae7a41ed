"""One episode closely: what happened, where it failed, what was written last; and what of that is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coworld_actors.batch.browse import browse
from coworld_actors.batch.story import MOMENTS, TAIL_BYTES, TAIL_LINES, Story, event_records, tell
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd
from tests.records import bad, record, seat


def event(at: float, kind: str, **fields: Any) -> str:
    return json.dumps(
        {"seq": 1, "time": 0, "at": at, "scope": "e", "actor": "", "incarnation": 0, "event": {"type": kind, **fields}}
    )


EVENTS = [
    event(10.0, "episode_started"),
    event(10.0, "phase_entered", phase="starting"),
    event(10.5, "phase_entered", phase="playing"),
    event(11.0, "seat_joined", slot=1),
    event(12.0, "role_ended", role="player", name="player-1", slot=1, end="exit code 3", ok=False),
    event(13.0, "role_ended", role="game", name="game", end="exit code 0", ok=True),
    event(13.0, "episode_ended", verdict={"reason": "player_failed", "message": "seat 1 crashed"}),
]
FAILED = record(
    bad(EndReason.PLAYER_FAILED, Blame.PLAYERS, failed_seats=(1,)),
    seats=(seat(0), seat(1, SeatEnd.CRASHED, fault=True, evidence="exit code 3")),
)


def run(directory: Path, made: EpisodeRecord | None, events: list[str] | None = None, **logs: str) -> Story:
    """The story of a run with these files."""
    (directory / "logs").mkdir(parents=True)
    (directory / "events.jsonl").write_text("".join(f"{each}\n" for each in events or []))
    if made is not None:
        (directory / "episode.json").write_bytes(msgspec.json.encode(made))
    for name, text in logs.items():
        (directory / "logs" / f"{name.replace('__', '.')}.log").write_text(text)
    return story(directory)


def story(directory: Path) -> Story:
    browsed = browse(directory)
    return tell(browsed, browsed.episodes[0])


def test_a_failed_episode_says_where_it_failed(tmp_path: Path) -> None:
    """In which phase, after how long, of what; times are those since its beginning, and the log of who is to blame comes first."""
    found = run(
        tmp_path / "r", FAILED, EVENTS, game__stderr="tick 1\n", policy_agent_0="fine\n", policy_agent_1="boom\n"
    )
    assert [(moment.at, moment.text) for moment in found.timeline] == [
        (0.0, "starting the game"),
        (0.5, "playing"),
        (1.0, "seat 1 is connected"),
        (2.0, "player-1 ended: exit code 3"),
        (3.0, "game ended: exit code 0"),
        (3.0, "verdict: seat 1 crashed"),
    ]
    assert found.failed_at == "while playing, 2.00 s after the start: player-1 ended: exit code 3"
    assert [log.name for log in found.logs] == [
        "logs/policy_agent_1.log", "logs/game.stderr.log", "logs/policy_agent_0.log",
    ]  # fmt: skip
    assert found.logs[0].lines == ("boom",)
    assert found.step == "read logs/policy_agent_1.log"
    assert found.troubles == ()


def test_a_good_episode_failed_nowhere(tmp_path: Path) -> None:
    """Even if a role ended with another code than 0, which a player may after the game."""
    assert run(tmp_path / "r", record(), EVENTS).failed_at == ""
    with_fault = msgspec.structs.replace(FAILED, verdict=record().verdict)
    assert "player-1 ended" in run(tmp_path / "s", with_fault, EVENTS).failed_at


def test_an_episode_that_was_killed_says_how_far_it_came(tmp_path: Path) -> None:
    """No record, an end in the middle: the last phase, and the logs that there are."""
    found = run(tmp_path / "r", None, EVENTS[:3], policy_agent_1="still thinking\n")
    assert found.failed_at == "the last thing it is known to have done: playing"
    assert [log.name for log in found.logs] == ["logs/policy_agent_1.log"]
    assert "episode.json is not there" in found.troubles[0]


def test_half_a_line_and_lines_that_are_no_records_are_told(tmp_path: Path) -> None:
    """What is there is shown."""
    found = run(tmp_path / "r", record(), [EVENTS[1], "[]", EVENTS[2]])
    assert [moment.text for moment in found.timeline] == ["starting the game", "playing"]
    assert found.troubles == ("line 2 of events.jsonl is no record",)
    with (tmp_path / "r" / "events.jsonl").open("a") as file:
        file.write('{"seq"')
    *whole, last = event_records(tmp_path / "r")
    assert len(whole) == 3
    assert last == "events.jsonl ends in half a line"


def test_missing_files_are_named(tmp_path: Path) -> None:
    """The events, or the whole directory."""
    run(tmp_path / "r", record())
    (tmp_path / "r" / "events.jsonl").unlink()
    assert story(tmp_path / "r").troubles == ("events.jsonl is not there",)
    browsed = browse(tmp_path / "r")
    gone = msgspec.structs.replace(browsed.episodes[0], directory="gone")
    assert tell(browsed, gone).troubles == ("its directory gone is gone",)
    none = msgspec.structs.replace(browsed.episodes[0], directory="")
    assert tell(browsed, none).troubles == ("it left no files",)


def test_links_that_a_role_made_are_not_followed(tmp_path: Path) -> None:
    """Neither in place of the events nor of a log."""
    run(tmp_path / "r", record())
    for name in ("events.jsonl", "logs/game.stderr.log"):
        (tmp_path / "r" / name).unlink(missing_ok=True)
        (tmp_path / "r" / name).symlink_to("/etc/passwd")
    found = story(tmp_path / "r")
    assert "root:" not in msgspec.json.encode(found).decode()
    assert "events.jsonl" in found.troubles[0]


@pytest.mark.parametrize("line", ["short", "x" * 1000])
def test_of_long_logs_the_end_is_shown(tmp_path: Path, line: str) -> None:
    """At most so many lines and bytes, beginning with a whole line, and marked as not all."""
    text = "".join(f"{number} {line}\n" for number in range(1000))
    tail = run(tmp_path / "r", record(), game__stdout=text).logs[0]
    assert tail.size == len(text)
    assert not tail.whole
    assert len(tail.lines) <= TAIL_LINES
    assert sum(map(len, tail.lines)) <= TAIL_BYTES
    assert tail.lines[-1] == f"999 {line}"
    assert all(each.endswith(line) for each in tail.lines)


def test_many_moments_are_counted(tmp_path: Path) -> None:
    """A timeline has an end; the rest is a number."""
    found = run(tmp_path / "r", record(), [event(n, "seat_joined", slot=n) for n in range(MOMENTS + 7)])
    assert (len(found.timeline), found.left_out) == (MOMENTS, 7)


@pytest.mark.parametrize(
    ("kind", "fields", "text", "bad_one"),
    [
        ("game_restarted", {"port": 5, "attempt": 1}, "port 5 was taken by somebody else; starting the game again", False),
        ("support_ended", {"role": "grader", "id": "g", "ok": False, "message": "no output"}, "grader g: no output", True),
        ("support_ended", {"role": "grader", "id": "g", "ok": True}, "grader g: done", False),
        (
            "chaos_injected", {"fault": "stall", "frame": 3, "slot": 1, "connection": 0},
            "chaos: stall at frame 3, seat 1, connection 0", False,
        ),
        ("actor_crashed", {"error": "GameNotServing", "message": "no"}, "an actor failed: GameNotServing: no", True),
    ],
)  # fmt: skip
def test_events_have_sentences(tmp_path: Path, kind: str, fields: dict[str, Any], text: str, bad_one: bool) -> None:
    """Each kind that a person looks for."""
    moment = run(tmp_path / "r", record(), [event(0, kind, **fields)]).timeline[0]
    assert (moment.text, moment.bad) == (text, bad_one)
