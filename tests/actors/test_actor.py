"""What an author sees: message unions, `Context`."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
import pytest
import trio

from coworld_actors.actors import (
    Actor,
    ActorError,
    ChildSpec,
    DownReason,
    Request,
    Restart,
    StartFailed,
    StopReason,
    WouldDeadlock,
    open_system,
)
from coworld_actors.actors.actor import MessageTypes

M = TypeVar("M")


class A(msgspec.Struct, frozen=True):
    pass


class B(msgspec.Struct, frozen=True):
    pass


class SubA(A, frozen=True):
    pass


class C(Request[int], frozen=True):
    pass


class One(Actor[A]):
    pass


class Union(Actor[A | C]):
    pass


class Anything(Actor[Any]):
    pass


class Plain(Actor):
    pass


class Middle(Actor[M], Generic[M]):
    pass


class Leaf(Middle[B | A]):
    pass


class BelowLeaf(Leaf):
    pass


@pytest.mark.parametrize(
    ("actor", "takes", "refuses"),
    [
        (One, [A, SubA], [B, C, int]),
        (Union, [A, C, SubA], [B, int]),
        (Leaf, [A, B, SubA], [C]),
        (BelowLeaf, [A, B], [C]),
        (Anything, [A, int], []),
        (Plain, [A, int], []),
        (Middle, [A, int], []),
    ],
)
def test_a_class_takes_the_union_its_bases_name(actor, takes, refuses):
    """Through generic bases in between; subclasses of a member too; everything where nothing is named."""
    types = actor.message_types()
    assert all(kind in types for kind in takes)
    assert not any(kind in types for kind in refuses)
    assert actor.message_types() is types


def test_a_union_shows_its_members():
    """For sentences."""
    assert repr(MessageTypes(A | B)) == "A | B"


class Tell(msgspec.Struct, frozen=True):
    what: str


class Ask(Request[object], frozen=True):
    what: str


class Subject(Actor[Tell | Ask]):
    def __init__(self, log) -> None:
        self.log = log

    async def on_start(self) -> None:
        self.log.append("start")

    async def handle(self, message: Tell | Ask) -> Any:
        context = self.context
        match message.what:
            case "stop":
                context.stop()
                self.log.append("handled stop")
            case "who":
                return (context.name, context.path, context.incarnation, context.ref, context.supervisor.path)
            case "crash":
                raise ValueError("told to")
            case "stop myself":
                await context.ref.stop()
            case "defer":
                context.defer()
            case "spawn failing":
                context.spawn(self._fail)
                await trio.sleep_forever()
            case "spawn deferring":
                context.spawn(self._defer)
            case "context":
                return context
        return None

    async def _fail(self) -> None:
        raise OSError("in the background")

    async def _defer(self) -> None:
        self.context.defer()

    async def on_stop(self, reason: StopReason) -> None:
        self.log.append(reason.value)


async def start(system, log, **kwargs):
    return await system.start_actor(ChildSpec(name="s", start=lambda: Subject(log), **kwargs))


async def test_a_context_knows_its_place():
    """Name, path, incarnation, own ref, supervisor."""
    async with open_system() as system:
        house = await system.start_supervisor("house")
        ref = await house.start_actor(ChildSpec(name="s", start=lambda: Subject([])))
        assert await ref.ask(Ask("who"), deadline=1) == ("s", "house/s", 0, ref, "house")
        ref.tell_nowait(Tell("crash"))
        assert await ref.ask(Ask("who"), deadline=1) == ("s", "house/s", 1, ref, "house")


async def test_stop_ends_normally_after_the_message_in_hand():
    """`on_stop` sees NORMAL; what was queued is dead."""
    async with open_system() as system:
        log = []
        ref = await start(system, log, restart=Restart.TRANSIENT)
        ref.tell_nowait(Tell("stop"))
        ref.tell_nowait(Tell("more"))
        assert (await ref.wait()).reason is DownReason.NORMAL
        assert log == ["start", "handled stop", "normal"]
        assert system.dead_letters.count == 1


async def test_a_permanent_actor_that_stops_itself_is_restarted_with_its_queue():
    """A permanent child always comes back."""
    async with open_system() as system:
        log = []
        ref = await start(system, log)
        ref.tell_nowait(Tell("stop"))
        assert (await ref.ask(Ask("who"), deadline=1))[2] == 1
        assert log == ["start", "handled stop", "normal", "start"]


@pytest.mark.parametrize("what", ["defer", "spawn deferring"])
async def test_defer_needs_a_request_in_hand_and_the_actors_own_task(what):
    """Anything else is a defect of the actor's code: it crashes with a sentence."""
    async with open_system() as system:
        ref = await start(system, [], restart=Restart.TEMPORARY)
        ref.tell_nowait(Tell(what))
        down = await ref.wait()
        assert isinstance(down.cause, ActorError)
        assert "no request in hand" in str(down.cause)


async def test_waiting_for_ones_own_end_is_refused():
    """`ref.stop()` from the actor itself says to use `context.stop()`."""
    async with open_system() as system:
        ref = await start(system, [], restart=Restart.TEMPORARY)
        ref.tell_nowait(Tell("stop myself"))
        down = await ref.wait()
        assert isinstance(down.cause, WouldDeadlock)
        assert down.cause.todo == "call context.stop()"


async def test_the_context_of_an_ended_incarnation_does_nothing():
    """It says so instead of acting on the new one."""
    async with open_system() as system:
        ref = await start(system, [])
        old = await ref.ask(Ask("context"), deadline=1)
        ref.tell_nowait(Tell("crash"))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ActorError, match="incarnation 0 of s is over"):
            old.spawn(trio.sleep, 0)
        with pytest.raises(ActorError, match="is over"):
            old.watch(ref, lambda down: Tell("down"))
        old.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert (await ref.ask(Ask("who"), deadline=1))[2] == 1


async def test_an_actor_without_handle_says_so():
    """It crashes at its first message."""
    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="one", start=One, restart=Restart.TEMPORARY))
        ref.tell_nowait(A())
        down = await ref.wait()
        assert isinstance(down.cause, NotImplementedError)
        assert "One takes messages but has no handle method" in str(down.cause)


async def test_a_start_that_makes_no_actor_is_refused():
    """With a sentence, not an attribute error later."""
    async with open_system() as system:
        with pytest.raises(StartFailed, match="made a int; it has to make an Actor"):
            await system.start_actor(ChildSpec(name="x", start=lambda: 3))
