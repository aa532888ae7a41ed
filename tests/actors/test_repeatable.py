"""P20: the same seed and the same faults give the same events."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from coworld_actors.actors import StartFailed, open_system
from coworld_actors.testing import EventLog, FaultPlan, deterministic
from tests.actors.trees import draw_tree, talk_to_all


async def scenario(seed: int, plan: FaultPlan) -> EventLog:
    async with open_system(random=Random(seed)) as system:
        log = EventLog(system.events)

        async def episode(name: str) -> None:
            with trio.move_on_after(5), suppress(StartFailed):
                await system.start_supervisor(name, plan.apply(draw_tree(seed, scope=name)))

        # All at once: which of them comes first is the scheduler's to say.
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(episode, f"e-{number}")
        await talk_to_all(system, seed)
    return log


def run(seed: int, plan: FaultPlan, order: int | None = None) -> EventLog:
    with deterministic(seed if order is None else order):
        return trio.run(scenario, seed, plan, clock=MockClock(autojump_threshold=0))


def plan_of(seed: int, faults: int = 6) -> FaultPlan:
    return FaultPlan.random(seed, ["*w0", "*w1", "*w2", "*w3"], faults=faults)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 100_000), st.integers(0, 10))
def test_a_seed_and_its_faults_are_a_log(seed, faults):
    """Two runs agree in every event, its place, its virtual time, its cause; also when the plan comes from its printed form."""
    plan = plan_of(seed, faults)
    first = run(seed, plan)
    second = run(seed, FaultPlan.from_json(plan.to_json()))
    assert first.lines() == second.lines()
    assert first.digest() == second.digest()


def test_other_seeds_have_other_logs():
    """Forty seeds, forty logs."""
    assert len({run(seed, plan_of(seed)).digest() for seed in range(40)}) == 40


def test_another_order_of_tasks_or_another_fault_is_another_log():
    """The digest sees the scheduler's seed and the plan, each by itself."""
    orders = {run(7, FaultPlan(), order).digest() for order in range(10)}
    assert len(orders) > 1
    assert run(7, plan_of(7)).digest() != run(7, plan_of(8)).digest()
