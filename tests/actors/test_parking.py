"""Parked tasks: woken once, for their own reason, or cancelled."""

from __future__ import annotations

import runpy
import types

import outcome
import pytest
import trio

from coworld_actors.actors import parking


@pytest.fixture(params=["LEAN", "PLAIN"])
def way(request) -> parking.Way:
    """Both ways of sleeping keep the same rules."""
    return getattr(parking, request.param)


async def sleep(way, reason, log, task_of) -> None:
    task = task_of["task"] = trio.lowlevel.current_task()
    try:
        await way.park(task, reason)
        log.append("woken")
    except trio.Cancelled:
        log.append("cancelled")
        raise


async def test_a_parked_task_is_woken_once(way):
    """The second wake finds nobody, before the sleeper has run and after."""
    log, of, reason = [], {}, object()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, way, reason, log, of)
        await trio.testing.wait_all_tasks_blocked()
        assert log == []
        assert way.wake(of["task"], reason)
        assert not way.wake(of["task"], reason)
    assert log == ["woken"]
    assert not way.wake(of["task"], reason)


async def test_nobody_is_woken_for_another_reason(way):
    """Neither a task that is parked for something else nor one that sleeps in trio's own ways."""
    log, of, reason = [], {}, object()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, way, reason, log, of)
        await trio.testing.wait_all_tasks_blocked()
        assert not way.wake(of["task"], object())
        assert way.wake(of["task"], reason)

        async def elsewhere() -> None:
            of["task"] = trio.lowlevel.current_task()
            await trio.sleep_forever()

        nursery.start_soon(elsewhere)
        await trio.testing.wait_all_tasks_blocked()
        assert not way.wake(of["task"], reason)
        nursery.cancel_scope.cancel()


async def test_a_cancelled_sleeper_is_not_woken_as_well(way):
    """From the cancellation on, also while it has not run yet."""
    log, of, reason = [], {}, object()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, way, reason, log, of)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert not way.wake(of["task"], reason)
    assert log == ["cancelled"]


async def test_a_wake_comes_before_a_later_cancellation(way):
    """What was woken has been woken; the cancellation waits for the next checkpoint."""
    log, of, reason = [], {}, object()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, way, reason, log, of)
        await trio.testing.wait_all_tasks_blocked()
        assert way.wake(of["task"], reason)
        nursery.cancel_scope.cancel()
    assert log == ["woken"]


async def test_parking_in_a_cancelled_scope_is_a_checkpoint(way):
    """The sleeper does not sleep."""
    task = trio.lowlevel.current_task()
    with trio.CancelScope() as scope:
        scope.cancel()
        await way.park(task, object())
    assert scope.cancelled_caught


async def test_many_park_with_the_one_request(way):
    """In any order, again and again."""
    woken = []

    async def rounds(number: int, tasks) -> None:
        tasks[number] = trio.lowlevel.current_task()
        for turn in range(3):
            await way.park(tasks[number], tasks)
            woken.append((turn, number))

    tasks: dict[int, trio.lowlevel.Task] = {}
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(rounds, number, tasks)
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()
            for number in (7, 3, *range(3), *range(4, 7), 8, 9):
                assert way.wake(tasks[number], tasks)
    assert sorted(woken) == [(turn, number) for turn in range(3) for number in range(10)]


async def test_an_error_that_comes_instead_of_a_wake_is_raised(way):
    """Trio sends its cancellations so; anybody else may."""
    task = trio.lowlevel.current_task()

    async def rouse() -> None:
        trio.lowlevel.reschedule(task, outcome.Error(KeyError("from elsewhere")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rouse)
        with pytest.raises(KeyError, match="from elsewhere"):
            await way.park(task, nursery)


async def test_a_trio_that_sleeps_otherwise_is_asked_in_the_documented_way(monkeypatch):
    """Whatever else its request says, or wherever it wants to be asked: the lean way is not taken."""

    class Request:
        def __init__(self, abort) -> None:
            self.abort_func = abort
            self.task = "the calling one"

    @types.coroutine
    def otherwise(abort):
        yield Request(abort)

    async def inside_only(abort) -> None:
        raise RuntimeError("must be called from async context")

    for changed in (otherwise, inside_only):
        monkeypatch.setattr(trio.lowlevel, "wait_task_rescheduled", changed)
        fresh = runpy.run_path(parking.__file__)
        assert fresh["LEAN"] is None
        assert (fresh["park"], fresh["wake"]) == fresh["PLAIN"]


def test_with_this_trio_the_lean_way_is_taken():
    """The benchmark's figures are its figures."""
    assert (parking.park, parking.wake) == parking.LEAN
