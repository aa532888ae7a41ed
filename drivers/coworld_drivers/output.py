"""A role's output: on disk as it comes, cut at a limit, its last words always at hand."""

from __future__ import annotations

import os
from pathlib import Path

from coworld_drivers.driver import Launch, LogFailed, MachineFault
from coworld_drivers.logfiles import LogFiles, Planted

__all__ = ["RING", "OutputLog", "open_logs"]

RING = 64 * 1024
"""Bytes of the newest output that are kept in memory, and that follow the cut at the end of a cut log."""


class OutputLog:
    """One stream's log file and the last `RING` bytes of it.

    The file holds the first `limit` bytes, a line that says where it was cut, and, once closed, how much is missing and the
    last `RING` bytes. Writing never raises: a full disk must neither end us nor block the role.

    Args:
        path: file to append to.
        limit: bytes kept before the cut.
        who: how messages name the role.
        files: opens it.
        held: whether the file is open from the start to the end; False opens it for each write, and makes it with the first one
            or at the end, for those who have more logs than there are descriptors.
        ring: bytes of the newest output to keep.

    Attributes:
        total: bytes seen.
        error: the first failure to write; nothing is written after it.

    Raises:
        Planted: something that is not ours is in the file's place.
        OSError: the file cannot be opened.
    """

    def __init__(
        self, path: Path, *, limit: int, who: str, files: LogFiles, held: bool = True, ring: int = RING
    ) -> None:
        self.path = path
        self.total = 0
        self.error: LogFailed | None = None
        self._limit = limit
        self._who = who
        self._keep = ring
        self._ring = bytearray()
        self._files = files
        self._held = held
        self._made = held
        self._fd = files.open(path) if held else -1

    @property
    def cut(self) -> int:
        """Bytes that came after the limit."""
        return max(0, self.total - self._limit)

    def write(self, data: bytes) -> None:
        """Take what the role has written."""
        room = self._limit - self.total
        self.total += len(data)
        self._ring += data[-self._keep :]
        if len(self._ring) > 2 * self._keep:
            del self._ring[: -self._keep]
        if room > 0:
            self._put(data[:room])
        if room >= 0 and len(data) > room:
            self._put(f"\n[coworld-actors: output cut here, after {self._limit} bytes]\n".encode())

    def tail(self, limit: int) -> bytes:
        """The last `limit` bytes, at most as many as are kept."""
        limit = min(limit, self._keep)
        return bytes(self._ring[-limit:]) if limit > 0 else b""

    def close(self) -> None:
        """End the file; writing after this is a defect."""
        if self._held and self._fd < 0:
            return
        if self.cut:
            last = self.tail(min(self._keep, self.cut))
            self._put(f"[coworld-actors: {self.cut} bytes cut; the last {len(last)} follow]\n".encode() + last)
        elif not self._made:
            self._put(b"")
        self._close()

    def _put(self, data: bytes) -> None:
        if self.error is not None:
            return
        view = memoryview(data)
        try:
            if self._fd < 0:
                self._fd = self._files.open(self.path)
                self._made = True
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self._fail(error)
        if not self._held:
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        try:
            if fd >= 0:
                os.close(fd)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if self.error is None:
            self.error = LogFailed(
                f"the output of {self._who} could not be written",
                evidence=f"{error.strerror} after {self.total} bytes",
                todo="make room or choose another --output directory, then run it again",
                where=str(self.path),
            )


def open_logs(launch: Launch, files: LogFiles) -> list[OutputLog]:
    """The logs of a role, standard output first.

    Raises:
        MachineFault: one of them cannot be opened; none is left open.
    """
    logs: list[OutputLog] = []
    for path in filter(None, (launch.stdout, launch.stderr)):
        try:
            logs.append(OutputLog(path, limit=launch.log_limit, who=launch.name, files=files))
        except OSError as error:
            for log in logs:
                log.close()
            raise _unopened(launch.name, path, error) from error
    return logs


def _unopened(who: str, path: Path, error: OSError) -> MachineFault:
    if isinstance(error, Planted):
        return MachineFault(
            f"the log of {who} cannot be written: something that we did not make has its place",
            evidence=f"{error.filename} is {error.strerror}; a role that may write there, such as the game, "
            "can have put it there",
            todo="find out which role does that, and run again with a new --output directory",
        )
    return MachineFault(
        f"the log of {who} cannot be written",
        evidence=f"{path}: {error.strerror}",
        todo="choose another --output directory, or make this one writable",
    )
