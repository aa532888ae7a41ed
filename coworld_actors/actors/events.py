"""Everything that happens, as tagged values; `stream` carries them to logs, displays, tests and embedding services."""

from __future__ import annotations

import re

import msgspec

__all__ = [
    "ActorCrashed",
    "ActorRestarted",
    "ActorStarted",
    "ActorStopped",
    "ChildKilled",
    "DeadLetter",
    "Event",
    "Record",
    "RestartLimitReached",
    "RestartScheduled",
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
