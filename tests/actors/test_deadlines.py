"""One timer for all asks: each runs out at its own moment, and those that are answered leave nothing behind."""

from __future__ import annotations

import math

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from coworld_actors.actors import Actor, AskTimeout, ChildSpec, MailboxPolicy, Request, open_system
from coworld_actors.actors.deadlines import SLACK, Deadlines


class Ask(Request[int], frozen=True):
    takes: float = 0.0


class Hold(msgspec.Struct, frozen=True):
    pass


class Server(Actor[Ask | Hold]):
    async def handle(self, message: Ask | Hold) -> int | None:
        if isinstance(message, Hold):
            await trio.sleep_forever()
        elif message.takes:
            deferred = self.context.defer()

            async def answer() -> None:
                await trio.sleep(message.takes)
                deferred.reply(1)

            self.context.spawn(answer)
        return 1


async def start(system, **kwargs):
    return await system.start_actor(ChildSpec(name="server", start=Server, shutdown=0.0, **kwargs))


asks = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 3.0, 7.0]), st.sampled_from([1, 2.0, 2.25, 5.0]), st.floats(0.01, 6.0)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(asks, st.sampled_from([2, 100]))
def test_each_ask_ends_at_its_own_moment(script, capacity):
    """Whatever the others do: when it is answered, or exactly when its seconds are over."""
    ended: list[tuple[int, str, float]] = []

    async def ask(ref, number: int, wait: float, deadline: float, takes: float) -> None:
        await trio.sleep(wait)
        began = trio.current_time()
        try:
            await ref.ask(Ask(takes), deadline=deadline)
            ended.append((number, "reply", trio.current_time() - began))
        except AskTimeout:
            ended.append((number, "late", trio.current_time() - began))

    async def main() -> None:
        async with open_system() as system:
            ref = await start(system, mailbox=MailboxPolicy(capacity=capacity))
            async with trio.open_nursery() as nursery:
                for number, (wait, deadline, takes) in enumerate(script):
                    nursery.start_soon(ask, ref, number, wait, deadline, takes)
            assert len(system.deadlines) == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))
    for number, how, after in ended:
        _, deadline, takes = script[number]
        assert how == ("reply" if takes < deadline else "late") or takes == deadline
        assert after == pytest.approx(min(takes, deadline))
    assert len(ended) == len(script)


async def test_nothing_is_left_of_asks_that_are_answered():
    """Also when each has another number of seconds: empty lines are forgotten."""
    async with open_system() as system:
        ref = await start(system)
        for number in range(20 * SLACK):
            await ref.ask(Ask(), deadline=30 + number / 1000)
        assert len(system.deadlines) == 0
        assert len(system.deadlines.lines) <= SLACK


async def test_an_answer_is_not_kept():
    """Neither question nor reply nor failure outlives the call."""
    async with open_system() as system:
        ref = await start(system)
        await ref.ask(Ask(), deadline=30)
        ref.tell_nowait(Hold())
        with trio.move_on_after(0.01):
            await ref.ask(Ask(), deadline=30)
        assert [dict(line) for line in system.deadlines.lines.values()] == [{}]
        await ref.kill()


async def test_a_deadline_need_not_end(autojump_clock):
    """Infinity is never over."""
    async with open_system() as system:
        ref = await start(system)
        assert await ref.ask(Ask(takes=1e9), deadline=math.inf) == 1


async def test_a_deadline_of_nothing_is_over_at_once(autojump_clock):
    """No time passes."""
    async with open_system() as system:
        ref = await start(system)
        ref.tell_nowait(Hold())
        with pytest.raises(AskTimeout, match="within 0 s"):
            await ref.ask(Ask(), deadline=0)
        assert trio.current_time() == 0.0
        await ref.kill()


@pytest.mark.parametrize("deadline", [-1, math.nan])
async def test_a_deadline_in_the_past_is_refused(deadline):
    """Before anything is sent."""
    async with open_system() as system:
        ref = await start(system)
        with pytest.raises(ValueError, match="use seconds from now"):
            await ref.ask(Ask(), deadline=deadline)
        assert ref.statistics().sent == 0


async def test_an_earlier_deadline_wakes_the_timer(autojump_clock):
    """It sleeps until the earliest, not until the first."""
    async with open_system() as system:
        ref = await start(system)
        ref.tell_nowait(Hold())
        over = []

        async def ask(deadline: float) -> None:
            with pytest.raises(AskTimeout):
                await ref.ask(Ask(), deadline=deadline)
            over.append((deadline, trio.current_time()))

        async with trio.open_nursery() as nursery:
            for deadline in (100, 10, 1):
                nursery.start_soon(ask, deadline)
                await trio.testing.wait_all_tasks_blocked()
        assert over == [(1, 1.0), (10, 10.0), (100, 100.0)]
        await ref.kill()


async def test_lines_in_use_are_not_forgotten():
    """Only empty ones make room."""
    deadlines = Deadlines()
    for number in range(10 * SLACK):
        deadlines.lines[float(number)][object()] = 0.0
    assert len(deadlines) == len(deadlines.lines) == 10 * SLACK
