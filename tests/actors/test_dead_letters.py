"""Every accepted message that is not handled becomes a dead letter with its reason."""

from __future__ import annotations

import msgspec
import pytest
import trio

from coworld_actors.actors import (
    Actor,
    AskTimeout,
    ChildSpec,
    DeadLetterReason,
    MailboxPolicy,
    Overflow,
    Request,
    events,
    open_system,
)


class Note(msgspec.Struct, frozen=True):
    number: int


class Crash(msgspec.Struct, frozen=True):
    pass


class Ask(Request[int], frozen=True):
    pass


class Gate(Actor[Note | Crash | Ask]):
    def __init__(self, gate: trio.Event) -> None:
        self.gate = gate

    async def handle(self, message: Note | Crash | Ask) -> int:
        if type(message) is Crash:
            raise ValueError("told to")
        await self.gate.wait()
        return 1


async def start(system, **mailbox):
    gate = trio.Event()
    spec = ChildSpec(name="gate", start=lambda: Gate(gate), mailbox=MailboxPolicy(**mailbox), shutdown=0.5)
    return await system.start_actor(spec), gate


async def test_reasons_of_a_stop(autojump_clock):
    """The queue is STOPPED; the message in hand whose grace ran out is KILLED."""
    async with open_system() as system:
        ref, _ = await start(system)
        for number in range(3):
            ref.tell_nowait(Note(number))
        await trio.testing.wait_all_tasks_blocked()
        await ref.stop()
        letters = [(letter.message, letter.reason) for letter in system.dead_letters.recent]
        assert letters == [
            (Note(1), DeadLetterReason.STOPPED),
            (Note(2), DeadLetterReason.STOPPED),
            (Note(0), DeadLetterReason.KILLED),
        ]
        assert system.dead_letters.count == 3


async def test_a_crash_takes_the_message_in_hand_with_its_cause():
    """And it alone: what is queued waits for the restart."""
    async with open_system() as system:
        ref, gate = await start(system)
        gate.set()
        ref.tell_nowait(Crash())
        ref.tell_nowait(Note(1))
        await trio.testing.wait_all_tasks_blocked()
        (letter,) = system.dead_letters.recent
        assert letter.recipient == "gate"
        assert letter.reason is DeadLetterReason.CRASHED
        assert str(letter.cause) == "told to"
        assert ref.statistics().handled == 1


@pytest.mark.parametrize(
    ("overflow", "reason", "lost"),
    [
        (Overflow.DROP_OLDEST, DeadLetterReason.DROPPED_OLDEST, [1, 2]),
        (Overflow.DROP_NEWEST, DeadLetterReason.DROPPED_NEWEST, [3, 4]),
    ],
)
async def test_drops_are_dead_letters(overflow, reason, lost):
    """Each policy loses its own end of the queue."""
    async with open_system() as system:
        ref, gate = await start(system, capacity=2, overflow=overflow)
        ref.tell_nowait(Note(0))
        await trio.testing.wait_all_tasks_blocked()
        for number in range(1, 5):
            ref.tell_nowait(Note(number))
        assert [letter.message.number for letter in system.dead_letters.recent] == lost
        assert system.dead_letters.by_reason == {reason: 2}
        gate.set()


async def test_a_request_whose_asker_gave_up_is_not_handled(autojump_clock):
    """It expires in the queue."""
    async with open_system() as system:
        ref, gate = await start(system)
        ref.tell_nowait(Note(0))
        with pytest.raises(AskTimeout):
            await ref.ask(Ask(), deadline=1.0)
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert [letter.reason for letter in system.dead_letters.recent] == [DeadLetterReason.EXPIRED]
        assert ref.statistics().handled == 1


async def test_a_dead_letter_is_an_event():
    """With the type of the message, the reason and the cause."""
    async with open_system() as system:
        records = []
        system.events.subscribe(records.append)
        ref, _ = await start(system)
        ref.tell_nowait(Crash())
        await trio.testing.wait_all_tasks_blocked()
        event = next(record.event for record in records if isinstance(record.event, events.DeadLetter))
        assert (event.message, event.reason, event.cause) == ("Crash", "crashed", "ValueError: told to")
