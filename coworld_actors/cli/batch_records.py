"""What programs get of a batch while it is played: one JSON object a line, on stdout or in a file."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from coworld_actors.batch.events import (
    BatchEnded,
    BatchEvent,
    BatchLaunched,
    EpisodeRetried,
    EpisodeSettled,
    ParallelChanged,
)
from coworld_actors.cli.streams import Stream
from coworld_protocol.errors import PreconditionMissing, Refused

__all__ = ["BatchRecords", "refuse_taken"]

STDOUT = Path("-")
_TODO = "name a file that is not there yet"

_NAMES: dict[type[BatchEvent], str] = {
    BatchLaunched: "launch",
    EpisodeSettled: "episode",
    EpisodeRetried: "retry",
    ParallelChanged: "parallel",
}
"""Events that programs are told of. The last record, `done`, comes when everything is written."""


class BatchRecords:
    """Writes records; what cannot be written is lost, and why is kept. A context manager.

    Args:
        path: a new or empty file, or `-` for stdout.

    Raises:
        Refused: it is no regular file, or has something in it.
        PreconditionMissing: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._failure = ""
        self._ended: BatchEnded | None = None
        self._stdout = Stream(sys.stdout)
        self._write: Callable[[bytes], object] = self._stdout.write_utf8
        if path != STDOUT:
            self._file = _open(path)
            self._write = self._file.write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def trouble(self) -> PreconditionMissing | None:
        """What a user has to know when not all of it could be written."""
        if self._failure:
            return PreconditionMissing(
                f"--events {self._path} is not complete: {self._failure}", todo="name a file with room for it"
            )
        return self._stdout.trouble("stdout")

    def tell(self, event: BatchEvent) -> None:
        """Write an event, if it is one for programs."""
        if isinstance(event, BatchEnded):
            self._ended = event
        name = _NAMES.get(type(event))
        if name is not None:
            self._put({**msgspec.to_builtins(event), "event": name})

    def done(self, exit_code: int, **files: str) -> None:
        """Write the last record: everything else is written, and nothing of the batch runs any more."""
        if self._ended is not None:
            self._put({**msgspec.to_builtins(self._ended), "event": "done", "exit_code": exit_code, **files})

    def _put(self, record: dict[str, object]) -> None:
        if self._failure:
            return
        try:
            self._write(msgspec.json.encode(record) + b"\n")
        except OSError as error:
            self._failure = error.strerror or str(error)


def refuse_taken(path: Path) -> None:
    """Look at a file for records before anything is written.

    Raises:
        Refused: it is no regular file, or has something in it.
    """
    if path == STDOUT:
        return
    try:
        taken = path.stat()
    except OSError:
        # Not there yet, perhaps not even its directory: the batch may make that.
        return
    if not stat.S_ISREG(taken.st_mode):
        raise Refused(f"--events {path} is no regular file", todo=_TODO)
    if taken.st_size:
        raise Refused(f"--events {path} has something in it, which would be lost", todo=_TODO)


def _open(path: Path) -> BinaryIO:
    refuse_taken(path)
    try:
        # O_NONBLOCK: a pipe that somebody puts there meanwhile must not make us wait for a reader.
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    except OSError as error:
        raise PreconditionMissing(
            f"--events {path} cannot be written: {error.strerror}", todo="name a file in a writable directory"
        ) from error
    return os.fdopen(number, "wb", buffering=0)
