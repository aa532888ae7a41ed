"""A trio run in a thread of its own, and whoever calls into it."""

from __future__ import annotations

import contextvars
import logging
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from coworld_actors.runtime.hosted import CallCancelled, TrioThread, done
from coworld_protocol.errors import InternalFault, Refused

LONG = 60.0
"""Far beyond anything here."""


class Late(Exception):
    """A call came when the thread was closed."""


class House:
    """What is hosted here: it can be worked with, and set on fire."""

    def __init__(self) -> None:
        self.fire = trio.Event()
        self.left = trio.Event()
        self.thread = threading.get_ident()
        self.seen: list[str] = []

    async def wait(self) -> str:
        """Wait for the house to be left."""
        await self.left.wait()
        return "left"

    async def forever(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.seen.append("ended")

    async def burn(self) -> None:
        await self.fire.wait()
        raise ValueError("fire")


@asynccontextmanager
async def house() -> AsyncGenerator[House]:
    """Open one; its fire ends the block."""
    opened = House()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.burn)
        yield opened
        opened.left.set()
        nursery.cancel_scope.cancel()


Start = Callable[..., TrioThread[House]]


@pytest.fixture
def start() -> Generator[Start]:
    """Starts threads and sees that they end."""
    threads: list[TrioThread[House]] = []

    def make(open: Callable[[], AbstractAsyncContextManager[House]] = house) -> TrioThread[House]:  # noqa: A002
        thread = TrioThread("a house", open, patience=LONG, closed=lambda: Late("late"))
        threads.append(thread)
        thread.start()
        return thread

    yield make
    for thread in threads:
        thread.leave()
        assert done(thread.ended, LONG)
        thread.join()
    assert "a house" not in {thread.name for thread in threading.enumerate()}


def test_the_thread_is_a_daemon_with_a_name(start: Start) -> None:
    """A host's exit never waits for it, and a debugger says what it is."""
    thread = start()
    opened = thread.opened.result(LONG)
    (found,) = [one for one in threading.enumerate() if one.name == "a house"]
    assert found.daemon
    assert found.ident == opened.thread


@pytest.mark.parametrize("in_main", [True, False])
def test_nothing_of_the_process_is_changed(start: Start, in_main: bool) -> None:
    """No signal handler, no wakeup descriptor, no log handler; also when it is started from another thread."""

    def look() -> tuple[object, ...]:
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        return handlers, wakeup, list(logging.getLogger().handlers), logging.getLogger().level

    before = look()
    made: list[TrioThread[House]] = []
    if in_main:
        made.append(start())
    else:
        starter = threading.Thread(target=lambda: made.append(start()))
        starter.start()
        starter.join()
    assert made[0].opened.result(LONG)
    assert look() == before
    made[0].leave()
    assert done(made[0].ended, LONG)
    assert look() == before


def test_calls_are_made_in_their_order(start: Start) -> None:
    """What is called first has happened when the next begins, functions and tasks alike."""
    thread = start()
    opened = thread.opened.result(LONG)
    calls = [thread.call(opened.seen.append, str(number)) for number in range(100)]
    for call in calls:
        call.future.result(LONG)
    assert opened.seen == [str(number) for number in range(100)]


def test_exceptions_cross_as_they_are(start: Start) -> None:
    """Type, traceback and cause are those of the other side; a group of one is its exception."""
    thread = start()
    thread.opened.result(LONG)

    async def fails() -> None:
        try:
            {}["inner"]
        except KeyError as error:
            raise LookupError("outer") from error

    async def fails_in_a_nursery() -> None:
        async with trio.open_nursery() as nursery, trio.open_nursery() as inner:
            inner.start_soon(fails)
            nursery.start_soon(trio.sleep, 0)

    for function in (fails, fails_in_a_nursery):
        with pytest.raises(LookupError) as caught:
            thread.run(function).future.result(LONG)
        assert isinstance(caught.value.__cause__, KeyError)
        assert caught.traceback[-1].name == "fails"
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 / 0).future.result(LONG)


def test_the_callers_context_is_the_calls(start: Start) -> None:
    """Context variables are seen as they are where the call is made."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    thread = start()
    thread.opened.result(LONG)

    async def look() -> str:
        return variable.get()

    for value in ("one", "two"):
        variable.set(value)
        assert thread.call(variable.get).future.result(LONG) == value
        assert thread.run(look).future.result(LONG) == value


def test_a_cancelled_call_ends_and_says_so(start: Start) -> None:
    """The task on the other side is gone when the call is."""
    thread = start()
    opened = thread.opened.result(LONG)
    call = thread.run(opened.forever)
    call.cancel()
    call.cancel()
    with pytest.raises(CallCancelled):
        call.future.result(LONG)
    assert opened.seen == ["ended"]
    call.cancel()


def test_what_nobody_takes_is_undone(start: Start) -> None:
    """A call that was given up hands its result to whoever can undo it; one without a result has nothing to undo."""
    thread = start()
    opened = thread.opened.result(LONG)
    go = trio.Event()
    undone: list[str] = []

    async def accept() -> str:
        with trio.CancelScope(shield=True):
            await go.wait()
        return "accepted"

    late = thread.run(accept)
    late.give_up(undone.append)
    early = thread.call(str, "early")
    early.future.result(LONG)
    early.give_up(undone.append)
    never = thread.run(opened.forever)
    never.give_up(undone.append)
    thread.call(go.set).future.result(LONG)
    assert late.future.result(LONG) == "accepted"
    assert isinstance(never.future.exception(LONG), CallCancelled)
    assert sorted(undone) == ["accepted", "early"]


def test_whoever_waits_gets_an_answer_at_the_end(start: Start) -> None:
    """What is ready when the house is left returns; what would never return is told that it is closed; so are all later calls."""
    thread = start()
    opened = thread.opened.result(LONG)
    ready, stuck = thread.run(opened.wait), thread.run(opened.forever)
    thread.leave()
    assert ready.future.result(LONG) == "left"
    with pytest.raises(Late):
        stuck.future.result(LONG)
    assert done(thread.ended, LONG)
    with pytest.raises(Late):
        thread.call(opened.fire.set)
    with pytest.raises(Late):
        thread.run(opened.wait)
    thread.post(opened.fire.set)
    thread.leave()
    assert thread.ended.result() is None


def test_a_crash_of_the_run_is_told_to_everybody(start: Start) -> None:
    """Waiting and later calls and the end fail with one sentence and the crash as its cause; nobody hangs."""
    thread = start()
    opened = thread.opened.result(LONG)
    waiting = thread.run(opened.forever)
    thread.post(opened.fire.set)
    for future in (waiting.future, thread.ended):
        error = future.exception(LONG)
        assert isinstance(error, InternalFault)
        assert isinstance(error.__cause__, ValueError)
    with pytest.raises(InternalFault, match="crashed") as caught:
        thread.call(opened.fire.set)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_crash_of_trio_itself_is_told_to_everybody(start: Start) -> None:
    """Also when its scheduler is no more there to clean up."""
    thread = start()
    opened = thread.opened.result(LONG)
    token = thread.call(trio.lowlevel.current_trio_token).future.result(LONG)
    waiting = thread.run(opened.forever)

    def defect() -> None:
        raise ZeroDivisionError

    token.run_sync_soon(defect)
    error = waiting.future.exception(LONG)
    assert isinstance(error, InternalFault)
    assert isinstance(error.__cause__, trio.TrioInternalError)
    assert isinstance(thread.ended.exception(LONG), InternalFault)
    thread.post(opened.fire.set)


def test_what_cannot_be_entered_is_raised_as_it_is(start: Start) -> None:
    """The exception is the one of the other side, and nothing is left."""

    @asynccontextmanager
    async def no_house() -> AsyncGenerator[House]:
        raise PermissionError("no ground")
        yield

    thread = start(no_house)
    with pytest.raises(PermissionError, match="no ground"):
        thread.opened.result(LONG)
    assert thread.ended.result(LONG) is None
    with pytest.raises(Late):
        thread.call(str)


def test_what_cannot_be_left_is_raised_as_it_is(start: Start) -> None:
    """An exception of the orderly end is no crash."""

    @asynccontextmanager
    async def bad_end() -> AsyncGenerator[House]:
        yield House()
        raise PermissionError("still inside")

    thread = start(bad_end)
    thread.opened.result(LONG)
    thread.leave()
    with pytest.raises(PermissionError, match="still inside"):
        thread.ended.result(LONG)


def test_it_can_be_left_while_it_is_entered(start: Start) -> None:
    """Whoever is still at the door turns round."""
    entering = threading.Event()

    @asynccontextmanager
    async def slow() -> AsyncGenerator[House]:
        entering.set()
        await trio.sleep_forever()
        yield House()

    thread = start(slow)
    assert entering.wait(LONG)
    thread.leave()
    with pytest.raises(CallCancelled):
        thread.opened.result(LONG)
    assert thread.ended.result(LONG) is None


def test_it_can_be_left_before_the_thread_has_begun() -> None:
    """A host that changes its mind at once needs not wait for a door."""
    thread = TrioThread("a house", house, patience=LONG, closed=lambda: Late("late"))
    thread.leave()
    thread.start()
    with pytest.raises(CallCancelled):
        thread.opened.result(LONG)
    assert thread.ended.result(LONG) is None
    thread.join()


def test_the_run_cannot_wait_for_itself(start: Start) -> None:
    """A call from trio's own thread is an error with the next step, not a deadlock."""
    thread = start()
    opened = thread.opened.result(LONG)

    def callback() -> None:
        thread.call(opened.fire.set)

    with pytest.raises(Refused, match="own thread") as caught:
        thread.call(callback).future.result(LONG)
    assert caught.value.todo


def test_a_run_that_does_not_end_can_be_aborted(start: Start) -> None:
    """What does not leave in its time is cancelled; the error for a run that does not even then end names its calls."""

    @asynccontextmanager
    async def lingering() -> AsyncGenerator[House]:
        yield House()
        await trio.sleep_forever()

    thread = start(lingering)
    opened = thread.opened.result(LONG)
    thread.run(opened.forever)
    thread.leave()
    assert not done(thread.ended, 0.1)
    assert "House.forever" in thread.stuck().evidence
    thread.abort()
    assert done(thread.ended, LONG)


def test_a_signal_handlers_time_out_is_not_the_waits() -> None:
    """A `TimeoutError` out of the host's own handler is raised, not taken for the time that has passed."""

    def handler(number: int, frame: object) -> None:
        raise TimeoutError("the host's")

    thread = TrioThread("a house", house, patience=LONG, closed=lambda: Late("late"))
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(TimeoutError, match="the host's"):
            done(thread.opened, LONG)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not done(thread.opened, 0.01)


def test_a_hundred_of_them_leave_nothing(start: Start) -> None:
    """Threads and descriptors are as many as before."""

    def once() -> None:
        thread = start()
        opened = thread.opened.result(LONG)
        call = thread.run(opened.forever)
        thread.call(opened.seen.append, "").future.result(LONG)
        call.cancel()
        thread.leave()
        assert done(thread.ended, LONG)
        thread.join()

    once()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(100):
        once()
    assert len(os.listdir("/proc/self/fd")) <= files
    assert threading.active_count() <= threads
