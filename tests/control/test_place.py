"""Where sockets are, and what is refused: other people's directories, links, long paths, things that are in the way."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from coworld_actors.control import place
from coworld_actors.control.place import (
    PATH_LIMIT,
    check_directory,
    directories,
    is_dead,
    listening,
    looks_like,
    remove_dead,
    sockets,
)
from coworld_protocol.errors import PreconditionMissing


def dead(path: Path) -> Path:
    """A socket whose process is gone."""
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", code, path], check=True)
    return path


def test_the_place_is_the_owners_alone(home: Path) -> None:
    """0600 in a directory of mode 0700, listening, named after runtime and process; both are gone afterwards."""
    with listening(None, "farm") as (server, path):
        assert path == home / f"coworld-actors/farm-{os.getpid()}.sock"
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700
        assert os.listdir(path.parent) == [path.name]
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert not is_dead(path)
        assert sockets() == ([path], [])
    assert os.listdir(home) == []


def test_a_umask_of_nothing_changes_nothing(home: Path) -> None:
    """The modes are set, not inherited."""
    before = os.umask(0)
    try:
        with listening(None, "farm") as (_, path):
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", ["../../etc/x", "a b", "", "..", ".hidden", "n" * 200, "ä\x1b[2J\n"])
def test_a_runtimes_name_stays_in_its_directory(home: Path, name: str) -> None:
    """Whatever it is called, the socket has a plain name that is seen."""
    with listening(None, name) as (_, path):
        assert path.parent == home / "coworld-actors"
        assert path.name.isascii()
        assert path.name.isprintable()
        assert not path.name.startswith(".")
        assert len(path.name) < 64
        assert sockets()[0] == [path]


def test_runtimes_of_one_name_in_one_process_have_sockets_of_their_own(home: Path) -> None:
    """The second gets a number; the directory stays until the last has gone."""
    with listening(None, "farm") as (_, first):
        with listening(None, "farm") as (_, second):
            assert first != second
            assert sockets()[0] == sorted([first, second])
        assert sockets()[0] == [first]
    assert os.listdir(home) == []


def test_without_a_runtime_directory_it_is_a_private_one_among_temporary_files(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_RUNTIME_DIR counts only if it is absolute, there, and ours."""
    fallback = Path(tempfile.gettempdir()) / f"coworld-actors-{os.geteuid()}"
    for value in ("", "relative", str(home / "nowhere"), "/proc/1" if os.geteuid() else "/nowhere"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        assert directories()[-1] == fallback
        assert not any(str(home) in str(path) or "relative" in str(path) for path in directories())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    assert directories()[0] == home / "coworld-actors"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert directories() == [Path(tempfile.gettempdir()) / "coworld-actors-12345"]


def test_a_planted_link_is_refused(home: Path) -> None:
    """Also one that leads to a directory of our own; and nothing is written through it."""
    (home / "elsewhere").mkdir(mode=0o700)
    (home / "coworld-actors").symlink_to("elsewhere")
    with pytest.raises(PreconditionMissing, match="it is a link") as caught, listening(None, "farm"):
        pass
    assert caught.value.todo
    assert os.listdir(home / "elsewhere") == []
    assert sockets()[0] == []
    assert "it is a link" in sockets()[1][0].what


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(home: Path, mode: int) -> None:
    """Whoever can write there can put another socket in place of ours."""
    (home / "coworld-actors").mkdir()
    (home / "coworld-actors").chmod(mode)
    with pytest.raises(PreconditionMissing, match="others may write to it") as caught, listening(None, "farm"):
        pass
    assert caught.value.todo == f"chmod go-w {home / 'coworld-actors'}"


def test_a_file_in_the_directorys_place_is_refused(home: Path) -> None:
    """It stays."""
    (home / "coworld-actors").write_text("mine")
    with pytest.raises(PreconditionMissing, match="no directory"), listening(None, "farm"):
        pass
    assert (home / "coworld-actors").read_text() == "mine"


def test_somebody_elses_directory_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns it, root included."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PreconditionMissing, match="belongs to user"):
        check_directory(home)


def test_a_directory_that_cannot_be_made_is_an_error_with_a_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback."""
    monkeypatch.setattr(place, "directories", lambda: [home / "no/such/place"])
    with pytest.raises(PreconditionMissing, match="cannot be made: No such file"), listening(None, "farm"):
        pass
    monkeypatch.setattr(place, "directories", list)
    with pytest.raises(PreconditionMissing, match="no directory for control sockets"), listening(None, "farm"):
        pass


def test_a_path_that_is_too_long_for_a_socket_says_how_long_it_may_be(home: Path, tmp_path: Path) -> None:
    """`sun_path` has 108 bytes; bytes are counted, not characters. Nothing is left behind."""
    long = home / ("ü" * 40)
    long.mkdir(mode=0o700)
    for path in (long / "a.sock", home / ("x" * (PATH_LIMIT - len(str(home)))), tmp_path / ("y" * 120)):
        with pytest.raises(PreconditionMissing, match=r"107|too long") as caught, listening(path, "farm"):
            pass
        assert "107" in caught.value.what
        assert os.listdir(path.parent) in ([], [long.name])
    longest = home / ("x" * (PATH_LIMIT - len(str(home)) - 1))
    with listening(longest, "farm") as (_, path):
        assert len(str(path)) == PATH_LIMIT


def test_a_path_of_the_callers_is_taken_as_it_is(home: Path) -> None:
    """Its directory stays; a relative one means what it means now."""
    with listening(home / "mine", "farm") as (_, path):
        assert path == home / "mine"
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert os.listdir(home) == []
    with pytest.raises(PreconditionMissing, match="No such file"), listening(home / "no/where", "farm"):
        pass
    home.chmod(0o777)
    with pytest.raises(PreconditionMissing, match="others may write"), listening(home / "mine", "farm"):
        pass


def test_what_is_in_the_way_stays(home: Path) -> None:
    """A file, or somebody who listens; a dead socket is replaced."""
    (home / "file").write_text("mine")
    with pytest.raises(PreconditionMissing, match="something is there") as caught, listening(home / "file", "farm"):
        pass
    assert caught.value.evidence == "it is no socket"
    assert (home / "file").read_text() == "mine"
    with listening(home / "first", "farm") as (_, first):
        with pytest.raises(PreconditionMissing, match="something is there") as caught, listening(first, "farm"):
            pass
        assert caught.value.evidence == "somebody listens at it"
        assert not is_dead(first)
    with listening(dead(home / "dead"), "farm") as (_, path):
        assert not is_dead(path)
    assert os.listdir(home) == ["file"]


def test_what_dead_processes_have_left_is_removed_when_it_is_seen(home: Path) -> None:
    """Sockets at which nobody listens; whatever is no socket, and what is alive, stays."""
    folder = home / "coworld-actors"
    folder.mkdir(mode=0o700)
    with listening(None, "living") as (_, living):
        gone = dead(folder / "gone-999999999.sock")
        half = dead(folder / ".999999999-0011aabb.new")
        (folder / "file.sock").write_text("mine")
        with listening(None, "farm") as (_, path):
            assert sorted(os.listdir(folder)) == sorted(["file.sock", living.name, path.name])
        assert not gone.exists()
        assert not half.exists()
    assert not remove_dead(folder / "file.sock")
    assert not remove_dead(folder / "nowhere.sock")
    assert os.listdir(folder) == ["file.sock"]


def test_a_hidden_socket_of_a_living_process_stays(home: Path) -> None:
    """It may be about to listen."""
    folder = home / "coworld-actors"
    folder.mkdir(mode=0o700)
    half = folder / f".{os.getpid()}-0011aabb.new"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(half))
        with listening(None, "farm"):
            assert half.is_socket()


def test_a_socket_that_is_no_longer_ours_stays(home: Path) -> None:
    """Whoever has replaced it owns what is there."""
    with listening(None, "farm") as (_, path):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            identity = path.lstat().st_ino
    assert path.lstat().st_ino == identity
    path.unlink()


def test_a_place_that_is_taken_away_is_no_error_at_the_end(home: Path) -> None:
    """Somebody cleaned up; there is nothing left to do."""
    with listening(None, "farm") as (_, path):
        path.unlink()
        path.parent.rmdir()
    assert os.listdir(home) == []


@pytest.mark.parametrize("name", ["farm", "farm 2/3", ".hidden", "größe", "farm.2", "7", "x" * 200])
def test_a_socket_is_recognised_by_whatever_means_its_runtime(home: Path, name: str) -> None:
    """Its process id, its name, and each beginning of that; a name that was made fit for a file or cut is no obstacle."""
    with listening(None, name) as (_, path), listening(None, name) as (_, second):
        for each in (path, second):
            assert looks_like(each, str(os.getpid()))
            assert all(looks_like(each, name[:end]) for end in range(1, len(name) + 1))
            assert not looks_like(each, "other")
