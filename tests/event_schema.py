"""Looks at every event that is published anywhere in a test session: each fits the schema, and together they tell whole lives.

Installed once per session by the fixture in `tests/conftest.py`; what it finds wrong fails the session. It sees what is published
in this process, with or without a listener. Only core events on the stream of a system are held to the rules of a life: tests of
the stream itself publish what they like.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Union

import msgspec
import pytest

from coworld_actors.actors import ActorSystem, DownReason, Event, EventStream, Registry, events

__all__ = ["EventSchema", "Lives"]

MOST = 20
"""Failures that are kept; the first of them says it all."""

RAISED = {DownReason.CRASHED, DownReason.START_FAILED}


def of_the_project(found: type[Event] = Event) -> set[type[Event]]:
    """All events that the project defines; those that tests make for themselves have modules of their own."""
    below = {inner for each in found.__subclasses__() for inner in of_the_project(each)}
    return below | ({found} if found is not Event and found.__module__.startswith("coworld_") else set())


@dataclass
class Life:
    """One child, from its place in the registry to its one end."""

    incarnation: int = 0
    started: bool = False
    crashed: bool = False
    limited: bool = False


@dataclass
class Lives:
    """Everybody who lives in one system, as far as events tell."""

    living: dict[str, Life] = field(default_factory=dict)
    scheduled: set[str] = field(default_factory=set)
    limits: set[tuple[str, str]] = field(default_factory=set)
    heard: bool = True

    def begin(self, path: str) -> str:
        """A child has taken its place; returns what is wrong with that."""
        if path in self.living:
            return f"{path!r} began twice"
        self.living[path] = Life()
        return ""

    def tell(self, event: Event, path: str, incarnation: int) -> str:
        """What is wrong with this event at this moment of the life of `path`."""
        if isinstance(event, events.SystemStarted):
            return ""
        if isinstance(event, events.SystemStopped):
            return f"still living: {sorted(self.living)}" if self.living else ""
        life = self.living.get(path)
        if life is None:
            return f"{path!r} does not live"
        if incarnation != life.incarnation and not isinstance(event, events.ActorRestarted):
            return f"incarnation {incarnation} of {path!r}, which is in {life.incarnation}"
        return self._of_a_life(event, path, incarnation, life)

    def _of_a_life(self, event: Event, path: str, incarnation: int, life: Life) -> str:
        match event:
            case events.ActorStarted() | events.SupervisorStarted():
                wrong = f"{path!r} started twice" if life.started else ""
                life.started = True
            case events.ActorCrashed():
                wrong = (
                    "" if event.error and event.leaves and event.traceback and not life.crashed else "no whole crash"
                )
                wrong = wrong or ("" if event.during in {"start", "handle", "stop", "background"} else "during what?")
                life.crashed = True
            case events.RestartScheduled():
                wrong = _ended(event.reason, event.cause) or ("" if event.attempt > 0 and event.delay >= 0 else "when?")
                parent = path.rpartition("/")[0]
                self.scheduled |= {path, *(f"{parent}/{name}" if parent else name for name in event.along)}
            case events.ActorRestarted():
                wrong = "" if path in self.scheduled else f"{path!r} was restarted, and nobody had decided that"
                wrong = wrong or (
                    "" if incarnation == life.incarnation + 1 else f"from {life.incarnation} to {incarnation}"
                )
                self.scheduled.discard(path)
                life.incarnation, life.started, life.crashed = incarnation, False, False
            case events.RestartLimitReached():
                wrong = _ended(event.reason, event.cause)
                life.limited = True
                self.limits.add((path, event.child))
            case events.ActorStopped() | events.SupervisorStopped():
                wrong = _ended(event.reason, event.cause) or self._no_crash(event, life)
                if event.reason == DownReason.RESTART_LIMIT:
                    parent, _, name = path.rpartition("/")
                    wrong = wrong or ("" if life.limited or (parent, name) in self.limits else "no limit was reached")
                del self.living[path]
                self.scheduled.discard(path)
            case _:
                wrong = ""
        return wrong

    def _no_crash(self, event: events.ActorStopped | events.SupervisorStopped, life: Life) -> str:
        # Nobody makes the dear report of a crash for a stream without listeners.
        owed = isinstance(event, events.ActorStopped) and event.reason in RAISED and self.heard
        return "it ended by a crash that was not told" if owed and not life.crashed else ""


def _ended(reason: str, cause: str) -> str:
    if reason not in set(DownReason):
        return f"{reason!r} is no reason"
    return f"{reason} without a cause" if reason in RAISED and not cause else ""


# As they were when this module was imported, before any watch: a watch within a watch hides from the outer one.
PUBLISH, BEGIN, ADD = EventStream.publish, ActorSystem.__init__, Registry.add

CORE = (
    events.ActorCrashed,
    events.ActorRestarted,
    events.ActorStarted,
    events.ActorStopped,
    events.ChildKilled,
    events.RestartLimitReached,
    events.RestartScheduled,
    events.SupervisorStarted,
    events.SupervisorStopped,
    events.SystemStarted,
    events.SystemStopped,
)


class EventSchema:
    """The watch over one session.

    Attributes:
        failures: what was wrong, as sentences; at most `MOST`.
        seen: how many events were looked at.
    """

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.seen = 0
        self._known: set[type[Event]] = set()
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Any)

    @contextmanager
    def installed(self) -> Generator[None]:
        """Look at everything that is published while the block runs."""

        def watched_publish(stream, event, *, actor="", incarnation=0, scope=""):
            self.look(getattr(stream, "lives", None), event, actor, incarnation, scope, heard=bool(stream))
            return PUBLISH(stream, event, actor=actor, incarnation=incarnation, scope=scope)

        def watched_begin(system, *args, **kwargs):
            BEGIN(system, *args, **kwargs)
            lives = Lives()
            # The root has entered the registry while the system was being made.
            lives.begin("")
            system.events.lives = system.registry.lives = lives

        def watched_add(registry, ref):
            if (lives := getattr(registry, "lives", None)) is not None:
                self._fail(lives.begin(ref.path))
            ADD(registry, ref)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EventStream, "publish", watched_publish)
            patch.setattr(ActorSystem, "__init__", watched_begin)
            patch.setattr(Registry, "add", watched_add)
            yield

    def look(self, lives: Lives | None, event: Event, actor: str, incarnation: int, scope: str, *, heard: bool) -> None:
        """Look at one event."""
        self.seen += 1
        if not type(event).__module__.startswith("coworld_"):
            return
        self._fail(self._misfit(event))
        if not (
            isinstance(actor, str) and isinstance(scope, str) and isinstance(incarnation, int) and incarnation >= 0
        ):
            self._fail(f"{event!r} is stamped {actor!r}, {incarnation!r}, {scope!r}")
        if lives is not None and isinstance(event, CORE):
            lives.heard = lives.heard and heard
            if wrong := lives.tell(event, actor, incarnation):
                self._fail(f"{wrong}: {event!r} of {actor!r} in life {incarnation}")

    def _misfit(self, event: Event) -> str:
        """What is wrong with an event as a value: it goes through JSON and comes back as itself."""
        if type(event) not in self._known:
            self._known = of_the_project()
            self._decoder = msgspec.json.Decoder(Union[tuple(self._known)])  # noqa: UP007 - the members come at run time
        try:
            back = self._decoder.decode(msgspec.json.encode(event))
        except Exception as error:
            return f"{event!r} does not survive JSON: {error!r}"
        return "" if back == event else f"{event!r} comes back as {back!r}"

    def _fail(self, sentence: str) -> None:
        if sentence and len(self.failures) < MOST:
            self.failures.append(sentence)
