"""A recorder of events: what has come, what comes, and whether two runs were the same."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from coworld_actors.actors import Actor, ChildSpec, SupervisorSpec, events, open_system
from coworld_actors.testing import EventLog


class Idle(Actor[int]):
    async def handle(self, message: int) -> None:
        raise ValueError(f"told to by {object()}")


async def test_events_are_found_by_type_actor_and_scope():
    """In order; until the log is closed."""
    async with open_system() as system:
        with EventLog(system.events) as log:
            await system.start_supervisor(
                "house", SupervisorSpec(scope="e-1", children=(ChildSpec(name="a", start=Idle),))
            )
            await system.start_actor(ChildSpec(name="b", start=Idle))
        await system.start_actor(ChildSpec(name="c", start=Idle))
        assert [record.actor for record in log.records] == ["house/a", "house", "b"]
        assert len(log.of(events.ActorStarted)) == 2
        assert len(log.of(events.Event)) == 3
        assert len(log.of(events.ActorStarted, actor="b")) == 1
        assert len(log.of(events.Event, scope="e-1")) == 2


async def test_waiting_finds_what_has_come_and_what_comes(autojump_clock):
    """By type or by a condition; `after` leaves out what was seen."""
    async with open_system() as system:
        log = EventLog(system.events)
        ref = await system.start_actor(ChildSpec(name="a", start=Idle))
        first = await log.wait_for(events.ActorStarted, within=0)

        async def crash() -> None:
            await trio.sleep(2)
            ref.tell_nowait(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            again = await log.wait_for(events.ActorStarted, within=3, after=first.seq)
        assert (again.incarnation, trio.current_time()) == (1, 2.0)
        found = await log.wait_for(lambda record: record.actor == "a" and record.incarnation == 1)
        assert found.seq > first.seq


async def test_a_vain_wait_shows_the_last_events(autojump_clock):
    """So that a failed test says what happened instead."""
    async with open_system() as system:
        log = EventLog(system.events)
        with pytest.raises(AssertionError, match="no ActorCrashed within 1 s; the last of 0 records: none"):
            await log.wait_for(events.ActorCrashed, within=1)
        await system.start_actor(ChildSpec(name="somebody", start=Idle))
        with pytest.raises(AssertionError, match="actor_started"):
            await log.wait_for(lambda record: False, within=1)
        assert trio.current_time() == 2.0


def test_equal_runs_have_equal_digests_and_others_do_not():
    """Wall clock, position and addresses of objects make no difference; virtual time, actors and events do."""

    async def run(name: str, pause: float) -> EventLog:
        async with open_system() as system:
            log = EventLog(system.events)
            ref = await system.start_actor(ChildSpec(name=name, start=Idle))
            await trio.sleep(pause)
            ref.tell_nowait(1)
            await trio.sleep(1)
        return log

    logs = [
        trio.run(run, name, pause, clock=MockClock(autojump_threshold=0))
        for name, pause in (("a", 1.0), ("a", 1.0), ("b", 1.0), ("a", 1.5))
    ]
    assert logs[0].records != logs[1].records
    assert logs[0].lines() == logs[1].lines()
    digests = [log.digest() for log in logs]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert logs[0].digest(scope="nobody's") != digests[0]
