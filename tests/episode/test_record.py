"""What an episode leaves for readers: its events as they come, its record at the end, its error for the contract."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coworld_actors.actors import ActorSystem, Event, Record
from coworld_actors.episode import events
from coworld_actors.episode.chaos import Direction, Fault
from coworld_actors.episode.events import Phase, PhaseEntered, RoleEnded, RoleStarted
from coworld_actors.episode.record import EpisodeRecord, Recorder, write_record
from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd
from coworld_actors.episode.workspace import FOR_READERS, Workspace
from coworld_drivers.driver import Usage
from coworld_protocol.errors import PreconditionMissing
from tests.disks import SIZE, is_full
from tests.records import GOOD, bad, record, seat

EVERY = [
    events.EpisodeStarted(coworld="c", variant="v", seats=("a",), directory="d", deadline=1.0),
    events.PhaseEntered(phase=Phase.PLAYING),
    events.RoleStarted(role="game", name="game"),
    events.GameRestarted(port=1, attempt=1),
    events.OldNamesSpoken(),
    events.SeatJoined(slot=0),
    events.ChaosInjected(slot=0, connection=0, direction=Direction.TO_GAME, fault=Fault.STALL, frame=3, seconds=0.5),
    events.RoleEnded(role="player", name="player-0", end="exit code 0", ok=True, slot=0),
    events.SupportEnded(role="grader", id="g", ok=False, message="m"),
    events.EpisodeEnded(verdict=GOOD, seats=(seat(0),)),
]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_event_of_an_episode_is_here() -> None:
    """What is added to the module is written by these tests, too."""
    assert {type(event).__name__ for event in EVERY} | {"Phase"} == set(events.__all__)


async def test_every_event_is_a_line_with_its_tag(system: ActorSystem, workspace: Workspace) -> None:
    """One JSON object a line, as it happens, tagged in snake case; another episode's events are not in it."""
    recorder = Recorder(workspace, system.events, "e-1")
    for number, event in enumerate(EVERY, 1):
        system.events.publish(event, scope="e-1")
        system.events.publish(event, scope="e-2")
        assert len(lines(workspace.events)) == number
    recorder.close()
    written = lines(workspace.events)
    assert {line["scope"] for line in written} == {"e-1"}
    assert [line["event"]["type"] for line in written] == [
        "episode_started",
        "phase_entered",
        "role_started",
        "game_restarted",
        "old_names_spoken",
        "seat_joined",
        "chaos_injected",
        "role_ended",
        "support_ended",
        "episode_ended",
    ]


async def test_after_its_end_nothing_is_written(system: ActorSystem, workspace: Workspace) -> None:
    """A closed recorder has left the stream."""
    recorder = Recorder(workspace, system.events, "e-1")
    recorder.close()
    system.events.publish(EVERY[0], scope="e-1")
    assert workspace.events.read_bytes() == b""
    assert system.events.statistics().failed == 0


async def test_times_are_told_from_the_first_event(system: ActorSystem, workspace: Workspace) -> None:
    """Phases follow each other without a gap; a process whose end was not seen has no length."""
    recorder = Recorder(workspace, system.events, "e-1")
    happened: list[Event] = [
        PhaseEntered(phase=Phase.STARTING),
        RoleStarted(role="game", name="game"),
        PhaseEntered(phase=Phase.PLAYING),
        RoleStarted(role="player", name="player-0", slot=0),
        RoleEnded(role="game", name="game", end="exit code 0", ok=True, usage=Usage(cpu_seconds=1.5, peak_memory=4096)),
    ]
    for event in happened:
        system.events.publish(event, scope="e-1")
    now = system.events.now()
    phases = recorder.phases(now)
    assert [phase.phase for phase in phases] == [Phase.STARTING, Phase.PLAYING]
    assert phases[0].start == 0
    assert phases[1].start == pytest.approx(phases[0].seconds, abs=1e-5)
    assert sum(phase.seconds for phase in phases) == pytest.approx(recorder.seconds(now), abs=1e-5)
    game, player = recorder.actors()
    assert game.seconds is not None
    assert (game.cpu_seconds, game.peak_memory) == (1.5, 4096)
    assert (player.slot, player.seconds, player.cpu_seconds, player.peak_memory) == (0, None, None, None)
    assert recorder.started.endswith("+00:00")
    recorder.close()


async def test_of_a_game_that_was_started_again_the_last_start_is_told(
    system: ActorSystem, workspace: Workspace
) -> None:
    """The end of the one before is not its end."""
    recorder = Recorder(workspace, system.events, "e-1")
    started = RoleStarted(role="game", name="game")
    ended = RoleEnded(role="game", name="game", end="x", ok=False, usage=Usage(cpu_seconds=1.0))
    for event in (started, ended, started):
        system.events.publish(event, scope="e-1")
    (game,) = recorder.actors()
    assert (game.seconds, game.cpu_seconds) == (None, None)
    recorder.close()


async def test_a_recorder_without_events_has_no_times(system: ActorSystem, workspace: Workspace) -> None:
    """An episode that did not begin took no time."""
    recorder = Recorder(workspace, system.events, "e-1")
    assert (recorder.seconds(5.0), recorder.phases(5.0), recorder.actors()) == (0.0, (), ())
    recorder.close()


async def test_a_full_disk_is_noted_and_harms_no_publisher(system: ActorSystem, small: Path) -> None:
    """The first failure is kept for the verdict; what follows is dropped."""
    recorder = Recorder(Workspace.create(small / "run", 0), system.events, "e-1")
    long = events.SupportEnded(role="grader", id="g", ok=False, message="x" * (SIZE // 4))
    for _ in range(8):
        system.events.publish(long, scope="e-1")
    assert recorder.write_error is not None
    assert is_full(str(recorder.write_error))
    assert system.events.statistics().failed == 0
    recorder.close()


async def test_events_that_cannot_be_written_at_all_are_a_missing_precondition(
    system: ActorSystem, workspace: Workspace
) -> None:
    """Said before anything is played, with the next step; nobody listens."""
    workspace.events.mkdir()
    with pytest.raises(PreconditionMissing, match=r"events\.jsonl cannot be written") as caught:
        Recorder(workspace, system.events, "e-1")
    assert "--output" in caught.value.todo
    assert system.events.statistics().subscribers == 0


def test_a_good_record_is_read_back_as_it_was(workspace: Workspace) -> None:
    """`episode.json` holds everything; a good episode has no error."""
    made = record()
    write_record(workspace, made)
    assert msgspec.json.decode(workspace.episode.read_bytes(), type=EpisodeRecord) == made
    assert not workspace.error_info.exists()


@pytest.mark.parametrize(
    ("blame", "failed", "index"),
    [
        (Blame.GAME, (1,), None),
        (Blame.PLAYERS, (1, 2), 1),
        (Blame.CALLER, (), None),
        (Blame.INFRASTRUCTURE, (0,), None),
    ],
)
def test_an_error_names_a_seat_only_where_players_are_to_blame(
    workspace: Workspace, blame: Blame, failed: tuple[int, ...], index: int | None
) -> None:
    """The contract has room for one seat: the first bad one."""
    made = record(bad(EndReason.PLAYER_FAILED, blame, failed_seats=failed), seats=(seat(0, SeatEnd.CRASHED),))
    write_record(workspace, made)
    assert json.loads(workspace.error_info.read_text()) == {
        "error_type": "game_unhealthy",
        "message": "it went wrong",
        "failed_policy_index": index,
    }


def test_records_are_made_for_readers(workspace: Workspace) -> None:
    """Both documents may be read by whoever may read the directory, unlike the configuration with its tokens."""
    before = os.umask(0o022)
    try:
        write_record(workspace, record(bad(EndReason.PLAYER_FAILED, Blame.PLAYERS)))
    finally:
        os.umask(before)
    for path in (workspace.episode, workspace.error_info):
        assert stat.S_IMODE(path.stat().st_mode) == FOR_READERS


async def test_a_subscriber_that_raises_harms_no_episode(play, tmp_path: Path) -> None:
    """It is unsubscribed after its first error; the episode is good and its own events are complete."""
    seen: list[Record] = []

    def trip(event: Record) -> None:
        seen.append(event)
        raise RuntimeError("a display is broken")

    made: EpisodeRecord = await play(subscriber=trip)
    assert made.verdict.good, made.verdict
    assert len(seen) == 1
    assert {"type": "phase_entered", "phase": "done"} in [
        line["event"] for line in lines(tmp_path / "run/events.jsonl")
    ]


async def test_a_game_that_takes_our_names_stops_and_redirects_nothing(play, tmp_path: Path) -> None:
    """Links, files and directories under the names of our own files are set aside; everything lands where it belongs."""
    made: EpisodeRecord = await play("takes_our_names", reporters=("works",), graders=("works",), verify_replay=True)
    assert made.verdict.good, made.verdict
    assert [report.ok for report in made.reports] == [True, True], made.reports
    run = tmp_path / "run"
    assert list((run / "elsewhere").iterdir()) == []
    assert (run / "reports/works/summary.html").is_file()
    assert (run / "grades/works.json").is_file()
    assert msgspec.json.decode((run / "episode.json").read_bytes(), type=EpisodeRecord) == made


async def test_a_recorder_without_a_descriptor_writes_when_the_play_begins_and_at_the_end(
    system: ActorSystem, workspace: Workspace
) -> None:
    """For thousands of episodes at once: the same lines, in few pieces; much at once does not wait."""
    recorder = Recorder(workspace, system.events, "e-1")
    recorder.release()
    started = EVERY[0]
    system.events.publish(started, scope="e-1")
    assert lines(workspace.events) == []
    system.events.publish(PhaseEntered(phase=Phase.PLAYING), scope="e-1")
    assert [line["event"]["type"] for line in lines(workspace.events)] == ["episode_started", "phase_entered"]
    for _ in range(200):
        system.events.publish(started, scope="e-1")
    assert 2 < len(lines(workspace.events)) < 202
    recorder.flush()
    assert len(lines(workspace.events)) == 202
    system.events.publish(EVERY[-1], scope="e-1")
    recorder.close()
    assert len(lines(workspace.events)) == 203
    assert recorder.write_error is None


async def test_a_recorder_without_a_descriptor_follows_no_link(system: ActorSystem, workspace: Workspace) -> None:
    """What a role put in the place of the events makes the episode one of a faulty machine, and is not written to."""
    told: list[bool] = []
    recorder = Recorder(workspace, system.events, "e-1", on_error=lambda: told.append(True))
    recorder.release()
    workspace.events.unlink()
    victim = workspace.root / "victim"
    victim.write_text("mine")
    workspace.events.symlink_to(victim)
    system.events.publish(PhaseEntered(phase=Phase.PLAYING), scope="e-1")
    recorder.close()
    assert recorder.write_error is not None
    assert told == [True]
    assert victim.read_text() == "mine"
