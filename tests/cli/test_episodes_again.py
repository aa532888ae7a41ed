"""An episode of a batch played once more: the same seed, the same seats, and what is not the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from coworld_actors.batch.store import BatchHead
from tests.cli.played import command, play_batch


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes, of which the second one failed."""
    return play_batch(tmp_path_factory.mktemp("played"))


@pytest.fixture
def batch(played: Path, tmp_path: Path) -> Path:
    """A copy of that batch and its manifest, to be changed."""
    copy = tmp_path / "copy"
    shutil.copytree(played.parent, copy)
    change_head(copy / "batch", manifest=str(copy / "coworld" / "coworld_manifest.json"))
    return copy / "batch"


def change_head(batch: Path, **options: object) -> None:
    head = msgspec.json.decode((batch / "batch.json").read_bytes(), type=BatchHead)
    changed = msgspec.structs.replace(head, options=msgspec.structs.replace(head.options, **options))
    (batch / "batch.json").write_bytes(msgspec.json.encode(changed))


def test_a_good_and_a_failed_episode_are_the_same_again(batch: Path) -> None:
    """Same seed, same seats, same end; the new files are in a directory of their own, and the batch is as it was."""
    lines = (batch / "episodes.jsonl").read_bytes()
    done = command("episodes", batch, "2", "--rerun", "--output", "again", cwd=batch.parent)
    assert done.returncode == 0, done.stderr
    assert "the same as episode 2 before" in done.stdout
    assert "equal byte by byte" in done.stdout
    config = json.loads((batch.parent / "again" / "config.json").read_bytes())
    before = next((batch / "episodes").glob("certification-e0002-*")) / "config.json"
    assert config["seed"] == 44
    assert config["players"] == json.loads(before.read_bytes())["players"]
    failed = command("episodes", batch, "1", "--rerun", "--json", cwd=batch.parent)
    document = json.loads(failed.stdout)
    assert (failed.returncode, document["exit_code"]) == (1, 1)
    assert document["contrast"]["same"]
    assert document["episodes"][0]["verdict"]["reason"] == "game_crashed"
    assert document["changed"] == []
    assert (batch / "episodes.jsonl").read_bytes() == lines


def test_what_has_changed_since_is_said(batch: Path) -> None:
    """The manifest is another one: a warning before, and every difference after."""
    manifest = batch.parent / "coworld" / "coworld_manifest.json"
    manifest.write_text(manifest.read_text().replace('"VALUE": "3"', '"VALUE": "9"'))
    done = command("episodes", batch, "0", "--rerun", cwd=batch.parent)
    assert done.returncode == 0, done.stderr
    assert "warning: this is not what was played before: the manifest's text has changed" in done.stderr
    assert "not the same as episode 0 before" in done.stdout
    assert "(strong) scored 9, before 3" in done.stdout


def test_an_episode_without_an_end_is_played_as_the_schedule_has_it(batch: Path) -> None:
    """Its line is not there: whoever played it was killed."""
    lines = (batch / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (batch / "episodes.jsonl").write_bytes(b"".join(each for each in lines if json.loads(each)["index"] != 2))
    done = command("episodes", batch, "2", "--rerun", "--output", "again", cwd=batch.parent)
    assert done.returncode == 0, done.stderr
    assert "before by nothing that is known" in done.stdout
    assert json.loads((batch.parent / "again" / "config.json").read_bytes())["seed"] == 44


@pytest.mark.parametrize(
    ("options", "more", "what", "todo"),
    [
        (
            {"players": ("cmd:./bot", "weak"), "directory": "/elsewhere"},
            [],
            "started in the working directory",
            "cd /elsewhere",
        ),
        ({"secrets": ("KEY",)}, [], "secret variable KEY", "--secret-env KEY"),
        ({}, ["--secret-env", "KEY=1"], "had no secret variable KEY", "leave it out"),
        ({"players": ("weak", "strong")}, [], "the players of this batch are others now", "undo"),
        ({"manifest": "/nowhere/coworld_manifest.json"}, [], "/nowhere/coworld_manifest.json", ""),
    ],
)
def test_what_cannot_be_played_as_it_was_is_refused(
    batch: Path, options: dict[str, object], more: list[str], what: str, todo: str
) -> None:
    """With the next step, before anything is written."""
    change_head(batch, **options)
    done = command("episodes", batch, "0", "--rerun", *more, cwd=batch.parent)
    assert done.returncode in {2, 3}
    assert what in done.stderr
    assert todo in done.stderr
    assert not (batch.parent / "runs").exists()


def test_a_directory_that_is_not_new_is_refused(batch: Path) -> None:
    """Files of two runs are never mixed."""
    done = command("episodes", batch, "0", "--rerun", "--output", batch, cwd=batch.parent)
    assert done.returncode == 2
    assert "is not empty" in done.stderr


def test_a_single_run_does_not_know_what_it_was_played_from(batch: Path) -> None:
    """And says how to have that."""
    place = next((batch / "episodes").glob("certification-e0001-*"))
    done = command("episodes", place, "--rerun", cwd=batch.parent)
    assert done.returncode == 2
    assert "-n 1" in done.stderr
