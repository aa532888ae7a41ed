"""Code far below an actor's methods can tell whose it is."""

from __future__ import annotations

import msgspec
import trio

from coworld_actors.actors import Actor, ChildSpec, Request, SupervisorSpec, events, open_system
from coworld_actors.actors.current import Place, current_actor


class Where(Request[list[Place | None]], frozen=True):
    pass


class Crash(msgspec.Struct, frozen=True):
    pass


class Hire(Request[bool], frozen=True):
    name: str


class Lost(Actor[Where | Crash | Hire]):
    def __init__(self, seen=None) -> None:
        self.made = current_actor()
        self.seen = [] if seen is None else seen

    async def on_start(self) -> None:
        self.seen.append(current_actor())

    async def handle(self, message):
        match message:
            case Where():
                places = [self.made, current_actor()]
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.look, places)
                places.append(await trio.to_thread.run_sync(current_actor))
                done = trio.Event()
                self.context.spawn(self.look, places, done)
                await done.wait()
                return places
            case Hire():
                await self.context.supervisor.start_actor(ChildSpec(name=message.name, start=Lost))
                await self.context.supervisor.start_supervisor(f"team-{message.name}")
                return True
            case Crash():
                raise ValueError("told to")

    async def look(self, places, done=None) -> None:
        places.append(current_actor())
        if done is not None:
            done.set()


async def test_nobody_outside_of_all_actors():
    """Neither in the block of a system, nor in a thread of its own."""
    async with open_system() as system:
        await system.start_actor(ChildSpec(name="a", start=Lost))
        assert current_actor() is None
        assert await trio.to_thread.run_sync(current_actor) is None


async def test_an_actor_its_tasks_and_its_threads_are_one_place():
    """Constructor, handler, nursery, thread, background."""
    async with open_system() as system:
        house = await system.start_supervisor("house", SupervisorSpec(scope="episode-1"))
        ref = await house.start_actor(ChildSpec(name="a", start=Lost))
        assert await ref.ask(Where(), deadline=60) == [Place("house/a", 0, "episode-1")] * 5


async def test_a_restart_is_another_incarnation(autojump_clock):
    """The place says which."""
    seen: list[Place | None] = []
    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="a", start=lambda: Lost(seen)))
        ref.tell_nowait(Crash())
        await trio.sleep(100)
    assert seen == [Place("a", 0, ""), Place("a", 1, "")]


async def test_what_an_actor_starts_is_not_its_place():
    """A sibling has its own; a supervisor is nobody's."""
    async with open_system() as system:
        places = []

        def note(record) -> None:
            places.append((record.actor, current_actor()))

        ref = await system.start_actor(ChildSpec(name="a", start=Lost))
        system.events.subscribe(lambda record: isinstance(record.event, events.ActorStarted) and note(record))
        system.events.subscribe(lambda record: isinstance(record.event, events.SupervisorStarted) and note(record))
        assert await ref.ask(Hire("b"), deadline=60)
        assert places == [("b", Place("b", 0, "")), ("team-b", None)]


async def test_a_background_task_is_the_actors_whoever_spawned_it():
    """Another actor's task may call `context.spawn`."""
    async with open_system() as system:
        contexts = []
        places: list[Place | None] = []

        class Lender(Actor[Crash]):
            async def on_start(self) -> None:
                contexts.append(self.context)

        class Borrower(Actor[Crash]):
            async def on_start(self) -> None:
                done = trio.Event()

                async def look() -> None:
                    places.append(current_actor())
                    done.set()

                contexts[0].spawn(look)
                await done.wait()

        await system.start_actor(ChildSpec(name="lender", start=Lender))
        await system.start_actor(ChildSpec(name="borrower", start=Borrower))
        assert places == [Place("lender", 0, "")]
