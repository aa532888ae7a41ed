"""A bounded queue with one reader, and the account of every message that was sent to it.

    sent == handled + dead + refused + queued + in hand          at every moment

A deque and the reader's parked task, nothing else on the way of a message: `ActorRef.tell_nowait` appends and, if the reader
sleeps, wakes it; the reader takes what is there. Senders that wait for room stand in line outside: the reader moves their
message in when it takes one out, so while anybody waits the queue is full, and nobody overtakes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, Protocol, final

import msgspec
import trio

from coworld_actors.actors.asks import Envelope, PendingAsk
from coworld_actors.actors.dead_letters import DeadLetterReason
from coworld_actors.actors.errors import (
    ActorCrashed,
    ActorStopped,
    MailboxFull,
    Undelivered,
    UnknownMessage,
    in_words,
)
from coworld_actors.actors.mailbox_policy import MailboxPolicy, Overflow
from coworld_actors.actors.monitors import Down
from coworld_actors.actors.parking import wake

__all__ = ["Mailbox", "MailboxStatistics", "Notice", "Owner", "Types"]


LOOK_FOR_A_NEW_ONE = "look its path up in the registry: one that was started in its place has a ref of its own"

UNUSED: Final[deque[Any]] = deque()
"""Stands for the queue of every mailbox that has never had a message, and stays empty: a deque of its own takes 760 bytes. No
type is in `accepts` by then, so that the first message comes to `accept`, which makes one."""


NO_TYPES: Final[frozenset[type]] = frozenset()
"""One for all: an empty set takes 216 bytes."""


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
class Notice(Envelope, eq=False):
    """The end of a watched actor. Its message is made by the watcher's own function, in the watcher's own task."""

    translate: Callable[[Down], object]


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
        room: length below which the queue takes more; 0 when closed.
        brim: length below which it takes a message of a known type without a further look: the longest that it has been, so
            that one comparison tells senders that it is open, not full, and makes no new peak.
        accepts: message types that are known to be taken; a type that is not here may be taken yet.
        in_hand: what the reader has taken and not finished.
        reader: the task of the incarnation that takes the messages, while there is one.
        asleep: the reader while it is parked until `wake`; also one that was cancelled meanwhile.
        waiting: who stands in line for room, in order.
    """

    __slots__ = (
        "_owner",
        "_policy",
        "_types",
        "accepts",
        "asleep",
        "brim",
        "dead",
        "handled",
        "in_hand",
        "peak",
        "queue",
        "reader",
        "refused",
        "room",
        "sent",
        "waiting",
    )

    def __init__(self, owner: Owner, policy: MailboxPolicy) -> None:
        self._owner = owner
        self._policy = policy
        self.waiting: OrderedDict[_Waiting, None] | None = None
        self.queue = UNUSED
        self.room = policy.capacity
        self.accepts: set[type] | frozenset[type] = NO_TYPES
        self._types: Types | None = None
        self.in_hand: Any = None
        self.reader: trio.lowlevel.Task | None = None
        self.asleep: trio.lowlevel.Task | None = None
        self.brim = self.peak = self.sent = self.handled = self.dead = self.refused = 0

    @property
    def closed(self) -> bool:
        """Whether senders are turned away."""
        return not self.room

    @property
    def handling(self) -> str:
        """Name of the type of the message in hand; empty if there is none."""
        item = self.in_hand
        return "" if item is None else type(item.message if isinstance(item, Envelope) else item).__name__

    def take_types(self, types: Types) -> None:
        """Take messages of these types from now on."""
        self._types = types
        if self.queue is not UNUSED:
            self.accepts = types.seen

    def accept(self, item: object) -> None:
        """Queue what there is room for, and wake the reader. `ActorRef` has these lines inline, for a queue that is in use."""
        queue = self.queue
        if queue is UNUSED:
            queue = self.queue = deque()
            if self._types is not None:
                self.accepts = self._types.seen
        queue.append(item)
        self.sent += 1
        if len(queue) > self.peak:
            self.peak = self.brim = len(queue)
        if self.asleep is not None:
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
            self._refuse(ActorStopped(self._owner.refusal(), message, todo=LOOK_FOR_A_NEW_ONE))
        if len(self.queue) < self.room:
            self.accept(item)
            return True
        match self._policy.overflow:
            case Overflow.BACKPRESSURE if patient:
                return None
            case Overflow.BACKPRESSURE | Overflow.REFUSE:
                self._refuse(
                    MailboxFull(
                        f"the mailbox of {self._owner.path} is full: {self.room} messages wait in it",
                        message,
                        todo="wait for room with tell or ask under BACKPRESSURE, or give the mailbox more capacity",
                    )
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
        sleeper, self.asleep = self.asleep, None
        if sleeper is not None:
            wake(sleeper, self)

    def close(self) -> None:
        """Turn senders away from now on, also those in line. What is queued stays."""
        self.room = self.brim = 0
        while self.waiting:
            waiting, _ = self.waiting.popitem(last=False)
            if waiting.task is not None:
                item = waiting.item
                message = item.message if isinstance(item, Envelope) else item
                waiting.error = ActorStopped(self._owner.refusal(), message, todo=LOOK_FOR_A_NEW_ONE)
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
            crashed = ActorCrashed(
                f"{path} crashed before it replied: {in_words(cause)}",
                todo="ask again once it has been restarted, if the request may take effect twice",
            )
            crashed.__cause__ = cause
            return crashed
        if reason in {DeadLetterReason.DROPPED_NEWEST, DeadLetterReason.DROPPED_OLDEST}:
            return MailboxFull(
                f"the mailbox of {path} was full and the request was dropped",
                message,
                todo="ask again later, or give the mailbox more capacity",
            )
        return ActorStopped(f"{path} ended before it replied", message, todo=LOOK_FOR_A_NEW_ONE)

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
