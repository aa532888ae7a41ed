"""Scratch directories: their user's alone, gone with the block, and found by others only when their process is dead."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coworld_drivers import scratch as scratch_module
from coworld_drivers.scratch import remove_scratch, scratch, stale_scratch

USER = """
import sys
from coworld_drivers.scratch import scratch
with scratch("test") as directory:
    (directory / "file").write_text("x")
    print(directory, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A TMPDIR of the test's own, in which nothing is too young."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch_module, "YOUNG_SECONDS", -1.0)
    return tmp_path


@contextmanager
def user() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    command = [sys.executable, "-c", USER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_it_is_its_users_alone_and_goes_with_the_block(place: Path) -> None:
    """Mode 0700, empty, with its purpose in the name; whatever was put there goes, too."""
    with scratch("build") as directory:
        assert directory.parent == place
        assert directory.name.startswith("coworld-scratch-build-")
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert list(directory.iterdir()) == []
        (directory / "a").mkdir()
        (directory / "a" / "b").touch()
    assert list(place.iterdir()) == []


def test_it_goes_with_an_exception(place: Path) -> None:
    """Also when somebody has removed it already."""
    with pytest.raises(ZeroDivisionError), scratch("a"):
        raise ZeroDivisionError
    with scratch("a") as directory:
        directory.rmdir()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("purpose", ["", "A", "../x", "a b", "ä"])
def test_a_purpose_is_a_word(purpose: str) -> None:
    """It becomes part of a path."""
    with pytest.raises(ValueError, match="no word"), scratch(purpose):
        pass


def test_only_the_dead_lose_theirs(place: Path) -> None:
    """While its process lives, stopped or not, nobody takes it; then it is stale, and goes."""
    with user() as (process, directory):
        assert stale_scratch() == []
        process.send_signal(signal.SIGSTOP)
        assert stale_scratch() == []
        assert remove_scratch(directory) is False
        assert (directory / "file").exists()
        process.kill()
        process.wait()
        assert stale_scratch() == [directory]
        assert remove_scratch(directory) is True
        assert list(place.iterdir()) == []
        assert remove_scratch(directory) is True


def test_a_process_that_ends_by_itself_leaves_nothing(place: Path) -> None:
    """In good order there is nothing to find."""
    with user() as (process, _):
        process.stdin.close()
        assert process.wait(60) == 0
    assert list(place.iterdir()) == []


def test_a_young_one_is_left_alone(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Between its making and its lock there is a moment."""
    (place / "coworld-scratch-a-1").mkdir()
    assert len(stale_scratch()) == 1
    monkeypatch.setattr(scratch_module, "YOUNG_SECONDS", 60.0)
    assert stale_scratch() == []


def test_what_is_no_directory_of_ours_is_none(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Links, files, pipes and other people's directories, whatever they are called."""
    target = place / "precious"
    target.mkdir()
    (place / "coworld-scratch-link-1").symlink_to(target)
    (place / "coworld-scratch-file-1").touch()
    os.mkfifo(place / "coworld-scratch-pipe-1")
    (place / "coworld-actors-run").mkdir()
    assert stale_scratch() == []
    (place / "coworld-scratch-dir-1").mkdir()
    assert len(stale_scratch()) == 1
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert stale_scratch() == []


def test_a_link_inside_is_not_followed(place: Path) -> None:
    """What it leads to stays."""
    (place / "precious").mkdir()
    (place / "precious" / "file").touch()
    directory = place / "coworld-scratch-a-1"
    directory.mkdir()
    (directory / "link").symlink_to(place / "precious")
    assert remove_scratch(directory) is True
    assert (place / "precious" / "file").exists()


def test_without_a_place_there_is_nothing(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """A TMPDIR that is gone is no error."""
    monkeypatch.setattr(tempfile, "tempdir", str(place / "no"))
    assert stale_scratch() == []
