"""The gate: who may enter, who may begin, in which order."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from coworld_actors.runtime.admission import Admission, Gate, RuntimeFull, WhenFull
from coworld_protocol.errors import Refused


@pytest.mark.parametrize(
    "wrong",
    [{"parallel": 0}, {"parallel": True}, {"parallel": 1.5}, {"queue": -1}, {"queue": "9"}, {"when_full": "sometimes"}],
    ids=str,
)
def test_numbers_that_admit_nothing_are_refused(wrong: dict[str, object]) -> None:
    """What cannot be worked with is refused where it is said, with the next step."""
    with pytest.raises(Refused) as refused:
        Admission(**wrong)  # type: ignore[arg-type]
    assert refused.value.todo or "use one of" in str(refused.value)


async def test_one_more_than_the_queue_holds_is_refused() -> None:
    """`REFUSE` answers at once, and says how full it is."""
    gate = Gate(Admission(parallel=1, queue=1, when_full=WhenFull.REFUSE))
    await gate.accept("a")
    await gate.accept("b")
    with pytest.raises(RuntimeFull, match="1 episodes may run") as full:
        await gate.accept("c")
    assert full.value.todo
    gate.dismiss("a")
    await gate.accept("c")
    assert gate.accepted == 2


async def test_one_more_than_the_queue_holds_waits(autojump_clock: trio.testing.MockClock) -> None:
    """`WAIT` lets the caller in when somebody leaves, and forgets a caller that is cancelled."""
    gate = Gate(Admission(parallel=1, queue=0))
    await gate.accept("a")
    with trio.move_on_after(1):
        await gate.accept("b")
    assert gate.outside == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.accept, "c")
        await wait_all_tasks_blocked()
        assert (gate.accepted, gate.outside) == (1, 1)
        gate.dismiss("a")
    assert (gate.accepted, gate.outside) == (1, 0)


async def test_a_paused_gate_seats_nobody_and_disturbs_nobody() -> None:
    """Pausing holds back who has not begun; resuming lets them begin, as many as then may."""
    gate = Gate(Admission(parallel=2, queue=5))
    await gate.accept("a")
    await gate.sit("a")
    gate.pause()
    begun: list[str] = []

    async def begin(name: str) -> None:
        await gate.sit(name)
        begun.append(name)

    async with trio.open_nursery() as nursery:
        for name in "bcd":
            await gate.accept(name)
            nursery.start_soon(begin, name)
        await wait_all_tasks_blocked()
        assert (gate.running, begun) == (1, [])
        gate.set_parallel(3)
        await wait_all_tasks_blocked()
        assert begun == []
        gate.resume()
        await wait_all_tasks_blocked()
        assert sorted(begun) == ["b", "c"]
        gate.dismiss("a")
        await wait_all_tasks_blocked()
        assert sorted(begun) == ["b", "c", "d"]
    with pytest.raises(Refused):
        gate.set_parallel(0)


@given(parallel=st.integers(1, 4), queue=st.integers(0, 4), guests=st.integers(1, 25), seed=st.integers())
def test_never_more_than_allowed_and_everybody_in_turn(parallel: int, queue: int, guests: int, seed: int) -> None:
    """Whatever the order of leaving: at most `parallel` at the table, `parallel + queue` in the house, first come first served."""
    chance = random.Random(seed)

    async def main() -> list[int]:
        gate = Gate(Admission(parallel=parallel, queue=queue))
        order: list[int] = []

        async def guest(number: int) -> None:
            await gate.sit(number)
            order.append(number)
            assert gate.running <= parallel
            assert gate.accepted <= parallel + queue
            await trio.sleep(chance.random())
            gate.dismiss(number)

        async with trio.open_nursery() as nursery:
            for number in range(guests):
                await gate.accept(number)
                nursery.start_soon(guest, number)
                if chance.random() < 0.5:
                    await wait_all_tasks_blocked()
        assert (gate.running, gate.accepted, gate.outside) == (0, 0, 0)
        return order

    order = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    # Those that sit down at one moment are woken in any order; beyond that nobody overtakes.
    assert all(abs(place - number) < parallel for place, number in enumerate(order))
