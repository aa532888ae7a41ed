"""The process driver: a role is a local process in a session of its own, and nothing it starts outlives the run.

A role's working directory is its image's `root`, as it would be in a container, so that relative files of the image are found.
Its own directory, the launch's first `writes`, reaches it through the contract's URIs and as HOME and TMPDIR.

Three nets hold what a role starts: its process group, the mark in its environment for what has left the group, and the janitor
for when the runtime itself is killed. What has wiped its own environment *and* left the group escapes all three.
"""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from coworld_drivers import connections, ports
from coworld_drivers.driver import (
    Address,
    Connections,
    Doorway,
    ExtraPort,
    Launch,
    Mount,
    StartFailed,
    Wanted,
)
from coworld_drivers.environment import child_mark, inherited, role_environment, unpassable
from coworld_drivers.extra_ports import same_outside
from coworld_drivers.handle import ProcessHandle
from coworld_drivers.images import ImageMap
from coworld_drivers.janitor import signal_marked
from coworld_drivers.lifeline import Lifeline, start_failed
from coworld_drivers.logfiles import LogFiles
from coworld_drivers.oom import OomCounter
from coworld_drivers.output import OutputLog, open_logs
from coworld_drivers.process_usage import ProcessUsages, own_peak
from coworld_drivers.warm import WarmStarts, WarmStatistics
from coworld_drivers.warm_process import Started, WarmProcess
from coworld_protocol.errors import PreconditionMissing

__all__ = ["ProcessDriver", "ProcessSite"]

_PROC = Path("/proc/self/environ")

KILL_SECONDS = 3.0
"""How long after SIGKILL a role may take to be gone before its end is recorded as `lost`."""
_SWEEP_ROUNDS = 40
_SWEEP_PAUSE = 0.05


class ProcessDriver:
    """Runs roles as local processes.

    It belongs to the process that makes it: a forked child is refused, and never signals what its parent has started.

    Args:
        images: what image names mean here.
        environ: our own environment, of which roles see an allow-list.
        close_grace: seconds between SIGTERM and SIGKILL for what still runs when a site is left.
        log: receives one sentence about what was found and put right, such as a process that had escaped its group.
        warm: start Python roles by forking them from processes that have imported what the roles import, where that can be done
            safely: for runs that start the same roles many times.
    """

    name = "process"

    def __init__(
        self,
        images: ImageMap,
        *,
        environ: Mapping[str, str] = os.environ,
        close_grace: float = 2.0,
        log: Callable[[str], None] | None = None,
        warm: bool = False,
    ) -> None:
        self.images = images
        self.mark = child_mark(environ, uuid.uuid4().hex)
        self.close_grace = close_grace
        self.lifeline = Lifeline(self.mark)
        self.oom = OomCounter()
        self.usages = ProcessUsages()
        self.warm = WarmStarts(f"{self.mark}.templates", self.lifeline) if warm else None
        self._environ = environ
        self._log = log
        self._sites = 0
        self._open: set[ProcessSite] = set()

    async def __aenter__(self) -> Self:
        self.lifeline.owner.require()
        if not _PROC.exists():  # noqa: ASYNC240 - procfs never waits for a disk
            raise PreconditionMissing(
                "the process driver needs Linux with /proc: it finds there what a role has left behind",
                todo="run it on Linux, or use another --driver",
            )
        if self.warm is not None:
            await self.warm.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Restores: no template is left, and the janitor is gone too. Both bounded inside.
        try:
            if self.warm is not None:
                await self.warm.__aexit__(kind, error, traceback)
        finally:
            await self.lifeline.aclose()

    def warm_statistics(self) -> WarmStatistics:
        """How the roles were started: warm, from a bare interpreter, or cold and why. All zero unless `warm` was asked for."""
        return WarmStatistics() if self.warm is None else self.warm.statistics

    async def check(self, launches: Sequence[Wanted]) -> None:
        """Check that everything wanted could be started.

        Raises:
            PreconditionMissing: with everything that is missing, not only the first.
        """
        missing: dict[str, PreconditionMissing] = {}
        wanted = [Wanted(*item) for item in launches]
        roles: dict[tuple[str, tuple[str, ...]], dict[str, None]] = {}
        for image, run, role in wanted:
            # One unmapped image is one thing to put right, whatever is to be run in it.
            roles.setdefault((image, run if image in self.images else ()), {})[role] = None
        for image, run, _ in wanted:
            who = ", ".join(filter(None, roles[image, run if image in self.images else ()]))
            try:
                self.images.resolve(image, run, role=who, path=self.path)
            except PreconditionMissing as error:
                missing.setdefault(error.what, error)
        errors = list(missing.values())
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise PreconditionMissing(
                f"{len(errors)} things this run needs are missing: " + "; ".join(error.what for error in errors),
                evidence="; ".join(dict.fromkeys(error.evidence for error in errors if error.evidence)),
                todo="; ".join(dict.fromkeys(error.todo for error in errors if error.todo)),
            )

    @property
    def path(self) -> str:
        """The PATH on which a role's command is looked up."""
        return inherited(self._environ).get("PATH", os.defpath)

    @property
    def environ(self) -> Mapping[str, str]:
        """Our own environment as it was given."""
        return self._environ

    def note(self, text: str) -> None:
        """Tell the run's log."""
        if self._log is not None:
            self._log(text)

    def kill_all(self) -> None:
        """SIGKILL to every role of every site; does not wait. For when there is no time for an orderly stop.

        Raises:
            ForkedProcess: this is a forked child, and the roles are its parent's.
        """
        self.lifeline.owner.require()
        for site in tuple(self._open):
            site.kill()

    def open_site(
        self, episode: str, *, seats: int = 0, doorway: bool = False
    ) -> AbstractAsyncContextManager[ProcessSite]:
        """A site for one episode; leaving it stops whatever still runs there, within `close_grace` + 5 s.

        An exception of the body leaves as it is, never wrapped in a group.

        Raises:
            ForkedProcess: this is a forked child of the process that made the driver.
        """
        del seats, doorway
        self.lifeline.owner.require()
        self._sites += 1
        return self._site(episode, f"{self.mark}.{self._sites}")

    @asynccontextmanager
    async def _site(self, episode: str, mark: str) -> AsyncGenerator[ProcessSite]:
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            site = ProcessSite(self, episode, mark, nursery)
            self._open.add(site)
            try:
                yield site
            except BaseException as error:  # noqa: BLE001 - raised again below, outside the nursery that would wrap it
                failure = error
            # Restores: nothing that this site started is left. Bounded inside.
            await site.aclose()
            self._open.discard(site)
        if failure is not None:
            raise failure


class ProcessSite:
    """Where the processes of one episode run together; made by `ProcessDriver.open_site`."""

    def __init__(self, driver: ProcessDriver, episode: str, mark: str, nursery: trio.Nursery) -> None:
        self.episode = episode
        self.mark = mark
        self._driver = driver
        self._nursery = nursery
        self._running: set[ProcessHandle] = set()
        self._count = 0
        self._names: dict[str, str] = {}
        self._files = LogFiles()
        self._closed = False

    def uri(self, path: Path, mounts: Sequence[Mount] = ()) -> str:
        """The `file://` URI of `path`: a process sees the same files that we see."""
        del mounts
        return path.absolute().as_uri()

    async def start(self, launch: Launch) -> ProcessHandle:
        """Start a role.

        Raises:
            MachineFault: it cannot be started, and no role is to blame for that: no room, no descriptor, no port, no log.
            StartFailed: it cannot be started; nothing is left of the attempt.
            PreconditionMissing: its image is not mapped, or its directory or executable does not exist.
            ForkedProcess: this is a forked child of the process that opened the site.
        """
        driver = self._driver
        driver.lifeline.owner.require()
        self._refuse_when_closed(launch)
        resolved = driver.images.resolve(launch.image, launch.run, role=launch.name, path=driver.path)
        await driver.lifeline.ensure()
        self._count += 1
        number = self._count
        mark = f"{self.mark}.{number}"
        address: Address | None = None
        logs: list[OutputLog] = []
        extra: tuple[ExtraPort, ...] = ()
        try:
            extra = same_outside(launch.extra_ports)
            if launch.serves:
                address = Address(host=ports.HOST, port=ports.claim())
            logs += open_logs(launch, self._files)
            env = role_environment(
                launch, resolved, environ=driver.environ, mark=mark, address=address, extra_ports=extra
            )
            process = await self._spawn(launch, resolved.argv, resolved.root, env)
            try:
                self._refuse_when_closed(launch)
                # A warm role was forked and has executed nothing, so no peak of ours was handed down to it.
                inherited = 0 if isinstance(process, WarmProcess) else own_peak()
                handle = ProcessHandle(
                    launch.name,
                    process,
                    logs,
                    address=address,
                    extra_ports=[port.inside for port in extra],
                    mark=mark,
                    lifeline=driver.lifeline,
                    oom=driver.oom,
                    account=driver.usages.follow(process.pid, inherited),
                )
            except BaseException:
                driver.usages.forget(process.pid)
                # Restores: a process that nobody follows does not exist. Bounded inside.
                await _discard(process)
                raise
        except BaseException as error:
            for log in logs:
                log.close()
            for port in extra:
                ports.release(port.inside)
            if address is not None:
                ports.release(address.port)
            if isinstance(error, OSError):
                raise start_failed(launch.name, error) from error
            raise
        self._running.add(handle)
        self._names[str(number)] = launch.name
        self._nursery.start_soon(self._follow, handle, name=f"process {launch.name}")
        return handle

    @property
    def sees_connections(self) -> bool:
        """Always: the kernel tells which process holds which connection."""
        return True

    @property
    def insight(self) -> None:
        """None: a process is asked over the network."""
        return

    @property
    def doorway(self) -> Doorway:
        """On loopback, as the roles themselves."""
        return Doorway(bind=ports.HOST, host=ports.HOST)

    async def connected(self, address: Address) -> Connections:
        """Who is connected to `address`; incomplete while somebody is who belongs neither to a role nor to this process."""
        groups = {handle.pid: handle.name for handle in self._running}
        marks = dict(self._names)
        return await trio.to_thread.run_sync(connections.look, address.port, groups, f"{self.mark}.", marks)

    def kill(self) -> None:
        """SIGKILL to every role; does not wait."""
        for handle in tuple(self._running):
            handle.kill()

    async def aclose(self) -> None:
        """Stop everything at once, then kill what has escaped; used by the driver when the site is left.

        In a forked child nothing is stopped: it is the parent's.
        """
        self._closed = True
        if not self._driver.lifeline.owner.here:
            return
        limit = self._driver.close_grace + KILL_SECONDS
        for handle in self._running:
            handle.limit(limit)
        with trio.move_on_after(limit, shield=True):
            async with trio.open_nursery() as nursery:
                for handle in tuple(self._running):
                    nursery.start_soon(handle.stop, self._driver.close_grace)
        if self._count:
            with trio.move_on_after(_SWEEP_ROUNDS * _SWEEP_PAUSE, shield=True):
                await self._sweep()

    async def _sweep(self) -> None:
        told: set[int] = set()
        for _ in range(_SWEEP_ROUNDS):
            try:
                killed = set(await trio.to_thread.run_sync(signal_marked, self.mark, signal.SIGKILL))
            except OSError:
                # No descriptor left to look with; somebody may close one, and the janitor looks once more.
                killed = set[int]()
            else:
                if not killed:
                    return
            for pid in sorted(killed - told):
                self._driver.note(f"episode {self.episode}: process {pid} had left its process group and was killed")
            told |= killed
            await trio.sleep(_SWEEP_PAUSE)

    async def _follow(self, handle: ProcessHandle) -> None:
        try:
            await handle.follow()
        finally:
            self._running.discard(handle)

    def _refuse_when_closed(self, launch: Launch) -> None:
        if self._closed:
            raise StartFailed(f"{launch.name} was not started: its episode is ending")

    async def _spawn(self, launch: Launch, argv: tuple[str, ...], root: Path, env: Mapping[str, str]) -> Started:
        try:
            warm = self._driver.warm
            if (
                warm is not None
                and (process := await warm.start(argv, root, env, merged=launch.stderr is None)) is not None
            ):
                return process
            return await trio.lowlevel.open_process(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if launch.stderr is not None else subprocess.STDOUT,
                start_new_session=True,
                cwd=root,
                env=env,
            )
        except OSError as error:
            raise start_failed(launch.name, error, f"{argv[0]} in {root}: ") from error
        except ValueError:
            # Without its cause: the value at fault, which may be a secret, is part of it.
            raise StartFailed(
                f"{launch.name} could not be started: its command or a variable cannot be passed to a process",
                evidence=", ".join(unpassable(argv, env)),
                todo="remove NUL characters and lone surrogates from `run` and `env`, and '=' from variable names",
            ) from None


async def _discard(process: Started) -> None:
    """Undo a start that nobody will follow."""
    os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        if isinstance(stream, trio.lowlevel.FdStream):
            stream.close()
    # Restores: no zombie, also when the start was cancelled.
    with trio.move_on_after(KILL_SECONDS, shield=True):
        await process.wait()
