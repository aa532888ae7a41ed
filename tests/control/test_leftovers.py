"""What dead processes leave on this machine: sockets and scratch directories, never a living one's, never a result."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from coworld_actors.control import leftovers
from coworld_actors.control.leftovers import Remnant, RemnantKind, find_remnants, remove_remnant
from coworld_actors.control.place import listening
from coworld_drivers.scratch import scratch


@pytest.fixture(autouse=True)
def temporary(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A TMPDIR of the test's own; the sockets' place, whose path has to be short, is not in it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def dead(path: Path) -> Path:
    """A socket whose process is gone."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", code, path], check=True)
    return path


def old(path: Path) -> Path:
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    return path


def test_what_the_dead_have_left_is_found_and_removed(home: Path, temporary: Path) -> None:
    """Sockets, with and without a name, and scratch directories; the directory of the sockets goes with the last of them."""
    folder = home / "coworld-actors"
    paths = [dead(folder / f".{1 << 22}-0123abcd.new"), dead(folder / "farm-1.sock")]
    directory = temporary / "coworld-scratch-build-1"
    directory.mkdir()
    (directory / "file").touch()
    paths.append(old(directory))
    found, troubles = find_remnants()
    assert [each.path for each in found] == paths
    assert [each.kind for each in found] == [RemnantKind.SOCKET, RemnantKind.SOCKET, RemnantKind.SCRATCH]
    assert all(each.since is not None and abs(each.since - time.time()) < 7200 for each in found)
    assert troubles == []
    assert [remove_remnant(each) for each in found] == ["", "", ""]
    assert not folder.exists()
    assert find_remnants() == ([], [])
    assert [remove_remnant(each) for each in found] == ["", "", ""]


def test_what_the_living_use_stays(home: Path, temporary: Path) -> None:
    """Also when it was found dead a moment ago."""
    with listening(None, "farm") as (_, path), scratch("build") as directory:
        old(directory)
        assert find_remnants() == ([], [])
        socket_ = Remnant(kind=RemnantKind.SOCKET, path=path, since=None)
        assert remove_remnant(socket_) == "somebody listens at it now"
        used = Remnant(kind=RemnantKind.SCRATCH, path=directory, since=None)
        assert remove_remnant(used) == "somebody uses it now"
        assert path.exists()
        assert directory.exists()


def test_results_are_nobodys_remnants(home: Path, temporary: Path) -> None:
    """An episode's directory is left alone wherever it is, whatever became of its run."""
    for place in (temporary, home / "coworld-actors"):
        episode = place / "coworld-run-1"
        episode.mkdir(parents=True)
        (episode / "episode.json").write_text("{}")
        old(episode)
    (home / "coworld-actors").chmod(0o700)
    assert find_remnants() == ([], [])


def test_a_place_that_is_not_safe_is_named(home: Path) -> None:
    """Where others may write nothing is removed."""
    folder = home / "coworld-actors"
    path = dead(folder / "farm-1.sock")
    folder.chmod(0o777)
    found, (trouble,) = find_remnants()
    assert found == []
    assert "others may write to it" in trouble.what
    assert path.exists()


def test_what_cannot_be_removed_has_a_reason(home: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's words."""
    path = dead(home / "coworld-actors" / "farm-1.sock")
    (remnant,), _ = find_remnants()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert remove_remnant(remnant) == "Operation not permitted"
    assert path.exists()
    with monkeypatch.context() as patch:
        patch.setattr(leftovers, "remove_scratch", refuse)
        scratched = Remnant(kind=RemnantKind.SCRATCH, path=temporary, since=None)
        assert remove_remnant(scratched) == "Operation not permitted"
    assert remove_remnant(remnant) == ""


def test_a_socket_that_came_back_is_not_taken(home: Path) -> None:
    """Whoever has listened at the name meanwhile keeps it."""
    path = dead(home / "coworld-actors" / "farm-1.sock")
    (remnant,), _ = find_remnants()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert remove_remnant(remnant) == "somebody listens at it now"
        assert path.exists()
