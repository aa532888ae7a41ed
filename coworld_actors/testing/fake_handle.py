"""One role that is a coroutine of this process: its clock, its log, its end; and the record of what was done to it."""

from __future__ import annotations

import enum
import os
import signal
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import msgspec
import trio

from coworld_actors.actors.errors import root_cause
from coworld_actors.testing.fake_roles import EndedAs, FakeRole, InTurn, Refusal
from coworld_drivers import ports
from coworld_drivers.driver import (
    Address,
    ExitKind,
    ExitStatus,
    Launch,
    LogFailed,
    Usage,
)
from coworld_drivers.output import OutputLog
from coworld_protocol import contract

if TYPE_CHECKING:
    from coworld_actors.testing.fake_driver import FakeSite

__all__ = ["FakeHandle", "Step", "What"]


class What(enum.StrEnum):
    """What a driver was asked for, or saw."""

    START = "start"
    REFUSE = "refuse"
    STOP = "stop"
    KILL = "kill"
    END = "end"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a role.

    Attributes:
        what: what.
        name: the launch's name.
        episode: whose role it is.
        at: when, on the trio clock.
        grace: seconds that a stop allowed.
        status: how it ended.
    """

    what: What
    name: str
    episode: str
    at: float
    grace: float | None = None
    status: ExitStatus | None = None


@final
class FakeHandle:
    """One started role; made by `FakeSite.start`. Also its script's `RoleRun`.

    Attributes:
        launch: how it was started.
        env: what its script finds as its variables.
        number: which start of this name in this episode this is, from 1.
        episode: whose role it is.
        connected: whether `FakeSite.connected` names it.
        stops: the grace of every stop that was asked for.
    """

    def __init__(
        self, site: FakeSite, launch: Launch, number: int, address: Address | None, logs: Sequence[OutputLog]
    ) -> None:
        self.launch = launch
        self.number = number
        self.episode = site.episode
        self.connected = False
        self.stops: list[float] = []
        env = {**launch.env, **launch.secret_env}
        if address is not None:
            env |= {contract.ENV_HOST: address.host, contract.ENV_PORT: str(address.port)}
        self.env: Mapping[str, str] = env
        self._site = site
        self._address = address
        self._logs = logs
        self._asked = False
        self._by: signal.Signals | None = None
        self._caught: trio.Event | None = None
        self._status: ExitStatus | None = None
        self._ended = trio.Event()
        # Keeps the role running while it is asked to end although everything around is cancelled, as a process would. Its
        # deadline is the site's end, which every way out of the site runs.
        self._scope = trio.CancelScope(shield=True)

    @property
    def name(self) -> str:
        """The launch's name."""
        return self.launch.name

    @property
    def address(self) -> Address | None:
        """Where it listens, on the loopback interface; None when it does not serve."""
        return self._address

    @property
    def peer_address(self) -> Address | None:
        """The same."""
        return self._address

    @property
    def status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        return self._status

    @property
    def log_error(self) -> LogFailed | None:
        """Why its output is not complete on disk; None while all is well."""
        return next((log.error for log in self._logs if log.error is not None), None)

    @property
    def usage(self) -> Usage:
        """Unknown: it runs in this process."""
        return Usage()

    async def wait(self) -> ExitStatus:
        """Wait until it has ended and its output is on disk."""
        await self._ended.wait()
        assert self._status is not None
        return self._status

    async def stop(self, grace: float) -> ExitStatus:
        """Ask it to end, wait at most `grace` seconds, kill it. Cancelled in between, it is killed at once."""
        if self._status is None:
            self.stops.append(grace)
            self._asked = True
            self._site.note(What.STOP, self.name, grace=grace)
            if self._caught is not None:
                self._caught.set()
            else:
                self._end_by(signal.SIGTERM)
            try:
                with trio.move_on_after(grace):
                    await self._ended.wait()
            finally:
                self.kill()
        return await self.wait()

    def kill(self) -> None:
        """End it now; its end is recorded as asked for."""
        if self._status is None:
            self._asked = True
            # One that was sent SIGTERM and did not catch it is being cancelled: a coroutine cannot be ended more firmly.
            if self._by is None:
                self._site.note(What.KILL, self.name)
            self._end_by(signal.SIGKILL)

    def _end_by(self, number: signal.Signals) -> None:
        self._by = self._by or number
        self._scope.cancel(reason=f"{self.name} was sent {number.name}")

    async def owns_address(self) -> bool:
        """Whether what listens at `address` is this process."""
        if self._address is None or self._status is not None:
            return False
        await trio.lowlevel.checkpoint()
        # Read in place and not in a thread: a virtual clock jumps while one waits for a thread.
        listening = ports.occupants(self._address.port, listening=True)
        return bool(listening) and listening <= ports.sockets_of([os.getpid()])

    async def port_taken(self) -> bool:
        """Never: the port is claimed from before the role's start until its end."""
        await trio.lowlevel.checkpoint()
        return False

    def tail(self, limit: int = 4000) -> str:
        """The last `limit` bytes of its output, of standard error if there is any."""
        for log in reversed(self._logs):
            if log.total:
                return log.tail(limit).decode(errors="replace")
        return ""

    # For its script.

    def print(self, text: str) -> None:
        """Write a line to its standard output."""
        self._write(self._logs[0], text)

    def complain(self, text: str) -> None:
        """Write a line to its standard error."""
        self._write(self._logs[-1], text)

    def _write(self, log: OutputLog, text: str) -> None:
        # A dead role says nothing: its log is closed and may belong to its next start.
        if self._status is None:
            log.write(f"{text}\n".encode(errors="backslashreplace"))

    def catch_stop(self) -> trio.Event:
        """From now on a stop sets this event and no longer ends the role."""
        if self._caught is None:
            self._caught = trio.Event()
        return self._caught

    async def follow(self, role: FakeRole) -> None:
        """Run its script and record its end. To be run once, as a task of the site."""
        assert not isinstance(role, Refusal | InTurn)
        status = ExitStatus(kind=ExitKind.EXITED, code=1)
        try:
            with self._scope:
                status = ExitStatus(kind=ExitKind.EXITED, code=self._exit_code(await role(self)))
            if self._scope.cancelled_caught and self._by is not None:
                status = ExitStatus(kind=ExitKind.SIGNALLED, signal=int(self._by))
        except Exception as error:  # noqa: BLE001 - whatever a role raises is its own end
            cause = root_cause(error)
            if isinstance(cause, EndedAs):
                status = cause.status
            else:
                self.complain("".join(traceback.format_exception(error)).rstrip())
        finally:
            # Restores: whoever waits for its end is told, also when an interrupt of the whole program goes through here.
            self._finish(msgspec.structs.replace(status, stopped=self._asked))

    def _exit_code(self, returned: object) -> int:
        if not isinstance(returned, int):
            raise TypeError(f"the script of {self.name} returned {returned!r}; return its exit code, 0 if all is well")
        return returned & 0xFF

    def _finish(self, status: ExitStatus) -> None:
        for log in self._logs:
            log.close()
        if self._address is not None:
            ports.release(self._address.port)
        self._status = status
        self._site.note(What.END, self.name, status=status)
        self._ended.set()

    def __repr__(self) -> str:
        return f"<FakeHandle {self.episode}/{self.name}: {self._status or 'running'}>"
