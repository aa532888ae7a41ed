"""The runtime's side of a control socket: who may speak, what is answered, and what a client that misbehaves gets.

A client can cost the runtime no more than a bounded amount of memory and the time of an answer, and nothing that it sends or
omits reaches the embedding program.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import os
import socket
from collections import Counter, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import final

import msgspec
import trio

from coworld_actors.actors import Record
from coworld_actors.actors.stream import Subscription
from coworld_actors.control.answers import Answers
from coworld_actors.control.lines import Lines, LineTooLong, send
from coworld_actors.control.messages import (
    LINE_LIMIT,
    PROTOCOL,
    ControlStatistics,
    End,
    Events,
    Failure,
    Hello,
    Lost,
    Reply,
    encode,
    encode_record,
    read_request,
)
from coworld_actors.control.place import listening, peer
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.runtime.opening import Attachment
from coworld_actors.runtime.runtime import Runtime
from coworld_protocol.errors import Refused

__all__ = ["HISTORY", "ControlLimits", "open_control"]

HISTORY = 4096
"""Records of the whole runtime that are kept for `events`, beside the last ones of each living episode."""
GOODBYE_SECONDS = 1.0
"""How long followers have, when the runtime has stopped, to read what is left for them."""
BATCH = 64 * 1024
"""Bytes from which on records are sent rather than gathered."""

_log = logging.getLogger("coworld_actors.control")


class ControlLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients may cost.

    Attributes:
        connections: open ones at a time.
        idle: seconds until the next request has to be complete.
        stall: seconds in which a client has to read 64 KiB of what it is sent.
        buffer: records that wait for a follower.

    Raises:
        Refused: a limit that lets nobody in.
    """

    connections: int = 16
    idle: float = 30.0
    stall: float = 10.0
    buffer: int = 1024

    def __post_init__(self) -> None:
        for name in ("connections", "idle", "stall", "buffer"):
            if not getattr(self, name) > 0:
                raise Refused(f"{name}={getattr(self, name)!r} lets no client in", todo="give a number above 0")


def open_control(path: Path | None = None, *, limits: ControlLimits | None = None) -> Attachment:
    """A control socket for a runtime: `open_runtime(driver, attach=[open_control()])`. For `coworld-actors ctl`.

    It is there from the runtime's opening until after its stop. Only processes of the same user may use it, root's not either.

    Args:
        path: the socket; its directory has to be there, belong to this user, and be closed to other writers. Without one it is
            in the default place, where `coworld-actors ctl` looks (see `coworld_actors.control.place`).
        limits: what clients may cost.

    Returns:
        An attachment that raises `PreconditionMissing` when the socket cannot be made. As a context manager it gives its path.
    """
    return functools.partial(_control, path, limits or ControlLimits())


@asynccontextmanager
async def _control(path: Path | None, limits: ControlLimits, runtime: Runtime) -> AsyncGenerator[Path]:
    with listening(path, runtime.name) as (listener, place):
        server = _Server(runtime, limits)
        unsubscribe = runtime.system.events.subscribe(server.history.append)
        try:
            async with trio.open_nursery() as nursery:
                # Out of reach of a cancellation from outside, so that a runtime can be seen while it stops. This shield needs
                # no deadline: the block ends when the runtime has stopped, which has one, and then `close` ends the shield.
                server.scope = trio.CancelScope(shield=True)
                nursery.start_soon(server.run, listener)
                try:
                    yield place
                finally:
                    # Restores: followers are told the end, and nothing of the server outlives the block.
                    await server.close()
        finally:
            unsubscribe()


@final
class _Server:
    def __init__(self, runtime: Runtime, limits: ControlLimits) -> None:
        self.history: deque[Record] = deque(maxlen=HISTORY)
        self.scope = trio.CancelScope()
        self._runtime = runtime
        self._limits = limits
        self._answers = Answers(runtime, self.history, self._statistics)
        self._closing = Interrupt()
        self._open = 0
        self._idle = trio.Event()
        self._counts: Counter[str] = Counter()

    async def run(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        with self.scope:
            try:
                await trio.serve_listeners(self._serve, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])
            except* Exception:  # noqa: BLE001 - the host goes on without us
                _log.exception(
                    "the control socket of runtime %s is closed: it takes no more connections", self._runtime.name
                )

    async def close(self) -> None:
        self._closing.throw("the runtime has stopped")
        with trio.move_on_after(GOODBYE_SECONDS, shield=True):
            while self._open:
                self._idle = trio.Event()
                await self._idle.wait()
        self.scope.cancel()

    def _statistics(self) -> ControlStatistics:
        return ControlStatistics(connections=self._open, **self._counts)

    async def _serve(self, stream: trio.SocketStream) -> None:
        """One connection from its beginning to its end."""
        self._open += 1
        self._counts["accepted"] += 1
        try:
            async with stream:
                refusal = self._refusal(stream)
                if refusal is not None:
                    await self._send(stream, refusal)
                else:
                    await self._converse(stream)
        except* trio.TooSlowError:
            self._counts["stalled"] += 1
        except* (OSError, trio.BrokenResourceError):
            # The client has gone; there is nobody to tell.
            pass
        except* Exception:  # noqa: BLE001 - a defect of ours ends neither the host nor the other connections
            _log.exception("a connection to the control socket of runtime %s was dropped", self._runtime.name)
        finally:
            self._open -= 1
            self._idle.set()

    def _refusal(self, stream: trio.SocketStream) -> Failure | None:
        uid = peer(stream)[1]
        if uid != os.geteuid():
            self._counts["strangers"] += 1
            return Failure(
                exit_code=3,
                what=f"this runtime belongs to user {os.geteuid()}, and only that user may talk to it",
                evidence=f"the connection comes from user {uid}",
                todo=f"run the command as user {os.geteuid()}",
            )
        if self._open > self._limits.connections:
            self._counts["turned_away"] += 1
            return Failure(
                exit_code=3,
                what=f"runtime {self._runtime.name} has {self._limits.connections} control connections already",
                todo="close one: a `ctl events --follow` that is not needed any more",
            )
        return None

    async def _converse(self, stream: trio.SocketStream) -> None:
        lines = Lines(stream, LINE_LIMIT)
        await self._send(stream, self._hello())
        while True:
            try:
                line = await self._next_line(lines)
            except LineTooLong:
                await self._send(stream, self._malformed(f"a request has at most {LINE_LIMIT} bytes"))
                continue
            if line is None:
                return
            try:
                request = read_request(line)
            except ValueError as error:
                await self._send(stream, self._malformed(str(error)))
                continue
            if isinstance(request, Events):
                await self._send_events(stream, lines, request)
            else:
                await self._send(stream, self._answers.to(request))

    async def _next_line(self, lines: Lines) -> bytes | None:
        line = None
        with self._closing.scope(), trio.fail_after(self._limits.idle):
            line = await lines.next()
        return line  # noqa: RET504 - the scope may have ended it

    def _malformed(self, why: str) -> Failure:
        self._counts["malformed"] += 1
        return Failure(
            exit_code=2,
            what="this line is no request",
            evidence=why,
            todo='send a JSON object on a line of its own: {"type":"statistics"}; docs/control.md has all of them',
        )

    def _hello(self) -> Hello:
        now = self._runtime.statistics()
        return Hello(
            protocol=PROTOCOL,
            version=importlib.metadata.version("coworld-actors"),
            name=now.name,
            pid=os.getpid(),
            seconds=now.seconds,
            parallel=now.parallel,
            paused=now.paused,
            running=now.running,
            queued=now.queued,
        )

    async def _send(self, stream: trio.SocketStream, reply: Reply) -> None:
        await send(stream, encode(reply), self._limits.stall)

    # Events.

    async def _send_events(self, stream: trio.SocketStream, lines: Lines, request: Events) -> None:
        """Send what is kept and, if asked for, what comes, until the runtime has stopped or the client speaks or leaves."""
        last = self.history[-1].seq if self.history else 0
        if not request.follow:
            await self._send_records(stream, await self._answers.kept(request.after, last, request.episode))
            await self._send(stream, End(last=last, why="that is all so far"))
            return
        subscription = Subscription(self._limits.buffer)

        def take(record: Record) -> None:
            if record.seq > request.after and record.scope.startswith(request.episode):
                subscription.take(record)

        # Nothing was awaited since `last` was read: what is kept ends where the subscription begins.
        subscription.when_closed(self._runtime.system.events.subscribe(take))
        with subscription:
            await self._send_records(stream, await self._answers.kept(request.after, last, request.episode))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_client_speaks, lines, subscription)
                lost = 0
                while records := await subscription.batch():
                    if subscription.dropped > lost:
                        await self._send(stream, Lost(count=subscription.dropped - lost))
                        self._counts["lost"] += subscription.dropped - lost
                        lost = subscription.dropped
                    await self._send_records(stream, records)
                    last = records[-1].seq
                nursery.cancel_scope.cancel()
        await self._send(stream, End(last=last, why=self._closing.reason or "the client has asked for something else"))

    async def _until_client_speaks(self, lines: Lines, subscription: Subscription) -> None:
        with self._closing.scope():
            await lines.fill()
        subscription.close()

    async def _send_records(self, stream: trio.SocketStream, records: list[Record]) -> None:
        gathered: list[bytes] = []
        size = 0
        for record in records:
            gathered.append(encode_record(record))
            size += len(gathered[-1])
            if size >= BATCH:
                await send(stream, b"".join(gathered), self._limits.stall)
                gathered, size = [], 0
        await send(stream, b"".join(gathered), self._limits.stall)
