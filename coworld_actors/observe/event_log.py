"""What happens in a runtime, as log lines: one per episode that says it all, warnings for operators, the rest at DEBUG."""

from __future__ import annotations

import enum
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, final

import msgspec

from coworld_actors.actors import Event, Record
from coworld_actors.actors.events import ActorCrashed, ChildKilled, RestartLimitReached
from coworld_actors.episode.record import EXPECTED_CRASHES
from coworld_actors.observe.bound_logging import bound_logger
from coworld_actors.observe.discretion import Discretion
from coworld_actors.runtime.events import EpisodeClosed, RuntimeStopped
from coworld_actors.runtime.watchdog import LoopBlocked

if TYPE_CHECKING:
    from coworld_actors.runtime.opening import Attachment
    from coworld_actors.runtime.runtime import Runtime

__all__ = ["EventLogger", "log_events"]

_log = logging.getLogger("coworld_actors.event_log")

_WARNINGS = (RestartLimitReached, ChildKilled, LoopBlocked)


class EventLogger(Protocol):
    """What we need of a structlog logger."""

    def bind(self, **new_values: Any) -> Any:
        """A logger whose lines have these values."""
        ...


def log_events(logger: logging.Logger | EventLogger | None = None) -> Attachment:
    """For `open_runtime(attach=[...])`: log what happens.

    The end of an episode is one line `episode`, with everything that there is to know about it: at INFO when it counts, else at
    WARNING. Crashes of our own actors, restart limits, killed children, a blocked loop and lost events are warnings, all other events DEBUG.

    Handlers run at once, in the task in which something happened: slow ones belong behind a `QueueHandler`.

    Args:
        logger: a structlog logger of the host's, whose processors then make the line; or one of the standard library instead of
            `coworld_actors.runtime`.
    """
    target = logging.getLogger("coworld_actors.runtime") if logger is None else logger

    @asynccontextmanager
    async def attached(runtime: Runtime) -> AsyncGenerator[None]:
        log = _EventLog(runtime, target)
        unsubscribe = runtime.system.events.subscribe(log.on_record)
        try:
            yield
        finally:
            unsubscribe()
            log.close()

    return attached


@final
class _EventLog:
    def __init__(self, runtime: Runtime, target: logging.Logger | EventLogger) -> None:
        self._runtime = runtime
        self._discretion = Discretion(runtime)
        self._stdlib = target if isinstance(target, logging.Logger) else None
        bound: Any = bound_logger(target) if isinstance(target, logging.Logger) else target
        self._log = bound.bind(runtime=runtime.name)
        events = runtime.system.events.statistics()
        self._dropped, self._failed = events.dropped, events.failed

    def on_record(self, record: Record) -> None:
        """Write an event's line. A logger of the host's that raises costs that line, and nothing later."""
        try:
            self._take(record)
        except Exception:  # noqa: BLE001 - a host's filters and processors are part of what we call
            _log.exception("the log line of %s was lost", _name(record.event))

    def _take(self, record: Record) -> None:
        event = record.event
        if isinstance(event, EpisodeClosed):
            level = logging.INFO if event.good else logging.WARNING
            self._write(level, "episode", record)
            self._count_losses()
        elif _is_warning(event):
            self._write(logging.WARNING, _name(event), record)
        elif self._stdlib is None or self._stdlib.isEnabledFor(logging.DEBUG):
            self._write(logging.DEBUG, _name(event), record)

    def _write(self, level: int, name: str, record: Record) -> None:
        bound = self._log
        if record.scope:
            bound = bound.bind(episode=record.scope)
        if record.actor:
            bound = bound.bind(actor=record.actor, incarnation=record.incarnation)
        write = {logging.DEBUG: bound.debug, logging.INFO: bound.info, logging.WARNING: bound.warning}[level]
        write(name, **self._fields(record.scope, record.event))

    def _fields(self, scope: str, event: object) -> dict[str, Any]:
        """An event's values: scalars and lists of them. What lies deeper, seats and their evidence, is in the episode's record."""
        fields: dict[str, Any] = {}
        assert isinstance(event, msgspec.Struct)
        for name in event.__struct_fields__:
            value = getattr(event, name)
            if isinstance(event, RuntimeStopped) and name == "report":
                fields.update(self._fields(scope, value))
            elif isinstance(value, tuple):
                if all(isinstance(each, str | int | float) for each in value):
                    fields[name] = [self._plain(scope, each) for each in value]
            elif value is None or isinstance(value, str | int | float):
                fields[name] = self._plain(scope, value)
        return fields

    def _plain(self, scope: str, value: Any) -> Any:
        return (
            self._discretion(scope, value.value if isinstance(value, enum.Enum) else value)
            if isinstance(value, str)
            else value
        )

    def _count_losses(self) -> None:
        """There is no event for lost events; it might be lost."""
        events = self._runtime.system.events.statistics()
        if events.dropped > self._dropped or events.failed > self._failed:
            self._log.warning(
                "events_lost",
                dropped=events.dropped - self._dropped,
                failed_subscribers=events.failed - self._failed,
                dropped_in_all=events.dropped,
            )
        self._dropped, self._failed = events.dropped, events.failed

    def close(self) -> None:
        """The last look."""
        try:
            self._count_losses()
        except Exception:  # noqa: BLE001 - as above
            _log.exception("the log line of events that were lost was lost, too")


def _is_warning(event: Event) -> bool:
    if isinstance(event, ActorCrashed):
        # A finding about a role is told by the line of its episode.
        return event.error not in EXPECTED_CRASHES
    return isinstance(event, _WARNINGS) or (isinstance(event, RuntimeStopped) and bool(event.report.killed))


def _name(event: Event) -> str:
    return str(event.__struct_config__.tag)
