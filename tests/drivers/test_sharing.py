"""Many who want the same at once."""

from __future__ import annotations

import pytest
import trio

from coworld_drivers.sharing import Shared


async def test_those_who_come_together_share_one_attempt():
    """A hundred at once make one attempt and have its result; who comes later makes another."""
    shared: Shared[int] = Shared()
    made = 0

    async def make() -> int:
        nonlocal made
        made += 1
        await trio.testing.wait_all_tasks_blocked()
        return made

    results: list[int] = []

    async def one() -> None:
        results.append(await shared.of(make))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(one)
    assert results == [1] * 100
    assert await shared.of(make) == 2


async def test_a_failure_is_shared_too():
    """Who waited for an attempt that failed has its error, and nobody tries after it."""
    shared: Shared[int] = Shared()
    tries = 0

    async def fail() -> int:
        nonlocal tries
        tries += 1
        await trio.testing.wait_all_tasks_blocked()
        raise ValueError("no")

    caught: list[ValueError] = []

    async def one() -> None:
        with pytest.raises(ValueError, match="no") as info:
            await shared.of(fail)
        caught.append(info.value)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
    assert (tries, len(caught), len(set(map(id, caught)))) == (1, 5, 1)


async def test_a_cancelled_attempt_is_made_again_by_who_waited():
    """The cancellation of one is nobody else's."""
    shared: Shared[str] = Shared()
    results: list[str] = []

    async def never() -> str:
        await trio.sleep_forever()
        raise AssertionError

    async def well() -> str:
        return "made"

    async def waiter() -> None:
        results.append(await shared.of(well))

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def first() -> None:
            with scope:
                await shared.of(never)

        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(waiter)
        nursery.start_soon(waiter)
        await trio.testing.wait_all_tasks_blocked()
        assert results == []
        scope.cancel()
    assert scope.cancelled_caught
    assert results == ["made", "made"]
