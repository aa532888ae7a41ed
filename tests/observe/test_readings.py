"""Values that are read from other threads than the runtime's."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import trio
from prometheus_client import CollectorRegistry

from coworld_actors.actors import Actor, ChildSpec, DeadLetterReason
from coworld_actors.observe.prometheus import metrics
from coworld_actors.observe.readings import ANSWER_SECONDS, Snapshots
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime
from coworld_drivers.process import ProcessDriver

R = {"runtime": "r"}


async def test_a_scrape_from_another_thread_sees_what_is_now(driver: ProcessDriver) -> None:
    """No stale number: the event loop is asked."""
    registry = CollectorRegistry()

    def read() -> list[float | None]:
        names = (
            "coworld_episodes_parallel",
            "coworld_runtime_paused",
            "coworld_episodes_running",
            "coworld_loop_lag_seconds",
        )
        return [registry.get_sample_value(name, R) for name in names]

    with trio.fail_after(60):
        async with open_runtime(driver, name="r", attach=[metrics(registry)]) as runtime:
            for parallel in (3, 7):
                runtime.set_parallel(parallel)
                runtime.pause()
                assert (await trio.to_thread.run_sync(read))[:3] == [parallel, 1, 0]


async def test_a_scrape_in_the_runtimes_own_thread_does_not_wait_for_itself(driver: ProcessDriver) -> None:
    """A handler of the host's may call `generate_latest` in the loop."""
    registry = CollectorRegistry()
    with trio.fail_after(60):
        async with open_runtime(driver, name="r", attach=[metrics(registry)]) as runtime:
            runtime.set_parallel(5)
            assert registry.get_sample_value("coworld_episodes_parallel", R) == 5


async def test_a_blocked_loop_does_not_block_the_scrape(driver: ProcessDriver) -> None:
    """It gets the last snapshot, and the lag is the time that the answer is overdue."""
    registry = CollectorRegistry()
    seen: list[float | None] = []

    def scrape() -> None:
        lag = registry.get_sample_value("coworld_loop_lag_seconds", R)
        seen.extend([registry.get_sample_value("coworld_episodes_parallel", R), lag])

    with trio.fail_after(60):
        async with open_runtime(driver, name="r", blocked_after=50, attach=[metrics(registry)]) as runtime:
            runtime.set_parallel(5)
            assert registry.get_sample_value("coworld_episodes_parallel", R) == 5
            runtime.set_parallel(6)
            thread = threading.Thread(target=scrape)
            thread.start()
            thread.join(30)
            assert not thread.is_alive()
            parallel, lag = seen
            assert parallel == 5
            assert lag is not None
            assert lag >= ANSWER_SECONDS * 0.9
            while registry.get_sample_value("coworld_loop_lag_seconds", R) != 0:
                await trio.sleep(0.01)


async def test_dead_letters_and_actors_are_read(driver: ProcessDriver) -> None:
    """By reason, and as a number."""
    registry = CollectorRegistry()

    class Deaf(Actor[int]):
        async def handle(self, message: int) -> None:
            await trio.sleep_forever()

    with trio.fail_after(60):
        async with open_runtime(driver, name="r", attach=[metrics(registry)]) as runtime:
            before = registry.get_sample_value("coworld_actors_alive", R)
            assert before is not None
            ref = await runtime.system.start_actor(ChildSpec(name="deaf", start=Deaf))
            await ref.tell(1)
            await ref.tell(2)
            await trio.testing.wait_all_tasks_blocked()
            assert registry.get_sample_value("coworld_actors_alive", R) == before + 1
            await ref.kill()
            reasons = {
                reason: registry.get_sample_value("coworld_dead_letters_total", {**R, "reason": reason})
                for reason in DeadLetterReason
            }
    assert reasons["stopped"] == 1
    assert reasons["killed"] == 1


def test_a_run_that_is_over_is_answered_with_its_last_snapshot() -> None:
    """A registry that outlives its runtime's event loop does not hang."""

    async def make() -> Snapshots:
        return Snapshots(cast("Runtime", SimpleNamespace(statistics=lambda: "last")))

    snapshots: list[Snapshots] = []
    thread = threading.Thread(target=lambda: snapshots.append(trio.run(make)))
    thread.start()
    thread.join(30)
    assert snapshots[0].ask().wait(0)
    assert cast("Any", snapshots[0].latest()) == "last"


async def test_statistics_that_fail_do_not_end_the_host() -> None:
    """The last ones count."""
    answers = iter(["first"])

    def statistics() -> str:
        return next(answers)

    snapshots = Snapshots(cast("Runtime", SimpleNamespace(statistics=statistics)))
    with trio.fail_after(60):
        assert await trio.to_thread.run_sync(lambda: snapshots.ask().wait(30))
    assert cast("Any", snapshots.latest()) == "first"
    assert snapshots.overdue() == 0
