"""The command `replay`, as a person gives it: what a run's directory needs, what a bare file needs, and what is refused."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from coworld_actors.cli import cli
from tests.cli.played import command
from tests.coworlds import scripted_manifest, write_coworld

ORCHARD = Path(__file__).parents[2] / "examples/orchard/coworld_manifest.json"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a Coworld, `runs/latest` and nothing else."""
    place = tmp_path_factory.mktemp("played")
    manifest = write_coworld(place / "coworld", scripted_manifest())
    done = command("run", manifest, "--quiet", cwd=place)
    assert done.returncode == 0, done.stderr
    return place


def test_a_run_remembers_its_manifest(played: Path) -> None:
    """As it was given, and where that is; the replay can be checked with the directory alone."""
    record = json.loads((played / "runs/latest/episode.json").read_text())
    place = str(played / "coworld/coworld_manifest.json")
    assert record["manifest"] == {"source": place, "place": place}
    done = command("replay", "runs/latest", "--verify", "--json", cwd=played)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["replay"] == {
        "episode": record["id"],
        "manifest": place,
        "coworld": "scripted",
        "shown": True,
    }


@pytest.mark.parametrize("driver", ["process", "inproc"])
def test_an_episode_of_a_batch_remembers_it_too(tmp_path: Path, driver: str) -> None:
    """Also one that a worker process has played: its directory is all that has to be named."""
    size = ("--variant", "duel", "--set", "max_ticks=3")
    batch = tmp_path / "batch"
    done = command("run", ORCHARD, *size, "-n", "1", "--driver", driver, "--output", batch, "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (episode,) = (path.parent for path in batch.rglob("episode.json"))
    done = command("replay", episode, "--verify", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command("replay", batch, "--verify", cwd=tmp_path)
    assert done.returncode == 2
    assert "name the directory of one of its episodes" in done.stderr


@pytest.mark.parametrize("option", ["--verify", "--verify-replay"])
def test_a_packed_file_is_checked_with_a_manifest(played: Path, tmp_path: Path, option: str) -> None:
    """`.gz` and `.z`; without the manifest the error says what is missing."""
    data = (played / "runs/latest/replay").read_bytes()
    for name, packed in (("a.gz", gzip.compress(data)), ("a.z", zlib.compress(data))):
        (tmp_path / name).write_bytes(packed)
        done = command("replay", tmp_path / name, option, "--manifest", played / "coworld", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "the replay loads" in done.stderr
        done = command("replay", tmp_path / name, option, cwd=tmp_path)
        assert done.returncode == 2
        assert "try: name the game's manifest with --manifest" in done.stderr


def test_a_replay_that_does_not_load_is_1_with_the_reason(played: Path, tmp_path: Path) -> None:
    """The game's last words are shown: its log goes with the command."""
    (tmp_path / "a").write_text("no replay at all")
    done = command("replay", "a", "--verify", "--json", "--manifest", played / "coworld", cwd=tmp_path)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["replay"]["shown"] is False
    assert "cannot load its replay" in document["error"]["what"]
    assert "JSONDecodeError" in document["error"]["evidence"]


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """Before anything is started."""
    done = command("replay", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere is not there" in done.stderr


def test_the_help_shows_what_it_takes() -> None:
    """A file or a run's directory."""
    shown = CliRunner().invoke(cli, ["replay", "--help"]).output
    assert "FILE|RUN_DIR" in shown
    assert "--verify" in shown
