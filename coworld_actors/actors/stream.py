"""The one stream of what happens, and the two ways to listen to it.

A synchronous callback sees every record at the moment it is made; a `Subscription` is read at leisure and loses the oldest
records, counted, when its reader is slow. Neither can harm a publisher.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import final

import msgspec
import trio

from coworld_actors.actors.errors import SpecRefused
from coworld_actors.actors.events import Event, Record

__all__ = ["EventStream", "EventStreamStatistics", "Subscription"]


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
        # By scope: with a thousand episodes, each with a subscriber of its own, nobody is asked about the events of the others.
        self._scoped: dict[str, dict[object, Callable[[Record], None]]] = {}
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
        return bool(self._subscribers or self._scoped)

    def now(self) -> float:
        """Seconds of the trio clock since the stream was opened: what a record made now would have as `at`."""
        return trio.current_time() - self._opened

    def publish(self, event: Event, *, actor: str = "", incarnation: int = 0, scope: str = "") -> Record | None:
        """Give an event to every subscriber; returns its record, or None if nobody listens.

        A subscriber may publish in turn: what it publishes is delivered after the record that it is looking at.
        """
        self._seq += 1
        if not self._subscribers and scope not in self._scoped:
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
        self._tell(self._subscribers, record)
        scoped = self._scoped.get(record.scope)
        if scoped:
            self._tell(scoped, record)

    def _tell(self, subscribers: dict[object, Callable[[Record], None]], record: Record) -> None:
        for key, callback in tuple(subscribers.items()):
            try:
                callback(record)
            except Exception:  # noqa: BLE001 - whatever a stranger's callback raises, the publisher goes on
                self._failed += 1
                subscribers.pop(key, None)

    def subscribe(self, callback: Callable[[Record], None], *, scope: str | None = None) -> Callable[[], None]:
        """Call `callback` with every record from now on, at once, in the publisher's task: it must be quick and not block.

        A callback that raises is unsubscribed and counted in `statistics().failed`.

        Args:
            callback: what to call.
            scope: only with the records of this scope, after those who get all.

        Returns:
            a function that unsubscribes; calling it again does nothing.
        """
        key = object()
        subscribers = self._subscribers if scope is None else self._scoped.setdefault(scope, {})
        subscribers[key] = callback

        def unsubscribe() -> None:
            subscribers.pop(key, None)
            if scope is not None and not subscribers and self._scoped.get(scope) is subscribers:
                del self._scoped[scope]

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
            subscribers=len(self._subscribers) + sum(map(len, self._scoped.values())),
            dropped=self._dropped + sum(subscription.dropped for subscription in self._subscriptions),
            failed=self._failed,
        )
