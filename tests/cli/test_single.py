"""Behind the command: what is refused before anything starts, what is written, and what is left after the worst."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec
import psutil
import pytest

from coworld_actors.cli.event_file import EventFile
from coworld_actors.cli.exits import Exit
from coworld_actors.cli.screen import Detail
from coworld_actors.cli.single import Options, exit_code_of, play_single
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import Limits, new_id
from coworld_actors.episode.verdict import EndReason
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from tests.coworlds import scripted_manifest, write_coworld
from tests.disks import is_full, small_disk
from tests.records import bad, record


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Options]:
    """Makes options for a scripted Coworld, quiet, in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    def make(behaviour: str = "plays", **more: object) -> Options:
        manifest = scripted_manifest(behaviour, graders=("works",) if more.pop("graded", False) else ())
        path = write_coworld(tmp_path / "coworld", manifest)
        return msgspec.structs.replace(Options(manifest=str(path), detail=Detail.QUIET), **more)

    return make


@pytest.fixture
def small(tmp_path: Path) -> Generator[Path]:
    """A directory with room for 64 KiB."""
    with small_disk(tmp_path / "small") as path:
        yield path


def test_runs_get_directories_of_their_own_and_the_latest_is_named(options, tmp_path: Path) -> None:
    """Two runs in one second do not meet; `runs/latest` leads to the last one."""
    assert play_single(options()).exit_code is Exit.GOOD
    first = (tmp_path / "runs/latest").resolve()
    assert play_single(options()).exit_code is Exit.GOOD
    second = (tmp_path / "runs/latest").resolve()
    assert first != second
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted([first.name, second.name, "latest"])
    assert (tmp_path / "runs/latest").readlink() == Path(second.name)


def test_a_directory_of_the_callers_is_not_linked(options, tmp_path: Path) -> None:
    """With --output nothing but that directory is written."""
    before = set(os.listdir(tmp_path))
    assert play_single(options(output=tmp_path / "out/put")).exit_code is Exit.GOOD
    assert set(os.listdir(tmp_path)) - before == {"coworld", "out"}
    assert os.listdir(tmp_path / "out") == ["put"]


def test_a_latest_that_is_no_link_is_no_reason_to_fail(options, tmp_path: Path) -> None:
    """What somebody put there stays."""
    (tmp_path / "runs/latest").mkdir(parents=True)
    (tmp_path / "runs/latest/mine").touch()
    assert play_single(options()).exit_code is Exit.GOOD
    assert (tmp_path / "runs/latest/mine").exists()
    assert not [path for path in (tmp_path / "runs").iterdir() if path.name.startswith(".latest")]


@pytest.mark.parametrize(("behaviour", "code"), [("plays", Exit.GOOD), ("no_results", Exit.FAILED)])
def test_the_exit_code_is_the_verdict(options, behaviour: str, code: Exit) -> None:
    """Good is 0, anything else that was played is 1."""
    assert play_single(options(behaviour)).exit_code is code


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"manifest": "nowhere.json"}, Refused),
        ({"variant": "moon"}, Refused),
        ({"overrides": ("ticks=0",)}, Refused),
        ({"players": ("nobody",)}, Refused),
        ({"images": {"scripted:1": "/no/such/place"}}, PreconditionMissing),
        ({"events": Path("no/such/directory/all.jsonl")}, PreconditionMissing),
        ({"events": Path("/dev/full")}, Refused),
        ({"events": Path("coworld/coworld_manifest.json")}, Refused),
        ({"events": Path(os.fsdecode(b"all\xff.jsonl"))}, Refused),
        ({"output": Path(os.fsdecode(b"out\xff"))}, Refused),
    ],
)
def test_what_cannot_be_played_writes_nothing(options, tmp_path: Path, change: dict, error: type[CoworldError]) -> None:
    """It is refused before a directory is made."""
    with pytest.raises(error) as caught:
        play_single(options(**change))
    assert caught.value.todo
    assert not (tmp_path / "runs").exists()


def test_an_event_file_that_is_not_complete_is_said_beside_the_outcome(
    options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The episode is played, recorded and shown all the same: only the copy is missing, and the exit code says so."""

    class OnAFullDisk(EventFile):
        def _open(self) -> None:
            self._file = os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)

    monkeypatch.setattr("coworld_actors.cli.single.EventFile", OnAFullDisk)
    outcome = play_single(options(events=tmp_path / "all.jsonl", output=tmp_path / "out"))
    assert outcome.exit_code == Exit.PRECONDITION
    (record,) = outcome.episodes
    assert msgspec.json.decode((tmp_path / "out/episode.json").read_bytes(), type=EpisodeRecord) == record
    assert isinstance(outcome.error, PreconditionMissing)
    assert "is not complete: No space left" in outcome.error.what
    assert "scores 0=3, 1=3" in capsys.readouterr().out


def test_an_event_file_may_be_in_the_runs_directory(options, tmp_path: Path) -> None:
    """Which has to be new: the file is made in it before a role is started."""
    assert play_single(options(events=tmp_path / "out/all.jsonl", output=tmp_path / "out")).exit_code is Exit.GOOD
    kinds = [json.loads(line)["event"]["type"] for line in (tmp_path / "out/all.jsonl").read_text().splitlines()]
    assert {"episode_started", "role_started", "episode_ended"} <= set(kinds)
    assert play_single(options(events=tmp_path / "out/all.jsonl.2", output=tmp_path / "else")).exit_code is Exit.GOOD


def test_an_error_in_a_group_of_one_is_that_error(options, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nurseries wrap what passes them; a user has nothing to do with that."""

    async def broken(*_: object, **__: object) -> None:
        raise ExceptionGroup("", [ExceptionGroup("", [PreconditionMissing("no room", todo="make some")])])

    monkeypatch.setattr("coworld_actors.runtime.runtime.run_episode", broken)
    with pytest.raises(PreconditionMissing, match="no room"):
        play_single(options())


@pytest.mark.parametrize(
    ("reason", "received", "code"),
    [
        (EndReason.INFRASTRUCTURE, None, Exit.PRECONDITION),
        (EndReason.INTERNAL, None, Exit.INTERNAL),
        (EndReason.STALLED, None, Exit.FAILED),
        (EndReason.INFRASTRUCTURE, signal.SIGINT, Exit.INTERRUPTED),
        (EndReason.CANCELLED, signal.SIGTERM, Exit.TERMINATED),
    ],
)
def test_a_failure_of_the_machine_is_told_apart_from_one_of_the_episode(
    reason: EndReason, received: int | None, code: Exit
) -> None:
    """As it is where the same full disk is found before the episode; a signal's code comes first."""
    assert exit_code_of(record(bad(reason)), received) is code


def test_ids_of_one_second_differ() -> None:
    """Many runs are started by a loop of a shell at once."""
    assert len({new_id() for _ in range(2000)}) == 2000


def test_the_event_file_holds_the_whole_system(options, tmp_path: Path) -> None:
    """One JSON object a line, the actors' own events included."""
    assert play_single(options(events=tmp_path / "all.jsonl")).exit_code is Exit.GOOD
    kinds = {json.loads(line)["event"]["type"] for line in (tmp_path / "all.jsonl").read_text().splitlines()}
    assert {"actor_started", "role_started", "episode_ended"} <= kinds


def test_a_disk_that_fills_up_blames_no_role(options, small: Path) -> None:
    """A game that writes more than there is room for: the machine is to blame, in the record or in the error."""
    try:
        code = play_single(options("floods", output=small / "run", limits=Limits(timeout=10, player_grace=2))).exit_code
    except PreconditionMissing as error:
        assert is_full(error.what)  # noqa: PT017 - either way of saying so is right
        assert not (small / "run/episode.json").exists()
    else:
        assert code is Exit.PRECONDITION
        verdict = json.loads((small / "run/episode.json").read_text())["verdict"]
        assert (verdict["reason"], verdict["blame"]) == ("infrastructure", "infrastructure")


def test_after_sigkill_every_line_that_was_written_is_whole(options, tmp_path: Path) -> None:
    """No record and no half-written file is left, the events so far can be read, and the roles are gone."""
    path = options("endless").manifest
    command = [sys.executable, "-m", "coworld_actors", "run", path, "--output", str(tmp_path / "out"), "--quiet"]
    process = subprocess.Popen(command)
    end = time.monotonic() + 60
    log = tmp_path / "out/logs/policy_agent_1.log"
    while time.monotonic() < end and not (log.exists() and "connected" in log.read_text()):
        time.sleep(0.05)
    roles = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert len(roles) >= 3
    assert psutil.wait_procs(roles, timeout=5)[1] == []
    assert not (tmp_path / "out/episode.json").exists()
    assert [name for name in os.listdir(tmp_path / "out") if name.startswith(".")] == []
    lines = (tmp_path / "out/events.jsonl").read_text().splitlines()
    assert {"episode_started", "role_started"} <= {json.loads(line)["event"]["type"] for line in lines}
