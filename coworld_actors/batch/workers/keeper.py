"""The keeper of one worker process: an actor whose life is that process's. It dies with it, and its supervisor brings both back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, final

import msgspec
import trio

from coworld_actors.actors import Actor, StopReason
from coworld_actors.batch.local import WorkerLost
from coworld_actors.batch.workers.spoken import Spoken
from coworld_actors.batch.workers.wire import (
    Beat,
    Broken,
    Cancel,
    NotPlayed,
    Play,
    Played,
    Playing,
    Ready,
    Stop,
    ToParent,
    frame,
    from_worker,
)
from coworld_actors.batch.workers.worker import STACK_SIGNAL
from coworld_actors.episode.record import EpisodeRecord
from coworld_drivers.driver import ExitKind, ExitStatus
from coworld_drivers.janitor import MARK, signal_marked
from coworld_drivers.lifeline import Lifeline, start_failed
from coworld_protocol.errors import CoworldError, PreconditionMissing

if TYPE_CHECKING:
    from coworld_actors.actors import ActorRef

__all__ = ["START_SECONDS", "CallOff", "Flight", "Keeper", "Launch", "Orders", "Post"]

START_SECONDS = 60.0
"""For a worker to import what it needs and open its driver: a third of a second on an idle machine."""
KILL_SECONDS = 5.0
"""For a killed worker to be gone."""
_STACK_SECONDS = 0.3
"""For a worker that hangs to write its stacks."""
_LAST_SECONDS = 1.0
"""For what a dead worker has said to be read: it is in the socket already."""
_LOOKS = 4
"""Looks within the time that a worker may be silent for."""
_BEATS = 8192
"""Beats that are remembered of each worker: more than half an hour."""


@final
class Flight:
    """One episode at a worker.

    Args:
        play: what goes to the worker.
        world: message with its manifest, for a worker that does not have it yet.
        playing: told when it has got through its start-up.

    Attributes:
        over: set at its end.
        record: what it came to.
        error: what kept it from that.
        launched: a worker has it, or has had it.
        unseen: no worker has seen it: it can be handed to another one as if nothing had happened.
    """

    __slots__ = ("error", "launched", "over", "play", "playing", "record", "unseen", "world")

    def __init__(self, play: Play, world: bytes, playing: Callable[[], None]) -> None:
        self.play = play
        self.world = world
        self.playing: Callable[[], None] | None = playing
        self.over = trio.Event()
        self.record: EpisodeRecord | None = None
        self.error: CoworldError | None = None
        self.launched = False
        self.unseen = False

    def land(self, record: EpisodeRecord | None, error: CoworldError | None = None, *, unseen: bool = False) -> None:
        """It has ended; only the first end counts."""
        if not self.over.is_set():
            self.record, self.error, self.unseen = record, error, unseen
            self.over.set()


class Launch(msgspec.Struct, frozen=True):
    """Play this."""

    flight: Flight
    data: bytes


class CallOff(msgspec.Struct, frozen=True):
    """Call an episode off in order; with an empty id all of them."""

    id: str
    reason: str


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What all keepers of a table have in common.

    Attributes:
        hello: makes the first message for the worker of that name.
        lifeline: whose janitor ends the workers if we do not.
        mark: of everything that descends from the table's workers.
        environ: our own environment.
        silence: seconds without a sign of life after which a worker is killed.
        stop_deadline: seconds for an orderly stop.
        note: told what happens to workers, and what they write.
        changed: called whenever a worker has become ready, or has failed to.
    """

    hello: Callable[[str], bytes]
    lifeline: Lifeline
    mark: str
    environ: Mapping[str, str]
    silence: float
    stop_deadline: float
    note: Callable[[str], None]
    changed: Callable[[], None]


@final
class Post:
    """What a table knows of one worker.

    Attributes:
        name: for sentences, and the actor's.
        ref: its keeper; set when that has been started.
        ready: whether it takes episodes.
        flights: what was handed to it and is not over.
        pid: of its process; None while there is none.
        failed: starts in a row that came to nothing.
        failure: the last reason for that.
        lags: when it was heard from, and how late its loop had been since the time before, in seconds.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.ref: ActorRef[Launch | CallOff] | None = None
        self.ready = False
        self.flights: dict[str, Flight] = {}
        self.pid: int | None = None
        self.failed = 0
        self.failure: CoworldError | None = None
        self.lags: deque[tuple[float, float]] = deque(maxlen=_BEATS)


@final
class Keeper(Actor[Launch | CallOff]):
    """Owns one worker process.

    Args:
        post: where it is reported.
        orders: the table's.
    """

    def __init__(self, post: Post, orders: Orders) -> None:
        self._post = post
        self._orders = orders
        self._up = trio.Event()
        self._ended = trio.Event()
        self._closed = False
        self._stopping = False
        self._launched: dict[str, Flight] = {}
        self._known: set[int] = set()
        self._outbox: deque[bytes] = deque()
        self._mail = trio.Event()
        self._heard = False
        self._spoken = Spoken(f"worker process {post.name}", orders.note)
        self._fate = ""
        self._failure: CoworldError | None = None

    async def on_start(self) -> None:
        """Start the process, and wait until it is ready."""
        self.context.spawn(self._keep)
        with trio.move_on_after(START_SECONDS) as limit:
            await self._up.wait()
        if limit.cancelled_caught:
            raise PreconditionMissing(
                f"worker process {self._post.name} was not ready within {START_SECONDS:.0f} s",
                evidence=self._spoken.last_words(),
                todo="run fewer workers, or look at what else the machine does",
            )

    async def handle(self, message: Launch | CallOff) -> None:
        """Pass it on."""
        match message:
            case Launch(flight=flight) if self._closed:
                flight.land(None, unseen=True)
            case Launch(flight=flight) if not flight.over.is_set():
                flight.launched = True
                self._launched[flight.play.id] = flight
                if flight.play.world not in self._known:
                    self._known.add(flight.play.world)
                    self._post_mail(flight.world)
                self._post_mail(message.data)
            case CallOff():
                self._post_mail(frame(Cancel(id=message.id, reason=message.reason)))
            case _:
                # Given up by whoever wanted it, before its turn came.
                pass

    async def on_stop(self, reason: StopReason) -> None:
        """End the process in order."""
        del reason
        self._stopping = True
        self._post.ready = False
        self._post_mail(frame(Stop()))
        await self._ended.wait()

    def _post_mail(self, data: bytes) -> None:
        self._outbox.append(data)
        self._mail.set()

    async def _keep(self) -> None:
        """The process, from its start to its end. Its unexpected end is raised: that is a crash, and is answered by a restart."""
        post, orders = self._post, self._orders
        mark = f"{orders.mark}.{post.name}-{self.context.incarnation}"
        process: trio.Process | None = None
        ours, theirs = socket.socketpair()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        try:
            with theirs:
                await orders.lifeline.ensure()
                process = await self._spawn(theirs.fileno(), mark)
            orders.lifeline.started(process.pid)
            self._outbox.appendleft(orders.hello(post.name))
            self._mail.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, stream)
                nursery.start_soon(self._watch, process)
                async with trio.open_nursery() as ears:
                    ears.start_soon(self._read, stream, process)
                    ears.start_soon(self._spoken.listen, process)
                    await process.wait()
                    ears.cancel_scope.deadline = trio.current_time() + _LAST_SECONDS
                nursery.cancel_scope.cancel()
            if not self._stopping:
                raise self._end_of(process)
        except CoworldError as error:
            self._failure = self._failure or error
            raise
        finally:
            # Restores: nothing of this worker is left, and nobody waits for what it played.
            self._closed = True
            post.ready = False
            post.pid = None
            if not self._up.is_set():
                post.failed += 1
                post.failure = self._failure
            self._give_up_flights(process)
            with trio.move_on_after(2 * KILL_SECONDS, shield=True):
                if process is not None:
                    await self._bury(process, mark)
                await stream.aclose()
            self._ended.set()
            orders.changed()

    async def _spawn(self, descriptor: int, mark: str) -> trio.Process:
        try:
            return await trio.lowlevel.open_process(
                [sys.executable, "-P", "-u", "-m", "coworld_actors.batch.workers.worker", str(descriptor)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[descriptor],
                start_new_session=True,
                env={**self._orders.environ, MARK: mark},
            )
        except OSError as error:
            raise start_failed(f"worker process {self._post.name}", error, ours=True) from error

    async def _bury(self, process: trio.Process, mark: str) -> None:
        """Kill what is left of it, in its group or by its mark, and reap it."""
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()
        # No descriptor left to look with: the janitor looks once more.
        with suppress(OSError):
            await trio.to_thread.run_sync(signal_marked, mark, signal.SIGKILL)
        self._orders.lifeline.ended(process.pid)

    def _end_of(self, process: trio.Process) -> CoworldError:
        """Why it has ended, as an error; told as well."""
        if not self._up.is_set():
            return self._failure or PreconditionMissing(
                f"worker process {self._post.name} did not start",
                evidence="; ".join(filter(None, (_status(process), self._spoken.last_words()))),
                todo="run the same command with --workers 1, and look at what it says",
            )
        self._fate = self._fate or f"died: {_status(process)}"
        self._orders.note(f"worker process {self._post.name} {self._fate}; it is started again")
        return WorkerLost(f"worker process {self._post.name} {self._fate}", evidence=self._spoken.last_words())

    def _give_up_flights(self, process: trio.Process | None) -> None:
        fate = self._fate or ("was stopped" if self._stopping or process is None else f"died: {_status(process)}")
        others = len(self._launched) - 1
        beside = f" and {others} other episode{'s' if others > 1 else ''}" if others else ""
        for flight in self._launched.values():
            flight.land(
                None,
                WorkerLost(
                    f"worker process {self._post.name} {fate} while it played this{beside}",
                    evidence=self._spoken.last_words(),
                    todo="look for os._exit, a crash in C or a call that never returns in the game and its players",
                ),
            )
        self._launched.clear()

    # The socket.

    async def _write(self, stream: trio.SocketStream) -> None:
        while True:
            await self._mail.wait()
            self._mail = trio.Event()
            data = b"".join(self._outbox)
            self._outbox.clear()
            try:
                await stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # It is dead or dying; whoever waits for the process says so.
                return

    async def _read(self, stream: trio.SocketStream, process: trio.Process) -> None:
        line = from_worker(stream)
        try:
            while batch := await line.batch():
                self._heard = True
                for message in batch:
                    self._take(message)
        except Broken as broken:
            self._fate = f"said what is no message ({broken}) and was killed"
        with trio.move_on_after(KILL_SECONDS if self._stopping else _LAST_SECONDS):
            await process.wait()
        if process.returncode is None:
            self._fate = self._fate or "hung up and was killed"
            os.killpg(process.pid, signal.SIGKILL)

    def _take(self, message: ToParent) -> None:
        match message:
            case Beat(lag=lag):
                self._post.lags.append((trio.current_time(), lag))
            case Playing(id=id):
                flight = self._launched.get(id)
                if flight is not None and flight.playing is not None:
                    playing, flight.playing = flight.playing, None
                    playing()
            case Played(id=id, record=record):
                if (flight := self._launched.pop(id, None)) is not None:
                    flight.land(record)
            case NotPlayed(id="", failure=failure):
                self._failure = failure.error()
                self._fate = f"failed: {failure.what}"
            case NotPlayed(id=id, failure=failure):
                if (flight := self._launched.pop(id, None)) is not None:
                    flight.land(None, failure.error())
            case Ready():
                self._post.pid = message.pid
                self._post.failed = 0
                self._post.ready = True
                self._up.set()
                self._orders.changed()

    async def _watch(self, process: trio.Process) -> None:
        """Kill it when it has been silent for too long, while we ourselves were there to hear it."""
        await self._up.wait()
        interval = self._orders.silence / _LOOKS
        silent = 0.0
        while True:
            self._heard = False
            await trio.sleep(interval)
            # Not by the clock: while this process was stopped or starved, it could not hear anything.
            silent = 0.0 if self._heard else silent + interval
            if silent >= self._orders.silence:
                break
        self._fate = f"gave no sign of life for {self._orders.silence:g} s and was killed"
        with suppress(ProcessLookupError):
            os.kill(process.pid, STACK_SIGNAL)
            with trio.move_on_after(_STACK_SECONDS):
                await process.wait()
            os.killpg(process.pid, signal.SIGKILL)


def _status(process: trio.Process) -> str:
    code = process.returncode
    if code is None:
        return "end unknown"
    if code < 0:
        return str(ExitStatus(kind=ExitKind.SIGNALLED, signal=-code))
    return str(ExitStatus(kind=ExitKind.EXITED, code=code))
