"""A worker process of a batch: a runtime that is told over a socket what to play: `python -m coworld_actors.batch.workers.worker FD`.

It lives as long as its parent wants it to: the end of the socket, however it comes, ends everything here. A loop that hangs
cannot see that end; whoever started us has a janitor for that.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast, final

import trio

from coworld_actors.actors import Record
from coworld_actors.batch.workers.wire import (
    Beat,
    Broken,
    Cancel,
    Failure,
    Hello,
    Line,
    NotPlayed,
    Play,
    Played,
    Playing,
    Ready,
    Stop,
    ToParent,
    ToWorker,
    World,
    frame,
    from_parent,
    spec_of,
)
from coworld_actors.episode.events import Phase, PhaseEntered
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.handle import EpisodeHandle
from coworld_actors.runtime.opening import OpenDriver, open_runtime
from coworld_actors.runtime.runtime import Runtime
from coworld_drivers.images import ImageMap
from coworld_protocol.errors import PreconditionMissing, Refused, alone
from coworld_protocol.manifest import Manifest

__all__ = ["DRIVERS", "LAG_SECONDS", "STACK_SIGNAL", "main", "make_driver", "work"]

DRIVERS = {
    "process": "coworld_drivers.process:ProcessDriver",
    "inproc": "coworld_drivers.inproc:InprocDriver",
}
"""Drivers that have a name of their own. What is imported is what is used: a worker is ready the sooner."""

LAG_SECONDS = 0.02
"""How often the loop's lateness is looked at. A stall is seen to within so much of its length."""

STACK_SIGNAL = signal.SIGUSR1
"""Makes a worker write the stacks of its threads to its standard error, also when its loop hangs."""

_MANY = 1_000_000
"""Whoever tells us what to play decides how many are played at once."""

_GONE_SECONDS = 0.5
"""For episodes to end in order when the parent is dead: its janitor does not wait for much longer either."""


def make_driver(name: str, images: ImageMap) -> OpenDriver:
    """The driver of that name, `module:function` for one of the caller's own.

    Raises:
        Refused: there is none of that name.
        PreconditionMissing: its module cannot be imported.
    """
    place = DRIVERS.get(name, name)
    module, colon, attribute = place.partition(":")
    if not colon:
        raise Refused(f"a worker has no driver {name!r}", todo=f"choose one of: {', '.join(DRIVERS)}")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise PreconditionMissing(
            f"driver {name!r} cannot be loaded in a worker", evidence=str(error), todo="install what it needs"
        ) from error
    return cast("OpenDriver", cast("Callable[[ImageMap], object]", factory)(images))


async def work(stream: trio.SocketStream) -> None:
    """Do as the parent says until it says `Stop`, or is gone."""
    line = from_parent(stream)
    try:
        messages = await line.batch()
        if not messages:
            return
        hello = _hello(messages.pop(0))
        sys.path[:] = hello.path
        driver = make_driver(hello.driver, ImageMap(hello.images, hello.local_file))
        admission = Admission(parallel=_MANY)
        # Who blocks the loop for longer than a second is named in the log, which here is standard error: see `workers`.
        async with open_runtime(
            driver, name=hello.name, admission=admission, stop_deadline=hello.stop_deadline
        ) as runtime:
            await _Worker(runtime, stream, hello).run(line, messages)
    except Exception as error:  # noqa: BLE001 - the parent is told, whatever it is
        failure = NotPlayed(id="", failure=Failure.of(alone(error)))
        with trio.move_on_after(_GONE_SECONDS), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(frame(failure))


def _hello(message: ToWorker) -> Hello:
    if not isinstance(message, Hello):
        raise Broken("it did not begin with Hello")
    return message


@final
class _Worker:
    """What a worker does while its runtime is open."""

    def __init__(self, runtime: Runtime, stream: trio.SocketStream, hello: Hello) -> None:
        self._runtime = runtime
        self._stream = stream
        self._beat = hello.beat
        self._stop_deadline = hello.stop_deadline
        self._worlds: dict[int, Manifest] = {}
        self._handles: dict[str, EpisodeHandle] = {}
        self._starting: dict[str, str] = {}
        self._outbox: deque[bytes] = deque()
        self._mail = trio.Event()
        self._written = trio.Event()
        self._lag = 0.0
        self._stopped = False

    async def run(self, line: Line[ToWorker], early: list[ToWorker]) -> None:
        """Read, play, answer; returns at `Stop`, or cancelled when nobody is there any more."""
        unsubscribe = self._runtime.system.events.subscribe(self._on_record)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, name="worker writes")
                nursery.start_soon(self._give_signs_of_life, name="worker beats")
                self._say(Ready(pid=os.getpid()))
                self._take_all(early, nursery)
                while not self._stopped and (batch := await line.batch()):
                    self._take_all(batch, nursery)
                with trio.move_on_after(self._stop_deadline if self._stopped else _GONE_SECONDS):
                    await self._end()
                nursery.cancel_scope.cancel()
        finally:
            unsubscribe()

    def _take_all(self, messages: list[ToWorker], nursery: trio.Nursery) -> None:
        for message in messages:
            self._take(message, nursery)

    def _take(self, message: ToWorker, nursery: trio.Nursery) -> None:
        match message:
            case World():
                self._worlds[message.number] = message.manifest
            case Play():
                self._starting[message.id] = ""
                nursery.start_soon(self._play, message, name=f"worker plays {message.id}")
            case Cancel(id=""):
                self._starting = dict.fromkeys(self._starting, message.reason)
                for handle in self._handles.values():
                    handle.cancel(message.reason)
            case Cancel():
                if message.id in self._handles:
                    self._handles[message.id].cancel(message.reason)
                elif message.id in self._starting:
                    self._starting[message.id] = message.reason
            case Stop():
                self._stopped = True
            case Hello():
                raise Broken("it said Hello twice")

    async def _play(self, message: Play) -> None:
        try:
            handle = await self._runtime.start_episode(spec_of(message, self._worlds[message.world]))
            self._handles[message.id] = handle
            if reason := self._starting.pop(message.id):
                handle.cancel(reason)
            self._say(Played(id=message.id, record=await handle.wait()))
        except Exception as error:  # noqa: BLE001 - it is told to whoever waits for the episode
            self._say(NotPlayed(id=message.id, failure=Failure.of(alone(error))))
        finally:
            self._starting.pop(message.id, None)
            self._handles.pop(message.id, None)

    async def _end(self) -> None:
        """Call everything off, and see that every answer has been written."""
        for handle in self._handles.values():
            handle.cancel("the worker was stopped")
        while self._handles:
            await next(iter(self._handles.values())).settled()
            await trio.lowlevel.checkpoint()
        while self._outbox:
            await self._written.wait()

    def _on_record(self, record: Record) -> None:
        event = record.event
        if isinstance(event, PhaseEntered) and event.phase is Phase.PLAYING and record.scope in self._handles:
            self._say(Playing(id=record.scope))

    def _say(self, message: ToParent) -> None:
        try:
            data = frame(message)
        except Refused as error:
            assert isinstance(message, Played)
            data = frame(NotPlayed(id=message.id, failure=Failure.of(error)))
        self._outbox.append(data)
        self._mail.set()

    async def _write(self) -> None:
        while True:
            await self._mail.wait()
            self._mail = trio.Event()
            self._written = trio.Event()
            while self._outbox:
                # Everything that is there in one call; it leaves the outbox when it has been written.
                count = len(self._outbox)
                try:
                    await self._stream.send_all(b"".join(self._outbox))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    # Nobody reads any more; the reader's end of file ends us.
                    self._outbox.clear()
                    break
                for _ in range(count):
                    self._outbox.popleft()
            self._written.set()

    async def _give_signs_of_life(self) -> None:
        due = trio.current_time()
        told = due
        while True:
            due += LAG_SECONDS
            await trio.sleep_until(due)
            now = trio.current_time()
            self._lag = max(self._lag, now - due)
            due = now
            if now - told >= self._beat:
                told = now
                self._say(Beat(lag=self._lag, episodes=len(self._handles)))
                self._lag = 0.0


def main(descriptor: int) -> None:
    """Work at the other end of an inherited socket."""
    # Where it crashes is told by whoever reads our standard error.
    faulthandler.enable()
    faulthandler.register(STACK_SIGNAL, all_threads=False)
    os.set_inheritable(descriptor, False)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor)))
    trio.run(work, stream)


if __name__ == "__main__":
    main(int(sys.argv[1]))
