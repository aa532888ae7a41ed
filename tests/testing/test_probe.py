"""A probe keeps everything, and says what it waits for in vain."""

from __future__ import annotations

import msgspec
import pytest
import trio

from coworld_actors.actors import AskTimeout, MailboxPolicy, Request, open_system
from coworld_actors.testing import Probe


class Score(msgspec.Struct, frozen=True):
    points: int


class Bonus(Score, frozen=True):
    pass


class Note(msgspec.Struct, frozen=True):
    pass


class HowMany(Request[int], frozen=True):
    pass


async def test_a_probe_expects_by_type_and_keeps_the_rest_unread(autojump_clock):
    """Subclasses count; what came before is found, what comes later is waited for; everything is in `messages`."""
    async with open_system() as system:
        probe = await Probe().start(system)
        probe.ref.tell_nowait(Note())
        probe.ref.tell_nowait(Bonus(1))

        async def later() -> None:
            await trio.sleep(3)
            probe.ref.tell_nowait(Score(2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            assert await probe.expect(Score) == Bonus(1)
            assert (await probe.expect(Score, within=5)).points == 2
        assert trio.current_time() == 3.0
        assert await probe.expect(Note, within=0) == Note()
        assert probe.messages == [Note(), Bonus(1), Score(2)]
        await probe.expect_none(within=1)
        assert trio.current_time() == 4.0


async def test_a_vain_expectation_names_what_came_instead(autojump_clock):
    """After the time it was given, not before."""
    async with open_system() as system:
        probe = await Probe().start(system)
        probe.ref.tell_nowait(Note())
        with pytest.raises(AssertionError, match=r"no Score came within 2 s; unread: \[Note\(\)\]"):
            await probe.expect(Score, within=2)
        assert trio.current_time() == 2.0


async def test_nothing_means_nothing_unread_and_nothing_new(autojump_clock):
    """Either of them is told."""
    async with open_system() as system:
        probe = await Probe().start(system)

        async def later() -> None:
            await trio.sleep(1)
            probe.ref.tell_nowait(Note())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            with pytest.raises(AssertionError, match="nothing was to come"):
                await probe.expect_none(within=2)
        with pytest.raises(AssertionError, match="nothing was to come"):
            await probe.expect_none(within=0)
        await probe.expect(Note, within=0)
        await probe.expect_none(within=0)


async def test_requests_are_answered_as_told_or_by_hand(autojump_clock):
    """By type; one that nobody answers ends with its deadline."""
    async with open_system() as system:
        answering = await Probe({HowMany: lambda request: 3}).start(system, "answering")
        assert await answering.ref.ask(HowMany(), deadline=1) == 3
        assert answering.messages == [HowMany()]

        probe = await Probe().start(system)
        answers = []

        async def ask() -> None:
            answers.append(await probe.ref.ask(HowMany(), deadline=10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            request = await probe.expect(HowMany)
            assert probe.reply(request, 7)
        assert answers == [7]
        with pytest.raises(AssertionError, match="is not open"):
            probe.reply(request, 8)
        with pytest.raises(AskTimeout):
            await probe.ref.ask(HowMany(), deadline=2)
        assert not probe.reply(await probe.expect(HowMany), 9)


async def test_a_probe_can_live_below_a_supervisor_with_a_small_mailbox():
    """It is an actor like any other."""
    async with open_system() as system:
        house = await system.start_supervisor("house")
        probe = await Probe().start(house, "ear", mailbox=MailboxPolicy(capacity=1))
        assert probe.ref.path == "house/ear"
        assert probe.ref.statistics().capacity == 1
        probe.ref.tell_nowait(Note())
        await probe.expect(Note)
        assert repr(probe) == "<Probe: 1 messages, 0 of them unread>"


async def test_a_probe_is_one_actor():
    """It has a ref once it runs, and is not started again."""
    probe = Probe()
    with pytest.raises(RuntimeError, match="first: probe = await Probe"):
        _ = probe.ref
    async with open_system() as system:
        await probe.start(system)
        with pytest.raises(RuntimeError, match="make another Probe"):
            await probe.start(system, "second")
        assert [info.name for info in system.tree()] == ["probe"]
