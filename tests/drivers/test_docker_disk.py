"""How much roles have written."""

import errno
import os
from pathlib import Path

import pytest
import trio

from coworld_drivers.docker_disk import DiskWatch, used

LONG = 30.0


class Scribbler:
    """Somebody who writes; remembers what was said of it."""

    def __init__(self) -> None:
        self.why = ""
        self.killed = trio.Event()

    def condemn(self, why: str) -> None:
        """Remember."""
        self.why = why

    async def kill(self) -> None:
        """Remember."""
        self.killed.set()


def test_what_is_there_is_counted(tmp_path: Path):
    """In blocks, through all directories but the excepted; a link does not count for what it leads to."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er" / "a")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "b").write_bytes(b"x" * 1_000_000)
    assert 100_000 <= used(tmp_path, [tmp_path / "others"]) < 120_000
    assert used(tmp_path / "nothing") == 0


def test_a_sparse_file_takes_no_room(tmp_path: Path):
    """Only what is on the disk counts."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert used(tmp_path) < 100_000


def test_it_stops_counting_when_it_knows_enough(tmp_path: Path):
    """More than enough is all that is asked."""
    for number in range(50):
        (tmp_path / str(number)).write_bytes(b"x" * 4096)
    assert used(tmp_path, enough=8192) > 8192


async def test_who_hides_what_it_writes_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A directory that cannot be looked into could hold anything."""
    closed = tmp_path / "closed"
    closed.mkdir()
    look = os.scandir

    def refusing(path: Path):
        # Root, who may run the tests, is refused nothing.
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", refusing)
    watch = DiskWatch()
    secretive = Scribbler()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.serve)
        watch.watch(secretive, tmp_path, 1_000_000)
        with trio.fail_after(LONG):
            await secretive.killed.wait()
        nursery.cancel_scope.cancel()
    assert secretive.why == "it hides what it writes: closed cannot be looked into"


async def test_who_goes_too_far_is_ended(tmp_path: Path):
    """With the reason; who keeps the limit, or has ended, is let be."""
    watch = DiskWatch()
    greedy, modest, gone = Scribbler(), Scribbler(), Scribbler()
    (tmp_path / "much").write_bytes(b"x" * 200_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.serve)
        watch.watch(gone, tmp_path, 1)
        watch.forget(gone)
        watch.watch(modest, tmp_path, 1_000_000)
        watch.watch(greedy, tmp_path, 100_000)
        with trio.fail_after(LONG):
            await greedy.killed.wait()
        nursery.cancel_scope.cancel()
    assert greedy.why == "it wrote more than the 100000 bytes of disk that it may use"
    assert not modest.killed.is_set()
    assert not gone.killed.is_set()
