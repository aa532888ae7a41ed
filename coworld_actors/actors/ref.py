"""The handles through which everybody else reaches actors and supervisors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, final

import msgspec
import trio

from coworld_actors.actors.asks import EXPIRED, PendingAsk, Request
from coworld_actors.actors.children import ChildInfo, Intent
from coworld_actors.actors.errors import AskTimeout
from coworld_actors.actors.mailbox import MailboxStatistics
from coworld_actors.actors.monitors import Down, Monitor
from coworld_actors.actors.parking import park
from coworld_actors.actors.restarts import Restart
from coworld_actors.actors.specs import ChildSpec, SupervisorSpec

if TYPE_CHECKING:
    from coworld_actors.actors.cell import ActorCell
    from coworld_actors.actors.supervisor import Supervisor

__all__ = ["ActorRef", "NoPublicConstructor", "SupervisorRef", "SupervisorStatistics"]

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")
T = TypeVar("T")


class NoPublicConstructor(type):
    """Metaclass of handles that only the runtime makes."""

    def __call__(cls, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse, with the way to get one."""
        raise TypeError(f"a {cls.__name__} is made by the runtime; start a child, or look its path up in the registry")

    def _create(cls: type[T], *args: object) -> T:
        return type.__call__(cls, *args)  # type: ignore[no-any-return]


@final
class ActorRef(Generic[M_contra], metaclass=NoPublicConstructor):
    """A handle on an actor. It stays valid through restarts and after the end; it may be kept, compared and hashed."""

    __slots__ = ("_child", "_deadlines", "_mailbox")

    def __init__(self, cell: ActorCell) -> None:
        self._child = cell
        self._mailbox = cell.mailbox
        self._deadlines = cell.system.deadlines

    @property
    def name(self) -> str:
        """Unique among living siblings."""
        return self._child.name

    @property
    def path(self) -> str:
        """Names from below the root down to this actor."""
        return self._child.path

    @property
    def alive(self) -> bool:
        """Whether it is not gone for good: it runs, starts, stops, or waits to be restarted."""
        return self._child.down is None

    def tell_nowait(self, message: M_contra) -> None:
        """Send a message without waiting.

        Raises:
            ActorStopped: the actor has ended or is about to.
            MailboxFull: there is no room, and the policy drops nothing.
            UnknownMessage: the actor does not take such messages.
        """
        box = self._mailbox
        queue = box.queue
        if len(queue) < box.brim and type(message) in box.accepts:
            queue.append(message)
            box.sent += 1
            if box.asleep is not None:
                box.wake()
        else:
            box.offer(message)

    async def tell(self, message: M_contra) -> None:
        """Send a message; under `BACKPRESSURE` wait for room. Senders that wait are served in their order.

        Not a checkpoint while there is room. Cancelled while it waits, the message was not sent.

        Raises:
            ActorStopped: the actor has ended or is about to.
            MailboxFull: there is no room, and the policy is `REFUSE`.
            UnknownMessage: the actor does not take such messages.
        """
        box = self._mailbox
        queue = box.queue
        if len(queue) < box.brim and type(message) in box.accepts:
            queue.append(message)
            box.sent += 1
            if box.asleep is not None:
                box.wake()
        else:
            await box.put(message)

    async def ask(self, request: Request[R], *, deadline: float) -> R:
        """Send a request and wait for its reply.

        A request that is still queued when its asker gives up, by deadline or cancellation, is not handled.

        Args:
            request: what to ask.
            deadline: seconds from now for everything: room in the mailbox, the queue, the reply.

        Raises:
            AskTimeout: no reply within the deadline.
            ActorStopped: the actor had ended, or ended before it replied.
            ActorCrashed: it crashed over the request.
            NoReply: its handler returned None.
            MailboxFull: the policy refused or dropped the request.
            UnknownMessage: the actor does not take such requests.
            WouldDeadlock: the actor asks itself.
            ValueError: the deadline is no number of at least 0.
        """
        if not deadline >= 0:
            raise ValueError(f"a deadline of {deadline} s; use seconds from now, of at least 0")
        task = trio.lowlevel.current_task()
        box = self._mailbox
        if box.reader is task:
            self._child.refuse_wait(
                what="ask itself", instead="call a method of its own, or ask from a task of context.spawn"
            )
        ask = PendingAsk(request)
        deadlines = self._deadlines
        due = deadlines.now() + deadline
        if due < deadlines.armed:
            deadlines.arm(due)
        line = deadlines.lines[deadline]
        line[ask] = due
        try:
            queue = box.queue
            if len(queue) < box.brim and type(request) in box.accepts:
                queue.append(ask)
                box.sent += 1
                if box.asleep is not None:
                    box.wake()
            else:
                # The timer lets go of parked tasks only.
                with trio.move_on_at(due):
                    await box.put(ask)
            if ask.open:
                ask.asker = task
                await park(task, ask)
            if ask.error is not None:
                raise self._failure(ask, deadline)
            return ask.value  # type: ignore[no-any-return]
        finally:
            ask.open = False
            line.pop(ask, None)

    def _failure(self, ask: PendingAsk, deadline: float) -> BaseException:
        # Out of the ask, so that there is no cycle error -> traceback -> frame of the asker -> ask -> error.
        error, ask.error = ask.error, None
        assert error is not None
        if error is not EXPIRED:
            return error
        return AskTimeout(
            f"{self.path} did not reply to {type(ask.message).__name__} within {deadline:g} s",
            todo="look at what it is busy with, by children() of its supervisor, or give it more seconds",
        )

    async def stop(self) -> Down:
        """Stop it for good and wait for the end: the message in hand is finished, the queue becomes dead letters, `on_stop` runs.

        What is not done within the child's grace is cancelled. The stop goes on if this call is cancelled.

        Raises:
            WouldDeadlock: the actor stops itself; that is `context.stop()`.
        """
        self._child.refuse_wait()
        self._child.request(Intent.STOP)
        return await self._child.wait_down()

    async def drain(self) -> Down:
        """Stop it for good after everything that is queued has been handled; new messages are refused at once.

        Raises:
            WouldDeadlock: the actor drains itself; that is `context.stop()`.
        """
        self._child.refuse_wait()
        self._child.request(Intent.DRAIN)
        return await self._child.wait_down()

    async def kill(self) -> Down:
        """Cancel it for good, now. `on_stop` does not run; the message in hand and the queue become dead letters."""
        self._child.request(Intent.KILL)
        return await self._child.wait_down()

    def monitor(self) -> Monitor:
        """A view of its end, also if that has come already."""
        return Monitor(self._child)

    async def wait(self) -> Down:
        """Wait until it is gone for good; restarts are not seen."""
        return await self._child.wait_down()

    def statistics(self) -> MailboxStatistics:
        """The account of its messages."""
        return self._mailbox.statistics()

    def __repr__(self) -> str:
        box = self.statistics()
        return f"<ActorRef {self._child.title}: {self._child.state}, {box.queued} queued>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an ActorRef does not leave its process; send a name, and look it up in the registry")


class SupervisorStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes:
    children: living children now.
    running: those of them that run.
    started: children that were ever started under it, in this life or an earlier one.
    restarts: restarts of children that it has begun.
    queued: messages in the mailboxes of its own actors.
    """

    children: int
    running: int
    started: int
    restarts: int
    queued: int


@final
class SupervisorRef(metaclass=NoPublicConstructor):
    """A handle on a supervisor. It stays valid through the supervisor's own restarts and after its end."""

    __slots__ = ("_child",)

    def __init__(self, supervisor: Supervisor) -> None:
        self._child = supervisor

    @property
    def name(self) -> str:
        """Unique among living siblings."""
        return self._child.name

    @property
    def path(self) -> str:
        """Names from below the root down to it; the root's is empty."""
        return self._child.path

    @property
    def alive(self) -> bool:
        """Whether it is not gone for good."""
        return self._child.down is None

    async def start_child(self, spec: ChildSpec) -> ActorRef[Any] | SupervisorRef:
        """Start a further child, the last in start order. Returns when it has started; several may start at the same time.

        A caller that is cancelled meanwhile takes the child with it.

        Raises:
            StartFailed: it raised in its start, or was stopped in it, or this supervisor is stopping; nothing is left of it.
            NameTaken: a living sibling has the name.
            SpecRefused: it is significant, and this supervisor never shuts down by itself.
        """
        return (await self._child.start_child(spec)).ref

    async def start_actor(self, spec: ChildSpec) -> ActorRef[Any]:
        """`start_child` for an actor.

        Raises:
            TypeError: the spec starts a supervisor.
        """
        if isinstance(spec.start, SupervisorSpec):
            raise TypeError(f"{spec.name!r} is the spec of a supervisor; start_child and start_supervisor take those")
        ref = (await self._child.start_child(spec)).ref
        assert isinstance(ref, ActorRef)
        return ref

    async def start_supervisor(
        self,
        name: str,
        spec: SupervisorSpec | None = None,
        *,
        restart: Restart = Restart.TEMPORARY,
        significant: bool = False,
    ) -> SupervisorRef:
        """`start_child` for a supervisor; its own children have started when this returns."""
        child_spec = ChildSpec(name=name, start=spec or SupervisorSpec(), restart=restart, significant=significant)
        ref = (await self._child.start_child(child_spec)).ref
        assert isinstance(ref, SupervisorRef)
        return ref

    async def stop_child(self, name: str) -> Down:
        """Stop a child for good, within its grace, whatever its restart type.

        Raises:
            KeyError: no living child has this name.
            WouldDeadlock: the child stops itself.
        """
        child = self._child.children[name]
        child.refuse_wait()
        child.request(Intent.STOP)
        return await child.wait_down()

    async def stop(self, reason: str = "") -> Down:
        """Stop it and all below it, last started first, each within its grace. The stop goes on if this call is cancelled.

        Args:
            reason: a note for the event stream.

        Raises:
            WouldDeadlock: called from below it.
        """
        self._child.refuse_wait()
        self._child.note(reason)
        self._child.request(Intent.STOP)
        return await self._child.wait_down()

    async def kill(self) -> Down:
        """Cancel all below it, now, and wait for the end."""
        self._child.request(Intent.KILL)
        return await self._child.wait_down()

    async def wait(self) -> Down:
        """Wait until it is gone for good."""
        return await self._child.wait_down()

    def monitor(self) -> Monitor:
        """A view of its end, also if that has come already."""
        return Monitor(self._child)

    def child(self, name: str) -> ActorRef[Any] | SupervisorRef:
        """The living child of this name.

        Raises:
            KeyError: there is none.
        """
        return self._child.children[name].ref

    def children(self) -> list[ChildInfo]:
        """Its children at this moment, in start order, with all below them."""
        return list(self._child.info().children)

    def statistics(self) -> SupervisorStatistics:
        """Counters of this moment."""
        return self._child.statistics()

    def __repr__(self) -> str:
        return f"<SupervisorRef {self._child.title}: {self._child.state}, {len(self._child.children)} children>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SupervisorRef does not leave its process; send a name, and look it up in the registry")
