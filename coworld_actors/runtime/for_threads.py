"""The runtime for synchronous programs: every call blocks its thread, nobody else's, and at most as long as it says.

    with open_runtime_sync(driver) as runtime:
        verdict = runtime.run_episode(spec, timeout=600)

A call whose `timeout` passes is cancelled, its end is awaited, then `TimeoutError` is raised; if it had its result after all, that
is returned. `KeyboardInterrupt` does the same and is raised in any case, a second one at once.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, final

import trio

from coworld_actors.actors import ChildInfo, Record
from coworld_actors.actors.stream import Subscription
from coworld_actors.episode.pages import Pages
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.verdict import Verdict
from coworld_actors.runtime.events import StopReport
from coworld_actors.runtime.handle import HISTORY, EpisodeHandle, EpisodeStatus
from coworld_actors.runtime.hosted import Call, CallCancelled, TrioThread, done
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

__all__ = ["SyncEpisode", "SyncEvents", "SyncRuntime", "open_runtime_sync"]

P = ParamSpec("P")
R = TypeVar("R")


@final
class SyncEvents:
    """Events for one reader: `for record in events`. Ends with the runtime, or with the episode.

    Its subscription is closed by `close`, at the end of a `with` block, and when nobody holds this object any more, such as after
    a `break`. A read that is interrupted or takes too long loses nothing; the next one goes on.
    """

    def __init__(self, line: _Line, subscription: Subscription, timeout: float | None) -> None:
        self._line = line
        self._subscription = subscription
        self._timeout = timeout
        self._buffer: deque[Record] = deque()
        self._closed = False

    @property
    def dropped(self) -> int:
        """Records lost because the reader was slower than the stream."""
        return self._subscription.dropped

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Record:
        if not self._buffer:
            self._buffer.extend(self.batch(timeout=self._timeout))
        if not self._buffer:
            raise StopIteration
        return self._buffer.popleft()

    def batch(self, limit: int = BATCH, *, timeout: float | None = None) -> list[Record]:
        """Wait for a record, then take all that are there, `limit` at most; an empty list is the end.

        Raises:
            TimeoutError: there was none in `timeout` seconds.
        """
        if not self._buffer and not self._closed:
            subscription = self._subscription
            try:
                self._buffer.extend(
                    self._line.run(subscription.batch, limit, timeout=timeout, undo=self._buffer.extend)
                )
            except RuntimeClosed:
                self._buffer.extend(remaining(subscription))
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    def close(self, *, timeout: float | None = None) -> None:
        """Take no more records, and forget those that have not been read."""
        self._closed = True
        self._buffer.clear()
        with suppress(RuntimeClosed):
            self._line.call(self._subscription.close, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._line.thread.post(self._subscription.close)


@final
class SyncEpisode:
    """One episode of a runtime: look at it, follow it, call it off, wait for it. Made by `SyncRuntime.start_episode`.

    Attributes:
        id: the episode's.
        spec: what is played.
    """

    def __init__(self, line: _Line, handle: EpisodeHandle) -> None:
        self.id = handle.id
        self.spec = handle.spec
        self._line = line
        self._handle = handle

    def cancel(self, reason: str = "called off by the embedding program", *, timeout: float | None = None) -> bool:
        """See `EpisodeHandle.cancel`."""
        return self._line.call(self._handle.cancel, reason, timeout=timeout)

    def wait(self, *, timeout: float | None = None) -> EpisodeRecord:
        """See `EpisodeHandle.wait`. A `timeout` ends the waiting, not the episode."""
        return self._line.run(self._handle.wait, timeout=timeout)

    def pages(self, *, timeout: float | None = None) -> Pages | None:
        """See `EpisodeHandle.pages`. A `timeout` ends the waiting, not the episode."""
        return self._line.run(self._handle.pages, timeout=timeout)

    def status(self, *, timeout: float | None = None) -> EpisodeStatus:
        """See `EpisodeHandle.status`."""
        return self._line.call(self._handle.status, timeout=timeout)

    def events(self, *, after: int = 0, capacity: int = HISTORY, timeout: float | None = None) -> SyncEvents:
        """See `EpisodeHandle.events`; `timeout` is for each of them."""
        opening = functools.partial(self._handle.events, after=after, capacity=capacity)
        subscription = self._line.call(opening, timeout=timeout, undo=self._line.undo_events)
        return SyncEvents(self._line, subscription, timeout)

    def __repr__(self) -> str:
        return f"<SyncEpisode {self.id}>"


@final
class SyncRuntime:
    """What an open runtime offers to threads; made by `open_runtime_sync`. Any number of threads may use it at once.

    Everything takes `timeout` in seconds and raises `TimeoutError` when they have passed, `RuntimeClosed` when the runtime is
    closed, `InternalFault` when it has crashed, and `Refused` in a forked child, in the runtime's own thread, and where an event
    loop runs that would be blocked.

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
        """See `Runtime.propagators`; they are called in trio's thread, with the context variables of the calling thread."""
        return self._runtime.propagators

    def run_episode(self, spec: EpisodeSpec, *, timeout: float | None = None) -> Verdict:
        """See `Runtime.run_episode`. A `timeout` calls the episode off."""
        return self._line.run(self._runtime.run_episode, spec, timeout=timeout, patience=self._line.thread.patience)

    def start_episode(self, spec: EpisodeSpec, *, timeout: float | None = None) -> SyncEpisode:
        """See `Runtime.start_episode`. Without a result it leaves no episode behind."""

        def undo(handle: EpisodeHandle) -> None:
            self._line.thread.post(handle.cancel, CANCELLED)

        handle = self._line.run(self._runtime.start_episode, spec, timeout=timeout, undo=undo)
        return SyncEpisode(self._line, handle)

    def episode(self, id: str, *, timeout: float | None = None) -> SyncEpisode | None:  # noqa: A002 - the spec's word
        """See `Runtime.episode`."""
        handle = self._line.call(self._runtime.episode, id, timeout=timeout)
        return None if handle is None else SyncEpisode(self._line, handle)

    def episodes(self, *, timeout: float | None = None) -> list[EpisodeStatus]:
        """See `Runtime.episodes`."""
        return self._line.call(self._runtime.episodes, timeout=timeout)

    def set_parallel(self, parallel: int, *, timeout: float | None = None) -> None:
        """See `Runtime.set_parallel`."""
        self._line.call(self._runtime.set_parallel, parallel, timeout=timeout)

    def pause(self, *, timeout: float | None = None) -> None:
        """See `Runtime.pause`."""
        self._line.call(self._runtime.pause, timeout=timeout)

    def resume(self, *, timeout: float | None = None) -> None:
        """See `Runtime.resume`."""
        self._line.call(self._runtime.resume, timeout=timeout)

    def events(self, capacity: int = 1024, *, timeout: float | None = None) -> SyncEvents:
        """See `Runtime.events`; `timeout` is for each of them."""
        subscription = self._line.call(self._runtime.events, capacity, timeout=timeout, undo=self._line.undo_events)
        return SyncEvents(self._line, subscription, timeout)

    def tree(self, *, timeout: float | None = None) -> list[ChildInfo]:
        """See `Runtime.tree`."""
        return self._line.call(self._runtime.tree, timeout=timeout)

    def statistics(self, *, timeout: float | None = None) -> RuntimeStatistics:
        """See `Runtime.statistics`."""
        return self._line.call(self._runtime.statistics, timeout=timeout)

    def stop(self, *, drain: bool = False, deadline: float = math.inf, timeout: float | None = None) -> StopReport:
        """See `Runtime.stop`. When `timeout` passes, the rest is left to the block's end."""
        return self._line.run(functools.partial(self._runtime.stop, drain=drain, deadline=deadline), timeout=timeout)

    def __repr__(self) -> str:
        return f"<SyncRuntime {self.name}>"

    def __del__(self) -> None:
        # A block that is never left does not keep a runtime that nobody can use.
        self._line.thread.leave()


@takes_options_of(open_runtime)
def open_runtime_sync(*args: Any, **options: Any) -> AbstractContextManager[SyncRuntime]:
    """Open a runtime for the time of a block of a synchronous program; takes what `open_runtime` takes.

    What the driver, the attachments and the propagators do is done in trio's thread.

    Raises:
        Exception: what `open_runtime` raised when it was entered, or left.
        InternalFault: the trio run crashed meanwhile, or does not end.
        Refused: an event loop runs in this thread, and would be blocked.
    """
    return _Block(_Line(host_runtime(*args, **options)))


@final
class _Block(AbstractContextManager[SyncRuntime]):
    def __init__(self, line: _Line) -> None:
        self._line = line
        self._runtime: SyncRuntime | None = None

    def __enter__(self) -> SyncRuntime:
        _refuse_loops()
        opened = self._line.thread.opened
        self._line.thread.start()
        try:
            done(opened, None)
            runtime = opened.result()
        except BaseException:
            # Restores: nothing is left of what was not opened. What left the block is raised, whatever comes of this.
            with suppress(Exception):
                self._line.close()
            raise
        # Kept as long as the block is: whoever needs it no more inside of it has not left it.
        self._runtime = SyncRuntime(self._line, runtime)
        return self._runtime

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._line.close()
            return
        with suppress(Exception):
            self._line.close()


@final
class _Line:
    """From threads to a `TrioThread`, and back."""

    def __init__(self, thread: TrioThread[Runtime]) -> None:
        self.thread = thread

    def call(
        self,
        function: Callable[..., R],
        /,
        *args: object,
        timeout: float | None,
        undo: Callable[[R], object] | None = None,
    ) -> R:
        self.thread.check_place()
        _refuse_loops()
        return self._answer(self.thread.call(function, *args), timeout, undo, 0)

    def run(
        self,
        function: Callable[..., Awaitable[R]],
        /,
        *args: object,
        timeout: float | None,
        undo: Callable[[R], object] | None = None,
        patience: float = PROMPT_SECONDS,
    ) -> R:
        self.thread.check_place()
        _refuse_loops()
        return self._answer(self.thread.run(function, *args), timeout, undo, patience)

    def _answer(self, call: Call[R], timeout: float | None, undo: Callable[[R], object] | None, patience: float) -> R:
        try:
            if not done(call.future, timeout):
                call.cancel()
                done(call.future, patience)
        except BaseException:
            # A signal handler has raised, most often KeyboardInterrupt. A second one leaves at once, and nothing behind either.
            call.give_up(undo)
            done(call.future, patience)
            raise
        if not call.future.done():
            call.give_up(undo)
            raise _late(call, timeout)
        try:
            return call.future.result()
        except CallCancelled:
            raise _late(call, timeout) from None
        finally:
            # An exception that was raised here holds this frame, and the call holds the exception.
            del call

    def undo_events(self, subscription: Subscription) -> None:
        self.thread.post(subscription.close)

    def close(self) -> None:
        """Leave the runtime's block and wait until nothing is left of it."""
        thread = self.thread
        if thread.forked:
            return
        thread.leave()
        thread.check_place()
        _refuse_loops()
        try:
            over = thread.outlast()
        except BaseException:
            # A signal handler has raised. The end is still awaited; a second time leaves at once, and the thread to itself.
            thread.outlast()
            raise
        if not over:
            raise thread.stuck()
        thread.ended.result()


def _late(call: Call[Any], timeout: float | None) -> TimeoutError:
    return TimeoutError(f"{call.what} was not done within {timeout:g} s and was cancelled")


def _refuse_loops() -> None:
    """See that no event loop is blocked by a call that waits.

    Raises:
        Refused: one runs in this thread.
    """
    if trio.lowlevel.in_trio_task():
        raise Refused(
            "this call would block the trio run of this thread", todo="use open_runtime, which is made for trio"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise Refused(
        "this call would block the asyncio loop that runs in this thread",
        todo="use open_runtime_asyncio, or make the call in a thread: await asyncio.to_thread(...)",
    )
