"""Directories for the time of a block, known to be nobody's once their process is dead.

    TMPDIR/coworld-scratch-PURPOSE-RANDOM/

Whoever uses one holds a lock on it (flock(2)), which the kernel takes away with the process, however that ends, and which means
the same in every namespace. So a directory that can be locked is a dead process's, and may go. Only what can be done without is
put there: never what an episode or a batch has to show.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["remove_scratch", "scratch", "stale_scratch"]

_PREFIX = "coworld-scratch-"
_PURPOSE = re.compile(r"[a-z0-9]{1,32}")

YOUNG_SECONDS = 60.0
"""A directory so young may not have been locked yet."""


@contextmanager
def scratch(purpose: str) -> Generator[Path]:
    """A new empty directory of this user alone; it goes with the block, with all that is in it.

    Args:
        purpose: what for, in one word of lower-case letters and digits.

    Raises:
        OSError: it cannot be made.
    """
    if not _PURPOSE.fullmatch(purpose):
        raise ValueError(f"{purpose!r} is no word of lower-case letters and digits")
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-"))
    lock = -1
    try:
        lock = _open(directory)
        # Nobody else has a reason to wait for it, and whoever removes the stale leaves the young alone.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def stale_scratch() -> list[Path]:
    """Directories of dead processes of this user, oldest name first; what cannot be looked at is left out."""
    found: list[Path] = []
    with suppress(OSError):
        found = [path for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith(_PREFIX)]
    return sorted(path for path in found if _is_stale(path))


def remove_scratch(directory: Path) -> bool:
    """Remove a directory of a dead process; returns whether it is gone.

    Raises:
        OSError: something in it cannot be removed.
    """
    try:
        lock = _open(directory)
    except FileNotFoundError:
        return True
    try:
        if not _lockable(lock):
            return False
        shutil.rmtree(directory)
    except FileNotFoundError:
        # Somebody else removes it, too.
        return not os.path.lexists(directory)
    finally:
        os.close(lock)
    return True


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _is_stale(directory: Path) -> bool:
    try:
        lock = _open(directory)
    except OSError:
        return False
    try:
        status = os.fstat(lock)
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        return ours and time.time() - status.st_mtime > YOUNG_SECONDS and _lockable(lock)
    finally:
        os.close(lock)


def _lockable(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Held, or on a file system without locks, where nothing can be known.
        return False
    return True
