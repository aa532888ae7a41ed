"""`EventLog`: everything that an event stream has told since the log was opened."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar, final

import msgspec
import trio

from coworld_actors.actors import Event, EventStream, Record

__all__ = ["EventLog"]

E = TypeVar("E", bound=Event)

_ADDRESS = re.compile(r"0x[0-9a-f]{4,}")


@final
class EventLog:
    """Keeps every record of a stream, in order. It is never behind: it listens synchronously.

        with EventLog(system.events) as log:
            await log.wait_for(ActorRestarted, within=5)
            assert [event.reason for event in log.of(ActorStopped)] == ["shutdown"]

    Args:
        stream: whose records to keep, from now on.

    Attributes:
        records: what was kept, oldest first.
    """

    def __init__(self, stream: EventStream) -> None:
        self.records: list[Record] = []
        self._changed: trio.Event | None = None
        self._unsubscribe = stream.subscribe(self._take)

    def _take(self, record: Record) -> None:
        self.records.append(record)
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def close(self) -> None:
        """Stop listening; what is kept stays."""
        self._unsubscribe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def of(self, kind: type[E], *, actor: str | None = None, scope: str | None = None) -> list[E]:
        """The events of a type, oldest first.

        Args:
            kind: the type; subclasses count.
            actor: only those of this path.
            scope: only those of this scope.
        """
        return [
            record.event
            for record in self.records
            if isinstance(record.event, kind)
            and (actor is None or record.actor == actor)
            and (scope is None or record.scope == scope)
        ]

    async def wait_for(
        self, wanted: type[Event] | Callable[[Record], bool], *, within: float = 5.0, after: int = 0
    ) -> Record:
        """The first record that is wanted, also if it has come already.

        Args:
            wanted: a type of events, or what decides about a record.
            within: seconds, on the trio clock.
            after: only records whose `seq` is larger.

        Raises:
            AssertionError: none came; with the last events that did.
        """
        looked = 0
        with trio.move_on_after(within):
            while True:
                while looked < len(self.records):
                    record = self.records[looked]
                    looked += 1
                    if record.seq > after and _is(record, wanted):
                        return record
                if self._changed is None:
                    self._changed = trio.Event()
                await self._changed.wait()
        name = wanted.__name__ if isinstance(wanted, type) else f"record that {wanted!r} wants"
        last = "".join(f"\n  {_line(record)}" for record in self.records[-10:]) or " none"
        raise AssertionError(f"no {name} within {within:g} s; the last of {len(self.records)} records:{last}")

    def lines(self, *, scope: str | None = None) -> list[str]:
        """The records as text without what differs between equal runs: position, wall clock, addresses of objects.

        What is left - virtual time, scope, actor, incarnation, event - is equal for equal seeds and equal faults.

        Args:
            scope: only the records of this scope.
        """
        return [_line(record) for record in self.records if scope is None or record.scope == scope]

    def digest(self, *, scope: str | None = None) -> str:
        """A hash of `lines`: two runs that agree in it agree in every event and its virtual time."""
        return hashlib.sha256("\n".join(self.lines(scope=scope)).encode(errors="backslashreplace")).hexdigest()


def _is(record: Record, wanted: type[Event] | Callable[[Record], bool]) -> bool:
    return isinstance(record.event, wanted) if isinstance(wanted, type) else wanted(record)


def _line(record: Record) -> str:
    # Nanoseconds: the clock's start is a large number, and its last digits are rounded differently in each run.
    place = f"{record.at:.9f} {record.scope} {record.actor}#{record.incarnation}"
    return _ADDRESS.sub("0x...", f"{place} {msgspec.json.encode(record.event).decode()}")
