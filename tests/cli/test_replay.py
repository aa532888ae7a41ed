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


def test_the_games_advice_is_not_taken_for_its_reason(tmp_path: Path) -> None:
    """A game on our SDK ends with its own advice; what is told is why."""
    (tmp_path / "a").write_text("nonsense")
    done = command("replay", "a", "--verify", "--json", "--manifest", ORCHARD, cwd=tmp_path)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert "JSON is malformed" in error["what"]
    assert "JSON is malformed" in error["evidence"]
    assert not any(label in error["what"] + error["evidence"] for label in ("try:", "evidence:"))


def test_a_file_in_a_run_needs_its_manifest_named(played: Path) -> None:
    """A folder may come from anybody: the record in it starts nothing for whoever names a file; a run's directory is trusted."""
    replay = (played / "runs/latest/replay").resolve()
    done = command("replay", replay, "--verify", cwd=played)
    assert done.returncode == 2
    assert "is not used without being asked for" in done.stderr
    assert f"if you trust {played / 'coworld/coworld_manifest.json'}, name it with --manifest" in done.stderr
    assert command("replay", replay, "--verify", "--manifest", "coworld", cwd=played).returncode == 0


def test_a_folder_that_was_sent_starts_nothing(played: Path, tmp_path: Path) -> None:
    """Its record names the manifest that came with it, whose command would run here."""
    manifest = write_coworld(tmp_path / "dl", scripted_manifest())
    record = json.loads((played / "runs/latest/episode.json").read_text())
    document = json.loads(manifest.read_text())
    document["game"]["runnable"]["run"] = ["sh", "-c", f"touch {tmp_path}/ran"]
    (tmp_path / "dl/evil.json").write_text(json.dumps(document))
    record["manifest"] = {"source": "dl/evil.json", "place": "dl/evil.json"}
    (tmp_path / "dl/episode.json").write_text(json.dumps(record))
    (tmp_path / "dl/replay").write_bytes((played / "runs/latest/replay").read_bytes())
    for name in ("dl/replay", "dl"):
        done = command("replay", name, "--verify", cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "--manifest" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("source", ["http://[bad", "x" * 5000])
def test_what_can_be_no_replay_is_refused(tmp_path: Path, source: str) -> None:
    """It is bad input, and no defect."""
    assert command("replay", source, cwd=tmp_path).returncode == 2


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
