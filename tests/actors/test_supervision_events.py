"""P19: every decision of a supervisor is one event, with whose it is, in which life, in which scope, and why."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from random import Random

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from coworld_actors.actors import StartFailed, events, open_system
from coworld_actors.actors.children import Child
from coworld_actors.actors.errors import in_words
from coworld_actors.actors.restarts import RestartWindow
from coworld_actors.testing import EventLog, FaultPlan
from tests.actors.trees import draw_tree, talk_to_all

DECISIONS = (
    events.ActorRestarted,
    events.ActorStarted,
    events.ActorStopped,
    events.RestartLimitReached,
    events.RestartScheduled,
    events.SupervisorStarted,
    events.SupervisorStopped,
)


class Decisions:
    """What supervisors decide and carry out, seen where it is done and not where it is told."""

    def __init__(self, patch) -> None:
        self.made: list[tuple] = []
        made = self.made
        admit, launch, started, finish = RestartWindow.admit, Child.launch, Child.started, Child.finish

        def watched_admit(window, now):
            made.append(("restart" if admit(window, now) else "give up",))
            return made[-1][0] == "restart"

        def watched_launch(child, nursery):
            launch(child, nursery)
            if child.incarnation > 0:
                made.append(("again", child.path, child.incarnation, child.scope))

        def watched_started(child, event):
            made.append(("started", child.path, child.incarnation, child.scope))
            started(child, event)

        def watched_finish(child, ended):
            life = max(child.incarnation, 0)
            made.append(("gone", child.path, life, child.scope, str(ended.reason), in_words(ended.cause)))
            finish(child, ended)

        patch.setattr(RestartWindow, "admit", watched_admit)
        patch.setattr(Child, "started", watched_started)
        patch.setattr(Child, "finish", watched_finish)
        # `ActorCell.launch` and `Supervisor.launch` call this one through `super()`.
        patch.setattr(Child, "launch", watched_launch)


def told(record) -> tuple:
    """The decision that an event tells."""
    place = (record.actor, record.incarnation, record.scope)
    match record.event:
        case events.RestartScheduled():
            return ("restart",)
        case events.RestartLimitReached():
            return ("give up",)
        case events.ActorRestarted():
            return ("again", *place)
        case events.ActorStarted() | events.SupervisorStarted():
            return ("started", *place)
        case events.ActorStopped(reason=reason, cause=cause) | events.SupervisorStopped(reason=reason, cause=cause):
            return ("gone", *place, reason, cause)
    raise AssertionError(record)


async def scenario(seed: int, plan: FaultPlan) -> EventLog:
    async with open_system(random=Random(seed)) as system:
        log = EventLog(system.events)
        for name in ("e-1", "e-2"):
            # A start that hangs is given up by the one who wants it.
            with trio.move_on_after(5), suppress(StartFailed):
                await system.start_supervisor(name, plan.apply(draw_tree(seed, scope=name)))
        await talk_to_all(system, seed)
    return log


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.integers(0, 12))
def test_every_decision_is_one_event(seed, faults):
    """No event without its decision, no decision without its event, in one order, each with its place and its cause."""
    plan = FaultPlan.random(seed, ["*w0", "*w1", "*w2", "*w3", "e-1/*"], faults=faults)
    with pytest.MonkeyPatch.context() as patch:
        decisions = Decisions(patch)
        log = trio.run(scenario, seed, plan, clock=MockClock(autojump_threshold=0))
    records = [record for record in log.records if isinstance(record.event, DECISIONS)]
    # The root is started before anybody can listen, and its own end is told after that of all others.
    made = [decision for decision in decisions.made if decision[1:3] != ("", 0) or decision[0] == "gone"]
    by_kind = {kind: [decision for decision in made if decision[0] == kind] for kind in Counter(d[0] for d in made)}
    for kind, expected in by_kind.items():
        assert [step for record in records if (step := told(record))[0] == kind] == expected, kind
    assert len(records) == len(made)
    for record in records:
        assert msgspec.json.decode(msgspec.json.encode(record))
        scope = record.actor.partition("/")[0]
        assert record.scope == scope
        if isinstance(record.event, events.RestartScheduled | events.RestartLimitReached):
            assert record.event.reason
            assert record.event.cause or record.event.reason in {"normal", "shutdown", "killed", "restart_limit"}


def test_the_scenarios_decide_everything_there_is_to_decide():
    """The property above says something: its examples restart, give up, take along, and end in every way."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        plan = FaultPlan.random(seed, ["*w0", "*w1", "*w2"], faults=8)
        log = trio.run(scenario, seed, plan, clock=MockClock(autojump_threshold=0))
        for record in log.records:
            seen[type(record.event).__name__] += 1
            if isinstance(record.event, events.ActorStopped | events.SupervisorStopped):
                seen[str(record.event.reason)] += 1
            if isinstance(record.event, events.RestartScheduled) and record.event.along:
                seen["along"] += 1
    wanted = {kind.__name__ for kind in DECISIONS} | {"ChildKilled", "ActorCrashed", "along"}
    assert seen.keys() >= wanted | {"normal", "shutdown", "killed", "crashed", "restart_limit"}
