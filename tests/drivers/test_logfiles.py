"""Where a log goes: a new file or our own earlier one, whatever a role has put in its place."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from coworld_drivers.logfiles import LogFiles, Planted


def write(files: LogFiles, path: Path, data: bytes) -> None:
    fd = files.open(path)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("not-there"))


def hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def fifo(path: Path, victim: Path) -> None:
    del victim
    os.mkfifo(path)


def directory(path: Path, victim: Path) -> None:
    del victim
    path.mkdir()


def server(path: Path, victim: Path) -> None:
    del victim
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(path))


PLANTED = [
    (link, "a symbolic link"),
    (dangling, "a symbolic link"),
    (hard_link, "another file"),
    (fifo, "a named pipe"),
    (directory, "a directory"),
    (server, "a socket"),
]


@pytest.mark.parametrize(("plant", "what"), PLANTED)
@pytest.mark.parametrize("again", [False, True])
def test_what_is_planted_is_refused_and_untouched(tmp_path, monkeypatch, plant, what, again):
    """Before the first opening and between two of them: the refusal says what is there, and what it leads to is as it was."""
    monkeypatch.chdir(tmp_path)
    victim, log, files = tmp_path / "victim", Path("log"), LogFiles()
    victim.write_bytes(b"precious")
    if again:
        write(files, log, b"first")
        log.unlink()
    plant(log, victim)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Planted) as caught:
        files.open(log)
    assert (caught.value.strerror, caught.value.filename) == (what, str(log))
    assert set(os.listdir("/proc/self/fd")) == before
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "not-there").exists()


def test_a_pipe_with_a_reader_is_refused_too(tmp_path):
    """Somebody who waits at the other end of a pipe gets nothing."""
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(Planted):
            LogFiles().open(tmp_path / "log")
        assert os.read(reader, 10) == b""
    finally:
        os.close(reader)


def test_a_directory_that_is_a_link_is_refused(tmp_path):
    """The whole directory of the logs can have been replaced."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "logs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Planted) as caught:
        LogFiles().open(tmp_path / "logs" / "log")
    assert (caught.value.strerror, caught.value.filename) == ("a symbolic link", str(tmp_path / "logs"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_our_own_earlier_file_is_appended_to(tmp_path):
    """A role that is started again keeps the output of its first start, also in a file that was removed in between."""
    files, log = LogFiles(), tmp_path / "log"
    write(files, log, b"one\n")
    write(files, log, b"two\n")
    assert log.read_bytes() == b"one\ntwo\n"
    log.unlink()
    write(files, log, b"three\n")
    write(files, log, b"four\n")
    assert log.read_bytes() == b"three\nfour\n"


def test_somebody_elses_earlier_file_is_not_appended_to(tmp_path):
    """Another site's log is a stranger's."""
    write(LogFiles(), tmp_path / "log", b"one\n")
    with pytest.raises(Planted, match="another file"):
        LogFiles().open(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == b"one\n"


def test_a_file_that_is_exchanged_while_we_open_it_is_refused(tmp_path, monkeypatch):
    """Between the look and the opening a role may still be at work."""
    files, log, victim = LogFiles(), tmp_path / "log", tmp_path / "victim"
    write(files, log, b"ours")
    victim.write_bytes(b"precious")
    look = os.stat

    def exchange(*args, **more):
        found = look(*args, **more)
        log.unlink()
        log.hardlink_to(victim)
        return found

    before = set(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr("coworld_drivers.logfiles.os.stat", exchange)
        with pytest.raises(Planted):
            files.open(log)
    assert set(os.listdir("/proc/self/fd")) == before
    assert victim.read_bytes() == b"precious"


def test_a_log_is_a_plain_file_that_no_role_inherits(tmp_path):
    """Readable for everybody, closed on exec."""
    fd = LogFiles().open(tmp_path / "log")
    try:
        assert not os.get_inheritable(fd)
        assert stat.S_IMODE(os.fstat(fd).st_mode) & ~0o644 == 0
    finally:
        os.close(fd)
