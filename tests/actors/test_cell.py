"""An actor over all its lives: ref, name, queue and account stay."""

from __future__ import annotations

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from coworld_actors.actors import (
    Actor,
    ActorStopped,
    Backoff,
    ChildSpec,
    DeadLetterReason,
    DownReason,
    RestartPolicy,
    State,
    SupervisorSpec,
    open_system,
)


class Note(msgspec.Struct, frozen=True):
    number: int
    crash: bool = False


class Reader(Actor[Note]):
    def __init__(self, handled) -> None:
        self.handled = handled

    async def handle(self, message: Note) -> None:
        if message.crash:
            raise ValueError("told to")
        self.handled.append((message.number, self.context.incarnation))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.sampled_from([0.0, 1.0]))
def test_a_restart_keeps_ref_and_queue_and_loses_the_message_in_hand(crashes, first):
    """P05: of n queued messages all but those that crash are handled, in order; each crash is one dead letter."""
    handled: list[tuple[int, int]] = []

    async def main() -> None:
        async with open_system() as system:
            policy = RestartPolicy(max_restarts=100, backoff=Backoff(first=first))
            house = await system.start_supervisor("house", SupervisorSpec(restarts=policy))
            ref = await house.start_actor(ChildSpec(name="r", start=lambda: Reader(handled)))
            for number, crash in enumerate(crashes):
                ref.tell_nowait(Note(number, crash))
            await trio.sleep(1000)
            assert house.child("r") is ref
            assert (ref.name, ref.path, ref.alive) == ("r", "house/r", True)
            assert house.children()[0].restarts == sum(crashes)
            dead = list(system.dead_letters.recent)
            assert [letter.message.number for letter in dead] == [n for n, crash in enumerate(crashes) if crash]
            assert {letter.reason for letter in dead} <= {DeadLetterReason.CRASHED}

    trio.run(main, clock=MockClock(autojump_threshold=0))
    expected = [(n, sum(crashes[:n])) for n, crash in enumerate(crashes) if not crash]
    assert handled == expected


@pytest.mark.parametrize(
    ("end", "reason"), [("stop", DownReason.SHUTDOWN), ("drain", DownReason.SHUTDOWN), ("kill", DownReason.KILLED)]
)
async def test_an_end_is_served_at_once_between_two_lives(end, reason, autojump_clock):
    """While it waits for its restart nothing runs, so nothing is waited for; the queue becomes dead letters."""
    async with open_system() as system:
        policy = RestartPolicy(backoff=Backoff(first=60.0, maximum=60.0))
        house = await system.start_supervisor("house", SupervisorSpec(restarts=policy))
        ref = await house.start_actor(ChildSpec(name="r", start=lambda: Reader([])))
        ref.tell_nowait(Note(0, crash=True))
        ref.tell_nowait(Note(1))
        await trio.testing.wait_all_tasks_blocked()
        assert house.children()[0].state is State.WAITING
        assert "waiting, 1 queued" in repr(ref)
        down = await getattr(ref, end)()
        assert (down.reason, trio.current_time()) == (reason, 0.0)
        assert system.dead_letters.count == 2
        with pytest.raises(ActorStopped, match=f"has ended: {reason}"):
            ref.tell_nowait(Note(2))
        await trio.sleep(100)
        assert house.children() == []


async def test_messages_sent_between_two_lives_wait(autojump_clock):
    """The next incarnation handles them."""
    async with open_system() as system:
        handled = []
        policy = RestartPolicy(backoff=Backoff(first=10.0, jitter=0))
        house = await system.start_supervisor("house", SupervisorSpec(restarts=policy))
        ref = await house.start_actor(ChildSpec(name="r", start=lambda: Reader(handled)))
        ref.tell_nowait(Note(0, crash=True))
        await trio.sleep(5)
        await ref.tell(Note(1))
        await trio.sleep(4.5)
        assert handled == []
        await trio.sleep(1)
        assert handled == [(1, 1)]


async def test_it_tells_how_long_it_has_been_busy_and_with_what(autojump_clock):
    """From the first message after a rest, over all that follow without one."""

    class Slow(Actor[Note]):
        async def handle(self, message: Note) -> None:
            await trio.sleep(2)

    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="slow", start=Slow))

        def look() -> tuple[float | None, str, str]:
            (info,) = system.tree()
            return info.busy, info.handling, info.intent

        await trio.sleep(1)
        assert look() == (None, "", "live")
        ref.tell_nowait(Note(1))
        ref.tell_nowait(Note(2))
        await trio.sleep(3)
        assert look() == (3.0, "Note", "live")
        await trio.sleep(2)
        assert look() == (None, "", "live")
        ref.tell_nowait(Note(3))
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.drain)
            await trio.sleep(0.5)
            assert look() == (1.0, "Note", "drain")


async def test_an_actor_that_rests_has_no_queue_of_its_own():
    """Until its first message; an empty deque would be a fifth of what an idle actor takes."""
    async with open_system() as system:
        handled = []
        refs = [await system.start_actor(ChildSpec(name=name, start=lambda: Reader(handled))) for name in "ab"]
        boxes = [ref._mailbox for ref in refs]
        assert boxes[0].queue is boxes[1].queue
        await refs[0].tell(Note(1))
        await trio.testing.wait_all_tasks_blocked()
        assert boxes[0].queue is not boxes[1].queue
        assert handled == [(1, 0)]
        assert refs[1].statistics().sent == 0
