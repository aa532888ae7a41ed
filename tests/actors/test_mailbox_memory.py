"""P03: a million sends to an actor that handles nothing, and memory stays where it was."""

from __future__ import annotations

import gc
import sys

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coworld_actors.actors import (
    Actor,
    AskTimeout,
    ChildSpec,
    MailboxFull,
    MailboxPolicy,
    Overflow,
    Request,
    events,
    open_system,
)
from coworld_actors.testing import EventLog

SENDS = 1_000_000
CAPACITY = 10
BLOCKS = 5_000
"""Objects that may be there afterwards and were not before: the mailbox's, its last dead letters', and the interpreter's own."""


class Note(msgspec.Struct, frozen=True):
    payload: bytes


class Ask(Request[int], frozen=True):
    pass


class Stuck(Actor[Note | Ask]):
    async def handle(self, message: Note | Ask) -> None:
        await trio.sleep_forever()


async def start(system, overflow=Overflow.BACKPRESSURE):
    policy = MailboxPolicy(capacity=CAPACITY, overflow=overflow)
    ref = await system.start_actor(ChildSpec(name="stuck", start=Stuck, mailbox=policy))
    ref.tell_nowait(Note(b""))
    await wait_all_tasks_blocked()
    return ref


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_a_million_sends_take_no_memory(overflow, autojump_clock):
    """Each is queued, dropped or refused; the queue never held more than its capacity, and every message is accounted for."""
    async with open_system() as system:
        ref = await start(system, overflow)
        for _ in range(1000):
            send(ref)
        before = blocks()
        refused = sum(send(ref) for _ in range(SENDS))
        assert blocks() - before < BLOCKS
        box = ref.statistics()
        assert (box.peak, box.queued) == (CAPACITY, CAPACITY)
        assert box.sent == box.dead + box.refused + box.queued + box.in_hand == SENDS + 1001
        assert refused == (0 if overflow in {Overflow.DROP_NEWEST, Overflow.DROP_OLDEST} else SENDS)
        await ref.kill()
        assert system.dead_letters.count == ref.statistics().dead


def send(ref) -> bool:
    """Send a message of its own; whether it came back."""
    try:
        ref.tell_nowait(Note(bytes(100)))
    except MailboxFull:
        return True
    return False


async def test_ten_thousand_waits_for_room_that_are_given_up_take_no_memory(autojump_clock):
    """Tells and asks that wait in line and are cancelled leave nothing in it."""
    async with open_system() as system:
        ref = await start(system)
        for _ in range(CAPACITY):
            send(ref)

        async def give_up() -> None:
            with trio.move_on_after(0):
                await ref.tell(Note(bytes(100)))
            with pytest.raises(AskTimeout):
                await ref.ask(Ask(), deadline=0.001)

        await give_up()
        before = blocks()
        for _ in range(10_000):
            await give_up()
        assert blocks() - before < BLOCKS
        box = ref.statistics()
        assert (box.waiting, box.peak) == (0, CAPACITY)
        await ref.kill()


async def test_dead_letters_are_counted_all_and_kept_few(autojump_clock):
    """A listener hears of each; the system keeps the latest of them only."""
    async with open_system() as system:
        log = EventLog(system.events)
        ref = await start(system, Overflow.DROP_OLDEST)
        for _ in range(CAPACITY + 1000):
            send(ref)
        assert len(log.of(events.DeadLetter)) == system.dead_letters.count == 1000
        assert len(system.dead_letters.recent) <= 64
        await ref.kill()
