"""A process that was forked by a template, in the shape in which a handle keeps any process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

import trio

__all__ = ["Started", "WarmProcess"]


class Started(Protocol):
    """A child of this process with piped output; `trio.Process` is one."""

    @property
    def pid(self) -> int:
        """Its id; also that of its session and of its process group."""
        ...

    @property
    def stdout(self) -> object:
        """Our end of its output."""
        ...

    @property
    def stderr(self) -> object:
        """Our end of its errors; None when they go the way of its output."""
        ...

    def poll(self) -> int | None:
        """Reap it if it has ended: its exit code, or the negative number of the signal that ended it."""
        ...

    async def wait(self) -> int:
        """Wait until it has ended, and reap it."""
        ...


class WarmProcess:
    """A child of ours that we have not started ourselves.

    Args:
        pid: its id.
        stdout: our end of its output.
        stderr: our end of its errors.
        reaped: called once when it is gone.
    """

    def __init__(
        self,
        pid: int,
        stdout: trio.lowlevel.FdStream | None,
        stderr: trio.lowlevel.FdStream | None,
        reaped: Callable[[], object],
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self._reaped = reaped
        self._code: int | None = None

    def poll(self) -> int | None:
        """Reap it if it has ended; never waits."""
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # Somebody else in this process has reaped it. `subprocess` says the same then.
                pid, status = self.pid, 0
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
                self._reaped()
        return self._code

    async def wait(self) -> int:
        """Wait until it has ended, and reap it."""
        while (code := self.poll()) is None:
            pidfd = os.pidfd_open(self.pid)
            try:
                await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)
        return code
