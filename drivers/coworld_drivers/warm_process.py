"""A process that was forked by a template, in the shape in which a handle keeps any process."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
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
            await _ended(self.pid)
        return code


async def _ended(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        # A sandbox that has none. As many threads as are waited for: the usual limit would have some wait for others' ends.
        limiter = trio.CapacityLimiter(1)
        await trio.to_thread.run_sync(_wait_for, pid, abandon_on_cancel=True, limiter=limiter)
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def _wait_for(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
