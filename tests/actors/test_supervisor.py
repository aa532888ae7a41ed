"""Supervisors by example: order, graces, limits, back-off, groups, significant children. The model test covers the combinations."""

from __future__ import annotations

import functools
import random

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from coworld_actors.actors import (
    Actor,
    ActorCrashed,
    AutoShutdown,
    Backoff,
    ChildSpec,
    DownReason,
    NameTaken,
    Request,
    Restart,
    RestartPolicy,
    SpecRefused,
    StartFailed,
    State,
    StopOrder,
    Strategy,
    SupervisorSpec,
    WouldDeadlock,
    events,
    open_system,
)


class Crash(msgspec.Struct, frozen=True):
    pass


class End(msgspec.Struct, frozen=True):
    pass


class Call(Request[object], frozen=True):
    function: object


class Member(Actor[Crash | End | Call]):
    """Writes its starts and stops into a log."""

    def __init__(self, log, *, start_takes=0.0, stop_takes=0.0, failing=None) -> None:
        self.log = log
        self.start_takes = start_takes
        self.stop_takes = stop_takes
        self.failing = failing if failing is not None else []

    async def on_start(self) -> None:
        await trio.sleep(self.start_takes)
        if self.failing and self.failing.pop():
            raise ValueError("cannot start")
        self.log.append(f"+{self.context.name}")

    async def handle(self, message):
        match message:
            case Crash():
                raise ValueError("told to")
            case End():
                self.context.stop()
            case Call():
                return await message.function()
        return None

    async def on_stop(self, reason) -> None:
        self.log.append(f"-{self.context.name}")
        await trio.sleep(self.stop_takes)


def child(name, log, *, restart=Restart.PERMANENT, significant=False, shutdown=5.0, **kwargs) -> ChildSpec:
    return ChildSpec(
        name=name, start=lambda: Member(log, **kwargs), restart=restart, significant=significant, shutdown=shutdown
    )


async def quiet() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_children_start_in_order_and_stop_in_reverse(autojump_clock):
    """P07: one after the other; each gets its own grace, then is cancelled; the total is the sum."""
    async with open_system() as system:
        log, records = [], []
        system.events.subscribe(records.append)
        spec = SupervisorSpec(
            children=(
                child("a", log, start_takes=1, stop_takes=1),
                child("b", log, start_takes=1, stop_takes=100, shutdown=3),
                child("c", log, start_takes=1, stop_takes=2),
            )
        )
        house = await system.start_supervisor("house", spec)
        assert trio.current_time() == 3.0
        await house.stop("enough")
        assert trio.current_time() == 3.0 + 2 + 3 + 1
        assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]
        ends = [(r.actor, r.event.reason) for r in records if isinstance(r.event, events.ActorStopped)]
        assert ends == [("house/c", "shutdown"), ("house/b", "killed"), ("house/a", "shutdown")]
        assert [r.actor for r in records if isinstance(r.event, events.ChildKilled)] == ["house/b"]
        stopped = next(r.event for r in records if isinstance(r.event, events.SupervisorStopped))
        assert (stopped.reason, stopped.note) == ("shutdown", "enough")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 4.0]), st.sampled_from([0.0, 2.0, 6.0])), min_size=1, max_size=6),
    st.sampled_from(list(StopOrder)),
)
def test_a_stop_takes_no_longer_than_the_graces(times, order):
    """P07: the sum of min(grace, need) in reverse order, the longest of them together."""
    ends: list[str] = []

    async def main() -> None:
        async with open_system() as system:
            spec = SupervisorSpec(
                stop_order=order,
                children=tuple(
                    child(str(n), ends, shutdown=grace, stop_takes=need) for n, (grace, need) in enumerate(times)
                ),
            )
            house = await system.start_supervisor("house", spec)
            ends.clear()
            began = trio.current_time()
            await house.stop()
            needed = [min(grace, need) for grace, need in times]
            assert trio.current_time() - began == (sum(needed) if order is StopOrder.REVERSE else max(needed))

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert sorted(ends) == sorted(f"-{n}" for n in range(len(times)))
    if order is StopOrder.REVERSE:
        assert ends == [f"-{n}" for n in reversed(range(len(times)))]


async def test_a_cancelled_stopper_does_not_abort_the_stop(autojump_clock):
    """Nor does it change the order."""
    async with open_system() as system:
        log = []
        spec = SupervisorSpec(children=(child("a", log, stop_takes=2), child("b", log, stop_takes=2)))
        house = await system.start_supervisor("house", spec)
        with trio.move_on_after(1):
            await house.stop()
        await house.wait()
        assert trio.current_time() == 4.0
        assert log[2:] == ["-b", "-a"]


async def test_a_failing_first_child_undoes_those_before_it(autojump_clock):
    """In reverse; the supervisor's start fails with the child's cause, and nothing is left."""
    async with open_system() as system:
        log = []
        spec = SupervisorSpec(children=(child("a", log), child("b", log), child("c", log, failing=[True])))
        with pytest.raises(StartFailed, match="house did not start: ValueError: cannot start") as caught:
            await system.start_supervisor("house", spec)
        assert isinstance(caught.value.cause, ValueError)
        assert log == ["+a", "+b", "-b", "-a"]
        assert list(system.registry) == [""]


async def test_a_failed_start_is_not_retried():
    """Only a child that has run is restarted; the name is free again."""
    async with open_system() as system:
        failing = [False, True]
        log = []
        with pytest.raises(StartFailed):
            await system.start_actor(child("a", log, failing=failing))
        assert (await system.start_actor(child("a", log, failing=failing))).alive


async def test_several_children_start_at_the_same_time(autojump_clock):
    """Their places in the order are those of their calls."""
    async with open_system() as system:
        log = []
        house = await system.start_supervisor("house")
        async with trio.open_nursery() as nursery:
            for number, takes in enumerate([3, 1, 2]):
                nursery.start_soon(house.start_actor, child(str(number), log, start_takes=takes))
                await quiet()
        assert trio.current_time() == 3.0
        await house.stop()
        assert log == ["+1", "+2", "+0", "-2", "-1", "-0"]


async def test_a_name_is_taken_while_its_child_lives():
    """Also while it is starting."""
    async with open_system() as system:
        await system.start_actor(child("a", []))
        with pytest.raises(NameTaken, match="has a child named 'a' already"):
            await system.start_actor(child("a", []))


async def test_a_stopping_supervisor_starts_nobody(autojump_clock):
    """The caller is told at once."""
    async with open_system() as system:
        house = await system.start_supervisor("house", SupervisorSpec(children=(child("a", [], stop_takes=2),)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.stop)
            await trio.sleep(1)
            with pytest.raises(StartFailed, match="house is stopping"):
                await house.start_actor(child("b", []))
        with pytest.raises(StartFailed, match="house is shutdown"):
            await house.start_actor(child("b", []))


async def test_a_cancelled_starter_takes_the_child_along(autojump_clock):
    """It is stopped, not abandoned half started."""
    async with open_system() as system:
        with trio.move_on_after(1):
            await system.start_actor(child("a", [], start_takes=10))
        await quiet()
        assert system.tree() == []
        assert trio.current_time() == 1.0


async def test_a_significant_child_is_checked_when_it_is_added():
    """A supervisor that never shuts down refuses it."""
    async with open_system() as system:
        with pytest.raises(SpecRefused, match="auto_shutdown is 'never'"):
            await system.start_actor(child("a", [], restart=Restart.TEMPORARY, significant=True))


async def test_waiting_for_a_supervisor_from_below_is_refused():
    """It would wait for the grace of the one who asks."""
    async with open_system() as system:
        house = await system.start_supervisor("house")
        ref = await house.start_actor(child("a", []))
        for wait in (house.stop, lambda: system.root.stop_child("house"), lambda: house.stop_child("a")):
            with pytest.raises(ActorCrashed) as caught:
                await ref.ask(Call(wait), deadline=1)
            assert isinstance(caught.value.__cause__, WouldDeadlock)


async def test_an_actor_may_start_siblings():
    """Starting needs nothing of the one who asks."""
    async with open_system() as system:
        log = []
        house = await system.start_supervisor("house")
        ref = await house.start_actor(child("a", log))
        sibling = await ref.ask(Call(lambda: house.start_actor(child("b", log))), deadline=1)
        assert sibling.path == "house/b"


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ["+b"]),
        (Strategy.ONE_FOR_ALL, ["-d", "-c", "-a", "+a", "+b", "+c"]),
        (Strategy.REST_FOR_ONE, ["-d", "-c", "+b", "+c"]),
    ],
)
async def test_strategies_take_siblings_along(strategy, expected):
    """Down in reverse, up in order; the temporary `d` does not come back."""
    async with open_system() as system:
        log, records = [], []
        system.events.subscribe(records.append)
        spec = SupervisorSpec(
            strategy=strategy,
            children=(*(child(name, log) for name in "abc"), child("d", log, restart=Restart.TEMPORARY)),
        )
        house = await system.start_supervisor("house", spec)
        refs = {name: house.child(name) for name in "abcd"}
        log.clear()
        refs["b"].tell_nowait(Crash())
        await quiet()
        assert log == expected
        assert all(house.child(name) is refs[name] for name in "abc")
        assert refs["d"].alive is (strategy is Strategy.ONE_FOR_ONE)
        (scheduled,) = [r.event for r in records if isinstance(r.event, events.RestartScheduled)]
        assert scheduled.along == tuple(name for name in "acd" if f"-{name}" in expected)


async def test_a_sibling_that_is_taken_along_keeps_its_queue(autojump_clock):
    """Messages sent to it meanwhile wait for its next life."""
    async with open_system() as system:
        log = []
        policy = RestartPolicy(backoff=Backoff(first=5.0, jitter=0))
        spec = SupervisorSpec(
            strategy=Strategy.ONE_FOR_ALL, restarts=policy, children=(child("a", log), child("b", log))
        )
        house = await system.start_supervisor("house", spec)
        a, b = house.child("a"), house.child("b")
        b.tell_nowait(Crash())
        await trio.sleep(1)
        assert [info.state for info in house.children()] == [State.WAITING, State.WAITING]

        async def done() -> str:
            return "done"

        assert await a.ask(Call(done), deadline=10) == "done"
        assert trio.current_time() == 5.0
        assert system.dead_letters.count == 1


async def test_a_child_added_while_its_group_is_down_comes_up_with_it(autojump_clock):
    """In its turn, after those before it."""
    async with open_system() as system:
        log = []
        policy = RestartPolicy(backoff=Backoff(first=5.0, jitter=0))
        spec = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, restarts=policy, children=(child("a", log),))
        house = await system.start_supervisor("house", spec)
        house.child("a").tell_nowait(Crash())
        await quiet()
        log.clear()
        await house.start_actor(child("b", log))
        assert (log, trio.current_time()) == (["+a", "+b"], 5.0)


@pytest.mark.parametrize("temporary", [True, False])
async def test_a_start_that_a_sibling_interrupts_is_repeated(temporary, autojump_clock):
    """Whoever waits for it gets its ref after the group's restart."""
    async with open_system() as system:
        log = []
        spec = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=(child("a", log),))
        house = await system.start_supervisor("house", spec)
        restart = Restart.TEMPORARY if temporary else Restart.PERMANENT
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.start_actor, child("b", log, start_takes=4, restart=restart))
            await trio.sleep(1)
            house.child("a").tell_nowait(Crash())
        assert log == ["+a", "+a", "+b"]
        assert trio.current_time() == 5.0
        assert house.child("b").alive


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0, 6.0]), min_size=1, max_size=12),
    st.integers(0, 3),
    st.sampled_from([1.0, 5.0]),
)
def test_the_restart_limit_escalates_with_the_first_restart_too_many(gaps, limit, within):
    """P08: N restarts in the window are made, the next ends the supervisor with RESTART_LIMIT and the cause."""
    admitted: list[float] = []
    now, limit_at = 0.0, None
    for gap in gaps:
        now += gap
        if sum(now - then <= within for then in admitted) >= limit:
            limit_at = now
            break
        admitted.append(now)

    async def main() -> None:
        async with open_system() as system:
            records = []
            system.events.subscribe(records.append)
            spec = SupervisorSpec(restarts=RestartPolicy(max_restarts=limit, within=within), children=(child("a", []),))
            house = await system.start_supervisor("house", spec)
            monitor = house.monitor()
            for gap in gaps:
                await trio.sleep(gap)
                await quiet()
                if house.alive:
                    house.child("a").tell_nowait(Crash())
                    await quiet()
            restarts = [r.at for r in records if isinstance(r.event, events.ActorRestarted)]
            assert restarts == admitted
            reached = [(r.at, r.actor, r.event) for r in records if isinstance(r.event, events.RestartLimitReached)]
            if limit_at is None:
                assert (reached, monitor.down) == ([], None)
            else:
                event = events.RestartLimitReached(
                    child="a", max_restarts=limit, within=within, reason="crashed", cause="ValueError: told to"
                )
                assert reached == [(limit_at, "house", event)]
                assert monitor.down.reason is DownReason.RESTART_LIMIT
                assert isinstance(monitor.down.cause, ValueError)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 9.5, 10.5, 20.0]), min_size=1, max_size=8), st.floats(0, 1), st.integers())
def test_back_off_grows_in_a_row_and_resets_after_a_long_life(lives, jitter, seed):
    """P08: never below the schedule, jitter within its bound, from the beginning after `reset_after` seconds of life."""
    backoff = Backoff(first=1.0, factor=2.0, maximum=6.0, jitter=jitter, reset_after=10.0)
    delays: list[float] = []
    left = list(lives)

    class Mortal(Actor[End]):
        async def on_start(self) -> None:
            if left:
                self.context.spawn(self.die, left.pop(0))

        async def die(self, after: float) -> None:
            await trio.sleep(after)
            raise ValueError("its time has come")

    async def main() -> None:
        async with open_system(random=random.Random(seed)) as system:
            system.events.subscribe(
                lambda r: delays.append(r.event.delay) if isinstance(r.event, events.ActorRestarted) else None
            )
            policy = RestartPolicy(max_restarts=100, backoff=backoff)
            spec = SupervisorSpec(restarts=policy, children=(ChildSpec(name="mortal", start=Mortal),))
            await system.start_supervisor("house", spec)
            await trio.sleep(1000)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(delays) == len(lives)
    row = 0
    for number, delay in enumerate(delays):
        row = 1 if number and lives[number] >= 10.0 else row + 1
        floor = min(6.0, 2.0 ** (row - 1))
        assert floor - 1e-9 <= delay <= floor * (1 + jitter) + 1e-9


async def test_failed_restarts_count_and_a_stop_is_served_meanwhile(autojump_clock):
    """A child that cannot start again backs off like one that crashes; nobody waits for the back-off to stop it."""
    async with open_system() as system:
        failing = [True] * 50 + [False]
        records = []
        system.events.subscribe(records.append)
        policy = RestartPolicy(max_restarts=100, within=1000, backoff=Backoff(first=1.0, jitter=0, maximum=100))
        house = await system.start_supervisor(
            "house", SupervisorSpec(restarts=policy, children=(child("a", [], failing=failing),))
        )
        house.child("a").tell_nowait(Crash())
        await trio.sleep(14.5)
        delays = [r.event.delay for r in records if isinstance(r.event, events.RestartScheduled)]
        assert delays == [1, 2, 4, 8]
        began = trio.current_time()
        down = await house.stop_child("a")
        assert (trio.current_time(), down.reason) == (began, DownReason.SHUTDOWN)


async def test_a_restart_limit_is_a_crash_for_the_parent():
    """A transient supervisor that used up its restarts is started again, with its first children only."""
    async with open_system() as system:
        log = []
        inner = SupervisorSpec(restarts=RestartPolicy(max_restarts=0), children=(child("a", log),))
        outer = SupervisorSpec(children=(ChildSpec(name="inner", start=inner, restart=Restart.TRANSIENT),))
        house = await system.start_supervisor("house", outer)
        ref = house.child("inner")
        added = await ref.start_actor(child("added", log))
        first = ref.child("a")
        first.tell_nowait(Crash())
        await quiet()
        assert house.child("inner") is ref
        assert ref.alive
        assert [info.name for info in ref.children()] == ["a"]
        assert not added.alive
        assert ref.child("a") is not first
        assert (first.monitor().down.reason, added.monitor().down.reason) == (DownReason.CRASHED, DownReason.SHUTDOWN)


@pytest.mark.parametrize(
    ("auto", "restart", "message", "ends_after"),
    [
        (AutoShutdown.ANY_SIGNIFICANT, Restart.TRANSIENT, End(), 1),
        (AutoShutdown.ANY_SIGNIFICANT, Restart.TRANSIENT, Crash(), None),
        (AutoShutdown.ANY_SIGNIFICANT, Restart.TEMPORARY, Crash(), 1),
        (AutoShutdown.ANY_SIGNIFICANT, Restart.TEMPORARY, End(), 1),
        (AutoShutdown.ALL_SIGNIFICANT, Restart.TRANSIENT, End(), 2),
        (AutoShutdown.ALL_SIGNIFICANT, Restart.TEMPORARY, Crash(), 2),
    ],
)
async def test_significant_children_take_their_supervisor_along(auto, restart, message, ends_after):
    """When they end by themselves and stay down; the others are stopped in order, and its own end is NORMAL."""
    async with open_system() as system:
        spec = SupervisorSpec(
            auto_shutdown=auto,
            children=(
                child("x", [], restart=restart, significant=True),
                child("y", [], restart=restart, significant=True),
                child("z", []),
            ),
        )
        house = await system.start_supervisor("house", spec)
        monitor = house.monitor()
        refs = [house.child(name) for name in "xy"]
        for number, ref in enumerate(refs, 1):
            ref.tell_nowait(message)
            await quiet()
            if number == ends_after:
                assert monitor.down.reason is DownReason.NORMAL
                break
            assert monitor.down is None


@pytest.mark.parametrize("how", ["stop", "drain", "kill"])
async def test_a_significant_child_that_is_stopped_by_hand_takes_nobody_along(how):
    """auto_shutdown is for ends of its own."""
    async with open_system() as system:
        spec = SupervisorSpec(
            auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
            children=(child("x", [], restart=Restart.TRANSIENT, significant=True),),
        )
        house = await system.start_supervisor("house", spec)
        await getattr(house.child("x"), how)()
        await quiet()
        assert house.alive


async def test_a_significant_child_that_ends_in_its_start_ends_the_supervisor_after_it():
    """The start succeeds; then the supervisor ends normally."""

    class Brief(Actor[End]):
        async def on_start(self) -> None:
            self.context.stop()

    async with open_system() as system:
        spec = SupervisorSpec(
            auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
            children=(ChildSpec(name="x", start=Brief, restart=Restart.TRANSIENT, significant=True),),
        )
        house = await system.start_supervisor("house", spec)
        assert (await house.wait()).reason is DownReason.NORMAL


async def test_a_crash_while_others_stop_is_reported_and_not_restarted(autojump_clock):
    """The stop goes on."""
    async with open_system() as system:
        log, records = [], []
        system.events.subscribe(records.append)
        house = await system.start_supervisor(
            "house", SupervisorSpec(children=(child("a", log), child("b", log, stop_takes=2)))
        )
        a = house.child("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.stop)
            await trio.sleep(1)
            a.tell_nowait(Crash())
        assert log == ["+a", "+b", "-b"]
        assert a.monitor().down.reason is DownReason.CRASHED
        assert [r.actor for r in records if isinstance(r.event, events.ActorCrashed)] == ["house/a"]
        assert not [r for r in records if isinstance(r.event, events.RestartScheduled)]


async def test_statistics_count_starts_and_restarts():
    """Over all lives of the children."""
    async with open_system() as system:
        house = await system.start_supervisor("house", SupervisorSpec(children=(child("a", []),)))
        house.child("a").tell_nowait(Crash())
        await quiet()
        statistics = house.statistics()
        assert (statistics.children, statistics.running, statistics.started, statistics.restarts) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("strategy", "restarts"), [(Strategy.ONE_FOR_ONE, 2), (Strategy.ONE_FOR_ALL, 1), (Strategy.REST_FOR_ONE, 1)]
)
async def test_siblings_that_crash_together_are_one_restart_of_their_group(strategy, restarts, autojump_clock):
    """The group's restart answers a crash that comes while it takes the siblings down; alone each is one of its own."""
    async with open_system() as system:
        log, records = [], []
        system.events.subscribe(records.append)

        async def fall(after: float) -> None:
            with trio.move_on_after(after, shield=True):
                await trio.sleep_forever()
            raise ValueError("told to")

        spec = SupervisorSpec(strategy=strategy, children=tuple(child(name, log) for name in "ab"))
        house = await system.start_supervisor("house", spec)
        house.child("a").tell_nowait(Call(lambda: fall(1.0)))
        house.child("b").tell_nowait(Call(lambda: fall(1.0)))
        log.clear()
        await trio.sleep(10)
        assert log == ["+a", "+b"] or (strategy is Strategy.ONE_FOR_ONE and log == ["+b", "+a"])
        scheduled = [r.actor for r in records if isinstance(r.event, events.RestartScheduled)]
        first_was_later = strategy is Strategy.REST_FOR_ONE and scheduled[0] == "house/b"
        assert len(scheduled) == restarts + first_was_later


async def test_an_earlier_childs_restart_absorbs_a_later_ones_that_is_due(autojump_clock):
    """rest_for_one: what waits for its back-off comes up with the group of the one before it, and not earlier."""
    async with open_system() as system:
        log = []
        policy = RestartPolicy(backoff=Backoff(first=5.0, jitter=0))
        spec = SupervisorSpec(
            strategy=Strategy.REST_FOR_ONE, restarts=policy, children=tuple(child(name, log) for name in "abc")
        )
        house = await system.start_supervisor("house", spec)
        house.child("c").tell_nowait(Crash())
        await trio.sleep(1)
        house.child("a").tell_nowait(Crash())
        log.clear()
        await trio.sleep(4.5)
        assert log == ["-b"]
        await trio.sleep(1)
        assert log == ["-b", "+a", "+b", "+c"]


async def test_a_group_that_restarts_does_not_wait_for_a_drain(autojump_clock):
    """The drained sibling is stopped for good within its grace, and does not come back."""
    async with open_system() as system:
        log = []
        spec = SupervisorSpec(strategy=Strategy.ONE_FOR_ALL, children=(child("a", log), child("b", log, shutdown=1.0)))
        house = await system.start_supervisor("house", spec)
        a, b = house.child("a"), house.child("b")
        for _ in range(10):
            b.tell_nowait(Call(functools.partial(trio.sleep, 10)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.drain)
            await trio.sleep(5)
            a.tell_nowait(Crash())
        assert b.monitor().down.reason is DownReason.KILLED
        assert trio.current_time() == 6.0
        await quiet()
        assert [info.name for info in house.children()] == ["a"]


@pytest.mark.parametrize("how", ["stop", "kill", "parent"])
async def test_a_supervisor_that_waits_for_its_restart_is_stopped_at_once(how, autojump_clock):
    """Nothing of it runs, so nothing is waited for."""
    async with open_system() as system:
        inner = SupervisorSpec(restarts=RestartPolicy(max_restarts=0), children=(child("a", []),))
        outer = SupervisorSpec(
            restarts=RestartPolicy(backoff=Backoff(first=60.0, maximum=60.0)),
            children=(ChildSpec(name="inner", start=inner),),
        )
        house = await system.start_supervisor("house", outer)
        ref = house.child("inner")
        ref.child("a").tell_nowait(Crash())
        await quiet()
        assert house.children()[0].state is State.WAITING
        with pytest.raises(StartFailed, match="inner is stopping"):
            await ref.start_actor(child("b", []))
        await (house.stop() if how == "parent" else getattr(ref, how)())
        assert trio.current_time() == 0.0
        assert ref.monitor().down.reason is (DownReason.KILLED if how == "kill" else DownReason.SHUTDOWN)


async def test_an_auto_shutdown_does_not_wait_for_a_sibling_that_starts_again(autojump_clock):
    """Its start is cancelled, as by any stop."""
    async with open_system() as system:
        log = []

        class Slow(Member):
            async def on_start(self) -> None:
                await trio.sleep(100 * self.context.incarnation)

        spec = SupervisorSpec(
            strategy=Strategy.REST_FOR_ONE,
            auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
            children=(
                child("game", log, restart=Restart.TEMPORARY, significant=True),
                ChildSpec(name="slow", start=lambda: Slow(log)),
            ),
        )
        house = await system.start_supervisor("house", spec)
        house.child("slow").tell_nowait(Crash())
        await trio.sleep(1)
        house.child("game").tell_nowait(End())
        down = await house.wait()
        assert (down.reason, trio.current_time()) == (DownReason.NORMAL, 1.0)


async def test_starts_that_nobody_waits_for_do_not_wake_the_supervisor():
    """Its loop runs for its own children in turn, for ends and for restarts; not for children that are added."""

    class Steps(trio.abc.Instrument):
        def __init__(self) -> None:
            self.names: list[str] = []

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.names.append(task.name)

    class Quiet(Actor[int]):
        pass

    async with open_system() as system:
        house = await system.start_supervisor("house")
        await trio.testing.wait_all_tasks_blocked()
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        for number in range(5):
            await house.start_actor(ChildSpec(name=f"child-{number}", start=Quiet))
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(steps)
    assert steps.names.count("house") == 0
    assert steps.names.count("house/child-4") == 1
