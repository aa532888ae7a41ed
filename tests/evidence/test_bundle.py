"""The bundle: what is there is in it and named, what is absent or in disguise is not, and equal files make equal bytes."""

from __future__ import annotations

import json
import os
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from coworld_actors.episode.workspace import Workspace
from coworld_actors.evidence import bundle
from coworld_actors.evidence.bundle import build_bundle
from tests.disks import SIZE, is_full


def contents(workspace: Workspace) -> dict[str, bytes]:
    with zipfile.ZipFile(workspace.bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_everything_that_is_there_is_in_it_and_named(finished: Workspace) -> None:
    """The manifest has the contract's form and names every other entry; the game's two logs are one."""
    build_bundle(finished, "e-1")
    found = contents(finished)
    assert json.loads(found.pop("manifest.json")) == {
        "ereq_id": "e-1",
        "status": "success",
        "include": ["results", "replay", "game_logs", "player_logs", "player_artifact"],
        "files": {
            "results": "results.json",
            "replay": "replay",
            "game_logs": {"combined": "logs/game.log"},
            "player_logs": {"0": "logs/policy_agent_0.log", "1": "logs/policy_agent_1.log"},
            "player_artifact": {"1": "artifacts/policy_artifact_1.zip"},
        },
    }
    assert found == {
        "results.json": b'{"scores": [3, 4]}',
        "replay": b"\x00replay",
        "logs/game.log": b"out\nerr\n",
        "logs/policy_agent_0.log": b"connected 0\n",
        "logs/policy_agent_1.log": b"connected 1\n",
        "artifacts/policy_artifact_1.zip": b"PK",
    }


def test_what_is_absent_is_left_out_without_an_error(workspace: Workspace) -> None:
    """Readers see from `include` what they have; configuration with its tokens is never in it."""
    workspace.write_config({}, ("hush",))
    workspace.results.write_text("{}")
    assert build_bundle(workspace, "e-1").include == ("results",)
    assert sorted(contents(workspace)) == ["manifest.json", "results.json"]


def test_links_and_pipes_are_left_out(finished: Workspace, tmp_path: Path) -> None:
    """A game cannot have a file of the machine handed to a grader."""
    (tmp_path / "secret").write_text("secret")
    finished.replay.unlink()
    finished.replay.symlink_to(tmp_path / "secret")
    finished.game_stdout.unlink()
    os.mkfifo(finished.game_stdout)
    manifest = build_bundle(finished, "e-1")
    assert "replay" not in manifest.include
    assert contents(finished)["logs/game.log"] == b"err\n"


def test_the_same_episode_always_makes_the_same_bytes(finished: Workspace) -> None:
    """Neither the time nor the age of the files is in it."""
    build_bundle(finished, "e-1")
    first = finished.bundle.read_bytes()
    os.utime(finished.results, (1, 1))
    finished.bundle.unlink()
    build_bundle(finished, "e-1")
    assert finished.bundle.read_bytes() == first


def test_large_files_are_packed_piece_by_piece(finished: Workspace) -> None:
    """However large a file is, no more than a piece of it is in memory, and what is packed is all of it."""
    size = 64 * 1024 * 1024
    with finished.replay.open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(b"in the middle")
    pauses = []
    tracemalloc.start()
    try:
        build_bundle(finished, "e-1", lambda: pauses.append(tracemalloc.get_traced_memory()[1]))
    finally:
        tracemalloc.stop()
    assert len(pauses) >= size // bundle.CHUNK
    assert max(pauses) < size // 8
    assert contents(finished)["replay"] == finished.replay.read_bytes()


def test_a_bundle_that_is_called_off_leaves_nothing(finished: Workspace) -> None:
    """Between two pieces: the exception passes, and no half bundle lies there under the name of a whole one."""
    finished.replay.write_bytes(bytes(3 * bundle.CHUNK))
    calls = iter(range(3))

    def pause() -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_bundle(finished, "e-1", pause)
    assert not finished.bundle.exists()


def test_what_is_too_large_is_left_out(finished: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file beyond its limit, and those for which all together leave no room; smaller ones after them still go in."""
    monkeypatch.setattr(bundle, "ENTRY_LIMIT", 100)
    monkeypatch.setattr(bundle, "TOTAL_LIMIT", 150)
    finished.replay.write_bytes(bytes(101))
    finished.game_stdout.write_bytes(b"x" * 90)
    finished.game_stderr.write_bytes(b"y" * 90)
    manifest = build_bundle(finished, "e-1")
    assert manifest.include == ("results", "game_logs", "player_logs", "player_artifact")
    assert contents(finished)["logs/game.log"] == b"x" * 90
    assert sum(map(len, contents(finished).values())) - len(contents(finished)["manifest.json"]) <= 150


def test_a_bundle_that_the_game_left_is_set_aside(finished: Workspace, tmp_path: Path) -> None:
    """A link of that name is not written through."""
    finished.bundle.symlink_to(tmp_path / "elsewhere.zip")
    build_bundle(finished, "e-1")
    assert not (tmp_path / "elsewhere.zip").exists()
    assert not finished.bundle.is_symlink()


def test_on_a_full_disk_no_half_bundle_is_left(small: Path) -> None:
    """The error passes on, the partial file does not."""
    workspace = Workspace.create(small / "run", 0)
    # Two files that fit, whose bytes cannot be made smaller: together, in one more file, they do not.
    workspace.replay.write_bytes(os.urandom(SIZE * 5 // 16))
    workspace.results.write_bytes(os.urandom(SIZE * 5 // 16))
    workspace.game_stdout.write_bytes(os.urandom(SIZE * 5 // 16))
    # Where a limit per file stands for the disk, one more copy of them is too much for it.
    workspace.game_stderr.hardlink_to(workspace.game_stdout)
    with pytest.raises(OSError) as caught:
        build_bundle(workspace, "e-1")
    assert is_full(str(caught.value))
    assert not workspace.bundle.exists()
