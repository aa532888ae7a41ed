"""`FakeDriver`: roles that are coroutines of this process. No process is started; logs, ports and ends are as real as they get.

    driver = FakeDriver({"game": serves(server), "player": plays(...), "player-3": killed_by(signal.SIGKILL, after=1)})
    async with open_system() as system:
        record = await run_episode(system, driver, spec)
    assert driver.handle("player-3").status.signal == signal.SIGKILL

It keeps the rules of `coworld_drivers.driver`: a start leaves a running role or nothing, an end is told once its output is on disk,
and nothing outlives its site.
"""

from __future__ import annotations

import enum
import os
import signal
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, final

import msgspec
import trio

from coworld_actors.actors.errors import root_cause
from coworld_actors.testing.fake_roles import EndedAs, FakeRole, InTurn, Refusal
from coworld_drivers import ports
from coworld_drivers.driver import (
    Address,
    Connections,
    ExitKind,
    ExitStatus,
    Launch,
    LogFailed,
    MachineFault,
    StartFailed,
    Wanted,
)
from coworld_drivers.logfiles import LogFiles
from coworld_drivers.output import OutputLog
from coworld_protocol import contract
from coworld_protocol.errors import PreconditionMissing

__all__ = ["FakeDriver", "FakeHandle", "FakeSite", "Step", "What"]


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


@final
class FakeSite:
    """Where the roles of one episode run together; made by `FakeDriver.open_site`."""

    def __init__(self, driver: FakeDriver, episode: str, nursery: trio.Nursery) -> None:
        self.episode = episode
        self._driver = driver
        self._nursery = nursery
        self._files = LogFiles()
        self._starts: Counter[str] = Counter()
        self._handles: list[FakeHandle] = []
        self._closed = False

    def uri(self, path: Path) -> str:
        """The `file://` URI of `path`."""
        return path.absolute().as_uri()

    @property
    def sees_connections(self) -> bool:
        """As the driver was told."""
        return self._driver.sees_connections

    async def connected(self, address: Address) -> Connections:
        """The roles whose script says that it is connected; the address makes no difference."""
        del address
        await trio.lowlevel.checkpoint()
        names = frozenset(handle.name for handle in self._handles if handle.connected and handle.status is None)
        return Connections(names=names, complete=True)

    async def start(self, launch: Launch) -> FakeHandle:
        """Start a role.

        Raises:
            MachineFault: its log cannot be written, or no port is free.
            StartFailed: no script fits, the site is closed, or `refuses_to_start` says so.
        """
        await trio.lowlevel.checkpoint()
        self._starts[launch.name] += 1
        number = self._starts[launch.name]
        role = self._driver.role_of(launch.name, launch.role)
        while isinstance(role, InTurn):
            role = role.pick(number)
        if self._closed:
            role = Refusal(StartFailed(f"{launch.name} was not started: its episode is ending"))
        if isinstance(role, Refusal):
            self.note(What.REFUSE, launch.name)
            raise role.error
        address = Address(host=ports.HOST, port=ports.claim()) if launch.serves else None
        logs: list[OutputLog] = []
        try:
            for path in filter(None, (launch.stdout, launch.stderr)):
                log = OutputLog(path, limit=launch.log_limit, who=launch.name, files=self._files)
                logs.append(log)
        except OSError as error:
            for log in logs:
                log.close()
            if address is not None:
                ports.release(address.port)
            raise MachineFault(
                f"the log of {launch.name} cannot be written", evidence=f"{error.filename}: {error.strerror}"
            ) from error
        handle = FakeHandle(self, launch, number, address, logs)
        self._handles.append(handle)
        self._driver.handles.append(handle)
        self.note(What.START, launch.name)
        self._nursery.start_soon(handle.follow, role, name=f"fake {launch.name}")
        return handle

    def note(self, what: What, name: str, *, grace: float | None = None, status: ExitStatus | None = None) -> None:
        """Write a step into the driver's list."""
        self._driver.steps.append(
            Step(what=what, name=name, episode=self.episode, at=trio.current_time(), grace=grace, status=status)
        )

    def kill(self) -> None:
        """Kill every role; does not wait."""
        for handle in self._handles:
            handle.kill()

    def close(self) -> None:
        """Start nothing any more and kill what runs."""
        self._closed = True
        self.kill()


@final
class FakeDriver:
    """Runs roles as coroutines.

    Args:
        roles: what a role does, by its launch's name (`game`, `player-3`, `reporter-summary`) or else by its role (`player`).
        sees_connections: whether its sites can be asked who is connected; a script says so by `run.connected = True`.
        missing: what `check` raises, as a driver does that lacks something.

    Raises:
        TypeError: what a role does is nothing that could be run.

    Attributes:
        handles: every role that was started, in order.
        steps: every start, refusal, stop, kill and end, in order.
        checked: what `check` was asked for.
    """

    name = "fake"

    def __init__(
        self,
        roles: Mapping[str, FakeRole],
        *,
        sees_connections: bool = False,
        missing: PreconditionMissing | None = None,
    ) -> None:
        self.handles: list[FakeHandle] = []
        self.steps: list[Step] = []
        self.checked: list[Wanted] = []
        self.sees_connections = sees_connections
        for name, script in roles.items():
            if not callable(script) and not isinstance(script, Refusal | InTurn):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(
                    f"the fake driver's role {name!r} is {script!r}; use exits(), hangs() or an async function"
                )
        self._roles = dict(roles)
        self._missing = missing
        self._open: set[FakeSite] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill_all()

    async def check(self, launches: Sequence[Wanted]) -> None:
        """Remember what is wanted.

        Raises:
            PreconditionMissing: what `missing` is.
        """
        await trio.lowlevel.checkpoint()
        self.checked.extend(launches)
        if self._missing is not None:
            raise self._missing

    def kill_all(self) -> None:
        """Kill every role of every site; does not wait."""
        for site in tuple(self._open):
            site.kill()

    def open_site(self, episode: str) -> AbstractAsyncContextManager[FakeSite]:
        """A site for one episode; leaving it kills whatever still runs there. The body's exception leaves as it is."""
        return self._site(episode)

    @asynccontextmanager
    async def _site(self, episode: str) -> AsyncGenerator[FakeSite]:
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            site = FakeSite(self, episode, nursery)
            self._open.add(site)
            try:
                yield site
            except BaseException as error:  # noqa: BLE001 - raised again below, outside the nursery that would wrap it
                failure = error
            # Restores: no role of this site is left once the nursery is; their scopes are shielded and are cancelled here.
            site.close()
            self._open.discard(site)
        if failure is not None:
            raise failure

    def role_of(self, name: str, role: str) -> FakeRole:
        """The script of a launch; one that has none is refused with the names there are."""
        found = self._roles.get(name, self._roles.get(role))
        if found is None:
            known = ", ".join(self._roles) or "nobody"
            return Refusal(
                StartFailed(
                    f"the fake driver has no script for {name}",
                    todo=f"give FakeDriver one for {name!r} or for all of {role!r}; it has scripts for {known}",
                )
            )
        return found

    def handle(self, name: str, *, episode: str | None = None) -> FakeHandle:
        """The newest start of a name.

        Args:
            name: the launch's.
            episode: only of this episode.

        Raises:
            KeyError: it was never started; with what was.
        """
        for handle in reversed(self.handles):
            if handle.name == name and episode in {None, handle.episode}:
                return handle
        raise KeyError(f"{name} was never started; started were {sorted({handle.name for handle in self.handles})}")
