"""Fault plans: values that can be kept and made smaller, and what they do to actors."""

from __future__ import annotations

import re

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.actors import (
    Actor,
    ChildSpec,
    DownReason,
    Restart,
    SpecRefused,
    StartFailed,
    SupervisorSpec,
    events,
    open_system,
)
from coworld_actors.testing import EventLog, Fault, FaultKind, FaultPlan, FaultPoint, InjectedFault


class Reader(Actor[int]):
    def __init__(self, seen) -> None:
        self.seen = seen

    async def on_start(self) -> None:
        self.seen.append("start")

    async def handle(self, message: int) -> int:
        self.seen.append(message)
        return message

    async def on_stop(self, reason) -> None:
        self.seen.append("stop")


faults = st.builds(
    Fault,
    path=st.sampled_from(["a", "*", "house/b*"]),
    kind=st.sampled_from(list(FaultKind)),
    point=st.sampled_from(list(FaultPoint)),
    incarnation=st.none() | st.integers(0, 3),
    message=st.integers(1, 5),
    seconds=st.floats(0, 10),
)
plans = st.builds(FaultPlan, faults=st.lists(faults, max_size=5).map(tuple), seed=st.none() | st.integers(0, 100))


@given(plans)
def test_a_plan_survives_its_printed_form(plan):
    """JSON and back is the same plan; its text names every fault."""
    assert FaultPlan.from_json(plan.to_json()) == plan
    assert str(plan).count("\n") == len(plan.faults)


def test_what_is_no_plan_is_refused():
    """With msgspec's sentence."""
    with pytest.raises(msgspec.ValidationError):
        FaultPlan.from_json('{"faults": [{"path": "a", "kind": "explode"}]}')


@given(st.integers(), st.integers(0, 10))
def test_a_seed_is_a_plan(seed, number):
    """Always the same one, with as many faults as asked for, from what may be chosen from."""
    draw = {"paths": ["a", "b"], "faults": number, "kinds": [FaultKind.RAISE], "lives": 1, "messages": 2}
    plan = FaultPlan.random(seed, **draw)
    assert plan == FaultPlan.random(seed, **draw)
    assert len(plan.faults) == number
    assert {fault.kind for fault in plan.faults} <= {FaultKind.RAISE}
    assert all(fault.incarnation == 0 and fault.message in {1, 2} for fault in plan.faults)


def test_seeds_differ():
    """Not all of them, but nearly."""
    assert len({FaultPlan.random(seed, ["a", "b", "c"]).to_json() for seed in range(50)}) > 45


@given(plans)
def test_smaller_plans_come_to_an_end(plan):
    """Shrinking with a test that always fails ends with nothing; with one that never fails, where it began."""
    assert plan.shrink(lambda smaller: True).faults == ()
    assert plan.shrink(lambda smaller: False) == plan


def test_a_plan_shrinks_to_the_fault_that_matters():
    """One plain fault at the earliest message that still shows it."""
    culprit = Fault(path="b", kind=FaultKind.CRASH, incarnation=1, message=4)
    plan = FaultPlan(faults=(Fault(path="a"), culprit, Fault(path="c", kind=FaultKind.HANG)))
    shown = plan.shrink(lambda smaller: any(fault.path == "b" and fault.message >= 3 for fault in smaller.faults))
    assert shown.faults == (Fault(path="b", kind=FaultKind.RAISE, incarnation=0, message=3),)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(path="house/*"), True),
        (Fault(path="*"), True),
        (Fault(path="house/player-?"), True),
        (Fault(path="player-1"), False),
        (Fault(path="house/player-1", incarnation=None), True),
        (Fault(path="house/player-1", incarnation=1), False),
        (Fault(path="house/player-1", message=2), False),
        (Fault(path="house/player-1", point=FaultPoint.STOP), False),
    ],
    ids=str,
)
def test_a_fault_hits_what_it_names(fault, expected):
    """Path, life, point and message all have to fit."""
    assert fault.hits("house/player-1", 0, FaultPoint.MESSAGE, 1) is expected


async def reader(system, plan, seen, **fields):
    spec = plan.apply_to(ChildSpec(name="a", start=lambda: Reader(seen), **fields))
    return await system.start_actor(spec)


async def test_a_raise_is_a_crash_at_the_planned_message(autojump_clock):
    """The message in hand is lost, the next life is as planned: sound."""
    async with open_system() as system:
        log, seen = EventLog(system.events), []
        ref = await reader(system, FaultPlan(faults=(Fault(path="a", message=2),)), seen)
        for number in range(4):
            ref.tell_nowait(number)
        await trio.sleep(1)
        await ref.drain()
        assert seen == ["start", 0, "start", 2, 3, "stop"]
        (crash,) = log.of(events.ActorCrashed)
        assert (crash.error, crash.during) == ("InjectedFault", "handle")
        assert crash.message == "injected: a, life 0, message 2: raise"


async def test_a_crash_comes_from_the_background_and_cancels_the_handler(autojump_clock):
    """As `context.spawn` has it."""
    async with open_system() as system:
        log, seen = EventLog(system.events), []
        ref = await reader(system, FaultPlan(faults=(Fault(path="a", kind=FaultKind.CRASH),)), seen)
        ref.tell_nowait(0)
        await log.wait_for(events.ActorCrashed)
        assert log.of(events.ActorCrashed)[0].error == "InjectedFault"
        await trio.sleep(1)
        assert seen == ["start", "start"]


async def test_a_hang_lasts_until_the_grace_is_over(autojump_clock):
    """In a stop it uses the grace up; the actor's own leave is not taken."""
    async with open_system() as system:
        seen = []
        ref = await reader(
            system, FaultPlan(faults=(Fault(path="a", kind=FaultKind.HANG, point=FaultPoint.STOP),)), seen, shutdown=3
        )
        down = await ref.stop()
        assert (down.reason, trio.current_time(), seen) == (DownReason.KILLED, 3.0, ["start"])


async def test_a_delay_is_only_that(autojump_clock):
    """The method runs afterwards."""
    async with open_system() as system:
        seen = []
        delay = Fault(path="a", kind=FaultKind.DELAY, point=FaultPoint.START, seconds=2.5)
        await reader(system, FaultPlan(faults=(delay,)), seen)
        assert (trio.current_time(), seen) == (2.5, ["start"])


async def test_an_end_is_a_normal_one(autojump_clock):
    """In place of the handler."""
    async with open_system() as system:
        seen = []
        plan = FaultPlan(faults=(Fault(path="a", kind=FaultKind.END),))
        ref = await reader(system, plan, seen, restart=Restart.TRANSIENT)
        ref.tell_nowait(0)
        assert (await ref.wait()).reason is DownReason.NORMAL
        assert seen == ["start", "stop"]


async def test_a_failing_start_reaches_the_starter():
    """With the fault as its cause."""
    async with open_system() as system:
        plan = FaultPlan(faults=(Fault(path="a", point=FaultPoint.START),))
        with pytest.raises(StartFailed) as caught:
            await reader(system, plan, [])
        assert isinstance(caught.value.cause, InjectedFault)
        assert caught.value.cause.fault == plan.faults[0]


async def test_a_plan_reaches_all_below_a_supervisor(autojump_clock):
    """Class and message types of the actors stay as they are; the specs of the plan's author stay untouched."""
    async with open_system() as system:
        log, seen = EventLog(system.events), []
        inner = SupervisorSpec(children=(ChildSpec(name="b", start=lambda: Reader(seen)),))
        outer = SupervisorSpec(
            children=(ChildSpec(name="a", start=lambda: Reader(seen)), ChildSpec(name="inner", start=inner))
        )
        plan = FaultPlan(faults=(Fault(path="house/inner/b", point=FaultPoint.STOP),))
        house = await system.start_supervisor("house", plan.apply(outer))
        assert {info.kind for info in house.children()} == {"Reader", "supervisor"}
        b = system.registry["house/inner/b"]
        with pytest.raises(TypeError):
            b.tell_nowait("text")
        await house.stop()
        assert [record.actor for record in log.records if isinstance(record.event, events.ActorCrashed)] == [
            "house/inner/b"
        ]
        plain = await system.start_supervisor("house", outer)
        await plain.stop()
        assert len(log.of(events.ActorCrashed)) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "crash"}, "kind='crash', of type str; use FaultKind.CRASH"),
        ({"point": "message"}, "use FaultPoint.MESSAGE"),
        ({"message": 0}, "message=0; use a finite number of at least 1"),
        ({"seconds": -1}, "seconds=-1"),
        ({"incarnation": -1}, "incarnation=-1"),
    ],
)
def test_a_fault_that_would_never_be_due_is_refused(fields, words):
    """A test with it could not fail."""
    with pytest.raises(SpecRefused, match=re.escape(words)):
        Fault(path="a", **fields)


@pytest.mark.parametrize("nothing", [{"paths": ()}, {"kinds": ()}, {"points": ()}], ids=str)
def test_a_plan_of_nothing_is_refused(nothing: dict[str, tuple[()]]) -> None:
    """It says what there was nothing of."""
    with pytest.raises(SpecRefused, match=f"from no {next(iter(nothing))}"):
        FaultPlan.random(1, **{"paths": ("a",), **nothing})
