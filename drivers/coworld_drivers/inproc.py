"""The in-process driver: game and players on our SDK are tasks of this process and meet in memory.

For search, tuning and tests, with code that is your own: a role sees everything this process has. One process is one thread: a
role that computes keeps all others waiting meanwhile, and one that blocks blocks everything.

Reporters, graders and a replay that is looked at again are processes, as with the process driver.
"""

from __future__ import annotations

import contextvars
import functools
import math
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import trio

from coworld_drivers.driver import Address, Connections, Handle, Launch, Mount, StartFailed, Wanted
from coworld_drivers.environment import inherited, role_environment
from coworld_drivers.images import ImageMap
from coworld_drivers.inproc_collector import patient_collector
from coworld_drivers.inproc_handle import InprocHandle
from coworld_drivers.inproc_output import RoleOutput, routed
from coworld_drivers.inproc_programs import Program, Programs
from coworld_drivers.janitor import MARK
from coworld_drivers.logfiles import LogFiles
from coworld_drivers.output import OutputLog
from coworld_drivers.process import ProcessDriver, ProcessSite
from coworld_protocol.contract import ENV_LOAD_REPLAY_URI, ENV_LOCAL_EXTRA_PORTS, Role
from coworld_protocol.errors import CoworldError, PreconditionMissing
from coworld_protocol.sdk.memory import HOST, House, Residence
from coworld_protocol.sdk.turns import Turns

__all__ = ["InprocDriver", "InprocSite"]

FLUSH_SECONDS = 1.0
"""How long something printed may wait before it is in its log."""

RING = 8 * 1024
"""Bytes of each log's end in memory: a thousand episodes have four thousand logs."""

_AT_ONCE = 32
_PLAYING = frozenset({Role.GAME, Role.PLAYER})


class InprocDriver:
    """Runs games and players as tasks of this process.

    Args:
        images: what image names mean here.
        environ: our own environment, of which roles are shown an allow-list.
        close_grace: seconds that a task may take to be cancelled when its site is left.
        log: receives one sentence about what was found amiss, such as a task that does not end.
    """

    name = "inproc"

    def __init__(
        self,
        images: ImageMap,
        *,
        environ: Mapping[str, str] = os.environ,
        close_grace: float = 2.0,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.turns = Turns()
        self.programs = Programs(images)
        # What roles may see of it, once: a look at each variable of ours for each role is dear.
        self.environ = inherited(environ)
        self.close_grace = close_grace
        self._log = log
        self._processes = ProcessDriver(images, environ=environ, close_grace=close_grace, log=log)
        self._stack = AsyncExitStack()
        self._nursery: trio.Nursery | None = None
        self._context = contextvars.Context()
        self._open: set[InprocSite] = set()
        self._unwritten: set[RoleOutput] = set()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._processes)
            stack.callback(self.programs.close)
            stack.enter_context(routed())
            stack.enter_context(patient_collector())
            self._nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(self._nursery.cancel_scope.cancel, reason="the driver is left")
            self._nursery.start_soon(self._write_logs)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Restores: no task of a role is left, the standard streams and the import path are as they were. A task that shields itself
        # from being cancelled is waited for: there is no way to end it. What the body raised is kept from the nursery, which
        # would wrap it.
        await self._stack.aclose()
        self._nursery = None

    async def check(self, launches: Sequence[Wanted]) -> None:
        """Check that everything wanted could be started; imports what is to be played with.

        Raises:
            PreconditionMissing: with everything that is missing, not only the first.
        """
        wanted = [Wanted(*item) for item in launches]
        await self._processes.check(wanted)
        missing: dict[str, PreconditionMissing] = {}
        for image, run, role in wanted:
            kind = role.partition(" ")[0]
            if kind not in _PLAYING:
                continue
            try:
                self.programs.find(image, run, kind, role)
            except PreconditionMissing as error:
                missing.setdefault(error.what, error)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
        if missing:
            errors = list(missing.values())
            if len(errors) == 1:
                raise errors[0]
            raise PreconditionMissing(
                f"{len(errors)} things keep this run from playing in one process: "
                + "; ".join(error.what for error in errors),
                evidence="; ".join(dict.fromkeys(error.evidence for error in errors if error.evidence)),
                todo="; ".join(dict.fromkeys(error.todo for error in errors if error.todo)),
            )

    def kill_all(self) -> None:
        """Cancel every role of every site, and kill every process; does not wait."""
        for site in tuple(self._open):
            site.kill()
        self._processes.kill_all()

    def open_site(
        self, episode: str, *, seats: int = 0, doorway: bool = False
    ) -> AbstractAsyncContextManager[InprocSite]:
        """A site for one episode; leaving it stops whatever still runs there."""
        del seats, doorway
        return self._site(episode)

    @asynccontextmanager
    async def _site(self, episode: str) -> AsyncGenerator[InprocSite]:
        # A thousand episodes that begin at once begin one after the other.
        await self.turns.take()
        async with self._processes.open_site(episode) as processes:
            site = InprocSite(self, episode, processes)
            self._open.add(site)
            try:
                yield site
            finally:
                # Restores: nothing that this site started is left. Bounded inside.
                await site.aclose()
                self._open.discard(site)

    def spawn(self, handle: InprocHandle, program: Program, environ: Mapping[str, str]) -> None:
        """For sites: start a role's task. It belongs to the driver, so that one that does not end holds up no episode."""
        if self._nursery is None:
            raise StartFailed(f"{handle.name} was not started: its driver is not open")
        # In a context that knows nothing of the actor that starts it.
        spawn = functools.partial(self._nursery.start_soon, name=f"role {handle.name}")
        self._context.run(spawn, handle.live, program.main, environ)

    def output(self, path: Path, launch: Launch, files: LogFiles) -> RoleOutput:
        """For sites: a role's log."""
        log = OutputLog(path, limit=launch.log_limit, who=launch.name, files=files, held=False, ring=RING)
        return RoleOutput(log, self._print_later)

    def _print_later(self, output: RoleOutput) -> None:
        self._unwritten.add(output)

    def note(self, text: str) -> None:
        """Tell the run's log."""
        if self._log is not None:
            self._log(text)

    async def _write_logs(self) -> NoReturn:
        while True:
            await trio.sleep(FLUSH_SECONDS)
            unwritten, self._unwritten = self._unwritten, set()
            for number, output in enumerate(unwritten):
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await self.turns.take()
                output.flush()


class InprocSite:
    """Where the roles of one episode run together; made by `InprocDriver.open_site`. It is its own `Insight`."""

    def __init__(self, driver: InprocDriver, episode: str, processes: ProcessSite) -> None:
        self.episode = episode
        self._driver = driver
        self._processes = processes
        self._files = LogFiles()
        self._handles: list[InprocHandle] = []
        self._games: dict[int, InprocHandle] = {}
        self._house = House(driver.turns, opened=self._opened, joined=self._joined)
        self._arrived: set[str] = set()
        self._tell: Callable[[str], None] = lambda _: None
        self._closed = False

    def uri(self, path: Path, mounts: Sequence[Mount] = ()) -> str:
        """The `file://` URI of `path`."""
        del mounts
        return path.absolute().as_uri()

    async def start(self, launch: Launch) -> Handle:
        """Start a role: a task for games and players, a process for anything else.

        Raises:
            MachineFault: it cannot be started, and no role is to blame for that.
            StartFailed: it cannot be started; nothing is left of the attempt.
            PreconditionMissing: its command cannot be run in this process.
        """
        if launch.role not in _PLAYING or ENV_LOAD_REPLAY_URI in launch.env:
            return await self._processes.start(launch)
        if launch.extra_ports:
            raise StartFailed(
                f"{launch.name} was not started: a game that plays in memory is reached at no port, and it wishes for "
                + ", ".join(str(port.inside) for port in launch.extra_ports),
                todo=f"use --driver process or docker, or leave {ENV_LOCAL_EXTRA_PORTS} out of the manifest",
            )
        await self._driver.turns.take()
        if self._closed:
            raise StartFailed(f"{launch.name} was not started: its episode is ending")
        program = self._program(launch)
        address = Address(host=HOST, port=len(self._games) + 1) if launch.serves else None
        environ = role_environment(launch, program.resolved, environ=self._driver.environ, mark="", address=address)
        del environ[MARK]
        outputs = [
            self._driver.output(path, launch, self._files) for path in filter(None, (launch.stdout, launch.stderr))
        ]
        handle = InprocHandle(launch.name, outputs, address, Residence(self._house, launch.name))
        self._handles.append(handle)
        if address is not None:
            self._games[address.port] = handle
        self._driver.spawn(handle, program, environ)
        return handle

    def _program(self, launch: Launch) -> Program:
        programs = self._driver.programs
        try:
            return programs.find(launch.image, launch.run, launch.role, launch.name)
        except (CoworldError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - what a module raises when it is imported ends its role, as in a process
            failure = error

            async def fail() -> NoReturn:
                raise failure

            return Program(main=fail, resolved=programs.resolve(launch.image, launch.run))

    @property
    def sees_connections(self) -> bool:
        """Not by looking: `on_arrival` tells of every one."""
        return False

    @property
    def insight(self) -> InprocSite:
        """Itself."""
        return self

    @property
    def doorway(self) -> None:
        """None: players do not connect over the network."""
        return

    async def connected(self, address: Address) -> Connections:
        """Who has connected so far."""
        del address
        await trio.lowlevel.checkpoint()
        return Connections(names=frozenset(self._arrived), complete=True)

    async def serving(self, handle: Handle) -> bool:
        """Wait until a game of this site lets players in; False when it has ended without."""
        assert isinstance(handle, InprocHandle)
        return await handle.serving()

    def on_arrival(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with a player's name when it connects for the first time."""
        self._tell = tell

    async def turn(self) -> None:
        """Wait before a step of some milliseconds."""
        await self._driver.turns.take()

    def silence(self) -> float:
        """Seconds since a game of this site last sent anything; infinite before that."""
        return math.inf if self._house.spoke is None else time.perf_counter() - self._house.spoke

    def kill(self) -> None:
        """Cancel every role and kill every process; does not wait."""
        for handle in self._handles:
            handle.kill()
        self._processes.kill()

    async def aclose(self) -> None:
        """Cancel what still runs, and wait for it as long as the driver's `close_grace`."""
        self._closed = True
        running = [handle for handle in self._handles if handle.status is None]
        for handle in running:
            handle.kill()
        with trio.move_on_after(self._driver.close_grace, shield=True):
            for handle in running:
                await handle.wait()
        for handle in running:
            if handle.status is None:
                handle.abandon()
                self._driver.note(f"episode {self.episode}: the task of {handle.name} shields itself and goes on")

    def _opened(self, port: int) -> None:
        self._games[port].opened()

    def _joined(self, name: str) -> None:
        if name not in self._arrived:
            self._arrived.add(name)
            self._tell(name)
