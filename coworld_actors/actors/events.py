"""Everything that happens, as tagged values on one stream. Logs, displays, tests and embedding services subscribe to it.

Two ways to listen: a synchronous callback, which sees every record at the moment it is made, and a `Subscription`, which is
read at leisure and loses the oldest records, counted, when its reader is slow. Neither can harm a publisher.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import final

import msgspec
import trio

from coworld_actors.actors.errors import SpecRefused

__all__ = [
    "ActorCrashed",
    "ActorRestarted",
    "ActorStarted",
    "ActorStopped",
    "ChildKilled",
    "DeadLetter",
    "Event",
    "EventStream",
    "EventStreamStatistics",
    "Record",
    "RestartLimitReached",
    "RestartScheduled",
    "Subscription",
    "SupervisorStarted",
    "SupervisorStopped",
    "SystemStarted",
    "SystemStopped",
    "snake_case",
]


def snake_case(class_name: str) -> str:
    """`ActorStarted` as `actor_started`: how classes are called on the wire."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name).lower()


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=snake_case):
    """Base of every event of the project. A subclass is tagged by its name in snake case: `ActorStarted`, `actor_started`."""


class ActorStarted(Event, frozen=True):
    """An incarnation's `on_start` has returned."""


class ActorStopped(Event, frozen=True):
    """An actor is gone for good.

    Attributes:
        reason: a `DownReason`.
        handled: messages that it handled in all its lives.
        cause: the exception behind an abnormal end, as `Type: text`.
    """

    reason: str
    handled: int = 0
    cause: str = ""


class ActorCrashed(Event, frozen=True):
    """An incarnation ended because something raised. Whether it comes back is the next event's to tell.

    Attributes:
        error: type of the first exception that is not a cancellation.
        message: its text.
        during: `start`, `handle`, `stop` or `background`.
        leaves: every exception of a group, as `Type: text`, the first one included.
        traceback: the last lines of the first one's traceback.
    """

    error: str
    message: str
    during: str
    leaves: tuple[str, ...]
    traceback: str


class RestartScheduled(Event, frozen=True):
    """A child's end was answered with a restart.

    Attributes:
        delay: seconds of back-off from now.
        attempt: which restart in a row this is, from 1.
        along: names of the siblings that are taken down and started again with it.
        reason: how the life ended that this answers, a `DownReason`.
        cause: the exception behind that end, as `Type: text`.
    """

    delay: float
    attempt: int
    along: tuple[str, ...] = ()
    reason: str = ""
    cause: str = ""


class ActorRestarted(Event, frozen=True):
    """A further incarnation begins to start; `ActorStarted` follows if it succeeds.

    Attributes:
        delay: seconds since the end of the one before.
    """

    delay: float


class RestartLimitReached(Event, frozen=True):
    """A supervisor gave up: one restart more than its policy allows was due.

    Attributes:
        child: name of the child whose end it was.
        max_restarts: how many were allowed.
        within: in how many seconds.
        reason: how that child's life ended, a `DownReason`.
        cause: the exception behind that end, as `Type: text`.
    """

    child: str
    max_restarts: int
    within: float
    reason: str = ""
    cause: str = ""


class ChildKilled(Event, frozen=True):
    """A child had used up its grace and was cancelled.

    Attributes:
        grace: how many seconds it had.
    """

    grace: float


class DeadLetter(Event, frozen=True):
    """An accepted message will not be handled.

    Attributes:
        message: name of its type.
        reason: a `DeadLetterReason`.
        cause: the crash behind it, as `Type: text`.
    """

    message: str
    reason: str
    cause: str = ""


class SupervisorStarted(Event, frozen=True):
    """A supervisor's own children have started, in order."""


class SupervisorStopped(Event, frozen=True):
    """A supervisor is gone for good, and all below it.

    Attributes:
        reason: a `DownReason`.
        note: what the one who stopped it said.
        cause: the exception behind an abnormal end, as `Type: text`.
    """

    reason: str
    note: str = ""
    cause: str = ""


class SystemStarted(Event, frozen=True):
    """A system is open."""

    name: str


class SystemStopped(Event, frozen=True):
    """A system is closed; nothing of it is left.

    Attributes:
        name: its name.
        killed: paths of what had to be cancelled because the shutdown deadline had passed.
    """

    name: str
    killed: tuple[str, ...] = ()


class Record(msgspec.Struct, frozen=True):
    """An event with its place and time.

    Attributes:
        seq: position in the stream, from 1, without gaps among what was recorded.
        time: wall clock, seconds since the epoch.
        at: seconds of the trio clock since the stream was opened.
        scope: what it belongs to, an episode's id for example; empty outside.
        actor: path of the actor or supervisor; empty for others.
        incarnation: which of its lives.
        event: what happened.
    """

    seq: int
    time: float
    at: float
    scope: str
    actor: str
    incarnation: int
    event: Event


class EventStreamStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes:
    published: records made.
    subscribers: listeners of both kinds.
    dropped: records that slow readers lost.
    failed: callbacks that raised and were unsubscribed.
    """

    published: int
    subscribers: int
    dropped: int
    failed: int


@final
class Subscription:
    """A reader's own bounded copy of the stream: `async for record in subscription`.

    Iteration ends, after what is buffered, when either side closes. One reader at a time.

    Attributes:
        dropped: records lost because the reader was slower than the stream.

    Raises:
        SpecRefused: a capacity below 1.
    """

    def __init__(self, capacity: int = 1024, history: Iterable[Record] = ()) -> None:
        if capacity < 1:
            raise SpecRefused(f"a subscription cannot hold {capacity} records; its capacity is at least 1")
        self.dropped = 0
        self._buffer: deque[Record] = deque()
        self._capacity = capacity
        self._wake: trio.Event | None = None
        self._closed = False
        self._forget: Callable[[], None] | None = None
        for record in history:
            self.take(record)

    def take(self, record: Record) -> None:
        """Put a record into the buffer, in place of the oldest when it is full."""
        if len(self._buffer) >= self._capacity:
            self._buffer.popleft()
            self.dropped += 1
        self._buffer.append(record)
        self._rouse()

    def when_closed(self, forget: Callable[[], None]) -> None:
        """Have `forget` called once when this is closed by either side."""
        self._forget = forget

    def _rouse(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    def close(self) -> None:
        """Take no more records. What is buffered can still be read."""
        forget, self._forget = self._forget, None
        if forget is not None:
            forget()
        self._closed = True
        self._rouse()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Record:
        if not await self._filled():
            raise StopAsyncIteration
        return self._buffer.popleft()

    async def batch(self, limit: int = 256) -> list[Record]:
        """Wait for a record, then take all that are there, `limit` at most; an empty list is the end."""
        await self._filled()
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    async def _filled(self) -> bool:
        while not self._buffer:
            if self._closed:
                return False
            if self._wake is None:
                self._wake = trio.Event()
            await self._wake.wait()
        return True

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@final
class EventStream:
    """One system's stream. Records reach every subscriber in the order of their `seq`."""

    def __init__(self) -> None:
        self._subscribers: dict[object, Callable[[Record], None]] = {}
        self._subscriptions: dict[Subscription, None] = {}
        self._dropped = 0
        self._undelivered: deque[Record] = deque()
        self._delivering = False
        self._seq = 0
        self._failed = 0
        self._opened = trio.current_time()
        self.closed = False

    def __bool__(self) -> bool:
        """Whether anybody listens: an event that is dear to make need not be made for nobody."""
        return bool(self._subscribers)

    def now(self) -> float:
        """Seconds of the trio clock since the stream was opened: what a record made now would have as `at`."""
        return trio.current_time() - self._opened

    def publish(self, event: Event, *, actor: str = "", incarnation: int = 0, scope: str = "") -> Record | None:
        """Give an event to every subscriber; returns its record, or None if nobody listens.

        A subscriber may publish in turn: what it publishes is delivered after the record that it is looking at.
        """
        self._seq += 1
        if not self._subscribers:
            return None
        record = Record(self._seq, time.time(), self.now(), scope, actor, incarnation, event)
        self._undelivered.append(record)
        if not self._delivering:
            self._delivering = True
            try:
                while self._undelivered:
                    self._deliver(self._undelivered.popleft())
            finally:
                # Also when an interrupt strikes in a callback: the next record is delivered, and what is left with it.
                self._delivering = False
        return record

    def _deliver(self, record: Record) -> None:
        for key, callback in tuple(self._subscribers.items()):
            try:
                callback(record)
            except Exception:  # noqa: BLE001 - whatever a stranger's callback raises, the publisher goes on
                self._failed += 1
                self._subscribers.pop(key, None)

    def subscribe(self, callback: Callable[[Record], None]) -> Callable[[], None]:
        """Call `callback` with every record from now on, at once, in the publisher's task: it must be quick and not block.

        A callback that raises is unsubscribed and counted in `statistics().failed`.

        Returns:
            a function that unsubscribes; calling it again does nothing.
        """
        key = object()
        self._subscribers[key] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    def open(self, capacity: int = 1024) -> Subscription:
        """A buffered copy of the stream for one reader.

        Args:
            capacity: records it holds; a record beyond that replaces the oldest, and `dropped` counts it.
        """
        subscription = Subscription(capacity)
        if self.closed:
            subscription.close()
            return subscription
        unsubscribe = self.subscribe(subscription.take)

        def forget() -> None:
            unsubscribe()
            self._dropped += subscription.dropped
            del self._subscriptions[subscription]

        self._subscriptions[subscription] = None
        subscription.when_closed(forget)
        return subscription

    def close(self) -> None:
        """End every subscription after what it has buffered. Callbacks stay."""
        self.closed = True
        for subscription in tuple(self._subscriptions):
            subscription.close()

    def statistics(self) -> EventStreamStatistics:
        """Counters of this moment."""
        return EventStreamStatistics(
            published=self._seq,
            subscribers=len(self._subscribers),
            dropped=self._dropped + sum(subscription.dropped for subscription in self._subscriptions),
            failed=self._failed,
        )
