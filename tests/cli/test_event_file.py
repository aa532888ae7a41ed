"""Where `--events` may point, and what becomes of a file that is there already."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from coworld_actors.actors import EventStream, open_system
from coworld_actors.cli.event_file import EventFile
from coworld_actors.episode.events import EpisodeStarted, Phase, PhaseEntered
from coworld_protocol.errors import PreconditionMissing, Refused

STARTED = EpisodeStarted(coworld="c", variant="v", seats=("a", "b"), directory="d", deadline=1.0)
PHASE = PhaseEntered(phase=Phase.STARTING)


@pytest.fixture
def full() -> Generator[int]:
    """A descriptor to which nothing can be written."""
    with Path("/dev/full").open("wb", buffering=0) as file:
        yield file.fileno()


def nothing_fails() -> None:
    raise AssertionError("the file could not be made")


async def publish(
    file: EventFile, before_start: Callable[[], object], failed: Callable[[], None] = nothing_fails
) -> None:
    """A system that says something, whose episode starts after `before_start` was called."""
    with file:
        async with open_system("test") as system:
            with file.follow(system.events, failed):
                system.events.publish(PHASE, scope="e")
                before_start()
                system.events.publish(STARTED, scope="e")
                system.events.publish(PHASE, scope="e")
            assert_nobody_listens(system.events)


def assert_nobody_listens(stream: EventStream) -> None:
    assert stream.statistics().subscribers == 0
    assert stream.statistics().failed == 0


def kinds(path: Path) -> list[str]:
    return [json.loads(line)["event"]["type"] for line in path.read_text().splitlines()]


async def test_every_event_is_a_line(tmp_path: Path) -> None:
    """From the first one on; a file that was there and empty serves as well."""
    path = tmp_path / "all.jsonl"
    path.touch()
    file = EventFile(path, tmp_path / "run", 2)
    await publish(file, before_start=lambda: None)
    assert kinds(path) == ["phase_entered", "episode_started", "phase_entered"]
    assert file.trouble is None


async def test_a_file_inside_the_run_waits_for_its_directory(tmp_path: Path) -> None:
    """The run's directory has to be new: the file is made when it is there, and what happened before is in it."""
    output = tmp_path / "run"
    file = EventFile(output / "all.jsonl", output, 2)
    assert not output.exists()
    await publish(file, before_start=output.mkdir)
    assert kinds(output / "all.jsonl") == ["phase_entered", "episode_started", "phase_entered"]
    assert file.trouble is None


async def test_a_file_inside_the_run_that_cannot_be_made_stops_it(tmp_path: Path) -> None:
    """The run is told once, before a role is started, and why is kept."""
    output = tmp_path / "run"
    file = EventFile(output / "all.jsonl", output, 2)
    told: list[str] = []
    await publish(file, before_start=lambda: None, failed=lambda: told.append("failed"))
    assert told == ["failed"]
    assert file.trouble is not None
    assert "No such file or directory" in file.trouble.what


def test_a_pipe_is_refused_without_waiting_for_its_reader(tmp_path: Path) -> None:
    """With or without somebody at its other end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused, match="no regular file"):
        EventFile(tmp_path / "pipe", tmp_path / "run", 2)
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(Refused, match="no regular file"):
            EventFile(tmp_path / "pipe", tmp_path / "run", 2)
    finally:
        os.close(reader)


@pytest.mark.parametrize("path", ["/dev/full", "/dev/null", "."])
def test_neither_is_a_device_nor_a_directory_a_file(tmp_path: Path, path: str) -> None:
    """What is there stays what it is."""
    with pytest.raises(Refused, match="no regular file") as caught:
        EventFile(Path(path), tmp_path / "run", 2)
    assert caught.value.todo


def test_a_file_with_something_in_it_is_never_overwritten(tmp_path: Path) -> None:
    """A manifest, say; also behind a link."""
    path = tmp_path / "coworld_manifest.json"
    path.write_text("{}")
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "link"):
        with pytest.raises(Refused, match="has something in it"):
            EventFile(name, tmp_path / "run", 2)
    assert path.read_text() == "{}"


@pytest.mark.parametrize(
    "name",
    ["events.jsonl", "results.json", "config.json", "logs/all.jsonl", "players", "policy_artifact_1.zip", "bundle.zip"],
)
def test_a_name_that_a_file_of_the_run_will_have_is_refused(tmp_path: Path, name: str) -> None:
    """Otherwise our copy would be taken for the game's results, or theirs would end ours."""
    with pytest.raises(Refused) as caught:
        EventFile(tmp_path / "run" / name, tmp_path / "run", 2)
    assert caught.value.todo


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(PreconditionMissing, match="No such file or directory"):
        EventFile(tmp_path / "nowhere/all.jsonl", tmp_path / "run", 2)


@pytest.mark.parametrize("there", [True, False])
def test_a_run_that_was_not_played_leaves_no_file(tmp_path: Path, there: bool) -> None:
    """What was made for it goes, so that the same command can be given again; what was there stays."""
    path = tmp_path / "all.jsonl"
    if there:
        path.touch()
    with pytest.raises(Refused, match="not now"), EventFile(path, tmp_path / "run", 2):
        raise Refused("not now")
    assert path.exists() is there


async def test_a_file_that_cannot_be_written_any_more_is_not_complete(tmp_path: Path, full: int) -> None:
    """The system goes on without it, and the reason is kept."""
    file = EventFile(tmp_path / "all.jsonl", tmp_path / "run", 2)
    assert file._file is not None
    os.dup2(full, file._file.fileno())
    await publish(file, before_start=lambda: None)
    assert file.trouble is not None
    assert "is not complete: No space left on device" in file.trouble.what
