"""The runtime for asyncio programs. Its own work is done by trio in a thread of its own, which a busy host loop cannot delay.

    async with open_runtime_asyncio(driver) as runtime:
        verdict = await runtime.run_episode(spec)

Everything that is awaited here can be cancelled, `asyncio.timeout` included: the call is cancelled on the other side, its end is
awaited, then `CancelledError` is raised. A second cancellation does not shorten that.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, final

from coworld_actors.actors import ChildInfo, Record
from coworld_actors.actors.stream import Subscription
from coworld_actors.episode.pages import Pages
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.verdict import Verdict
from coworld_actors.runtime.events import StopReport
from coworld_actors.runtime.handle import HISTORY, EpisodeHandle, EpisodeStatus
from coworld_actors.runtime.hosted import ABORT_SECONDS, Call, CallCancelled, TrioThread
from coworld_actors.runtime.hosted_runtime import (
    BATCH,
    CANCELLED,
    PROMPT_SECONDS,
    host_runtime,
    remaining,
    takes_options_of,
)
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime, RuntimeClosed
from coworld_actors.runtime.statistics import RuntimeStatistics
from coworld_protocol.errors import Refused

__all__ = ["AsyncioEpisode", "AsyncioEvents", "AsyncioRuntime", "open_runtime_asyncio"]

P = ParamSpec("P")
R = TypeVar("R")


@final
class AsyncioEvents:
    """Events for one reader: `async for record in events`. Ends with the runtime, or with the episode.

    Its subscription is closed by `aclose`, at the end of an `async with` block, and when nobody holds this object any more, such
    as after a `break`. A cancelled read loses nothing; the next one goes on.
    """

    def __init__(self, line: _Line, opening: Call[Subscription]) -> None:
        self._line = line
        self._opening = opening
        self._buffer: deque[Record] = deque()
        self._closed = False

    @property
    def dropped(self) -> int:
        """Records lost because the reader was slower than the stream."""
        future = self._opening.future
        return future.result().dropped if future.done() and future.exception() is None else 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        if not self._buffer:
            self._buffer.extend(await self.batch())
        if not self._buffer:
            raise StopAsyncIteration
        return self._buffer.popleft()

    async def batch(self, limit: int = BATCH) -> list[Record]:
        """Wait for a record, then take all that are there, `limit` at most; an empty list is the end."""
        if not self._buffer and not self._closed:
            try:
                subscription = await self._line.answer(self._opening, patience=0)
                # A cancellation loses nothing: what was on its way comes first in the next batch.
                self._buffer.extend(await self._line.run(subscription.batch, limit, undo=self._buffer.extend))
            except RuntimeClosed:
                if self._opening.future.exception() is None:
                    self._buffer.extend(remaining(self._opening.future.result()))
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    async def aclose(self) -> None:
        """Take no more records, and forget those that have not been read."""
        self._closed = True
        self._buffer.clear()
        with suppress(RuntimeClosed):
            await self._line.call(_close, self._opening.future)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._line.thread.post(_close, self._opening.future)


def _close(opening: Future[Subscription]) -> None:
    """In trio's thread, where the opening has come before this."""
    opening.result().close()


@final
class AsyncioEpisode:
    """One episode of a runtime: look at it, follow it, call it off, wait for it. Made by `AsyncioRuntime.start_episode`.

    Attributes:
        id: the episode's.
        spec: what is played.
    """

    def __init__(self, line: _Line, handle: EpisodeHandle) -> None:
        self.id = handle.id
        self.spec = handle.spec
        self._line = line
        self._handle = handle

    async def cancel(self, reason: str = "called off by the embedding program") -> bool:
        """See `EpisodeHandle.cancel`."""
        return await self._line.call(self._handle.cancel, reason)

    async def wait(self) -> EpisodeRecord:
        """See `EpisodeHandle.wait`."""
        return await self._line.run(self._handle.wait)

    async def pages(self) -> Pages | None:
        """See `EpisodeHandle.pages`."""
        return await self._line.run(self._handle.pages)

    async def status(self) -> EpisodeStatus:
        """See `EpisodeHandle.status`."""
        return await self._line.call(self._handle.status)

    def events(self, *, after: int = 0, capacity: int = HISTORY) -> AsyncioEvents:
        """See `EpisodeHandle.events`."""
        return AsyncioEvents(self._line, self._line.submit(self._handle.events, after=after, capacity=capacity))

    def __repr__(self) -> str:
        return f"<AsyncioEpisode {self.id}>"


@final
class AsyncioRuntime:
    """What an open runtime offers to asyncio; made by `open_runtime_asyncio`. Any loop and any task may use it.

    Everything raises `RuntimeClosed` when the runtime is closed, `InternalFault` when it has crashed, and `Refused` in a forked
    child, in the runtime's own thread, and where no asyncio loop runs.

    Attributes:
        name: the runtime's.
    """

    def __init__(self, line: _Line, runtime: Runtime) -> None:
        self.name = runtime.name
        self._line = line
        self._runtime = runtime

    @property
    def attached(self) -> list[object]:
        """See `Runtime.attached`."""
        return self._runtime.attached

    @property
    def propagators(self) -> list[Callable[[EpisodeSpec], Mapping[str, str]]]:
        """See `Runtime.propagators`; they are called in trio's thread, with the context variables of the calling task."""
        return self._runtime.propagators

    async def run_episode(self, spec: EpisodeSpec) -> Verdict:
        """See `Runtime.run_episode`."""
        return await self._line.run(self._runtime.run_episode, spec, patience=self._line.thread.patience)

    async def start_episode(self, spec: EpisodeSpec) -> AsyncioEpisode:
        """See `Runtime.start_episode`. Cancelled, it leaves no episode behind."""

        def undo(handle: EpisodeHandle) -> None:
            self._line.thread.post(handle.cancel, CANCELLED)

        return AsyncioEpisode(self._line, await self._line.run(self._runtime.start_episode, spec, undo=undo))

    async def episode(self, id: str) -> AsyncioEpisode | None:  # noqa: A002 - the word of the spec
        """See `Runtime.episode`."""
        handle = await self._line.call(self._runtime.episode, id)
        return None if handle is None else AsyncioEpisode(self._line, handle)

    async def episodes(self) -> list[EpisodeStatus]:
        """See `Runtime.episodes`."""
        return await self._line.call(self._runtime.episodes)

    async def set_parallel(self, parallel: int) -> None:
        """See `Runtime.set_parallel`."""
        await self._line.call(self._runtime.set_parallel, parallel)

    async def pause(self) -> None:
        """See `Runtime.pause`."""
        await self._line.call(self._runtime.pause)

    async def resume(self) -> None:
        """See `Runtime.resume`."""
        await self._line.call(self._runtime.resume)

    def events(self, capacity: int = 1024) -> AsyncioEvents:
        """See `Runtime.events`. Has what happens from this call on, though nothing is awaited here."""
        return AsyncioEvents(self._line, self._line.submit(self._runtime.events, capacity))

    async def tree(self) -> list[ChildInfo]:
        """See `Runtime.tree`."""
        return await self._line.call(self._runtime.tree)

    async def statistics(self) -> RuntimeStatistics:
        """See `Runtime.statistics`."""
        return await self._line.call(self._runtime.statistics)

    async def stop(self, *, drain: bool = False, deadline: float = math.inf) -> StopReport:
        """See `Runtime.stop`."""
        return await self._line.run(functools.partial(self._runtime.stop, drain=drain, deadline=deadline))

    def __repr__(self) -> str:
        return f"<AsyncioRuntime {self.name}>"

    def __del__(self) -> None:
        # A block that is never left, because its loop was closed first, does not keep a runtime that nobody can use.
        self._line.thread.leave()


@takes_options_of(open_runtime)
@asynccontextmanager
async def open_runtime_asyncio(*args: Any, **options: Any) -> AsyncGenerator[AsyncioRuntime]:
    """Open a runtime for the time of a block of an asyncio program; takes what `open_runtime` takes.

    What the driver, the attachments and the propagators do is done in trio's thread.

    Raises:
        Exception: what `open_runtime` raised when it was entered, or left.
        InternalFault: the trio run crashed meanwhile, or does not end.
        Refused: no asyncio loop runs here.
    """
    line = _Line(host_runtime(*args, **options))
    line.thread.start()
    try:
        await _settled(line.thread.opened)
        runtime = AsyncioRuntime(line, line.thread.opened.result())
        yield runtime
    except BaseException:
        # Restores: nothing outlives the block. What left the block is raised, whatever comes of this.
        with suppress(Exception):
            await line.close()
        raise
    await line.close()


@final
class _Line:
    """From asyncio tasks to a `TrioThread`, and back."""

    def __init__(self, thread: TrioThread[Runtime]) -> None:
        _running_loop()
        self.thread = thread

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        self.thread.check_place()
        _running_loop()
        return self.thread.call(function, *args, **kwargs)

    async def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.answer(self.submit(function, *args, **kwargs), patience=0)

    async def run(
        self,
        function: Callable[..., Awaitable[R]],
        /,
        *args: object,
        undo: Callable[[R], object] | None = None,
        patience: float = PROMPT_SECONDS,
    ) -> R:
        self.thread.check_place()
        _running_loop()
        return await self.answer(self.thread.run(function, *args), undo=undo, patience=patience)

    async def answer(
        self, call: Call[R], *, undo: Callable[[R], object] | None = None, patience: float = PROMPT_SECONDS
    ) -> R:
        try:
            await _settled(call.future)
            return call.future.result()
        except asyncio.CancelledError as cancelled:
            call.give_up(undo)
            await _sit_out(call.future, patience)
            error = call.future.exception() if call.future.done() else None
            if error is None or isinstance(error, CallCancelled):
                raise
            raise cancelled from error
        except GeneratorExit:
            # The task is thrown away with its loop; nothing can be awaited any more.
            call.give_up(undo)
            raise
        finally:
            # An exception that was raised here holds this frame, and the call holds the exception.
            del call

    async def close(self) -> None:
        """Leave the runtime's block and wait until nothing is left of it, whatever this task is told meanwhile."""
        thread = self.thread
        if thread.forked:
            return
        thread.leave()
        told = await _sit_out(thread.ended, thread.patience)
        if not thread.ended.done():
            thread.abort()
            told = await _sit_out(thread.ended, ABORT_SECONDS) or told
        if not thread.ended.done():
            raise thread.stuck()
        thread.join()
        if told is not None:
            raise told
        thread.ended.result()


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise Refused(
            "no asyncio loop runs here", todo="under trio use open_runtime, in plain threads open_runtime_sync"
        ) from None


async def _settled(future: Future[Any], seconds: float | None = None) -> None:
    """Wait for a future of another thread, at most so long."""
    if future.done():
        return
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    future.add_done_callback(functools.partial(_wake, loop, waiter))
    timer = None if seconds is None else loop.call_later(seconds, _release, waiter)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()


async def _sit_out(future: Future[Any], seconds: float) -> asyncio.CancelledError | None:
    """Wait for a future at most so long, whatever the task is told meanwhile; returns what it was told."""
    told: asyncio.CancelledError | None = None
    until = asyncio.get_running_loop().time() + seconds
    while not future.done() and (left := until - asyncio.get_running_loop().time()) > 0:
        try:
            await _settled(future, left)
        except asyncio.CancelledError as cancelled:
            told = told or cancelled
    return told


def _wake(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None], _: Future[Any]) -> None:
    # A loop that was closed first has nobody who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_release, waiter)


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
