"""How much roles have written: no engine limits a directory of the host, so it is looked at, and who goes too far is ended."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

import trio

__all__ = ["DiskWatch", "Writer", "used"]

LOOK = 1.0
"""Seconds between two looks at all directories."""

MOST_FILES = 100_000
"""Files of one directory that are counted; as many are too many, whatever they hold."""

BLOCK = 512
"""Bytes that `st_blocks` counts in (POSIX leaves it open; every Linux file system has this)."""


class Writer(Protocol):
    """A role that is watched."""

    def condemn(self, why: str) -> None:
        """Its end is its own doing, for this reason."""
        ...

    async def kill(self) -> None:
        """End it now."""
        ...


class DiskWatch:
    """Looks at the directories of all roles of a driver."""

    def __init__(self) -> None:
        self._watched: dict[Writer, tuple[Path, int, frozenset[Path]]] = {}

    def watch(self, writer: Writer, directory: Path, limit: int, without: Sequence[Path] = ()) -> None:
        """End `writer` when more than `limit` bytes are in its directory.

        Args:
            writer: the role.
            directory: its own.
            limit: bytes.
            without: directories in it that are others'.
        """
        self._watched[writer] = (directory, limit, frozenset(without))

    def forget(self, writer: Writer) -> None:
        """Watch it no more."""
        self._watched.pop(writer, None)

    async def serve(self) -> None:
        """Look, again and again. To be run once, as a task."""
        while True:
            await trio.sleep(LOOK)
            for writer, (directory, limit, without) in tuple(self._watched.items()):
                why = await trio.to_thread.run_sync(_objection, directory, without, limit)
                if why and writer in self._watched:
                    self.forget(writer)
                    writer.condemn(why)
                    await writer.kill()


def _objection(directory: Path, without: Collection[Path], limit: int) -> str:
    try:
        too_much = used(directory, without, limit) > limit
    except PermissionError as error:
        # Its files are ours: only the role itself can have taken the permission away.
        return f"it hides what it writes: {Path(error.filename).name} cannot be looked into"
    return f"it wrote more than the {limit} bytes of disk that it may use" if too_much else ""


def used(directory: Path, without: Collection[Path] = (), enough: int | None = None) -> int:
    """Bytes of disk that a directory takes; what vanishes meanwhile does not count.

    Args:
        directory: where to look; links are not followed.
        without: directories that do not count.
        enough: stop when it is more than that.

    Raises:
        PermissionError: one of its directories cannot be looked into.
    """
    total = files = 0
    waiting = [directory]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except PermissionError:
            raise
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if Path(entry.path) not in without:
                            waiting.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * BLOCK
                except OSError:
                    continue
                files += 1
                if enough is not None and (total > enough or files > MOST_FILES):
                    return max(total, enough + 1)
    return total
