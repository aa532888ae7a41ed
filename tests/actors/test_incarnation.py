"""One life: start, batches, stop, grace, kill; and how each of its ends is told."""

from __future__ import annotations

import math

import msgspec
import pytest
import trio

from coworld_actors.actors import (
    Actor,
    ChildSpec,
    DownReason,
    MailboxPolicy,
    Request,
    Restart,
    StartFailed,
    StopReason,
    events,
    open_system,
)
from coworld_actors.actors.incarnation import BATCH


class Work(msgspec.Struct, frozen=True):
    takes: float = 0.0


class Spin(Request[int], frozen=True):
    pass


class Worker(Actor[Work | Spin]):
    def __init__(self, log, *, start_takes=0.0, stop_takes=0.0) -> None:
        self.log = log
        self.start_takes = start_takes
        self.stop_takes = stop_takes

    async def on_start(self) -> None:
        try:
            if self.start_takes:
                await trio.sleep(self.start_takes)
            self.log.append("started")
        except trio.Cancelled:
            self.log.append("start cancelled")
            raise

    async def handle(self, message: Work | Spin) -> int:
        if isinstance(message, Work) and message.takes:
            await trio.sleep(message.takes)
        self.log.append("handled")
        return 1

    async def on_stop(self, reason: StopReason) -> None:
        self.log.append(f"on_stop {reason}")
        await trio.sleep(self.stop_takes)
        self.log.append("stopped")


async def start(system, log, *, shutdown=5.0, restart=Restart.TEMPORARY, **times):
    spec = ChildSpec(name="w", start=lambda: Worker(log, **times), shutdown=shutdown, restart=restart)
    return await system.start_actor(spec)


async def test_a_stop_finishes_the_message_in_hand_within_the_grace(autojump_clock):
    """Then `on_stop`; what is queued is not handled."""
    async with open_system() as system:
        log = []
        ref = await start(system, log, stop_takes=1.0)
        ref.tell_nowait(Work(2.0))
        ref.tell_nowait(Work())
        await trio.testing.wait_all_tasks_blocked()
        down = await ref.stop()
        assert log == ["started", "handled", "on_stop shutdown", "stopped"]
        assert (down.reason, trio.current_time()) == (DownReason.SHUTDOWN, 3.0)


async def test_a_used_up_grace_cancels_and_is_reported(autojump_clock):
    """The grace covers handler and `on_stop` together; the Down says KILLED, an event says ChildKilled."""
    async with open_system() as system:
        records = []
        system.events.subscribe(records.append)
        log = []
        ref = await start(system, log, shutdown=3.0, stop_takes=2.0)
        ref.tell_nowait(Work(2.0))
        await trio.testing.wait_all_tasks_blocked()
        down = await ref.stop()
        assert log == ["started", "handled", "on_stop shutdown"]
        assert (down.reason, trio.current_time()) == (DownReason.KILLED, 3.0)
        assert [r.event.grace for r in records if isinstance(r.event, events.ChildKilled)] == [3.0]


@pytest.mark.parametrize(("shutdown", "time"), [(0.0, 0.0), (math.inf, 100.0)])
async def test_graces_may_be_nothing_or_endless(shutdown, time, autojump_clock):
    """0 cancels at once, infinity waits."""
    async with open_system() as system:
        ref = await start(system, [], shutdown=shutdown)
        ref.tell_nowait(Work(100.0))
        await trio.testing.wait_all_tasks_blocked()
        down = await ref.stop()
        assert trio.current_time() == time
        assert down.reason is (DownReason.KILLED if shutdown == 0 else DownReason.SHUTDOWN)


async def test_a_drain_handles_what_is_queued_and_refuses_the_rest(autojump_clock):
    """However long the queue takes; the grace is for `on_stop`."""
    async with open_system() as system:
        log = []
        ref = await start(system, log, shutdown=1.0)
        for _ in range(5):
            ref.tell_nowait(Work(3.0))
        down = await ref.drain()
        assert log.count("handled") == 5
        assert log[-2:] == ["on_stop shutdown", "stopped"]
        assert (down.reason, trio.current_time()) == (DownReason.SHUTDOWN, 15.0)


async def test_a_stop_overtakes_a_drain(autojump_clock):
    """Intents only grow: the stop's grace counts from the stop."""
    async with open_system() as system:
        log = []
        ref = await start(system, log, shutdown=1.0)
        for _ in range(5):
            ref.tell_nowait(Work(3.0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.drain)
            await trio.sleep(4)
            down = await ref.stop()
        assert (down.reason, trio.current_time()) == (DownReason.KILLED, 5.0)
        assert system.dead_letters.count == 4


async def test_a_kill_overtakes_a_stop(autojump_clock):
    """No grace is left then, and `on_stop` does not run."""
    async with open_system() as system:
        log = []
        ref = await start(system, log)
        ref.tell_nowait(Work(4.0))
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.stop)
            await trio.sleep(1)
            down = await ref.kill()
        assert (down.reason, trio.current_time()) == (DownReason.KILLED, 1.0)
        assert log == ["started"]


async def test_a_drain_during_the_start_lets_the_start_finish(autojump_clock):
    """Then it handles what came before."""
    async with open_system() as system:
        log = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: start(system, log, start_takes=2.0))
            await trio.sleep(1)
            ref = system.registry["w"]
            ref.tell_nowait(Work())
            await ref.drain()
        assert log == ["started", "handled", "on_stop shutdown", "stopped"]


async def test_a_stop_during_the_start_cancels_it_at_once(autojump_clock):
    """The one who starts is told; `on_stop` does not run."""
    async with open_system() as system:
        log = []

        async def begin() -> None:
            with pytest.raises(StartFailed, match="it was stopped") as caught:
                await start(system, log, start_takes=100.0)
            assert caught.value.cause is None

        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin)
            await trio.sleep(1)
            down = await system.registry["w"].stop()
        assert log == ["start cancelled"]
        assert (down.reason, trio.current_time()) == (DownReason.SHUTDOWN, 1.0)


async def test_a_start_that_ignores_its_stop_still_gets_its_on_stop(autojump_clock):
    """What has started is stopped in order."""
    log = []

    class Stubborn(Worker):
        async def on_start(self) -> None:
            with trio.move_on_after(2, shield=True):
                await trio.sleep_forever()
            log.append("started")

    async with open_system() as system:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start_actor, ChildSpec(name="w", start=lambda: Stubborn(log)))
            await trio.sleep(1)
            down = await system.registry["w"].stop()
        assert log == ["started", "on_stop shutdown", "stopped"]
        assert (down.reason, trio.current_time()) == (DownReason.SHUTDOWN, 2.0)


async def test_a_cancelled_stopper_does_not_abort_the_stop(autojump_clock):
    """The stop is the runtime's, not the caller's."""
    async with open_system() as system:
        log = []
        ref = await start(system, log, stop_takes=2.0)
        with trio.move_on_after(1):
            await ref.stop()
        assert trio.current_time() == 1.0
        assert (await ref.wait()).reason is DownReason.SHUTDOWN
        assert log[-1] == "stopped"


async def test_a_busy_actor_yields_once_per_batch():
    """Of two actors with full queues each handles `BATCH` messages in every round of the loop."""
    turns: list[str] = []

    class Busy(Actor[Work]):
        async def handle(self, message: Work) -> None:
            turns.append(self.context.name)

    async with open_system() as system:
        refs = [
            await system.start_actor(ChildSpec(name=name, start=Busy, mailbox=MailboxPolicy(capacity=10 * BATCH)))
            for name in "ab"
        ]
        for ref in refs:
            for _ in range(4 * BATCH):
                ref.tell_nowait(Work())
        await trio.testing.wait_all_tasks_blocked()
    runs = [turns[start : start + BATCH] for start in range(0, len(turns), BATCH)]
    assert all(len(set(run)) == 1 for run in runs)
    assert [{one[0], other[0]} for one, other in zip(runs[::2], runs[1::2], strict=True)] == [{"a", "b"}] * 4


async def test_a_grace_that_ends_in_a_failing_clean_up_is_a_crash(autojump_clock):
    """What is raised is never lost, and a stop by hand is final anyway."""

    class Messy(Actor[Work]):
        async def handle(self, message: Work) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("clean-up")

    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="m", start=Messy, shutdown=1.0))
        ref.tell_nowait(Work())
        await trio.testing.wait_all_tasks_blocked()
        down = await ref.stop()
        assert down.reason is DownReason.CRASHED
        assert isinstance(down.cause, OSError)
        assert not ref.alive


async def test_a_group_is_flattened_to_its_cause():
    """`Down.cause` and the event name the first leaf, not the group."""

    class Grouped(Actor[Work]):
        async def handle(self, message: Work) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.fail)
                await trio.sleep_forever()

        async def fail(self) -> None:
            raise KeyError("leaf")

    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="g", start=Grouped, restart=Restart.TEMPORARY))
        ref.tell_nowait(Work())
        down = await ref.wait()
        assert isinstance(down.cause, KeyError)
