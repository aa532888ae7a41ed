"""One life of an actor, from the making of its instance to the value that says how it ended."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, final

import trio

from coworld_actors.actors import events
from coworld_actors.actors.actor import Actor, Context, StopReason
from coworld_actors.actors.asks import Deferred, PendingAsk, Request
from coworld_actors.actors.background import Background
from coworld_actors.actors.children import Exit, Intent
from coworld_actors.actors.current import RUNNING, Place
from coworld_actors.actors.dead_letters import DeadLetterReason
from coworld_actors.actors.errors import ActorError, NoReply, in_words, root_cause
from coworld_actors.actors.mailbox import Notice
from coworld_actors.actors.monitors import Down, DownReason
from coworld_actors.actors.parking import park
from coworld_actors.actors.specs import SupervisorSpec
from coworld_protocol.errors import leaves

if TYPE_CHECKING:
    from coworld_actors.actors.cell import ActorCell
    from coworld_actors.actors.ref import ActorRef, SupervisorRef

__all__ = ["BATCH", "Incarnation"]

BATCH = 128
"""Messages handled between two checkpoints, so that a busy actor cannot starve the loop: 40 microseconds of the shortest."""

TRACEBACK_LINES = 20
"""Lines of a traceback that a crash event carries."""


@final
class Incarnation:
    """One life.

    Three scopes bound it: `_starting` around `on_start`, which a stop cancels at once; `_scope` around everything, whose
    deadline is the grace of a stop; and the background's own.

    Attributes:
        number: which life, from 0.
        leaving: why no further message is taken; None while they are.
        task: the task that runs it; the only one in which the actor's methods run.
        busy_since: when it last began to work without a rest, on the trio clock; None while it rests.
    """

    __slots__ = (
        "_background",
        "_cell",
        "_deferred",
        "_failures",
        "_now",
        "_nursery",
        "_phase",
        "_scope",
        "_starting",
        "_watches",
        "busy_since",
        "leaving",
        "number",
        "task",
    )

    def __init__(self, cell: ActorCell, number: int, nursery: trio.Nursery) -> None:
        self.number = number
        self.leaving: StopReason | None = None
        self.task: trio.lowlevel.Task | None = None
        self.busy_since: float | None = None
        self._now = cell.system.deadlines.now
        self._cell = cell
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._starting: trio.CancelScope | None = trio.CancelScope()
        self._phase = "start"
        self._failures: tuple[BaseException, ...] = ()
        self._background: Background | None = None
        self._deferred: set[PendingAsk] | None = None
        self._watches: list[Callable[[], None]] | None = None

    @property
    def place(self) -> Place:
        """Where it runs, for `current_actor`."""
        return Place(self._cell.path, self.number, self._cell.scope)

    async def run(self) -> None:
        """Live, and tell the cell how it ended; raises nothing."""
        box = self._cell.mailbox
        task = self.task = box.reader = trio.lowlevel.current_task()
        RUNNING.set(self)
        try:
            with self._scope:
                actor = self._make_actor()
                if await self._start(actor):
                    self._phase = "handle"
                    handle = actor.handle
                    self.busy_since = self._now()
                    while self.leaving is None:
                        if box.queue:
                            await self._handle_batch(handle)
                        elif self._cell.intent is Intent.DRAIN:
                            break
                        else:
                            self.busy_since = None
                            box.asleep = task
                            await park(task, box)
                            self.busy_since = self._now()
                    self._phase = "stop"
                    await self._take_leave(actor)
        except BaseException as error:  # noqa: BLE001
            # Restores: an end is a value for the supervisor, never an exception that would cancel the siblings.
            self._failures += (error,)
        self._let_go()
        if self._background is not None:
            await self._background.close()
        self.task = box.reader = None
        self._cell.over(self._verdict())

    def _make_actor(self) -> Actor[Any]:
        start = self._cell.spec.start
        assert not isinstance(start, SupervisorSpec)
        actor = start()
        if not isinstance(actor, Actor):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not check types
            raise TypeError(f"the start of {self._cell.path} made a {type(actor).__name__}; it has to make an Actor")
        actor.context = Context(self._cell, self)
        self._cell.kind = type(actor).__name__
        self._cell.mailbox.take_types(actor.message_types())
        return actor

    async def _start(self, actor: Actor[Any]) -> bool:
        assert self._starting is not None
        with self._starting:
            await actor.on_start()
        if self._starting.cancelled_caught:
            return False
        self._starting = None
        self._cell.started(events.ActorStarted())
        return True

    async def _handle_batch(self, handle: Callable[[Any], Awaitable[Any]]) -> None:
        """Handle what is queued, `BATCH` messages at most, and let others have a turn if there is more."""
        box = self._cell.mailbox
        queue = box.queue
        for _ in range(min(len(queue), BATCH)):
            if self.leaving is not None:
                break
            message = box.in_hand = queue.popleft()
            if box.waiting:
                box.admit()
            if type(message) is PendingAsk:
                if not message.open:
                    box.bury_in_hand(DeadLetterReason.EXPIRED)
                    continue
                reply = await handle(message.message)
                if not message.deferred:
                    message.settle(reply, None if reply is not None else self._no_reply(message))
            elif type(message) is Notice:
                await handle(message.translate(message.message))
            else:
                await handle(message)
            box.handled += 1
        box.in_hand = None
        if queue:
            await trio.lowlevel.checkpoint()

    def _no_reply(self, ask: PendingAsk) -> NoReply:
        return NoReply(
            f"{self._cell.path} handled {type(ask.message).__name__} and returned None",
            todo="return the reply from handle, or call context.defer() and reply later",
        )

    async def _take_leave(self, actor: Actor[Any]) -> None:
        if self.leaving is None:
            self.leaving = StopReason.SHUTDOWN
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + self._cell.spec.shutdown)
        await actor.on_stop(self.leaving)

    def _let_go(self) -> None:
        """Settle at once what others wait for, before the background is waited for."""
        cause = root_cause(self._failures[0]) if self._failures else None
        box = self._cell.mailbox
        reason = DeadLetterReason.CRASHED if cause else DeadLetterReason.KILLED
        box.bury_in_hand(reason, cause)
        for ask in self._deferred or ():
            ask.settle(None, box.failure(ask.message, reason, cause))
        for forget in self._watches or ():
            forget()

    def _verdict(self) -> Exit:
        cell = self._cell
        started = self._starting is None
        cause = self._report_crash() if self._failures else None
        if cell.intent is Intent.KILL:
            return Exit(DownReason.KILLED, cause)
        if cause is not None:
            return Exit(DownReason.CRASHED if started else DownReason.START_FAILED, cause)
        if self._scope.cancelled_caught:
            cell.publish(events.ChildKilled(grace=cell.spec.shutdown))
            return Exit(DownReason.KILLED)
        return Exit(DownReason.NORMAL if self.leaving is StopReason.NORMAL else DownReason.SHUTDOWN)

    def _report_crash(self) -> BaseException:
        """Publish the crash with all that was raised; returns its cause."""
        found = [leaf for failure in self._failures for leaf in leaves(failure)]
        cause = root_cause(self._failures[0])
        system = self._cell.system
        if system.events:
            lines = "".join(traceback.format_exception(cause)).encode(errors="backslashreplace").decode().splitlines()
            self._cell.publish(
                events.ActorCrashed(
                    error=type(cause).__name__,
                    message=in_words(cause).partition(": ")[2],
                    during=self._phase,
                    leaves=tuple(map(in_words, found)),
                    traceback="\n".join(lines[-TRACEBACK_LINES:]),
                )
            )
        for leaf in found:
            if isinstance(leaf, KeyboardInterrupt | SystemExit):
                system.interrupt(leaf)
        return cause

    # What the runtime and the context ask for; none of it waits.

    def stop(self, reason: StopReason, grace: float | None = None) -> None:
        """Take no further message, and end; within `grace` seconds if it is given."""
        if self.leaving is None:
            self.leaving = reason
        if grace is not None:
            self._scope.deadline = min(self._scope.deadline, trio.current_time() + grace)
            if self._starting is not None:
                self._starting.cancel(reason=f"stopped while starting: {reason}")
        self._cell.mailbox.wake()

    def kill(self, reason: str) -> None:
        """End now."""
        if self.leaving is None:
            self.leaving = StopReason.SHUTDOWN
        self._scope.cancel(reason=reason)

    def _fail(self, error: BaseException) -> None:
        if not self._failures:
            self._phase = "background"
        self._failures += (error,)
        self._scope.cancel(reason="a background task of the actor crashed")

    def spawn(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        """Start a background task."""
        self._require_life()
        if self._background is None:
            self._background = Background(self._nursery, self, self._fail)
        self._background.spawn(function, args)

    def defer(self) -> Deferred[Any]:
        """Take the request in hand out of the hands of `handle`."""
        message = self._cell.mailbox.in_hand if trio.lowlevel.current_task() is self.task else None
        if isinstance(message, Request):
            message = PendingAsk(message)
            message.open = False
        if not isinstance(message, PendingAsk):
            raise ActorError(
                f"{self._cell.path} has no request in hand to defer",
                todo="call context.defer() in handle, on a Request",
            )
        message.deferred = True
        if self._deferred is None:
            self._deferred = set()
        return Deferred(message, self._deferred)

    def watch(self, ref: ActorRef[Any] | SupervisorRef, translate: Callable[[Down], object]) -> None:
        """Turn the end of `ref` into a message."""
        self._require_life()
        if self._watches is None:
            self._watches = []
        box = self._cell.mailbox
        self._watches.append(ref._child.on_down(lambda down: box.notify(Notice(down, translate))))  # noqa: SLF001

    def _require_life(self) -> None:
        if self.task is None:
            raise ActorError(
                f"incarnation {self.number} of {self._cell.path} is over", todo="use the new one's context"
            )
