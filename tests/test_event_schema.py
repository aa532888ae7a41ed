"""The watch over all events finds what is wrong, and lets pass what is right."""

from __future__ import annotations

import math

import msgspec
import pytest

from coworld_actors.actors import Actor, ChildSpec, Event, EventStream, events, open_system
from tests.event_schema import EventSchema, Lives


class Idle(Actor[int]):
    async def handle(self, message: int) -> None:
        raise ValueError("told to")


class Mine(Event, frozen=True):
    """An event of a test's own, which is nobody's business."""

    anything: object = None


CRASH = events.ActorCrashed(error="E", message="", during="handle", leaves=("E: ",), traceback="E")
SCHEDULED = events.RestartScheduled(delay=0.0, attempt=1, reason="crashed", cause="E: ")


def failures_of(*told: tuple[Event, str, int], begun=("a",)) -> list[str]:
    schema, lives = EventSchema(), Lives()
    for path in begun:
        assert lives.begin(path) == ""
    for event, path, incarnation in told:
        schema.look(lives, event, path, incarnation, "", heard=True)
    return schema.failures


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([(events.ActorStarted(), "nobody", 0)], "'nobody' does not live"),
        ([(events.ActorStarted(), "a", 0), (events.ActorStarted(), "a", 0)], "started twice"),
        ([(events.ActorStarted(), "a", 1)], "incarnation 1 of 'a', which is in 0"),
        ([(events.ActorStarted(), "a", -1)], "is stamped"),
        ([(events.ActorRestarted(delay=0.0), "a", 1)], "nobody had decided that"),
        ([(SCHEDULED, "a", 0), (events.ActorRestarted(delay=0.0), "a", 2)], "from 0 to 2"),
        ([(msgspec.structs.replace(SCHEDULED, cause=""), "a", 0)], "crashed without a cause"),
        ([(msgspec.structs.replace(SCHEDULED, delay=math.inf), "a", 0)], "does not survive JSON"),
        ([(msgspec.structs.replace(CRASH, leaves=()), "a", 0)], "no whole crash"),
        ([(msgspec.structs.replace(CRASH, during="lunch"), "a", 0)], "during what?"),
        ([(msgspec.structs.replace(CRASH, message="\ud800"), "a", 0)], "does not survive JSON"),
        ([(events.ActorStopped(reason="bored"), "a", 0)], "'bored' is no reason"),
        ([(events.ActorStopped(reason="crashed", cause="E: "), "a", 0)], "a crash that was not told"),
        ([(events.ActorStopped(reason="restart_limit"), "a", 0)], "no limit was reached"),
        ([(events.ActorStopped(reason="normal"), "a", 0)] * 2, "does not live"),
        ([(events.SystemStopped(name="s"), "", 0)], "still living: ['a']"),
    ],
)
def test_what_is_wrong_is_found(told, words):
    """By name."""
    found = failures_of(*told)
    assert any(words in failure for failure in found), found


def test_a_whole_life_passes():
    """Crash, decision, restart, end; a sibling that is taken along; the system's end."""
    along = msgspec.structs.replace(SCHEDULED, along=("b",))
    told = [
        (events.ActorStarted(), "h/a", 0),
        (CRASH, "h/a", 0),
        (along, "h/a", 0),
        (events.ActorRestarted(delay=0.0), "h/a", 1),
        (events.ActorStarted(), "h/a", 1),
        (events.ActorRestarted(delay=0.0), "h/b", 1),
        (events.ActorStopped(reason="normal"), "h/a", 1),
        (events.ActorStopped(reason="shutdown"), "h/b", 1),
        (events.SystemStopped(name="s"), "", 0),
    ]
    assert failures_of(*told, begun=("h/a", "h/b")) == []


def test_nobody_begins_twice():
    """Before the end of the one before."""
    lives = Lives()
    assert lives.begin("a") == ""
    assert lives.begin("a") == "'a' began twice"


async def test_an_installed_watch_sees_everything_and_changes_nothing():
    """Streams with listeners and without; strangers' events pass, whatever they hold."""
    schema = EventSchema()
    with schema.installed():
        stream = EventStream()
        assert stream.publish(Mine(anything=math.nan)) is None
        assert stream.publish(events.ActorStarted(), actor="anybody") is None
        async with open_system() as system:
            assert not system.events
            ref = await system.start_actor(ChildSpec(name="a", start=Idle))
            ref.tell_nowait(1)
            await ref.drain()
    assert schema.failures == []
    assert schema.seen >= 7


async def test_an_installed_watch_fails_on_a_wrong_event():
    """Whoever publishes it."""
    schema = EventSchema()
    with schema.installed():
        async with open_system() as system:
            system.events.publish(events.ActorStarted(), actor="nobody")
    assert len(schema.failures) == 1
