"""One started container: its output, its end as the engine knows it, and its removal.

`docker start --attach` starts it and carries its output; that client is a messenger, not a witness. How the container ended is
what `docker container inspect` says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec
import trio

from coworld_drivers.command import Completed
from coworld_drivers.docker_client import Docker, Trouble, trouble_of
from coworld_drivers.docker_output import ContainerOutput
from coworld_drivers.docker_state import State, judge, published, refusal, state_of
from coworld_drivers.driver import Address, ExitKind, ExitStatus, LogFailed, MachineFault, StartFailed, Usage
from coworld_drivers.output import OutputLog
from coworld_protocol.errors import InternalFault

__all__ = ["Container", "DockerHandle", "Meter"]

_CHUNK = 64 * 1024

FIRST_LOOK = 0.08
"""Seconds until the first look at a container that is being started. The fastest start that was seen took 0.2 s; a look that comes
when the engine has begun with it is answered when it is done, an earlier one is in vain."""
LOOK = 0.15
"""The longest pause between two such looks."""

START_SECONDS = 60.0
"""For an engine to start a container."""

KILL_SECONDS = 10.0
"""For one call that kills a container."""

END_SECONDS = 30.0
"""From the first of such calls to the end that is seen; then the end is `lost`."""

KILL_PAUSE = 0.5
"""Seconds between the first two of such calls."""


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A created container.

    Attributes:
        name: chosen by us before it was made.
        again: makes another one for the same role that may write to its root; None when this one may already.
    """

    name: str
    again: Callable[[], Awaitable[Container]] | None = None


class Meter(Protocol):
    """Watches what a container uses."""

    @property
    def usage(self) -> Usage:
        """What was seen last."""
        ...

    def look(self) -> None:
        """Look now."""
        ...

    def close(self) -> None:
        """Look no more."""
        ...


ROOT_IS_READ_ONLY = (b"Read-only file system", b"EROFS", b"[Errno 30]")
"""What programs say when they write where they may not."""

SECOND_CHANCE = 10.0
"""Seconds after its start in which a role that could not write to its image's root is started again with a root that it may write;
never once it is at work: what it was to do would be done twice."""

COMPLAINT = 2048
"""Bytes at the end of its output in which a role that ended for that says so."""


INIT_COMPLAINT = b"[FATAL tini"
"""How the output begins of a role whose command the engine's init cannot execute."""


class DockerHandle:
    """A role in a container; made by `DockerSite.start`.

    Args:
        role: the launch's name.
        docker: the engine.
        container: created, not started.
        logs: where its output goes: standard output, and standard error unless that is merged. The handle closes them.
        serves: port inside that is published; None when it does not serve.
        join: puts a started container of that name to the other roles of its episode; returns its address there. None for one that
            nobody connects to.
        meter: starts watching a container by (process id, container id).
        read_only: told when the image does not work with a root that cannot be written.
    """

    def __init__(
        self,
        role: str,
        docker: Docker,
        container: Container,
        logs: Sequence[OutputLog],
        *,
        serves: int | None,
        join: Callable[[str], Awaitable[str]] | None,
        meter: Callable[[int, str], Meter],
        read_only: Callable[[], None],
    ) -> None:
        self.pid = 0
        self._role = role
        self._docker = docker
        self._container = container
        self._output = ContainerOutput(docker, logs)
        self._serves = serves
        self._join = join
        self._peer_host = ""
        self._start_meter = meter
        self._learn_read_only = read_only
        self._meter: Meter | None = None
        self._address: Address | None = None
        self._away = docker.times_away
        self._started_at = 0.0
        self._asked = False
        self._killed = False
        # Whether it has ended and is about to be started again, elsewhere.
        self._between = False
        self._at_work = False
        self._verdict = ""
        self._status: ExitStatus | None = None
        self._ended = trio.Event()
        # Keeps output flowing while the role is asked to end although everything around is cancelled. It has no deadline
        # while the site is open; DockerSite.aclose(), which every way out of the site runs, sets one through limit().
        self._scope = trio.CancelScope(shield=True)

    @property
    def name(self) -> str:
        """The launch's name."""
        return self._role

    @property
    def container(self) -> str:
        """The container's name."""
        return self._container.name

    @property
    def address(self) -> Address | None:
        """Where its published port is on this machine; None when it does not serve."""
        return self._address

    @property
    def peer_address(self) -> Address | None:
        """Where the players of its episode reach it."""
        if self._serves is None:
            return None
        return Address(host=self._peer_host, port=self._serves) if self._peer_host else self._address

    @property
    def status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        return self._status

    @property
    def log_error(self) -> LogFailed | None:
        """Why its output is not complete on disk; None while all is well."""
        return next((log.error for log in self._output.logs if log.error is not None), None)

    @property
    def usage(self) -> Usage:
        """What it has used, as of the last look."""
        return Usage() if self._meter is None else self._meter.usage

    async def wait(self) -> ExitStatus:
        """Wait until it has ended and its output is on disk."""
        await self._ended.wait()
        if self._status is None:
            raise InternalFault(f"the end of {self._role} was not recorded")
        return self._status

    async def stop(self, grace: float) -> ExitStatus:
        """SIGTERM, at most `grace` seconds, SIGKILL. Cancelled in between, it is killed at once."""
        if not self._ended.is_set():
            self._asked = True
            try:
                if grace > 0:
                    with trio.move_on_after(grace):
                        await self._signal("TERM")
                        await self._ended.wait()
            finally:
                if not self._ended.is_set():
                    self._killed = True
                    # Restores: whoever was told to stop has stopped, also when we are cancelled.
                    with trio.move_on_after(END_SECONDS, shield=True):
                        await self._kill()
                    if not self._ended.is_set():
                        self._scope.cancel()
        return await self.wait()

    def condemn(self, why: str) -> None:
        """Its end, which somebody is about to bring about, is its own doing, for this reason."""
        self._verdict = self._verdict or why

    async def kill(self) -> None:
        """SIGKILL; its end is its own doing."""
        with trio.move_on_after(END_SECONDS):
            await self._kill()

    async def _kill(self) -> None:
        """Kill it until it has ended: a call may be lost, with the client or with the engine."""
        pause = KILL_PAUSE
        while not self._ended.is_set():
            await self._signal("KILL")
            self._output.doubt()
            with trio.move_on_after(pause):
                await self._ended.wait()
            pause = min(2 * pause, 8 * KILL_PAUSE)

    def at_work(self) -> None:
        """It has begun: as a player, it is connected; as a game, its players may come."""
        self._at_work = True

    async def owns_address(self) -> bool:
        """Always while it runs: the engine gives a port to one container."""
        return self._address is not None and self._status is None and not self._between

    async def port_taken(self) -> bool:
        """Never: the engine chooses a free one."""
        return False

    def tail(self, limit: int = 4000) -> str:
        """The last `limit` bytes of its output, at most 64 KiB, as text; of standard error if there is any."""
        for log in reversed(self._output.logs):
            if log.total:
                return log.tail(limit).decode(errors="replace")
        return ""

    def limit(self, seconds: float) -> None:
        """Give up on it after that time, at the latest; then its end is `lost`."""
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + seconds)

    async def start(self) -> None:
        """Start the container and return when it runs, or has already ended.

        Raises:
            MachineFault: the engine cannot start it for want of something that is not the role's.
            StartFailed: its command cannot be executed.
        """
        async with self._docker.starting:
            client = await self._docker.client.start(("start", "--attach", self._container.name))
            await self._output.follow(self._container.name, client)
            seen = await self._until_started(client)
            state = state_of(seen)
            said = ""
            if not state.started:
                said = await self._complaint(client)
                lost = trouble_of(Completed(code=client.returncode, stdout=b"", stderr=said))
                if not state.error and lost in {Trouble.BUSY, Trouble.ENGINE_AWAY}:
                    # The client was killed or could not reach the engine. Whether that has heard of it or not, a second
                    # start is harmless.
                    await self._docker.ask("start", self._container.name, what=f"{self._role} could not be started")
                    await self._output.go_on()
                    seen = await self._look()
                    state = state_of(seen)
        if not state.started:
            raise refusal(self._role, state.error or said)
        self._started_at = trio.current_time()
        if self._meter is not None:
            self._meter.close()
        self.pid = state.pid
        self._meter = self._start_meter(state.pid, str(seen.get("Id", "")))
        if self._serves is not None and not state.over:
            self._address = published(seen, self._serves)
        if self._join is not None and not state.over:
            self._peer_host = await self._join(self._container.name)

    async def _until_started(self, client: trio.Process) -> Mapping[str, Any]:
        give_up = trio.current_time() + START_SECONDS
        pause = FIRST_LOOK
        while True:
            with trio.move_on_after(pause):
                await client.wait()
            pause = min(2 * pause, LOOK)
            # Looked at before the engine is asked: its last word is then newer than the client's end.
            client_ended = client.poll() is not None
            seen = await self._look()
            state = state_of(seen)
            if state.started or state.error or client_ended:
                return seen
            if trio.current_time() > give_up:
                raise MachineFault(
                    f"{self._role} was not started: the engine did not do it within {START_SECONDS:g} s",
                    todo="look at the engine's log, or run fewer episodes at a time",
                )

    async def _look(self) -> Mapping[str, Any]:
        seen = await self._docker.inspect(self._container.name)
        if seen is None:
            raise _Gone(f"the container of {self._role} is gone, and it was not we who removed it")
        return seen

    async def _complaint(self, client: trio.Process) -> str:
        """What a client that has started nothing says."""
        assert client.stderr is not None
        said = b""
        with trio.move_on_after(1):
            while len(said) < _CHUNK and (data := await client.stderr.receive_some(_CHUNK)):
                said += data
        return " ".join(said.decode(errors="replace").split())[-400:]

    async def follow(self) -> None:
        """Carry its output until it ends and record the end. To be run once, as a task, after `start`."""
        try:
            with self._scope:
                while True:
                    await self._output.carry()
                    state = await self._life()
                    if state is None:
                        await self._output.go_on()
                        continue
                    await self._output.last_words(state.exit_code)
                    status = self._judge(state)
                    if await self._gets_second_chance(status):
                        continue
                    self._status = status
                    break
        except StartFailed as error:
            # No engine, no container, no room for a client: of a role that runs already nothing of that is its doing.
            self._status = ExitStatus(kind=ExitKind.LOST, stopped=self._asked, detail=f"{error.what}: {error.evidence}")
        finally:
            # Restores: no client of ours is left. Bounded inside.
            await self._finish()

    async def _life(self) -> State | None:
        """Its state when it has ended; None while it runs."""
        if self._meter is not None:
            self._meter.look()
        state = state_of(await self._look())
        return state if state.over else None

    def _judge(self, state: State) -> ExitStatus:
        status = judge(state, asked=self._asked, killed=self._killed, engine_left=self._docker.times_away != self._away)
        verdict = self._verdict
        if status.code in {126, 127} and any(log.tail(_CHUNK).startswith(INIT_COMPLAINT) for log in self._output.logs):
            verdict = "its command could not be executed: it is not in the image, or no program"
        return msgspec.structs.replace(status, detail=verdict) if verdict else status

    async def _gets_second_chance(self, status: ExitStatus) -> bool:
        """Start a role again with a root that it may write, when it failed for want of one right at its start."""
        again = self._container.again
        if again is None or self._asked or status.ok or status.kind is ExitKind.LOST:
            return False
        if not any(sign in log.tail(COMPLAINT) for log in self._output.logs for sign in ROOT_IS_READ_ONLY):
            return False
        self._learn_read_only()
        if self._at_work or trio.current_time() - self._started_at > SECOND_CHANCE:
            return False
        old = self._container.name
        self._between = True
        self._container = await again()
        await self._docker.remove(old)
        try:
            await self.start()
        except StartFailed as error:
            raise _Gone(error.what, evidence=error.evidence) from error
        self._between = False
        return True

    async def _finish(self) -> None:
        if self._meter is not None:
            self._meter.close()
        await self._output.aclose()
        if self._status is None:
            self._status = ExitStatus(
                kind=ExitKind.LOST, stopped=self._asked, detail="the engine did not end it in time"
            )
        self._ended.set()

    async def abandon(self) -> None:
        """Undo a start that nobody will follow. Bounded."""
        await self._finish()

    async def _signal(self, name: str) -> None:
        # That it does not run any more, or not yet, is no news to anybody.
        with suppress(StartFailed):
            await self._docker.ask(
                *("kill", "--signal", name, self._container.name),
                what=f"{self._role} cannot be asked to end",
                timeout=KILL_SECONDS,
                patience=KILL_SECONDS,
            )


class _Gone(MachineFault):
    """The container is not there any more."""
