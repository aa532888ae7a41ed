"""The file of `--events`: a copy of everything that happens, never at the cost of a file that is already there."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO

import msgspec

from coworld_actors.actors import EventStream, Record
from coworld_actors.cli.streams import Stream
from coworld_actors.episode.events import EpisodeStarted
from coworld_actors.episode.workspace import Workspace
from coworld_protocol.errors import PreconditionMissing, Refused

__all__ = ["EventFile", "EventLines"]

_FLAGS = os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""O_NONBLOCK: a pipe that somebody puts there must not make us wait for a reader."""


class EventLines:
    """A subscriber that writes one JSON object a line to stdout, for `--events -`. A reader who leaves is no failure."""

    def __init__(self) -> None:
        self._stdout = Stream(sys.stdout)

    @property
    def trouble(self) -> PreconditionMissing | None:
        """What a user has to know when not all of it could be written."""
        return self._stdout.trouble("stdout")

    @contextlib.contextmanager
    def follow(self, stream: EventStream, on_failure: Callable[[], None]) -> Generator[None]:
        """Copy every event while the block runs; see `EventFile.follow`."""
        del on_failure
        unsubscribe = stream.subscribe(lambda record: self._stdout.write_utf8(msgspec.json.encode(record) + b"\n"))
        try:
            yield
        finally:
            unsubscribe()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._stdout.flush()


class EventFile:
    """A subscriber that writes one JSON object a line.

    A file inside the run's own directory is made when that is there, which is before any role is started; until then events
    are kept. Any other is opened here.

    Args:
        path: a file that is not there, or is empty.
        output: the run's directory.
        slots: number of seats.

    Raises:
        Refused: it is no regular file, has something in it, or has the name of a file of the run's.
        PreconditionMissing: it cannot be opened.
    """

    def __init__(self, path: Path, output: Path, slots: int) -> None:
        self._path = path
        self._failure = ""
        self._made = False
        self._file: BinaryIO | None = None
        self._kept: list[bytes] = []
        root = Path(os.path.realpath(output))
        place = Path(os.path.realpath(path))
        self._inside = root in place.parents
        if self._inside:
            _refuse_names_of_the_run(path, place, Workspace(root, slots))
        else:
            self._open()

    @property
    def trouble(self) -> PreconditionMissing | None:
        """What a user has to know when the file is not complete."""
        if not self._failure:
            return None
        return PreconditionMissing(
            f"--events {self._path} is not complete: {self._failure}", todo="name a file with room for it and run again"
        )

    @contextlib.contextmanager
    def follow(self, stream: EventStream, on_failure: Callable[[], None]) -> Generator[None]:
        """Copy every event while the block runs.

        Args:
            stream: where they come from.
            on_failure: called once when the file cannot be made after all.
        """

        def copy(record: Record) -> None:
            if self._failure:
                return
            try:
                self._kept.append(msgspec.json.encode(record) + b"\n")
                if self._file is None and isinstance(record.event, EpisodeStarted):
                    self._open()
                self._write()
            except OSError as error:
                self._failure = error.strerror or str(error)
            except ValueError as error:
                self._failure = str(error)
            except (Refused, PreconditionMissing) as error:
                self._failure = error.what
                on_failure()

        unsubscribe = stream.subscribe(copy)
        try:
            yield
        finally:
            unsubscribe()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the file; one that was made for a run that could not be played is removed again."""
        if self._file is not None:
            self._file.close()
            if self._made and kind is not None:
                self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._file is not None:
            data = b"".join(self._kept)
            self._kept.clear()
            while data:
                data = data[self._file.write(data) :]

    def _open(self) -> None:
        todo = "name a file that is not there yet"
        try:
            try:
                number = os.open(self._path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
                self._made = True
            except FileExistsError:
                # Looked at first: opening a device can do more than open it.
                if not stat.S_ISREG(self._path.stat().st_mode):
                    raise Refused(f"--events {self._path} is no regular file", todo=todo) from None
                number = os.open(self._path, _FLAGS)
            found = os.fstat(number)
        except OSError as error:
            raise PreconditionMissing(
                f"--events {self._path} cannot be written: {error.strerror}", todo="name a file in a writable directory"
            ) from error
        if not stat.S_ISREG(found.st_mode) or found.st_size:
            os.close(number)
            raise Refused(f"--events {self._path} has something in it, which would be lost", todo=todo)
        self._file = os.fdopen(number, "wb", buffering=0)


def _refuse_names_of_the_run(path: Path, place: Path, workspace: Workspace) -> None:
    if place.parent != workspace.root:
        raise Refused(
            f"--events {path} is in a directory of the run's that will not be there in time",
            todo=f"name a file directly in {workspace.root}, or outside of it",
        )
    own = [each for each in vars(workspace).values() if isinstance(each, Path)]
    own += [workspace.player_directory(0), *(workspace.player_artifact(slot) for slot in range(workspace.slots))]
    if any(place == each or place in each.parents for each in own):
        raise Refused(
            f"--events {path} has the name of another file of the run's", todo="give it a name of its own: all.jsonl"
        )
