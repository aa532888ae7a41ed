"""A bounded queue with one reader, and the account of every message that was sent to it.

    sent == handled + dead + refused + queued + in hand          at every moment

A deque and the reader's parked task, nothing else on the way of a message: `ActorRef.tell_nowait` appends and, if the reader
sleeps, wakes it; the reader takes what is there. Senders that wait for room stand in line outside: the reader moves their
message in when it takes one out, so while anybody waits the queue is full, and nobody overtakes.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol, final

import msgspec
import trio

from coworld_actors.actors.asks import Envelope, PendingAsk
from coworld_actors.actors.dead_letters import DeadLetterReason
from coworld_actors.actors.errors import (
    ActorCrashed,
    ActorStopped,
    MailboxFull,
    SpecRefused,
    Undelivered,
    UnknownMessage,
)
from coworld_actors.actors.monitors import Down

__all__ = ["Mailbox", "MailboxPolicy", "MailboxStatistics", "Notice", "Overflow", "Owner", "Types"]


class Overflow(enum.StrEnum):
    """What a full mailbox does with one more message."""

    BACKPRESSURE = "backpressure"
    """`tell` and `ask` wait for room; `tell_nowait` raises `MailboxFull`."""
    REFUSE = "refuse"
    """Every sender gets `MailboxFull`."""
    DROP_OLDEST = "drop_oldest"
    """The oldest message in the queue becomes a dead letter."""
    DROP_NEWEST = "drop_newest"
    """The message itself becomes a dead letter."""


class MailboxPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes:
    capacity: messages that wait in the queue at most; the one in hand is not among them.
    overflow: what happens beyond that.

    Raises:
        SpecRefused: a capacity below 1.
    """

    capacity: int = 1024
    overflow: Overflow = Overflow.BACKPRESSURE

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise SpecRefused(f"a mailbox cannot hold {self.capacity} messages; its capacity is at least 1")


class MailboxStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters over all incarnations.

    Attributes:
        capacity: how many messages the queue holds.
        queued: how many it holds now.
        peak: how many it has held at most.
        waiting: senders that wait for room.
        in_hand: 1 while a message is being handled, else 0.
        sent: messages that senders tried to send, those who wait for room excepted.
        handled: messages whose handler returned.
        dead: accepted messages that became dead letters.
        refused: messages that were handed back to their sender by an error.
    """

    capacity: int
    queued: int
    peak: int
    waiting: int
    in_hand: int
    sent: int
    handled: int
    dead: int
    refused: int


class Types(Protocol):
    """Message types of a union."""

    @property
    def seen(self) -> set[type]:
        """Those that are known to be in it."""
        ...

    def __contains__(self, kind: object) -> bool: ...


class Owner(Protocol):
    """What a mailbox asks of the actor that it belongs to."""

    @property
    def path(self) -> str:
        """Its path, for sentences."""
        ...

    def refusal(self) -> str:
        """Why it takes no messages, as a sentence."""
        ...

    def dead_letter(self, message: object, reason: DeadLetterReason, cause: BaseException | None) -> None:
        """Report a dead letter."""
        ...


@final
class Notice(Envelope):
    """The end of a watched actor. Its message is made by the watcher's own function, in the watcher's own task."""

    __slots__ = ("translate",)

    def __init__(self, down: Down, translate: Callable[[Down], object]) -> None:
        super().__init__(down)
        self.translate = translate


@final
class _Waiting:
    """A message that stands in line for room, with its sender's task; a notice has none."""

    __slots__ = ("error", "item", "task")

    def __init__(self, item: object, task: trio.lowlevel.Task | None) -> None:
        self.item = item
        self.task = task
        self.error: Undelivered | None = None


@final
class Mailbox:
    """One actor's queue; it outlives incarnations.

    Attributes:
        queue: the messages, some in envelopes.
        room: length below which the queue takes more; 0 when closed, so that one comparison tells senders both.
        accepts: message types that are known to be taken; a type that is not here may be taken yet.
        in_hand: what the reader has taken and not finished.
        receiver: the reader's task while it sleeps.
        waiting: who stands in line for room, in order.
    """

    __slots__ = (
        "_owner",
        "_policy",
        "_types",
        "accepts",
        "dead",
        "handled",
        "in_hand",
        "peak",
        "queue",
        "receiver",
        "refused",
        "room",
        "sent",
        "waiting",
    )

    def __init__(self, owner: Owner, policy: MailboxPolicy) -> None:
        self._owner = owner
        self._policy = policy
        self.waiting: OrderedDict[_Waiting, None] | None = None
        self.queue: deque[Any] = deque()
        self.room = policy.capacity
        self.accepts: set[type] = set()
        self._types: Types | None = None
        self.in_hand: Any = None
        self.receiver: trio.lowlevel.Task | None = None
        self.peak = self.sent = self.handled = self.dead = self.refused = 0

    @property
    def closed(self) -> bool:
        """Whether senders are turned away."""
        return not self.room

    def take_types(self, types: Types) -> None:
        """Take messages of these types from now on."""
        self._types = types
        self.accepts = types.seen

    def accept(self, item: object) -> None:
        """Queue what there is room for, and wake the reader. `ActorRef.tell` and `tell_nowait` have these lines inline."""
        self.queue.append(item)
        self.sent += 1
        self.peak = max(self.peak, len(self.queue))
        self.wake()

    def offer(self, item: object, *, patient: bool = False) -> bool | None:
        """Take a message, or say why not.

        Args:
            item: the message or its envelope.
            patient: the sender is ready to wait for room.

        Returns:
            True when it is queued, False when it was dropped as the policy says, None when its sender has to wait for room;
            only then it is not counted yet.

        Raises:
            UnknownMessage: its type is not in the actor's union.
            ActorStopped: the mailbox is closed.
            MailboxFull: there is no room, and policy or sender do not wait.
        """
        message = item.message if isinstance(item, Envelope) else item
        if type(message) not in self.accepts and not (self._types and type(message) in self._types):
            self._refuse(
                UnknownMessage(
                    f"{self._owner.path} does not take {type(message).__name__} messages",
                    message,
                    todo="add the type to the union in the actor's base, Actor[...]",
                )
            )
        if self.closed:
            self._refuse(ActorStopped(self._owner.refusal(), message))
        if len(self.queue) < self.room:
            self.accept(item)
            return True
        match self._policy.overflow:
            case Overflow.BACKPRESSURE if patient:
                return None
            case Overflow.BACKPRESSURE | Overflow.REFUSE:
                self._refuse(
                    MailboxFull(f"the mailbox of {self._owner.path} is full: {self.room} messages wait in it", message)
                )
            case Overflow.DROP_OLDEST if self._drop_oldest():
                self.accept(item)
            case Overflow.DROP_OLDEST | Overflow.DROP_NEWEST:
                self.sent += 1
                self.bury(item, DeadLetterReason.DROPPED_NEWEST)
        return False

    def _refuse(self, error: Undelivered) -> None:
        self.sent += 1
        self.refused += 1
        raise error

    def _drop_oldest(self) -> bool:
        """Make room; False if the queue holds nothing but notices, which are never dropped."""
        for position, item in enumerate(self.queue):
            if not isinstance(item, Notice):
                del self.queue[position]
                self.bury(item, DeadLetterReason.DROPPED_OLDEST)
                return True
        return False

    async def put(self, item: object) -> None:
        """Take a message, waiting for room where the policy says so.

        A checkpoint only if it waited or dropped: until then its capacity bounds how long a sender can go on without one.

        Raises:
            UnknownMessage, ActorStopped, MailboxFull: as in `offer`; `ActorStopped` also while waiting.
        """
        taken = self.offer(item, patient=True)
        if taken is None:
            await self._wait_for_room(item)
        elif not taken:
            await trio.lowlevel.checkpoint()

    async def _wait_for_room(self, item: object) -> None:
        waiting = _Waiting(item, trio.lowlevel.current_task())
        self._line_up(waiting)

        def leave(_: object) -> trio.lowlevel.Abort:
            assert self.waiting is not None
            del self.waiting[waiting]
            self.sent += 1
            self.refused += 1
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave)
        if waiting.error is not None:
            raise waiting.error

    def _line_up(self, waiting: _Waiting) -> None:
        if self.waiting is None:
            self.waiting = OrderedDict()
        self.waiting[waiting] = None

    def notify(self, notice: Notice) -> None:
        """Take a notice whatever the policy: without room it stands in line, so that no notice is lost and capacity holds."""
        if self.closed:
            return
        if len(self.queue) < self.room:
            self.accept(notice)
        else:
            self._line_up(_Waiting(notice, None))

    def admit(self) -> None:
        """Let the first in line in; the reader calls it when it has taken a message and somebody waits."""
        assert self.waiting is not None
        waiting, _ = self.waiting.popitem(last=False)
        self.accept(waiting.item)
        if waiting.task is not None:
            trio.lowlevel.reschedule(waiting.task)

    def wake(self) -> None:
        """Wake the reader if it sleeps."""
        if self.receiver is not None:
            trio.lowlevel.reschedule(self.receiver)
            self.receiver = None

    async def sleep(self) -> None:
        """Sleep until `wake`. The reader's to call."""
        self.receiver = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._rise)

    def _rise(self, _: object) -> trio.lowlevel.Abort:
        self.receiver = None
        return trio.lowlevel.Abort.SUCCEEDED

    def close(self) -> None:
        """Turn senders away from now on, also those in line. What is queued stays."""
        self.room = 0
        while self.waiting:
            waiting, _ = self.waiting.popitem(last=False)
            if waiting.task is not None:
                item = waiting.item
                message = item.message if isinstance(item, Envelope) else item
                waiting.error = ActorStopped(self._owner.refusal(), message)
                self.sent += 1
                self.refused += 1
                trio.lowlevel.reschedule(waiting.task)

    def bury_queue(self) -> None:
        """Make dead letters of everything that is queued."""
        while self.queue:
            self.bury(self.queue.popleft(), DeadLetterReason.STOPPED)

    def bury_in_hand(self, reason: DeadLetterReason, cause: BaseException | None = None) -> None:
        """Make a dead letter of the message in hand, if there is one."""
        item, self.in_hand = self.in_hand, None
        if item is not None:
            self.bury(item, reason, cause)

    def bury(self, item: object, reason: DeadLetterReason, cause: BaseException | None = None) -> None:
        """Make a dead letter of an accepted message; an ask fails."""
        self.dead += 1
        message = item.message if isinstance(item, Envelope) else item
        if isinstance(item, PendingAsk):
            item.settle(None, self.failure(message, reason, cause))
        self._owner.dead_letter(message, reason, cause)

    def failure(self, message: object, reason: DeadLetterReason, cause: BaseException | None = None) -> Exception:
        """What an asker is told whose request ended so."""
        path = self._owner.path
        if reason is DeadLetterReason.CRASHED:
            crashed = ActorCrashed(f"{path} crashed before it replied: {type(cause).__name__}: {cause}")
            crashed.__cause__ = cause
            return crashed
        if reason in {DeadLetterReason.DROPPED_NEWEST, DeadLetterReason.DROPPED_OLDEST}:
            return MailboxFull(f"the mailbox of {path} was full and the request was dropped", message)
        return ActorStopped(f"{path} ended before it replied", message)

    def statistics(self) -> MailboxStatistics:
        """Counters of this moment."""
        return MailboxStatistics(
            capacity=self._policy.capacity,
            queued=len(self.queue),
            peak=self.peak,
            waiting=len(self.waiting or ()),
            in_hand=int(self.in_hand is not None),
            sent=self.sent,
            handled=self.handled,
            dead=self.dead,
            refused=self.refused,
        )
