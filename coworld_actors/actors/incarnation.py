"""One life of an actor, from the making of its instance to the value that says how it ended."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, final

import trio

from coworld_actors.actors import events
from coworld_actors.actors.actor import Actor, Context, StopReason
from coworld_actors.actors.asks import Deferred, Envelope, PendingAsk, Request
from coworld_actors.actors.background import Background
from coworld_actors.actors.children import Exit, Intent
from coworld_actors.actors.dead_letters import DeadLetterReason
from coworld_actors.actors.errors import ActorError, NoReply, leaves, root_cause
from coworld_actors.actors.mailbox import Notice
from coworld_actors.actors.monitors import Down, DownReason
from coworld_actors.actors.specs import SupervisorSpec

if TYPE_CHECKING:
    from coworld_actors.actors.cell import ActorCell
    from coworld_actors.actors.ref import ActorRef, SupervisorRef

__all__ = ["BATCH", "Incarnation"]

BATCH = 64
"""Messages handled between two checkpoints, so that a busy actor cannot starve the loop."""

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
    """

    __slots__ = (
        "_background",
        "_cell",
        "_deferred",
        "_failures",
        "_nursery",
        "_phase",
        "_scope",
        "_starting",
        "_watches",
        "leaving",
        "number",
        "task",
    )

    def __init__(self, cell: ActorCell, number: int, nursery: trio.Nursery) -> None:
        self.number = number
        self.leaving: StopReason | None = None
        self.task: trio.lowlevel.Task | None = None
        self._cell = cell
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._starting: trio.CancelScope | None = trio.CancelScope()
        self._phase = "start"
        self._failures: list[BaseException] = []
        self._background: Background | None = None
        self._deferred: set[PendingAsk] | None = None
        self._watches: list[Callable[[], None]] | None = None

    async def run(self) -> Exit:
        """Live; returns how it ended and raises nothing."""
        self.task = trio.lowlevel.current_task()
        try:
            with self._scope:
                actor = self._make_actor()
                if await self._start(actor):
                    self._phase = "handle"
                    await self._serve(actor.handle)
                    self._phase = "stop"
                    await self._take_leave(actor)
        except BaseException as error:  # noqa: BLE001
            # Restores: an end is a value for the supervisor, never an exception that would cancel the siblings.
            self._failures.append(error)
        self._let_go()
        if self._background is not None:
            await self._background.close()
        self.task = None
        return self._verdict()

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

    async def _serve(self, handle: Callable[[Any], Awaitable[Any]]) -> None:
        """Handle messages until somebody says to leave, or a drained queue is empty."""
        box = self._cell.mailbox
        queue = box.queue
        while self.leaving is None:
            if not queue:
                if self._cell.intent is Intent.DRAIN:
                    break
                await box.sleep()
                continue
            for _ in range(BATCH):
                message = box.in_hand = queue.popleft()
                if box.waiting:
                    box.admit()
                if isinstance(message, Envelope):
                    await self._open(message, handle)
                else:
                    await handle(message)
                    box.handled += 1
                if not queue or self.leaving is not None:
                    break
            box.in_hand = None
            if queue:
                await trio.lowlevel.checkpoint()

    async def _open(self, envelope: Envelope, handle: Callable[[Any], Awaitable[Any]]) -> None:
        box = self._cell.mailbox
        if isinstance(envelope, Notice):
            await handle(envelope.translate(envelope.message))
        elif isinstance(envelope, PendingAsk):
            if not envelope.open:
                box.bury_in_hand(DeadLetterReason.EXPIRED)
                return
            reply = await handle(envelope.message)
            if not envelope.deferred:
                envelope.settle(reply, None if reply is not None else self._no_reply(envelope))
        box.handled += 1

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
            lines = "".join(traceback.format_exception(cause)).splitlines()
            self._cell.publish(
                events.ActorCrashed(
                    error=type(cause).__name__,
                    message=str(cause),
                    during=self._phase,
                    leaves=tuple(f"{type(leaf).__name__}: {leaf}" for leaf in found),
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
        self._failures.append(error)
        self._scope.cancel(reason="a background task of the actor crashed")

    def spawn(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        """Start a background task."""
        self._require_life()
        if self._background is None:
            self._background = Background(self._nursery, self._cell.path, self._fail)
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
