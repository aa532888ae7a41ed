"""Log lines that say which episode, actor and incarnation they belong to: ours, and those of authors' code inside of actors.

We log through the standard library, below the logger `coworld_actors`, and leave it to the host who listens. We configure nothing,
neither `logging` nor structlog, and print nothing. Not even a `NullHandler` is added: the warning about a loop that is blocked for
ever has to reach the stderr of a host that has never thought of logging.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from coworld_actors.actors.current import current_actor
from coworld_protocol.printable import printable

if TYPE_CHECKING:
    import structlog

__all__ = ["ActorFilter", "bind_actor", "bound_logger"]

_RESERVED = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})
"""Attributes of a log record: an extra field of such a name is an error to the standard library."""
_BLOCKS = ("traceback", "stack")
"""Fields of many lines, shown below the others."""
_CALLER = 4
"""Frames from the standard library's logger out to whoever called; three of them are structlog's."""


def bind_actor(logger: object, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: adds `episode`, `actor` and `incarnation` of the actor in whose task the line is written.

    Also in its background tasks and in threads of `trio.to_thread`. What is bound already stays, and outside of actors nothing is
    added. To be placed before the renderer: `structlog.configure(processors=[bind_actor, ..., JSONRenderer()])`.
    """
    del logger, method
    place = current_actor()
    if place is not None:
        if place.scope:
            event_dict.setdefault("episode", place.scope)
        event_dict.setdefault("actor", place.path)
        event_dict.setdefault("incarnation", place.incarnation)
    return event_dict


class ActorFilter(logging.Filter):
    """The same for the standard library: `handler.addFilter(ActorFilter())` gives every line's record these three attributes.

    A format may then use `%(episode)s %(actor)s %(incarnation)s`; outside of actors they are empty. It lets every line pass. It belongs
    to the handler that runs where the line is written: with a `QueueHandler`, to that one.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what the record has not got."""
        place = current_actor()
        values = ("", "", "") if place is None else (place.scope, place.path, place.incarnation)
        for name, value in zip(("episode", "actor", "incarnation"), values, strict=True):
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


def bound_logger(logger: logging.Logger) -> structlog.stdlib.BoundLogger:
    """A logger of the standard library as one of structlog, whatever the host has configured there.

    Its lines have one text, `event key=value ...`, for handlers that show nothing else, and every value as an attribute of the
    record for those that do. A field whose name a record needs for itself is called `event_NAME` there.
    """
    import structlog  # noqa: PLC0415 - it brings asyncio along, and few commands log

    bound: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logger,
        processors=[structlog.stdlib.filter_by_level, _as_text_and_fields, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return bound


def _as_text_and_fields(logger: object, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    del logger, method
    event = event_dict.pop("event")
    words = [str(event), *(f"{key}={_word(value)}" for key, value in event_dict.items() if key not in _BLOCKS)]
    blocks = [f"\n  {printable(line)}" for key in _BLOCKS for line in str(event_dict.get(key, "")).splitlines()]
    fields = {f"event_{key}" if key in _RESERVED else key: value for key, value in event_dict.items()}
    return {"event": " ".join(words) + "".join(blocks), "stacklevel": _CALLER, **fields}


def _word(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else printable(str(value))
    return text if text and not set(' "=') & set(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
