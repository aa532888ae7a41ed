"""Where files go: the directory of episodes, the temporary one, shared memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio

from coworld_actors.doctor.finding import Finding, Status, Surroundings, quantity

__all__ = ["check_disk", "check_shared_memory", "look_at_disk"]

FEW_BYTES = 50 * 1024 * 1024
"""Less than the logs and replays of a few episodes."""
SOME_BYTES = 1024**3
FEW_FILES = 10_000
_SHARED = Path("/dev/shm")  # noqa: S108 - to be looked at, not written
SHARED_MEMORY = 64 * 1024 * 1024
"""What an engine gives a container by default."""


async def check_disk(here: Surroundings) -> Sequence[Finding]:
    """Room for the episodes' files, and for what is only needed meanwhile."""
    return [await _runs(here), await _temporary(here)]


async def _runs(here: Surroundings) -> Finding:
    if here.directory is None:
        text = "the directory in which this command was given is not there any more"
        return Finding(name="disk", status=Status.FAIL, text=text, todo="go to another directory (cd)")
    todo = "free some, or play in another directory (--output)"
    return await look_at_disk("disk", here.directory / "runs", worst=Status.FAIL, todo=todo)


async def _temporary(here: Surroundings) -> Finding:
    named = here.environ.get("TMPDIR")
    # A file system of another machine may take its time.
    if named and not await trio.to_thread.run_sync(os.path.isdir, named, abandon_on_cancel=True):
        text = f"TMPDIR is {named}, which is no directory: another place is taken in its stead"
        todo = "make that directory, or name another one in TMPDIR"
        return Finding(name="temporary", status=Status.WARN, text=text, todo=todo)
    # The library looks for a place that it can write to, which fails where there is none.
    place = Path(named) if named else await trio.to_thread.run_sync(_temporary_place, abandon_on_cancel=True)
    todo = "free some, or name another directory in TMPDIR"
    return await look_at_disk("temporary", place, worst=Status.FAIL, todo=todo)


def _temporary_place() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path("/tmp")  # noqa: S108 - to be looked at, not written


async def check_shared_memory(_: Surroundings) -> Sequence[Finding]:
    """Shared memory: nothing of ours needs it, but locks of players that use several processes do."""
    todo = "mount a tmpfs there: players that use several processes need it"
    if not _SHARED.is_dir():  # noqa: ASYNC240 - a file system without a disk
        return [Finding(name="shared memory", status=Status.WARN, text=f"there is no {_SHARED}", todo=todo)]
    return [await look_at_disk("shared memory", _SHARED, worst=Status.WARN, todo=todo, some=SHARED_MEMORY)]


async def look_at_disk(name: str, place: Path, *, worst: Status, todo: str, some: int = SOME_BYTES) -> Finding:
    """Whether files can be made below a directory, which may not be there yet.

    Args:
        name: of the finding.
        place: the directory.
        worst: what it means that nothing can be written.
        todo: the next step.
        some: bytes below which it is a warning.
    """
    # A file system of another machine may take its time.
    return await trio.to_thread.run_sync(_look, name, place, worst, todo, some, abandon_on_cancel=True)


def _look(name: str, place: Path, worst: Status, todo: str, some: int) -> Finding:
    there = place
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        state = os.statvfs(there)
    except OSError as error:
        return Finding(name=name, status=worst, text=f"{there} cannot be looked at: {error.strerror}", todo=todo)
    free = state.f_bavail * state.f_frsize
    text = f"{quantity(free)} free for {place}"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK) or state.f_flag & os.ST_RDONLY:
        return Finding(name=name, status=worst, text=f"{there} cannot be written to", todo=todo)
    if free < min(FEW_BYTES, some // 2):
        return Finding(name=name, status=worst, text=text, todo=todo)
    # Some file systems count no files: they have 0 of 0.
    if state.f_files and state.f_favail < FEW_FILES:
        text += f", but only {state.f_favail:,} more files"
        return Finding(name=name, status=Status.WARN, text=text, todo=todo)
    return Finding(
        name=name, status=Status.WARN if free < some else Status.OK, text=text, todo=todo if free < some else ""
    )
