"""Parked tasks: woken once, for their own reason, or cancelled."""

from __future__ import annotations

import outcome
import pytest
import trio

from coworld_actors.actors.parking import park, wake


async def sleep(reason, log, task_of) -> None:
    task = task_of["task"] = trio.lowlevel.current_task()
    try:
        await park(task, reason)
        log.append("woken")
    except trio.Cancelled:
        log.append("cancelled")
        raise


async def test_a_parked_task_is_woken_once():
    """The second wake finds nobody, before the sleeper has run and after."""
    log, of, reason = [], {}, object()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, reason, log, of)
        await trio.testing.wait_all_tasks_blocked()
        assert log == []
        assert wake(of["task"], reason)
        assert not wake(of["task"], reason)
    assert log == ["woken"]
    assert not wake(of["task"], reason)


async def test_nobody_is_woken_for_another_reason():
    """Neither a task that is parked for something else nor one that sleeps in trio's own ways."""
    log, of, reason = [], {}, object()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, reason, log, of)
        await trio.testing.wait_all_tasks_blocked()
        assert not wake(of["task"], object())
        assert wake(of["task"], reason)

        async def elsewhere() -> None:
            of["task"] = trio.lowlevel.current_task()
            await trio.sleep_forever()

        nursery.start_soon(elsewhere)
        await trio.testing.wait_all_tasks_blocked()
        assert not wake(of["task"], reason)
        nursery.cancel_scope.cancel()


async def test_a_cancelled_sleeper_is_not_woken_as_well():
    """From the cancellation on, also while it has not run yet."""
    log, of, reason = [], {}, object()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, reason, log, of)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert not wake(of["task"], reason)
    assert log == ["cancelled"]


async def test_a_wake_comes_before_a_later_cancellation():
    """What was woken has been woken; the cancellation waits for the next checkpoint."""
    log, of, reason = [], {}, object()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, reason, log, of)
        await trio.testing.wait_all_tasks_blocked()
        assert wake(of["task"], reason)
        nursery.cancel_scope.cancel()
    assert log == ["woken"]


async def test_parking_in_a_cancelled_scope_is_a_checkpoint():
    """The sleeper does not sleep."""
    task = trio.lowlevel.current_task()
    with trio.CancelScope() as scope:
        scope.cancel()
        await park(task, object())
    assert scope.cancelled_caught


async def test_many_park_with_the_one_request():
    """In any order, again and again."""
    woken = []

    async def rounds(number: int, tasks) -> None:
        tasks[number] = trio.lowlevel.current_task()
        for turn in range(3):
            await park(tasks[number], tasks)
            woken.append((turn, number))

    tasks: dict[int, trio.lowlevel.Task] = {}
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(rounds, number, tasks)
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()
            for number in (7, 3, *range(3), *range(4, 7), 8, 9):
                assert wake(tasks[number], tasks)
    assert sorted(woken) == [(turn, number) for turn in range(3) for number in range(10)]


async def test_an_error_that_comes_instead_of_a_wake_is_raised():
    """Trio sends its cancellations so; anybody else may."""
    task = trio.lowlevel.current_task()

    async def rouse() -> None:
        trio.lowlevel.reschedule(task, outcome.Error(KeyError("from elsewhere")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rouse)
        with pytest.raises(KeyError, match="from elsewhere"):
            await park(task, nursery)
