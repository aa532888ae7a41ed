"""A trio run in a thread of its own, and calls into it from code that is no trio.

    thread = TrioThread("runtime", open_something, patience=30.0, closed=Closed)
    thread.start()
    something = thread.opened.result()
    something_new = thread.run(something.work).future.result()

It knows nothing of what it hosts: an async context manager, entered when the thread starts and left when it is told to `leave`.
How a caller waits for a `Call` is the caller's business; `for_asyncio` and `for_threads` have the two ways.

The thread is a daemon, so no host hangs at its exit because of it; instead what is still open then is left in order, within its
patience. Nothing else of the process is touched: trio installs signal handlers and wakeup descriptors in main threads only.
"""

from __future__ import annotations

import contextvars
import functools
import math
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, ParamSpec, TypeVar, final

import trio

from coworld_actors.runtime import at_exit
from coworld_drivers.forks import Owner
from coworld_protocol.errors import InternalFault, PreconditionMissing, Refused, alone

__all__ = ["ABORT_SECONDS", "SETTLE_SECONDS", "Call", "CallCancelled", "TrioThread", "done"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

SETTLE_SECONDS = 2.0
"""How long calls may take to return once what they work with is closed; then they are cancelled."""
ABORT_SECONDS = 5.0
"""How long a run may take to end once it has been cancelled altogether; then its thread is given up."""


class CallCancelled(Exception):
    """A call that was cancelled has ended by that. Seen by nobody but whoever has cancelled it."""


def done(future: Future[Any], seconds: float | None) -> bool:
    """Block this thread until a future has its result, at most so long; whether it has."""
    if seconds is not None and seconds > threading.TIMEOUT_MAX:
        seconds = None
    until = math.inf if seconds is None else time.monotonic() + seconds
    try:
        future.exception(seconds)
    except TimeoutError:
        # A signal handler of the host's may raise this type, too.
        if time.monotonic() < until:
            raise
    return future.done()


@final
class Call(Generic[R]):
    """A call on its way through the other thread; made by `TrioThread`.

    Attributes:
        future: its result; set in trio's thread.
        what: for sentences.
    """

    __slots__ = ("_scope", "_thread", "future", "what")

    def __init__(self, thread: TrioThread[Any], what: str, scope: trio.CancelScope | None) -> None:
        self.future: Future[R] = Future()
        self.what = what
        self._thread = thread
        self._scope = scope

    def cancel(self) -> None:
        """Ask for the end, without waiting: it ends with `CallCancelled`, or as it would have. Any thread, any number of times."""
        if self._scope is not None and not self.future.done():
            self._thread.post(self._scope.cancel)

    def give_up(self, undo: Callable[[R], object] | None) -> None:
        """Cancel on behalf of somebody who will not take the result.

        Args:
            undo: gets the result if there is one nevertheless; called in this thread or in trio's.
        """
        if undo is not None:
            self.future.add_done_callback(functools.partial(_undo, undo))
        self.cancel()

    def answer(self, value: R) -> None:
        """It has a result."""
        self._thread.forget(self)
        with suppress(InvalidStateError):
            self.future.set_result(value)

    def fail(self, error: BaseException) -> None:
        """It has raised."""
        self._thread.forget(self)
        with suppress(InvalidStateError):
            self.future.set_exception(alone(error))


def _undo(undo: Callable[[R], object], future: Future[R]) -> None:
    if future.exception() is None:
        undo(future.result())


@final
class TrioThread(Generic[T]):
    """One trio run, in a daemon thread of its own, around one async context manager.

    Args:
        name: of the thread, and for sentences.
        open: makes what is entered; called in trio's thread, in the context of whoever makes this object.
        patience: seconds that leaving it may take.
        closed: makes the error for calls that come too late.

    Attributes:
        opened: what was entered; or the exception that entering it raised, `CallCancelled` if it was left before.
        ended: None when nothing of the run is left; or the exception that leaving raised.
    """

    def __init__(
        self,
        name: str,
        open: Callable[[], AbstractAsyncContextManager[T]],  # noqa: A002 - the verb
        *,
        patience: float,
        closed: Callable[[], Exception],
    ) -> None:
        self.name = name
        self.patience = patience
        self.opened: Future[T] = Future()
        self.ended: Future[None] = Future()
        self._open = open
        self._closed = closed
        self._owner = Owner("runtime")
        self._pending: dict[Call[Any], None] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._calls: trio.Nursery | None = None
        self._left = trio.Event()
        self._leaving = False
        self._asked = False
        self._over = False
        self._crash: BaseException | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name=name, daemon=True)

    @property
    def forked(self) -> bool:
        """Whether this is a forked child, in which the thread does not exist."""
        return not self._owner.here

    @property
    def over(self) -> bool:
        """Whether the run has ended, in order or not."""
        return self._over

    def start(self) -> None:
        """Start the thread; `opened` tells how it went.

        Raises:
            PreconditionMissing: the system has no thread left.
        """
        at_exit.keep(self)
        try:
            self._thread.start()
        except RuntimeError as error:
            at_exit.forget(self)
            raise PreconditionMissing(
                f"the thread of {self.name} cannot be started", evidence=str(error), todo="raise the limits: ulimit -u"
            ) from error

    # The way in.

    def check_place(self) -> None:
        """See that a call can be made from here.

        Raises:
            ForkedProcess: this is a forked child, which does not have the thread.
            Refused: this is trio's own thread, which must not wait for itself.
        """
        self._owner.require()
        if threading.get_ident() == self._thread.ident:
            raise Refused(
                f"{self.name} was called from its own thread, which would wait for itself",
                todo="in callbacks, attachments and propagators use the trio runtime that they are given, "
                "or hand the work to a thread or task of the host's",
            )

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Call a quick function in trio's thread. Functions are called, and tasks of `run` started, in the order of these calls.

        Raises:
            Refused: see `check_place`.
            InternalFault: the run has crashed.
            Exception: what `closed` made, when the run is over.
        """
        call: Call[R] = Call(self, _name_of(function), None)
        self._submit(call, functools.partial(self._apply, call, functools.partial(function, *args, **kwargs)))
        return call

    def run(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Run an async function as a task of its own in trio's thread; raises as `call` does."""
        call: Call[R] = Call(self, _name_of(function), trio.CancelScope())
        self._submit(call, functools.partial(self._spawn, call, functools.partial(function, *args, **kwargs)))
        return call

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in trio's thread if there still is one; what becomes of it nobody learns. From anywhere, finalizers too."""
        if self._token is not None and not self.over and not self.forked:
            # OSError: a run that died of a defect of trio's own has closed its wakeup socket and not its door.
            with suppress(trio.RunFinishedError, OSError):
                self._token.run_sync_soon(_quietly, function, args)

    def _submit(self, call: Call[Any], begin: Callable[[], None]) -> None:
        self.check_place()
        if self._token is None or self.over:
            raise self._refusal()
        self._pending[call] = None
        with suppress(trio.RunFinishedError, OSError):
            self._token.run_sync_soon(contextvars.copy_context().run, begin)
            # The thread's end sets `_over` first and then fails what is pending: whichever comes second sees the other.
            if not self.over:
                return
        self.forget(call)
        if not call.future.done():
            raise self._refusal()

    def forget(self, call: Call[Any]) -> None:
        """A call has ended."""
        self._pending.pop(call, None)

    def _refusal(self) -> Exception:
        if self._crash is None:
            return self._closed()
        fault = InternalFault(
            f"the trio run of {self.name} has crashed, and all its work with it",
            evidence=f"{type(self._crash).__name__}: {self._crash}",
            todo="report this with the traceback of its cause; open a new runtime to go on",
        )
        fault.__cause__ = self._crash
        return fault

    def _apply(self, call: Call[R], function: Callable[[], R]) -> None:
        if self._calls is None:
            self._too_late(call)
            return
        try:
            call.answer(function())
        except BaseException as error:  # noqa: BLE001 - the caller's, on the other side
            call.fail(error)

    def _spawn(self, call: Call[R], function: Callable[[], Awaitable[R]]) -> None:
        if self._calls is None:
            self._too_late(call)
        else:
            self._calls.start_soon(self._serve, call, function, name=call.what)

    def _too_late(self, call: Call[Any]) -> None:
        # Of a run that has crashed only the thread's end knows why; it is about to tell.
        if self._asked:
            call.fail(self._refusal())

    async def _serve(self, call: Call[R], function: Callable[[], Awaitable[R]]) -> None:
        assert call._scope is not None  # noqa: SLF001
        try:
            with call._scope:  # noqa: SLF001
                call.answer(await function())
                return
            call.fail(CallCancelled(f"{call.what} was cancelled"))
        except trio.Cancelled:
            # The run ends; why, the thread's end tells whoever waits.
            raise
        except BaseException as error:  # noqa: BLE001 - the caller's, on the other side
            call.fail(error)

    # The end.

    def leave(self) -> None:
        """Ask for the end, without waiting: what was entered is left; what is being entered is cancelled. From anywhere."""
        self._leaving = True
        self.post(self._leave)

    def abort(self) -> None:
        """Cancel all that does not leave by itself, without waiting."""
        self._leaving = True
        self.post(self._scope.cancel)

    def stuck(self) -> InternalFault:
        """The error for a run that has not ended in spite of `abort`."""
        return InternalFault(
            f"{self.name} has not ended within {self.patience + ABORT_SECONDS:g} s; its thread is left behind",
            evidence=f"calls on their way: {', '.join(call.what for call in tuple(self._pending)) or 'none'}",
            todo="look for what blocks its event loop: the log of coworld_actors.watchdog names it",
        )

    def outlast(self) -> bool:
        """Block this thread until nothing of the run is left, to be called after `leave`; whether that is so.

        What does not leave within `patience` is aborted; what does not end by that either is given up.
        """
        if not done(self.ended, self.patience):
            self.abort()
            done(self.ended, ABORT_SECONDS)
        if self.ended.done():
            self.join()
        return self.ended.done()

    def join(self) -> None:
        """Wait for the thread itself, once `ended` is done: it has nothing left to do."""
        self._thread.join(ABORT_SECONDS)

    def _leave(self) -> None:
        if self._calls is None:
            self._scope.cancel()
        self._left.set()

    # In the thread.

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            trio.run(self._main)
        except BaseException as failure:  # noqa: BLE001 - whatever it is, those who wait learn it
            error = alone(failure)
        opened = self.opened.done()
        if opened and not self._asked:
            self._crash = error or RuntimeError("the run ended and nobody had asked for it")
        self._over = True
        for call in tuple(self._pending):
            call.fail(self._refusal())
        at_exit.forget(self)
        if not opened:
            self.opened.set_exception(error or CallCancelled(f"{self.name} was left before it was open"))
            self.ended.set_result(None)
        elif self._crash is not None:
            self.ended.set_exception(self._refusal())
        elif error is not None:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    async def _main(self) -> None:
        failure: BaseException | None = None
        async with trio.open_nursery() as calls:
            try:
                with self._scope:
                    self._token = trio.lowlevel.current_trio_token()
                    # Whoever leaves sets the flag first and then looks for the token: one of the two sees the other.
                    if self._leaving:
                        self._scope.cancel()
                    await trio.lowlevel.checkpoint()
                    async with self._open() as thing:
                        self._calls = calls
                        self.opened.set_result(thing)
                        try:
                            await self._left.wait()
                        finally:
                            self._asked = self._left.is_set()
            except BaseException as error:  # noqa: BLE001 - raised below, bare, outside the nursery
                failure = alone(error)
            # Restores: nobody waits for what is gone. What is ready to return has the time for it.
            self._calls = None
            calls.cancel_scope.deadline = trio.current_time() + (SETTLE_SECONDS if self._asked else 0)
        if failure is not None:
            raise failure


def _quietly(function: Callable[..., object], args: tuple[object, ...]) -> None:
    """What is posted must not take the run along."""
    with suppress(Exception):
        function(*args)


def _name_of(function: Callable[..., object]) -> str:
    if isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__qualname__", "call"))
