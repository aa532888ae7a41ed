"""P07: a stop takes children in reverse start order, each within its own grace, and never longer than all graces and a second."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import msgspec
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from coworld_actors.actors import (
    ChildSpec,
    StartFailed,
    State,
    StopOrder,
    SupervisorRef,
    SupervisorSpec,
    events,
    open_system,
)
from coworld_actors.testing import EventLog, FaultKind, FaultPlan, FaultPoint
from tests.actors.trees import Worker, draw_tree, talk_to_all


def sum_of_graces(spec: SupervisorSpec) -> float:
    """How long a stop of it may take: one child after the other, or all together."""
    times = [sum_of_graces(c.start) if isinstance(c.start, SupervisorSpec) else c.shutdown for c in spec.children]
    return max(times, default=0.0) if spec.stop_order is StopOrder.TOGETHER else sum(times)


def together(spec: SupervisorSpec, draw: Random) -> SupervisorSpec:
    """The same tree, with some supervisors that stop their children together."""
    children = tuple(
        msgspec.structs.replace(child, start=together(child.start, draw))
        if isinstance(child.start, SupervisorSpec)
        else child
        for child in spec.children
    )
    return msgspec.structs.replace(spec, children=children, stop_order=draw.choice(list(StopOrder)))


async def scenario(seed: int, plan: FaultPlan, spec: SupervisorSpec, pause: float) -> None:
    async with open_system(random=Random(seed)) as system:
        log = EventLog(system.events)
        house: SupervisorRef | None = None
        with trio.move_on_after(5), suppress(StartFailed):
            house = await system.start_supervisor("house", plan.apply(spec))
        if house is None:
            return
        await talk_to_all(system, seed, rounds=2)
        await trio.sleep(pause)
        running = [info.path for info in house.children() if info.state is State.RUNNING and info.kind != "supervisor"]
        began, seen = trio.current_time(), len(log.records)
        await house.stop()
        assert trio.current_time() - began <= sum_of_graces(spec) + 1.0
        if spec.stop_order is StopOrder.REVERSE:
            gone = [
                record.actor
                for record in log.records[seen:]
                if isinstance(record.event, events.ActorStopped) and record.actor in running
            ]
            assert gone == running[::-1]
        # Only those of the house itself: below it, a turn to stop may not have come yet.
        restarts = (events.ActorRestarted, events.RestartScheduled)
        told = [record for record in log.records[seen:] if isinstance(record.event, restarts)]
        assert not [record for record in told if record.actor.rpartition("/")[0] == "house"]


class Slow(Worker):
    async def on_stop(self, reason) -> None:
        await trio.sleep(10)


async def test_a_subtree_goes_on_until_its_turn_to_stop_comes(autojump_clock):
    """It restarts its children meanwhile, and then stops within one grace of each; the house itself restarts nobody."""
    below = SupervisorSpec(children=(ChildSpec(name="inner", start=Slow, shutdown=3),))
    spec = SupervisorSpec(
        children=(
            ChildSpec(name="below", start=below),
            ChildSpec(name="beside", start=Worker),
            ChildSpec(name="last", start=Slow, shutdown=4),
        )
    )
    async with open_system() as system:
        house = await system.start_supervisor("house", spec)
        refs = [system.registry[f"house/{path}"] for path in ("below/inner", "beside")]
        log, began = EventLog(system.events), trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.stop)
            await trio.sleep(1)
            for ref in refs:
                ref.tell_nowait(-1)
        assert trio.current_time() - began == 4 + 3
    crashed, restarted = (
        {record.actor for record in log.records if isinstance(record.event, kind)}
        for kind in (events.ActorCrashed, events.ActorRestarted)
    )
    assert crashed == {"house/below/inner", "house/beside"}
    assert restarted == {"house/below/inner"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.integers(0, 8), st.sampled_from([0.0, 0.01, 0.7]))
def test_a_stop_takes_no_longer_than_all_graces_and_a_second(seed, faults, pause):
    """Whatever hangs, crashes or is delayed in it, in trees of any shape, while restarts are under way."""
    spec = together(draw_tree(seed), Random(seed))
    plan = FaultPlan.random(
        seed,
        ["*w0", "*w1", "*w2", "*w3"],
        faults=faults,
        points=[FaultPoint.MESSAGE, FaultPoint.STOP, FaultPoint.STOP, FaultPoint.START],
        kinds=[FaultKind.HANG, FaultKind.HANG, FaultKind.DELAY, FaultKind.RAISE, FaultKind.CRASH],
        lives=3,
        messages=2,
        longest=20.0,
    )
    trio.run(scenario, seed, plan, spec, pause, clock=MockClock(autojump_threshold=0))


async def test_a_hundred_that_hang_use_exactly_their_graces_up(autojump_clock):
    """One after the other a hundred, together one; and they are told as killed."""
    plan = FaultPlan.from_json('{"faults":[{"path":"*","kind":"hang","point":"stop","incarnation":null}]}')
    for order, seconds in ((StopOrder.REVERSE, 100.0), (StopOrder.TOGETHER, 1.0)):
        spec = SupervisorSpec(
            stop_order=order, children=tuple(ChildSpec(name=f"w{n}", start=Worker, shutdown=1.0) for n in range(100))
        )
        async with open_system(shutdown_deadline=500) as system:
            log = EventLog(system.events)
            house = await system.start_supervisor("house", plan.apply(spec))
            began = trio.current_time()
            await house.stop()
            assert abs(trio.current_time() - began - seconds) < 1e-6
            assert len(log.of(events.ChildKilled)) == 100
