"""The line of tasks: order, bounded calls, cancellation."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coworld_protocol.sdk.turns import Turn, Turns


async def test_a_call_wakes_the_sleeper_and_nobody_else():
    """A call to somebody who is not asleep is forgotten."""
    turns = Turns()
    turn, other = Turn(turns), Turn(turns)
    woken: list[str] = []

    async def sleep(which: Turn, name: str) -> None:
        await which.sleep()
        woken.append(name)

    turn.call()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep, turn, "one")
        nursery.start_soon(sleep, other, "other")
        await wait_all_tasks_blocked()
        assert woken == []
        turn.call()
        turn.call()
        await wait_all_tasks_blocked()
        assert woken == ["one"]
        other.call()


async def test_a_thousand_are_called_in_order_and_not_all_at_once():
    """Between two looks of the loop only so many run, and each has its turn in the order of the calls."""
    turns = Turns()
    places = [Turn(turns) for _ in range(1000)]
    woken: list[int] = []
    looks: list[int] = []

    async def sleep(number: int) -> None:
        await places[number].sleep()
        woken.append(number)

    async def look() -> None:
        while len(woken) < 1000:
            looks.append(len(woken))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(sleep, number)
        await wait_all_tasks_blocked()
        for place in places:
            place.call()
        assert turns.waiting > 800
        await look()
    # trio shuffles what is ready at once; who is called earlier is never a whole batch later.
    assert sorted(woken) == list(range(1000))
    assert max(abs(number - place) for place, number in enumerate(woken)) < 512
    assert max(after - before for before, after in zip(looks, [*looks[1:], 1000], strict=True)) < 512
    assert turns.waiting == 0


async def test_who_is_cancelled_in_line_is_passed_over():
    """The line goes on behind it."""
    turns = Turns()
    places = [Turn(turns) for _ in range(300)]
    woken: list[int] = []

    async def sleep(number: int) -> None:
        await places[number].sleep()
        woken.append(number)

    async with trio.open_nursery() as patient, trio.open_nursery() as impatient:
        for number in range(300):
            (impatient if number % 2 else patient).start_soon(sleep, number)
        await wait_all_tasks_blocked()
        for place in places:
            place.call()
        impatient.cancel_scope.cancel()
        # Between the cancellation and the end of its task a place may be called again.
        for place in places:
            place.call()
    assert {number for number in woken if number % 2 == 0} == set(range(0, 300, 2))
    assert turns.waiting == 0
    with trio.fail_after(5):
        for _ in range(3000):
            await turns.take()


async def test_a_pause_lets_those_in_line_go_first():
    """Whoever has used up a share stands behind everybody who waits."""
    turns = Turns()
    order: list[str] = []

    async def steps(name: str) -> None:
        for _ in range(3):
            await turns.take()
            order.append(name)

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c", "d", "e", "f"):
            nursery.start_soon(steps, name)
    assert len(order) == 18
    assert all(order[: 6 * done].count(name) >= done - 1 for done in (1, 2, 3) for name in "abcdef")


async def test_two_tasks_cannot_sleep_in_one_place():
    """It is a mistake of the player's, and said as trio says it."""
    turn = Turn(Turns())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn.sleep)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await turn.sleep()
        with pytest.raises(trio.BusyResourceError):
            await turn.pause()
        turn.call()


async def test_a_turn_is_spent_after_a_share():
    """It begins anew when the task was woken."""
    turn = Turn(Turns())
    await turn.pause()
    assert not turn.spent
    await trio.sleep(0.01)
    assert turn.spent
    await turn.pause()
    assert not turn.spent
