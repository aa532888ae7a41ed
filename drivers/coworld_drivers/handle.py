"""One started process: its output, its end, and everything that it started in its group."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Sequence

import trio

from coworld_drivers import ports
from coworld_drivers.driver import Address, ExitKind, ExitStatus, LogFailed, Usage
from coworld_drivers.lifeline import Lifeline
from coworld_drivers.oom import OomCounter
from coworld_drivers.output import OutputLog
from coworld_drivers.process_usage import ProcessUsage
from coworld_drivers.warm_process import Started
from coworld_protocol.errors import InternalFault

__all__ = ["ProcessHandle"]

_CHUNK = 64 * 1024


class ProcessHandle:
    """A role that runs as the leader of its own session; made by `ProcessSite.start`.

    Args:
        name: the launch's name.
        process: as opened, with piped output; the handle owns it from here on.
        logs: where its output goes: standard output, and standard error unless that is merged.
        address: where it has to listen.
        extra_ports: further ports that are claimed for it; released at its end.
        mark: the value of its mark variable.
        lifeline: told when the process group exists and when it is gone.
        oom: asked whether a SIGKILL was the kernel's.
        account: of what it uses; closed by the handle.

    Raises:
        OSError: the process cannot be watched; the caller still owns it.
    """

    def __init__(
        self,
        name: str,
        process: Started,
        logs: Sequence[OutputLog],
        *,
        address: Address | None,
        extra_ports: Sequence[int] = (),
        mark: str,
        lifeline: Lifeline,
        oom: OomCounter,
        account: ProcessUsage,
    ) -> None:
        self.pid = process.pid
        self.mark = mark
        self._name = name
        self._process = process
        self._address = address
        self._ports = [*extra_ports, *([] if address is None else [address.port])]
        self._lifeline = lifeline
        streams = [stream for stream in (process.stdout, process.stderr) if isinstance(stream, trio.lowlevel.FdStream)]
        self._streams = list(zip(streams, logs, strict=True))
        self._pidfd = _pidfd(self.pid)
        self._oom = oom
        self._reaped = False
        self._asked = False
        self._killed = False
        self._port_taken = False
        self._status: ExitStatus | None = None
        self._account = account
        self._ended = trio.Event()
        # Keeps output flowing while the role is asked to end although everything around is cancelled. It has no deadline
        # while the site is open; ProcessSite.aclose(), which every way out of the site runs, sets one through limit().
        self._scope = trio.CancelScope(shield=True)
        lifeline.started(self.pid)

    @property
    def name(self) -> str:
        """The launch's name."""
        return self._name

    @property
    def address(self) -> Address | None:
        """Where the role listens, on the loopback interface; None when it does not serve."""
        return self._address

    @property
    def peer_address(self) -> Address | None:
        """The same: processes of one machine reach each other as we reach them."""
        return self._address

    @property
    def status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        return self._status

    @property
    def log_error(self) -> LogFailed | None:
        """Why its output is not complete on disk; None while all is well."""
        return next((log.error for _, log in self._streams if log.error is not None), None)

    @property
    def usage(self) -> Usage:
        """What it and its session have used: exact processor time once it has ended; `process_usage` says what the peak means."""
        return self._account.usage

    async def wait(self) -> ExitStatus:
        """Wait until it has ended and its output is on disk."""
        await self._ended.wait()
        if self._status is None:
            raise InternalFault(f"the end of {self._name} was not recorded")
        return self._status

    async def stop(self, grace: float) -> ExitStatus:
        """SIGTERM to its group, at most `grace` seconds, SIGKILL to its group.

        Cancelled in between, it is killed at once. Whatever has left its group is killed when the site is left.
        """
        if not self._ended.is_set():
            self._asked = self._asked or not self._has_exited()
            self._account.look()
            self._signal(signal.SIGTERM)
            try:
                with trio.move_on_after(grace):
                    await self._ended.wait()
            finally:
                if not self._ended.is_set() and not self._has_exited():
                    self._killed = True
                self._signal(signal.SIGKILL)
        return await self.wait()

    def kill(self) -> None:
        """SIGKILL to its group, now; its end is recorded as asked for."""
        if not self._ended.is_set() and not self._has_exited():
            self._asked = self._killed = True
        self._signal(signal.SIGKILL)

    async def owns_address(self) -> bool:
        """Whether every socket that listens at `address` is held by this role's processes, and there is one."""
        if self._address is None or self._reaped:
            return False
        return await trio.to_thread.run_sync(self._only_we_listen, self._address.port)

    async def port_taken(self) -> bool:
        """Whether somebody else holds its port, or held it when the role ended."""
        if self._address is None or self._status is not None:
            return self._port_taken
        return await trio.to_thread.run_sync(self._others_hold, self._address.port)

    def _only_we_listen(self, port: int) -> bool:
        # Listeners first: one that appears in between makes the answer older, never wrong.
        try:
            listening = ports.occupants(port, listening=True)
            # Nearly always the first process has them all; a walk over every process of the machine costs a hundred times as much.
            return bool(listening) and (
                listening <= ports.sockets_of([self.pid]) or listening <= ports.sockets_of_group(self.pid, self.mark)
            )
        except OSError:
            # No descriptor left to look with: nothing is proven.
            return False

    def _others_hold(self, port: int) -> bool:
        # A socket that was closed while we looked is no stranger: it has to be there in a second look, too.
        try:
            strangers = ports.occupants(port) - ports.sockets_of([self.pid])
            if strangers:
                strangers -= ports.sockets_of_group(self.pid, self.mark)
            return bool(strangers and strangers & ports.occupants(port))
        except OSError:
            return False

    def tail(self, limit: int = 4000) -> str:
        """The last `limit` bytes of its output, at most 64 KiB, as text; of standard error if there is any."""
        for _, log in reversed(self._streams):
            if log.total:
                return log.tail(limit).decode(errors="replace")
        return ""

    def limit(self, seconds: float) -> None:
        """Give up on it after that time, at the latest; then its end is `lost`."""
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + seconds)

    async def follow(self) -> None:
        """Carry its output until it ends, then end its group and record the end. To be run once, as a task."""
        try:
            with self._scope:
                async with trio.open_nursery() as pumps:
                    for stream, log in self._streams:
                        pumps.start_soon(_pump, stream, log, name=f"output of {self._name}")
                    if self._pidfd >= 0:
                        # Looked at again: while a forked child of ours holds a copy of a descriptor that we have closed, the
                        # system goes on to report it, under a number that may be this one's by now.
                        while not self._has_exited():
                            await trio.lowlevel.wait_readable(self._pidfd)
                    else:
                        await self._process.wait()
                        self._signal(signal.SIGKILL)
                    if self._address is not None:
                        # Before the group is killed: what a dying process holds can no longer be told from a stranger's.
                        self._port_taken = await trio.to_thread.run_sync(self._others_hold, self._address.port)
                    # The leader is a zombie: until it is reaped nobody else can be given its group's id.
                    self._signal(signal.SIGKILL)
                    pumps.cancel_scope.cancel(reason="the process has ended")
        finally:
            self._finish()

    def _finish(self) -> None:
        """Reap, drain, close. Nothing here waits."""
        self._signal(signal.SIGKILL)
        self._account.close()
        code = self._process.poll()
        self._reaped = code is not None
        for port in self._ports:
            ports.release(port)
        for stream, log in self._streams:
            _drain(stream, log)
            stream.close()
            log.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._lifeline.ended(self.pid)
        self._status = self._judge(code)
        self._ended.set()

    def _judge(self, code: int | None) -> ExitStatus:
        if code is None:
            return ExitStatus(kind=ExitKind.LOST, stopped=self._asked, detail="still there after SIGKILL")
        if code < 0:
            # A death by SIGKILL that we did not send, while the kernel says that it killed somebody for memory.
            memory = code == -signal.SIGKILL and not self._killed and self._oom.explains()
            return ExitStatus(
                kind=ExitKind.OOM if memory else ExitKind.SIGNALLED,
                signal=-code,
                stopped=self._asked,
                detail="the kernel counted an out-of-memory kill while it ran" if memory else "",
            )
        return ExitStatus(kind=ExitKind.EXITED, code=code, stopped=self._asked)

    def _has_exited(self) -> bool:
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _signal(self, number: int) -> None:
        """Signal the group; never after the leader was reaped, when its id may be somebody else's, nor in a forked child."""
        if self._reaped or self._ended.is_set() or not self._lifeline.owner.here:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            # All that is left in the group has changed its user; the leader, if alive, is still ours to signal.
            os.kill(self.pid, number)


def _pidfd(pid: int) -> int:
    """A descriptor that becomes readable when the process ends; -1 in a sandbox that has none."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return -1
        raise


async def _pump(stream: trio.lowlevel.FdStream, log: OutputLog) -> None:
    while data := await stream.receive_some(_CHUNK):
        log.write(data)


def _drain(stream: trio.lowlevel.FdStream, log: OutputLog) -> None:
    """Take the last words: what a dead writer left is at most what the pipe holds, however many others still write to it."""
    fd = stream.fileno()
    try:
        room = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        while room > 0 and (data := os.read(fd, min(room, _CHUNK))):
            room -= len(data)
            log.write(data)
    except OSError:
        # BlockingIOError: the pipe is empty, and somebody who is not our leader still holds it.
        return
