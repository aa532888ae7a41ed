"""The files of one episode: where they are, and reading what strangers wrote there.

The directory is always new, so nothing in it can be left over from another run. What roles write is opened without following
links, only as regular files, and never without a limit.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from coworld_drivers.driver import Mount
from coworld_protocol import contract
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused

__all__ = [
    "FOR_READERS",
    "FileRefused",
    "Workspace",
    "is_role_file",
    "open_role_file",
    "read_role_file",
    "write_atomically",
]

FOR_READERS = 0o644
"""Mode of a file that is made to be read by others; the caller's umask still takes from it, as from the logs."""

RESULTS_LIMIT = 64 * 1024 * 1024
"""Bytes of `results.json` that are read; the later public version of the contract has the same limit where it is hosted."""


class FileRefused(CoworldError):
    """A file written by a role is not one we read: a link, no regular file, too large."""

    exit_code = 1


def open_role_file(path: Path, limit: int) -> BinaryIO | None:
    """A file that a role wrote, open for reading, None when there is none.

    Raises:
        FileRefused: it is a link, a pipe, a directory, or larger than `limit` bytes.
    """
    try:
        # O_NONBLOCK: opening a pipe that a role put there must not wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileRefused(f"{path.name} cannot be read: {error.strerror}", where=str(path)) from error
    # Looked at before it becomes a file object: that refuses a directory with an error of its own and keeps it open.
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and found.st_size <= limit:
        return os.fdopen(fd, "rb")
    os.close(fd)
    what = f"larger than {limit} bytes" if stat.S_ISREG(found.st_mode) else "no regular file"
    raise FileRefused(f"{path.name} is {what}", where=str(path))


def read_role_file(path: Path, limit: int) -> bytes | None:
    """The bytes of a file that a role wrote, None when there is none.

    Raises:
        FileRefused: it is a link, a pipe, a directory, or larger than `limit` bytes.
    """
    file = open_role_file(path, limit)
    if file is None:
        return None
    with file:
        # As many bytes as there are and one, for `read` allocates what it is asked for; then what came since, if any did.
        data = file.read(os.fstat(file.fileno()).st_size + 1)
        data += file.read(limit + 1 - len(data)) if data else b""
    if len(data) > limit:
        raise FileRefused(f"{path.name} is larger than {limit} bytes", where=str(path))
    return data


def is_role_file(path: Path) -> bool:
    """Whether a role left a regular file there; a link to one is none."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that nobody ever sees half of it.

    Args:
        path: where to; what is there is replaced, a link is not followed.
        data: all of it.
        mode: who may read it, less the umask; unless said otherwise its owner alone.

    Raises:
        PreconditionMissing: the directory cannot be written or the disk is full; the partial file is gone.
    """
    # A name that no role can have taken.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        # O_EXCL and O_NOFOLLOW: a role may write in this directory and must not be able to redirect us.
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise PreconditionMissing(
            f"{path.name} cannot be written: {error.strerror}",
            todo="free some space or name a writable directory with --output",
            where=str(path.parent),
        ) from error


class Workspace:
    """The directory of one episode and the names in it.

    Args:
        root: an existing directory of this episode alone.
        slots: number of seats.
    """

    def __init__(self, root: Path, slots: int) -> None:
        self.root = root
        self.slots = slots
        self.config = root / contract.FILE_CONFIG
        self.results = root / contract.FILE_RESULTS
        self.replay = root / contract.FILE_REPLAY
        self.logs = root / contract.DIR_LOGS
        self.game_stdout = root / contract.LOG_GAME_STDOUT
        self.game_stderr = root / contract.LOG_GAME_STDERR
        self.episode = root / "episode.json"
        self.events = root / "events.jsonl"
        self.error_info = root / "error_info.json"
        self.tap = root / "tap.json"
        self.bundle = root / "bundle.zip"
        self.replay_check = root / "replay-check"
        self.reports = root / "reports"
        self.grades = root / "grades"
        self.support = root / "support"
        self.players = root / "players"

    @classmethod
    def create(cls, root: Path, slots: int) -> Workspace:
        """Make the directory with everything that must exist before a role starts.

        Raises:
            Refused: it exists and is not empty.
            PreconditionMissing: it cannot be made or written.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            if any(root.iterdir()):
                raise Refused(
                    f"{root} is not empty, and files of an earlier run are never mixed with a new one",
                    todo="name a new directory with --output, or leave the option out",
                )
            workspace = cls(root.resolve(), slots)
            workspace.logs.mkdir()
            for slot in range(slots):
                workspace.player_directory(slot).mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise PreconditionMissing(
                f"the output directory {root} cannot be used: {error.strerror}",
                todo="name a writable directory with --output",
            ) from error
        return workspace

    def for_game(self) -> Mount:
        """What the game sees of it: not what belongs to players, logs and supporting roles, where that can be hidden."""
        hides = (self.logs.name, self.players.name, self.support.name)
        return Mount(path=self.root, at=contract.CONTAINER_WORKSPACE, writable=True, hides=hides)

    def for_reporter(self) -> Mount:
        """What a reporter sees of it: all but the directories of others."""
        hides = (self.players.name, self.support.name)
        return Mount(path=self.root, at=contract.CONTAINER_WORKSPACE, hides=hides)

    def player_directory(self, slot: int) -> Path:
        """The directory that belongs to one player alone."""
        return self.players / str(slot)

    def player_log(self, slot: int) -> Path:
        """Where one player's output goes."""
        return self.root / contract.player_log_name(slot)

    def player_artifact(self, slot: int) -> Path:
        """Where one player's artifact ends up."""
        return self.root / contract.player_artifact_name(slot)

    def support_directory(self, name: str) -> Path:
        """The directory that belongs to one reporter or grader alone while it works."""
        return self.support / name

    def free(self, *paths: Path) -> None:
        """Make sure that nothing is at these paths; what a role left there is set aside and keeps its name with an ending.

        A role may write in this directory: whatever it put under a name of ours must neither stop us nor lead us elsewhere.

        Raises:
            PreconditionMissing: it cannot be moved.
        """
        for path in paths:
            if os.path.lexists(path):
                try:
                    path.rename(path.with_name(f"{path.name}.not-ours-{secrets.token_hex(4)}"))
                except OSError as error:
                    raise PreconditionMissing(
                        f"{path.name}, which a role left in the run's directory, cannot be moved out of the way: "
                        f"{error.strerror}",
                        todo="name a writable directory with --output",
                        where=str(self.root),
                    ) from error

    def write_config(self, game_config: Mapping[str, Any], tokens: tuple[str, ...]) -> None:
        """Write the game's configuration with the tokens of its seats; only its owner may read it."""
        data = msgspec.json.encode({**game_config, "tokens": list(tokens)})
        write_atomically(self.config, msgspec.json.format(data, indent=2))

    def collect_artifacts(self) -> tuple[int, ...]:
        """Move every player's artifact out of its own directory; returns the slots that left one.

        What is no regular file or larger than the contract allows stays where it is.
        """
        collected: list[int] = []
        for slot in range(self.slots):
            source = self.player_directory(slot) / contract.player_artifact_name(slot)
            try:
                found = source.lstat()
                if stat.S_ISREG(found.st_mode) and found.st_size <= contract.ARTIFACT_LIMIT:
                    source.rename(self.player_artifact(slot))
                    collected.append(slot)
            except OSError:
                continue
        return tuple(collected)
