"""The interrupt: what runs under its scopes ends when it is raised, what comes later does not begin."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from coworld_actors.episode.interrupt import Interrupt


async def test_every_open_scope_is_cancelled() -> None:
    """Nested and parallel scopes all end, each knows why, and what is outside goes on."""
    interrupt = Interrupt()
    caught: list[bool] = []
    inside = trio.Event()

    async def wait(last: bool) -> None:
        with interrupt.scope() as scope:
            if last:
                inside.set()
            await trio.sleep_forever()
        caught.append(scope.cancelled_caught)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, False)
            nursery.start_soon(wait, True)
            await inside.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert not interrupt.raised
            interrupt.throw("enough")
    assert caught == [True, True]
    assert interrupt.raised


async def test_a_later_scope_ends_at_its_first_wait() -> None:
    """An interrupt stays raised: the next phase is not entered."""
    interrupt = Interrupt()
    interrupt.throw("enough")
    reached = False
    with interrupt.scope() as scope:
        await trio.lowlevel.checkpoint()
        reached = True
    assert scope.cancelled_caught
    assert not reached


async def test_a_scope_that_has_ended_is_left_alone() -> None:
    """What was done in time was not interrupted, however late it is asked."""
    interrupt = Interrupt()
    with interrupt.scope() as scope:
        await trio.lowlevel.checkpoint()
    interrupt.throw("too late")
    assert not scope.cancel_called


async def test_a_scope_ends_with_the_error_of_its_block() -> None:
    """An error of the block passes, and a raise afterwards does not trip over the scope that it left."""
    interrupt = Interrupt()
    with pytest.raises(KeyError, match="ours"), interrupt.scope():
        raise KeyError("ours")
    interrupt.throw("enough")


async def test_throwing_twice_is_throwing_once() -> None:
    """A second signal may come at any time."""
    interrupt = Interrupt()
    with interrupt.scope() as scope:
        interrupt.throw("first")
        interrupt.throw("second")
        await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_whoever_waits_learns_the_first_reason() -> None:
    """It is raised once; what comes later changes nothing."""
    interrupt = Interrupt()
    interrupt.throw("first")
    interrupt.throw("second")
    assert await interrupt.wait() == "first"
