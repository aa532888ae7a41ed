"""A log file's limit, marker, last words and failures."""

from __future__ import annotations

import os

import pytest

from coworld_drivers.logfiles import LogFiles, Planted
from coworld_drivers.output import RING, OutputLog
from tests.disks import SIZE, is_full, small_disk

CUT = b"\n[coworld-actors: output cut here, after 10 bytes]\n"


def write(path, *chunks: bytes, limit: int = 10, files: LogFiles | None = None) -> OutputLog:
    log = OutputLog(path, limit=limit, who="player-0", files=files or LogFiles())
    for chunk in chunks:
        log.write(chunk)
    log.close()
    return log


@pytest.mark.parametrize("chunks", [(b"0123456789",), (b"01234", b"56789"), (b"",), ()])
def test_within_the_limit_the_file_is_the_output(tmp_path, chunks):
    """Up to and including the limit nothing is added."""
    log = write(tmp_path / "log", *chunks)
    assert (tmp_path / "log").read_bytes() == b"".join(chunks)
    assert log.cut == 0


@pytest.mark.parametrize(
    "chunks", [(b"0123456789ABC",), (b"0123456789", b"ABC"), (b"01234", b"56789A", b"BC"), (b"0123456789A", b"BC")]
)
def test_beyond_the_limit_there_is_one_marker_and_the_last_words(tmp_path, chunks):
    """However the output is sliced, the cut is marked once, and the end says how much is missing."""
    log = write(tmp_path / "log", *chunks)
    assert (tmp_path / "log").read_bytes() == (
        b"0123456789" + CUT + b"[coworld-actors: 3 bytes cut; the last 3 follow]\nABC"
    )
    assert (log.cut, log.total) == (3, 13)


def test_memory_is_bounded_and_the_tail_is_the_newest(tmp_path):
    """Whatever comes, `tail` is the last bytes and never more than the ring."""
    log = OutputLog(tmp_path / "log", limit=10, who="x", files=LogFiles())
    expected = b""
    for number in range(300):
        chunk = bytes([number % 251]) * (number * 37 % 5000)
        expected = (expected + chunk)[-RING:]
        log.write(chunk)
        assert len(log._ring) <= 2 * RING
    assert log.tail(10**9) == expected
    assert log.tail(7) == expected[-7:]
    assert log.tail(0) == b""
    log.write(b"y" * 10 * RING)
    assert log.tail(RING) == b"y" * RING
    log.close()


def test_a_full_disk_is_recorded_once(tmp_path):
    """The first failure is kept, later output still reaches the ring."""
    with small_disk(tmp_path / "small") as small:
        log = write(small / "log", b"a" * SIZE, b"some", b"words", limit=10 * SIZE)
    assert log.error is not None
    assert is_full(log.error.evidence)
    assert log.error.evidence.endswith(f" after {SIZE + 4} bytes")
    assert log.error.where == str(small / "log")
    assert "player-0" in log.error.what
    assert log.tail(9) == b"somewords"


def test_our_own_earlier_file_is_appended_to(tmp_path):
    """A game that is started again on another port keeps the output of its first start."""
    files = LogFiles()
    write(tmp_path / "log", b"one\n", files=files)
    write(tmp_path / "log", b"two\n", files=files)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_closing_twice_is_once(tmp_path):
    """The second close does nothing."""
    log = write(tmp_path / "log", b"x")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"x"


def test_what_is_no_place_for_a_log_is_an_error(tmp_path):
    """A directory, or a FIFO that nobody reads, is refused and does not hang."""
    os.mkfifo(tmp_path / "fifo")
    for path, error in (
        (tmp_path, Planted),
        (tmp_path / "fifo", Planted),
        (tmp_path / "none" / "log", FileNotFoundError),
    ):
        with pytest.raises(error):
            OutputLog(path, limit=1, who="x", files=LogFiles())


def test_a_log_that_is_not_held_is_open_only_while_it_is_written(tmp_path):
    """The file is the same; between writes there is no descriptor, and without any it is made at the end."""
    before = len(os.listdir("/proc/self/fd"))
    log = OutputLog(tmp_path / "log", limit=10, who="player-0", files=LogFiles(), held=False, ring=4)
    assert not (tmp_path / "log").exists()
    log.write(b"0123456")
    assert (tmp_path / "log").read_bytes() == b"0123456"
    assert len(os.listdir("/proc/self/fd")) == before
    log.write(b"789ABCDEF")
    log.close()
    assert log.tail(100)[-4:] == b"CDEF"
    assert (tmp_path / "log").read_bytes() == (
        b"0123456789" + CUT + b"[coworld-actors: 6 bytes cut; the last 4 follow]\nCDEF"
    )
    OutputLog(tmp_path / "empty", limit=10, who="player-0", files=LogFiles(), held=False).close()
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_log_that_is_not_held_follows_no_link(tmp_path):
    """What somebody put in its place between two writes ends the log and touches nothing."""
    log = OutputLog(tmp_path / "log", limit=100, who="player-0", files=LogFiles(), held=False)
    log.write(b"one")
    (tmp_path / "log").unlink()
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    log.write(b"two")
    log.close()
    assert log.error is not None
    assert (tmp_path / "victim").read_bytes() == b"mine"
