"""Handles: no public constructor, a sentence as repr, no way out of the process."""

from __future__ import annotations

import pickle

import pytest
import trio

from coworld_actors.actors import Actor, ActorRef, ActorStopped, ChildSpec, SupervisorRef, SupervisorSpec, open_system


class Idle(Actor[int]):
    async def handle(self, message: int) -> None:
        pass


@pytest.mark.parametrize("kind", [ActorRef, SupervisorRef])
def test_handles_have_no_public_constructor(kind):
    """The error says where they come from."""
    with pytest.raises(TypeError, match="made by the runtime"):
        kind(object())


@pytest.mark.parametrize("kind", [ActorRef, SupervisorRef])
def test_handles_are_final(kind):
    """A subclass would have no way to be made."""
    assert kind.__final__


async def test_a_ref_is_a_sentence_and_a_key():
    """Who, of whom, how it is; equal only to itself."""
    async with open_system("e1") as system:
        ref = await system.start_actor(ChildSpec(name="game", start=Idle))
        assert repr(ref) == "<ActorRef game of e1: running, 0 queued>"
        ref.tell_nowait(1)
        assert repr(ref) == "<ActorRef game of e1: running, 1 queued>"
        assert repr(system.root) == "<SupervisorRef e1: running, 1 children>"
        assert {ref: 1}[system.registry["game"]] == 1
        await ref.stop()
        assert repr(ref) == "<ActorRef game of e1: gone, 0 queued>"
        assert not ref.alive


async def test_handles_do_not_leave_their_process():
    """Pickling says what to do instead."""
    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="game", start=Idle))
        for handle in (ref, system.root):
            with pytest.raises(TypeError, match="does not leave its process"):
                pickle.dumps(handle)


async def test_tell_to_the_dead_hands_the_message_back():
    """Waiting or not, and repeated stops return the same Down."""
    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="game", start=Idle))
        down = await ref.stop()
        assert await ref.stop() is await ref.kill() is await ref.drain() is down
        with pytest.raises(ActorStopped) as caught:
            await ref.tell(7)
        assert caught.value.message == 7
        with pytest.raises(ActorStopped):
            ref.tell_nowait(7)


async def test_a_supervisor_ref_finds_its_children():
    """By name while they live."""
    async with open_system() as system:
        house = await system.start_supervisor("house", SupervisorSpec(children=(ChildSpec(name="a", start=Idle),)))
        ref = house.child("a")
        assert ref is system.registry["house/a"]
        statistics = house.statistics()
        assert (statistics.children, statistics.running, statistics.started, statistics.queued) == (1, 1, 1, 0)
        await house.stop_child("a")
        with pytest.raises(KeyError):
            house.child("a")
        with pytest.raises(KeyError):
            await house.stop_child("a")


async def test_start_actor_and_start_supervisor_keep_kinds_apart():
    """A supervisor's spec given to `start_actor` is refused; `start_child` takes both."""
    async with open_system() as system:
        spec = ChildSpec(name="house", start=SupervisorSpec())
        with pytest.raises(TypeError, match="is the spec of a supervisor"):
            await system.root.start_actor(spec)
        assert isinstance(await system.root.start_child(spec), SupervisorRef)
        assert isinstance(await system.root.start_child(ChildSpec(name="a", start=Idle)), ActorRef)


async def test_a_supervisor_can_be_killed(autojump_clock):
    """All below it at once, without grace."""

    class Slow(Idle):
        async def on_stop(self, reason) -> None:
            await trio.sleep(1)

    async with open_system() as system:
        house = await system.start_supervisor("house")
        inner = await house.start_supervisor("inner")
        ref = await inner.start_actor(ChildSpec(name="a", start=Slow))
        assert (await house.kill()).reason == "killed"
        assert (ref.monitor().down.reason, trio.current_time()) == ("killed", 0.0)
