"""What roles of one process print: each one's own, in its own log, and not a descriptor for any of them."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TextIO, cast

from coworld_drivers.output import OutputLog

__all__ = ["STREAMS", "RoleOutput", "RoleStream", "routed"]

PENDING: Final = 8 * 1024
"""Bytes that may wait before they are written to the file."""


class RoleOutput:
    """One log: takes what is printed, writes it in larger pieces.

    Args:
        log: the file; not held open.
        waits: called with this when something begins to wait for `flush`.
    """

    __slots__ = ("_closed", "_log", "_pending", "_waits")

    def __init__(self, log: OutputLog, waits: Callable[[RoleOutput], None]) -> None:
        self._log = log
        self._pending = bytearray()
        self._waits = waits
        self._closed = False

    @property
    def log(self) -> OutputLog:
        """The file."""
        return self._log

    def take(self, data: bytes) -> None:
        """Something was printed; what a task prints that goes on after its recorded end is lost."""
        if self._closed:
            return
        if not self._pending:
            self._waits(self)
        self._pending += data
        if len(self._pending) > PENDING:
            self.flush()

    def flush(self) -> None:
        """Write what waits; blocks for as long as a small write does."""
        if self._pending:
            data = bytes(self._pending)
            self._pending.clear()
            self._log.write(data)

    def tail(self, limit: int) -> bytes:
        """The last `limit` bytes."""
        pending = bytes(self._pending)
        return (self._log.tail(limit) + pending)[-limit:] if limit > 0 else b""

    def close(self) -> None:
        """End the file."""
        self._closed = True
        self.flush()
        self._log.close()


class _Bytes(io.RawIOBase):
    def __init__(self, output: RoleOutput) -> None:
        self._output = output

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        taken = bytes(data)
        self._output.take(taken)
        return len(taken)


class RoleStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` as one role sees it. It has no descriptor."""

    encoding = "utf-8"

    def __init__(self, output: RoleOutput) -> None:
        self._output = output

    @property
    def buffer(self) -> io.RawIOBase:
        """The same for bytes."""
        return _Bytes(self._output)

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str, /) -> int:
        """Print; what UTF-8 cannot say is escaped."""
        self._output.take(text.encode(errors="backslashreplace"))
        return len(text)


STREAMS: ContextVar[tuple[RoleStream, RoleStream] | None] = ContextVar("coworld_streams", default=None)
"""Standard output and standard error of the role that runs; its child tasks and trio's threads inherit them."""


class _Router:
    """Stands in for a standard stream and hands everything on to the one of the role that asks, or to the process's own."""

    def __init__(self, number: int, own: TextIO) -> None:
        self._number = number
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)

    def write(self, text: str) -> int:
        return self._stream().write(text)

    def flush(self) -> None:
        self._stream().flush()

    def _stream(self) -> TextIO | RoleStream:
        streams = STREAMS.get()
        return self.own if streams is None else streams[self._number]


_users = 0
_routers: list[_Router] = []


@contextmanager
def routed() -> Generator[None]:
    """Send what roles print to their own logs, while in here; may be entered any number of times.

    On leaving for the last time the streams are as they were before; one that somebody else has replaced meanwhile is left alone.
    """
    global _users  # noqa: PLW0603 - there is one sys.stdout
    if not _users:
        _routers[:] = [_Router(0, sys.stdout), _Router(1, sys.stderr)]
        sys.stdout, sys.stderr = (cast("TextIO", router) for router in _routers)
    _users += 1
    try:
        yield
    finally:
        _users -= 1
        if not _users:
            out, err = _routers
            if cast("object", sys.stdout) is out:
                sys.stdout = out.own
            if cast("object", sys.stderr) is err:
                sys.stderr = err.own
