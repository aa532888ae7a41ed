"""The block that everything lives in: what leaves it, and that nothing else does."""

from __future__ import annotations

import random

import msgspec
import pytest
import trio

from coworld_actors.actors import (
    Actor,
    ActorStopped,
    Backoff,
    ChildSpec,
    DownReason,
    Restart,
    RestartPolicy,
    SupervisorSpec,
    events,
    open_system,
)


class Raise(msgspec.Struct, frozen=True):
    error: BaseException


class Member(Actor[Raise]):
    def __init__(self, log=None, *, stop_takes=0.0) -> None:
        self.log = [] if log is None else log
        self.stop_takes = stop_takes

    async def handle(self, message: Raise) -> None:
        raise message.error

    async def on_stop(self, reason) -> None:
        await trio.sleep(self.stop_takes)
        self.log.append(self.context.path)


async def populate(system, log, **kwargs):
    for name in ("a", "b", "c"):
        await system.start_actor(ChildSpec(name=name, start=lambda: Member(log, **kwargs)))


async def test_leaving_stops_all_in_reverse_order(autojump_clock):
    """One after the other; the last record says the system has stopped."""
    log, records = [], []
    async with open_system("s") as system:
        system.events.subscribe(records.append)
        await populate(system, log, stop_takes=1.0)
    assert log == ["c", "b", "a"]
    assert trio.current_time() == 3.0
    assert records[-1].event == events.SystemStopped(name="s")
    assert len(system.registry) == 0


async def test_an_exception_leaves_bare_after_the_stop():
    """Not wrapped in a group."""
    log = []
    with pytest.raises(KeyError, match="mine"):  # noqa: PT012
        async with open_system() as system:
            await populate(system, log)
            raise KeyError("mine")
    assert log == ["c", "b", "a"]


async def test_cancelling_the_block_stops_in_order_too(autojump_clock):
    """The tree is shielded; the cancellation goes on afterwards."""
    log = []
    with trio.move_on_after(5) as scope:
        async with open_system() as system:
            await populate(system, log, stop_takes=1.0)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert log == ["c", "b", "a"]
    assert trio.current_time() == 8.0


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_block_that_is_cancelled_before_it_begins_ends(at_once):
    """Opening in a cancelled scope neither hangs nor leaks."""
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_system():
            if not at_once:
                await trio.lowlevel.checkpoint()
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_the_shutdown_deadline_cancels_what_is_left_and_reports_it(autojump_clock):
    """Its event names who had to be cancelled."""
    log, records = [], []
    async with open_system("s", shutdown_deadline=1.5) as system:
        system.events.subscribe(records.append)
        await populate(system, log, stop_takes=1.0)
    assert log == ["c"]
    assert trio.current_time() == 1.5
    assert records[-1].event == events.SystemStopped(name="s", killed=("a", "b"))


async def test_a_crash_below_never_leaves_the_block():
    """The root's children are strangers: one that uses up its restarts ends alone."""
    async with open_system() as system:
        bad = await system.start_actor(ChildSpec(name="bad", start=Member))
        good = await system.start_actor(ChildSpec(name="good", start=Member))
        good.tell_nowait(Raise(ValueError("once")))
        for number in range(4):
            bad.tell_nowait(Raise(ValueError(str(number))))
        down = await bad.wait()
        assert (down.reason, str(down.cause), down.incarnation) == (DownReason.RESTART_LIMIT, "3", 3)
        assert good.alive
        assert system.root.alive


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_in_an_actor_closes_the_system(kind):
    """It is raised from the block after the ordered stop, bare."""
    log = []
    with pytest.raises(kind):  # noqa: PT012
        async with open_system() as system:
            await populate(system, log)
            system.registry["b"].tell_nowait(Raise(kind()))
            await trio.sleep_forever()
    assert "c" in log
    assert "a" in log


async def test_two_systems_live_side_by_side():
    """No state is shared: same paths, own streams, own dead letters."""
    async with open_system("one") as one, open_system("two") as two:
        seen = []
        two.events.subscribe(seen.append)
        a = await one.start_actor(ChildSpec(name="a", start=Member, restart=Restart.TEMPORARY))
        a.tell_nowait(Raise(ValueError("x")))
        await a.wait()
        assert one.dead_letters.count == 1
        assert two.dead_letters.count == 0
        assert seen == []
        b = await two.start_actor(ChildSpec(name="a", start=Member))
        assert two.registry["a"] is b
        assert "a" not in one.registry


async def test_refs_of_a_closed_system_refuse():
    """They are as good as any ref of a stopped actor."""
    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="a", start=Member))
    with pytest.raises(ActorStopped):
        ref.tell_nowait(Raise(ValueError()))
    assert (await ref.wait()).reason is DownReason.SHUTDOWN


async def test_subscriptions_end_with_the_system():
    """After the last record, so that a reader needs no signal of its own."""
    seen = []

    async def read(subscription) -> None:
        async for record in subscription:
            seen.append(type(record.event).__name__)  # noqa: PERF401 - read as they come

    async with trio.open_nursery() as nursery, open_system() as system:
        nursery.start_soon(read, system.events.open())
    assert seen == ["SupervisorStopped", "SystemStopped"]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_gives_the_same_jitter(seed):
    """P20's share of the core: a run with a seeded random repeats itself, events and times."""

    def run() -> list:
        records = []

        async def main() -> None:
            async with open_system(random=random.Random(seed)) as system:
                system.events.subscribe(lambda record: records.append((record.at, record.actor, type(record.event))))
                policy = RestartPolicy(max_restarts=9, backoff=Backoff(first=1.0, jitter=0.5))
                house = await system.start_supervisor("house", SupervisorSpec(restarts=policy))
                ref = await house.start_actor(ChildSpec(name="a", start=Member))
                for _ in range(5):
                    ref.tell_nowait(Raise(ValueError("x")))
                await trio.sleep(100)

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        return records

    first = run()
    assert first == run()
    assert len(first) > 20


async def test_a_system_is_a_sentence():
    """Name, state, how many live."""
    async with open_system("s") as system:
        assert repr(system) == "<ActorSystem s: running, 1 living>"
