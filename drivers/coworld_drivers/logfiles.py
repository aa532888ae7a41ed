"""Opening log files where strangers may write: a new file, or one that we made before; never what has been put in its place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["LogFiles", "Planted"]

# Non-blocking so that a FIFO could never make us wait; regular files ignore it.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
    stat.S_IFREG: "another file",
}


class Planted(OSError):
    """What has a log's place was not made by us; `strerror` says what it is, `filename` where."""


class LogFiles:
    """The log files of one site.

    Roles may write in the directory that their logs are in, as a game may in the whole directory of its run. A link that one of
    them put where a log should go must not lead us to a file of the user's, nor a pipe or a directory stop us without a name for
    it. So a log is made new, or it is the file that was made here before, told by device and inode: a game that is started again
    keeps the output of its first start.
    """

    def __init__(self) -> None:
        self._made: dict[Path, tuple[int, int]] = {}

    def open(self, path: Path) -> int:
        """A descriptor that appends to the log at `path`; neither it nor the directory it is in may be a link.

        Raises:
            Planted: something that was not made here is there.
            OSError: it cannot be made.
        """
        directory = _open_directory(path.parent)
        try:
            try:
                fd = os.open(path.name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory)
            except FileExistsError:
                return self._open_again(path, directory)
            self._made[path] = _identity(os.fstat(fd))
            return fd
        finally:
            os.close(directory)

    def _open_again(self, path: Path, directory: int) -> int:
        made = self._made.get(path)
        # Looked at before it is opened: opening a device can have effects of its own.
        found = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or _identity(found) != made:
            raise _planted(path, found)
        fd = os.open(path.name, _FLAGS, dir_fd=directory)
        opened = os.fstat(fd)
        if _identity(opened) != made:
            os.close(fd)
            raise _planted(path, opened)
        return fd


def _open_directory(path: Path) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise _planted(path, path.lstat()) from None


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _planted(path: Path, found: os.stat_result) -> Planted:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "a device")
    return Planted(0, kind, str(path))
