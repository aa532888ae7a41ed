"""`FakeDriver`: roles that are coroutines of this process. No process is started; logs, ports and ends are as real as they get.

    driver = FakeDriver({"game": serves(server), "player": plays(...), "player-3": killed_by(signal.SIGKILL, after=1)})
    async with open_system() as system:
        record = await run_episode(system, driver, spec)
    assert driver.handle("player-3").status.signal == signal.SIGKILL

It keeps the rules of `coworld_drivers.driver`: a start leaves a running role or nothing, an end is told once its output is on disk,
and nothing outlives its site.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, final

import trio

from coworld_actors.testing.fake_handle import FakeHandle, Step, What
from coworld_actors.testing.fake_roles import FakeRole, InTurn, Refusal
from coworld_drivers import ports
from coworld_drivers.driver import (
    Address,
    Connections,
    Doorway,
    ExitStatus,
    Launch,
    MachineFault,
    Mount,
    StartFailed,
    Wanted,
)
from coworld_drivers.logfiles import LogFiles
from coworld_drivers.output import OutputLog
from coworld_protocol.errors import PreconditionMissing

__all__ = ["FakeDriver", "FakeSite"]


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

    def uri(self, path: Path, mounts: Sequence[Mount] = ()) -> str:
        """The `file://` URI of `path`."""
        del mounts
        return path.absolute().as_uri()

    @property
    def sees_connections(self) -> bool:
        """As the driver was told."""
        return self._driver.sees_connections

    @property
    def insight(self) -> None:
        """None: its games answer on real ports."""
        return

    @property
    def doorway(self) -> Doorway:
        """On loopback, as its roles, which are of this process."""
        return Doorway(bind=ports.HOST, host=ports.HOST)

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

    def open_site(
        self, episode: str, *, seats: int = 0, doorway: bool = False
    ) -> AbstractAsyncContextManager[FakeSite]:
        """A site for one episode; leaving it kills whatever still runs there. The body's exception leaves as it is."""
        del seats, doorway
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
