"""The account of messages, order, capacity and overflow."""

from __future__ import annotations

import collections

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from coworld_actors.actors import (
    Actor,
    ActorError,
    ActorRef,
    ActorStopped,
    ChildSpec,
    MailboxFull,
    MailboxPolicy,
    Overflow,
    Request,
    Restart,
    RestartPolicy,
    SupervisorSpec,
    UnknownMessage,
    open_system,
)


class Note(msgspec.Struct, frozen=True):
    sender: int
    number: int
    takes: float = 0.0
    crash: bool = False


class Ask(Request[int], frozen=True):
    number: int = 0


class Reader(Actor[Note | Ask]):
    """Keeps what it handles, and checks that it handles one message at a time."""

    def __init__(self, handled: list[Note | Ask]) -> None:
        self.handled = handled
        self.busy = False

    async def handle(self, message: Note | Ask) -> int:
        assert not self.busy
        self.busy = True
        if isinstance(message, Note):
            if message.takes:
                await trio.sleep(message.takes)
            if message.crash:
                raise ValueError("told to")
        self.handled.append(message)
        self.busy = False
        return 1


def assert_balanced(ref: ActorRef) -> None:
    """Every message is accounted for, once."""
    box = ref.statistics()
    assert box.sent == box.handled + box.dead + box.refused + box.queued + box.in_hand
    assert box.peak <= box.capacity
    assert box.queued <= box.capacity


async def start(system, handled, **policy):
    spec = ChildSpec(name="reader", start=lambda: Reader(handled), mailbox=MailboxPolicy(**policy))
    return await system.start_actor(spec)


sends = st.lists(
    st.tuples(
        st.sampled_from(["tell", "tell_nowait", "ask", "cancelled tell", "wrong type"]),
        st.integers(0, 2),
        st.sampled_from([0.0, 0.0, 0.1]),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(
    sends,
    st.integers(1, 4),
    st.sampled_from(list(Overflow)),
    st.sampled_from(list(Restart)),
    st.sampled_from(["stop", "drain", "kill", "leave"]),
)
def test_messages_are_conserved(script, capacity, overflow, restart, end):
    """P02: every send ends in exactly one of handled, dead letter, raised to its sender; for all policies and ends."""
    handled: list[Note | Ask] = []
    outcomes: collections.Counter[str] = collections.Counter()

    async def send(ref, kind: str, note: Note) -> None:
        try:
            match kind:
                case "tell":
                    await ref.tell(note)
                case "tell_nowait":
                    ref.tell_nowait(note)
                case "ask":
                    await ref.ask(Ask(note.number), deadline=0.15)
                case "cancelled tell":
                    with trio.move_on_after(0.05):
                        await ref.tell(note)
                case _:
                    await ref.tell("a string")
            outcomes["sent"] += 1
        except ActorError as error:
            outcomes[type(error).__name__] += 1

    async def main() -> None:
        async with open_system() as system:
            house = await system.start_supervisor(
                "house", SupervisorSpec(restarts=RestartPolicy(max_restarts=2, within=100))
            )
            ref = await house.start_actor(
                ChildSpec(
                    name="reader",
                    start=lambda: Reader(handled),
                    restart=restart,
                    shutdown=0.1,
                    mailbox=MailboxPolicy(capacity=capacity, overflow=overflow),
                )
            )
            async with trio.open_nursery() as nursery:
                for number, (kind, sender, takes, crash) in enumerate(script):
                    nursery.start_soon(send, ref, kind, Note(sender, number, takes, crash))
                    if number % 7 == 6:
                        await trio.sleep(0.01)
                    assert_balanced(ref)
                await trio.sleep(0.2)
                assert_balanced(ref)
                if end != "leave":
                    await getattr(ref, end)()
            assert_balanced(ref)
        box = ref.statistics()
        assert (box.queued, box.in_hand, box.waiting) == (0, 0, 0)
        assert box.sent == box.handled + box.dead + box.refused == len(script)
        assert box.handled == len(handled)
        assert box.dead == system.dead_letters.count
        assert outcomes.total() == len(script)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.0, 0.01])), min_size=1, max_size=60),
    st.integers(1, 5),
)
def test_each_senders_messages_arrive_in_order_and_one_at_a_time(script, capacity):
    """P01: per-sender FIFO, also for senders that wait for room; `Reader` asserts that nothing overlaps."""
    handled: list[Note] = []

    async def sender(ref, own) -> None:
        for note in own:
            await ref.tell(note)

    async def main() -> None:
        async with open_system() as system:
            ref = await start(system, handled, capacity=capacity)
            async with trio.open_nursery() as nursery:
                for who in range(4):
                    own = [Note(who, n, takes) for n, (sender_, takes) in enumerate(script) if sender_ == who]
                    nursery.start_soon(sender, ref, own)
            await ref.drain()
            assert ref.statistics().peak <= capacity

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(handled) == len(script)
    for who in range(4):
        numbers = [note.number for note in handled if note.sender == who]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_a_stuck_reader_never_lets_the_queue_beyond_its_capacity(overflow, autojump_clock):
    """P03: 100 000 sends to an actor that handles nothing, whatever the policy."""
    async with open_system() as system:
        handled = []
        ref = await start(system, handled, capacity=10, overflow=overflow)
        ref.tell_nowait(Note(0, 0, takes=1000.0))
        await trio.testing.wait_all_tasks_blocked()
        refused = 0
        for number in range(100_000):
            try:
                ref.tell_nowait(Note(0, number))
            except MailboxFull:
                refused += 1
        box = ref.statistics()
        assert (box.peak, box.queued) == (10, 10)
        drops = overflow in {Overflow.DROP_NEWEST, Overflow.DROP_OLDEST}
        assert (box.dead, box.refused) == ((99_990, 0) if drops else (0, 99_990))
        assert refused == box.refused
        assert_balanced(ref)
        await ref.kill()


async def test_waiting_senders_get_room_in_their_order():
    """A late sender does not overtake, not even one that does not wait."""
    async with open_system() as system:
        handled = []
        ref = await start(system, handled, capacity=1)
        async with trio.open_nursery() as nursery:
            ref.tell_nowait(Note(0, 0, takes=0.001))
            await trio.testing.wait_all_tasks_blocked()
            ref.tell_nowait(Note(0, 1))
            for number in (2, 3, 4):
                nursery.start_soon(ref.tell, Note(0, number))
                await trio.testing.wait_all_tasks_blocked()
            assert ref.statistics().waiting == 3
            with pytest.raises(MailboxFull):
                ref.tell_nowait(Note(0, 5))
        await ref.drain()
        assert [note.number for note in handled] == [0, 1, 2, 3, 4]


async def test_a_stop_turns_waiting_senders_away_with_their_message(autojump_clock):
    """They get `ActorStopped`, at once."""
    async with open_system() as system:
        ref = await start(system, [], capacity=1)
        ref.tell_nowait(Note(0, 0, takes=2.0))
        await trio.testing.wait_all_tasks_blocked()
        ref.tell_nowait(Note(0, 1))
        turned_away = []

        async def wait_for_room() -> None:
            with pytest.raises(ActorStopped, match="is stopping") as caught:
                await ref.tell(Note(0, 2))
            turned_away.append((caught.value.message.number, trio.current_time()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_room)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ref.stop)
        assert turned_away == [(2, 0.0)]


async def test_a_cancelled_sender_has_not_sent():
    """Its message leaves the line."""
    async with open_system() as system:
        handled = []
        ref = await start(system, handled, capacity=1)
        ref.tell_nowait(Note(0, 0, takes=0.001))
        await trio.testing.wait_all_tasks_blocked()
        ref.tell_nowait(Note(0, 1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await ref.tell(Note(0, 2))
        assert scope.cancelled_caught
        await ref.drain()
        assert [note.number for note in handled] == [0, 1]
        assert ref.statistics().refused == 1
        assert_balanced(ref)


async def test_tell_yields_when_it_drops():
    """A loop of tells to a full mailbox that drops does not starve the reader."""
    async with open_system() as system:
        handled = []
        ref = await start(system, handled, capacity=1, overflow=Overflow.DROP_NEWEST)
        for number in range(100):
            await ref.tell(Note(0, number))
        assert len(handled) > 10


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TEMPORARY])
async def test_an_unknown_type_is_refused_and_counted(restart):
    """The error is a TypeError with the message and the way out."""
    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="reader", start=lambda: Reader([]), restart=restart))
        with pytest.raises(UnknownMessage, match="does not take str") as caught:
            ref.tell_nowait("hello")
        assert caught.value.message == "hello"
        assert "union" in caught.value.todo
        assert ref.statistics().refused == 1
        assert_balanced(ref)


class Looking(msgspec.Struct, frozen=True):
    down: object


class Observer(Actor[Note | Looking]):
    """Watches, and takes a while over each note."""

    def __init__(self, target, seen) -> None:
        self.target = target
        self.seen = seen

    async def on_start(self) -> None:
        self.context.watch(self.target, Looking)

    async def handle(self, message: Note | Looking) -> None:
        self.seen.append(type(message).__name__)
        if isinstance(message, Note):
            await trio.sleep(1)


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_a_notice_is_never_lost_and_never_exceeds_the_capacity(overflow, autojump_clock):
    """A `Down` that finds the mailbox full waits outside, whatever the policy."""
    async with open_system() as system:
        seen = []
        target = await system.start_actor(ChildSpec(name="target", start=lambda: Reader([])))
        observer = await system.start_actor(
            ChildSpec(
                name="observer",
                start=lambda: Observer(target, seen),
                mailbox=MailboxPolicy(capacity=1, overflow=overflow),
            )
        )
        observer.tell_nowait(Note(0, 0))
        await trio.testing.wait_all_tasks_blocked()
        observer.tell_nowait(Note(0, 1))
        await target.stop()
        if overflow in {Overflow.DROP_NEWEST, Overflow.DROP_OLDEST}:
            observer.tell_nowait(Note(0, 2))
        assert observer.statistics().peak == 1
        await trio.sleep(5)
        assert seen == ["Note", "Note", "Looking"]
        assert_balanced(observer)


async def test_drop_oldest_passes_over_notices(autojump_clock):
    """A queued `Down` stays; a queue of nothing else drops the newest instead."""
    async with open_system() as system:
        seen = []
        target = await system.start_actor(ChildSpec(name="target", start=lambda: Reader([])))
        observer = await system.start_actor(
            ChildSpec(
                name="observer",
                start=lambda: Observer(target, seen),
                mailbox=MailboxPolicy(capacity=1, overflow=Overflow.DROP_OLDEST),
            )
        )
        observer.tell_nowait(Note(0, 0))
        await trio.testing.wait_all_tasks_blocked()
        await target.stop()
        observer.tell_nowait(Note(0, 1))
        assert system.dead_letters.recent[-1].reason == "dropped_newest"
        await trio.sleep(5)
        assert seen == ["Note", "Looking"]
