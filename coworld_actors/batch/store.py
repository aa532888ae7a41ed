"""A batch's directory: what is played, what has been played, and the right of one run at a time to add to it.

    batch.json        the head, written before anything starts
    episodes.jsonl    a line for each episode that is over, on the disk before anybody is told
    episodes/NAME/    an episode's own files, as `coworld_actors.episode` leaves them
    lock              held by the run that plays; it says nothing once nobody holds it

A run that is killed leaves at most half a line behind, which the next one takes away. What is not in `episodes.jsonl` was not
played: its files are left alone, and it gets a new directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO, Self

import msgspec
import trio

from coworld_actors.batch import options
from coworld_actors.batch.options import BatchOptions
from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.schedule import Schedule, Scheduled
from coworld_actors.episode.workspace import FOR_READERS, write_atomically
from coworld_protocol.errors import PreconditionMissing, Refused

__all__ = ["HEAD_VERSION", "BatchHead", "BatchStore", "differences", "digest_of", "read_batch"]

HEAD_VERSION = 1
"""Version of `batch.json`; raised when a reader of the old one would misread the new one."""

HEAD_LIMIT = 16 * 1024 * 1024
"""Bytes of `batch.json` that are read."""

_HEAD = "batch.json"
_LINES = "episodes.jsonl"
_LOCK = "lock"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class BatchHead(msgspec.Struct, frozen=True, kw_only=True):
    """The document `batch.json`: what is played.

    Attributes:
        version: of this document.
        id: of the batch.
        created: wall-clock time, ISO 8601 in UTC.
        coworld: name of the game.
        game_version: its version.
        manifest: SHA-256 of the manifest's bytes.
        schedule: SHA-256 of the schedule.
        episodes: in the schedule.
        entrants: names of the players; a line names them by their place here.
        seed_key: where the game takes its seed; None when it is given none.
        options: everything that decides what is played.
    """

    version: int = HEAD_VERSION
    id: str
    created: str
    coworld: str
    game_version: str
    manifest: str
    schedule: str
    episodes: int
    entrants: tuple[str, ...] = ()
    seed_key: str | None = None
    options: BatchOptions


def digest_of(schedule: Schedule) -> str:
    """SHA-256 of a schedule: equal ones play the same episodes in the same order."""
    return hashlib.sha256(msgspec.json.encode(schedule, order="sorted")).hexdigest()


def differences(found: BatchHead, wanted: BatchHead) -> list[str]:
    """What two heads do not agree on, in words: nothing when one goes on where the other has stopped."""
    words = options.differences(found.options, wanted.options)
    for name, what in (
        ("manifest", "the manifest's text"),
        ("seed_key", "the seed's key"),
        ("schedule", "the schedule"),
    ):
        if getattr(found, name) != getattr(wanted, name) and not (words and name == "schedule"):
            words.append(f"{what} has changed")
    return words


def read_batch(directory: Path) -> tuple[BatchHead, list[EpisodeLine]]:
    """What is in a batch's directory, whether or not somebody plays there; the newest line of each episode, by index.

    Raises:
        Refused: it is no batch's directory, or holds what this version cannot read.
        PreconditionMissing: it cannot be read.
    """
    head = _read_head(directory)
    lines, _ = _read_lines(directory / _LINES)
    return head, [lines[index] for index in sorted(lines)]


class BatchStore:
    """The directory in the hands of the run that plays; made by `create` or `resume`, to be closed.

    Attributes:
        directory: absolute.
        head: what is played.
        lines: the newest line of each episode that has one, by index.
    """

    def __init__(self, directory: Path, head: BatchHead, lines: dict[int, EpisodeLine], lock: int) -> None:
        self.directory = directory
        self.head = head
        self.lines = lines
        self._lock = lock
        self._file: BinaryIO = (directory / _LINES).open("ab", buffering=0)
        self._waiting: list[bytes] = []
        self._turn = trio.Lock()
        self._broken: PreconditionMissing | None = None

    @classmethod
    def create(cls, directory: Path, head: BatchHead) -> Self:
        """Begin a batch in a new directory.

        Raises:
            Refused: it is not empty.
            PreconditionMissing: it cannot be made or written.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if (directory / _HEAD).exists():
                raise Refused(
                    f"{directory} is a batch's already",
                    todo=f"go on with it by --resume {directory}, or name a new one",
                )
            if any(each.name != _LOCK for each in directory.iterdir()):
                raise Refused(
                    f"{directory} is not empty, and files of an earlier run are never mixed with a new one",
                    todo="name a new directory with --output, or leave the option out",
                )
            root = directory.resolve()
            lock = _take_lock(root)
            try:
                # The head comes last: a directory with a head has all that a run needs.
                (root / "episodes").mkdir()
                (root / _LINES).touch(FOR_READERS)
                write_atomically(root / _HEAD, _document(head), FOR_READERS)
                return cls(root, head, {}, lock)
            except BaseException:
                # Restores: who does not play holds no lock.
                os.close(lock)
                raise
        except OSError as error:
            raise PreconditionMissing(
                f"the output directory {directory} cannot be used: {error.strerror}",
                todo="name a writable directory with --output",
            ) from error

    @classmethod
    def resume(cls, directory: Path, head: BatchHead) -> Self:
        """Go on with a batch. Half a line that a killed run has left is taken away.

        Args:
            directory: of the batch.
            head: what is going to be played; its `id` and `created` do not matter.

        Raises:
            Refused: the directory is another batch's, none at all, or another run plays there.
            PreconditionMissing: it cannot be read or written.
        """
        found = _read_head(directory)
        differing = differences(found, head)
        if differing:
            raise Refused(
                f"{directory} was begun with other inputs",
                evidence="; ".join(differing),
                todo="resume it with what it was begun with - --resume alone does - or begin a new one with --output",
            )
        root = directory.resolve()
        lock = _take_lock(root)
        try:
            lines, whole = _read_lines(root / _LINES)
            os.truncate(root / _LINES, whole)
            return cls(root, found, lines, lock)
        except OSError as error:
            os.close(lock)
            raise PreconditionMissing(
                f"{directory} cannot be resumed: {error.strerror}", todo="make it readable and writable"
            ) from error
        except BaseException:
            # Restores: who does not play holds no lock.
            os.close(lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def place(self, scheduled: Scheduled) -> Path:
        """A directory for an attempt at an episode; it is not there yet."""
        variant = _UNSAFE.sub("-", scheduled.variant)[:40]
        name = f"{variant}-e{scheduled.index:04d}-s{scheduled.seed}"
        place, attempt = self.directory / "episodes" / name, 1
        while os.path.lexists(place):
            attempt += 1
            place = place.with_name(f"{name}-try{attempt}")
        return place

    async def append(self, line: EpisodeLine) -> None:
        """Write a line down. When this returns it is on the disk.

        Lines that come while the disk is busy are written together. Cancelled, the line may still be written, by the next call or
        by `close`: a whole one or none.

        Raises:
            PreconditionMissing: it cannot be written; nothing more will be.
        """
        self.lines[line.index] = line
        self._waiting.append(msgspec.json.encode(line) + b"\n")
        async with self._turn:
            if self._waiting:
                await trio.to_thread.run_sync(self._write)
        if self._broken is not None:
            raise self._broken

    async def drop(self, directory: Path) -> None:
        """Remove an episode's files, which nobody wants to keep. What cannot be removed stays."""
        await trio.to_thread.run_sync(lambda: shutil.rmtree(directory, ignore_errors=True))

    def write(self, name: str, data: bytes) -> Path:
        """Write a document of the batch; returns where it is.

        Raises:
            PreconditionMissing: it cannot be written.
        """
        path = self.directory / name
        write_atomically(path, data, FOR_READERS)
        return path

    def close(self) -> None:
        """Write what is still waiting and let others play here."""
        if self._waiting and self._broken is None:
            self._write()
        self._file.close()
        os.close(self._lock)

    def _write(self) -> None:
        if self._broken is not None:
            return
        waiting, self._waiting = self._waiting, []
        data = b"".join(waiting)
        try:
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            # The file may end in half a line now: one more behind it would be lost with it.
            self._broken = PreconditionMissing(
                f"{_LINES} cannot be written: {error.strerror}",
                todo=f"free some space, then go on with --resume {self.directory}",
                where=str(self.directory),
            )


def _take_lock(root: Path) -> int:
    """A descriptor that holds the lock; the kernel lets go of it when its process ends, however that ends."""
    lock = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise Refused(
                f"another run is playing in {root}", todo="wait for its end, or play in a directory of your own"
            ) from None
        raise
    return lock


def _read_head(directory: Path) -> BatchHead:
    path = directory / _HEAD
    try:
        with path.open("rb") as file:
            data = file.read(HEAD_LIMIT)
    except FileNotFoundError:
        raise Refused(
            f"{directory} is no batch's directory", evidence=f"it has no {_HEAD}", todo="name the directory of a batch"
        ) from None
    except OSError as error:
        raise PreconditionMissing(f"{path} cannot be read: {error.strerror}", todo="make it readable") from error
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version != HEAD_VERSION:
            raise Refused(
                f"{path} was written by another version of this program",
                evidence=f"version {version} of the document; this program reads {HEAD_VERSION}",
                todo="use the version that began it",
            )
        return msgspec.json.decode(data, type=BatchHead)
    except msgspec.MsgspecError as error:
        raise Refused(f"{path} is no head of a batch", evidence=str(error), todo="name another directory") from error


class _Versioned(msgspec.Struct):
    version: int


def _read_lines(path: Path) -> tuple[dict[int, EpisodeLine], int]:
    """The newest line of each episode, and how many bytes of the file are whole lines."""
    lines: dict[int, EpisodeLine] = {}
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return lines, 0
    except OSError as error:
        raise PreconditionMissing(f"{path} cannot be read: {error.strerror}", todo="make it readable") from error
    whole = data.rfind(b"\n") + 1
    decode = msgspec.json.Decoder(EpisodeLine).decode
    at = 0
    for number, text in enumerate(data[:whole].splitlines(keepends=True), 1):
        try:
            line = decode(text)
        except msgspec.MsgspecError as error:
            if at + len(text) == whole:
                # A disk that lost its power may have kept the end of a line and not its beginning.
                return lines, at
            raise Refused(
                f"line {number} of {path} is damaged",
                evidence=str(error),
                todo="remove that line; its episode is played again",
            ) from error
        lines[line.index] = line
        at += len(text)
    return lines, whole


def _document(head: BatchHead) -> bytes:
    return msgspec.json.format(msgspec.json.encode(head), indent=2) + b"\n"
