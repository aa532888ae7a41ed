"""What children have in common: states, descriptions, the order of intents."""

from __future__ import annotations

import trio

from coworld_actors.actors import Actor, ChildSpec, State, SupervisorSpec, open_system
from coworld_actors.actors.children import Intent


class Slow(Actor[int]):
    async def on_start(self) -> None:
        await trio.sleep(2)


def test_intents_only_grow():
    """From the mildest to the firmest."""
    assert sorted(Intent) == [Intent.LIVE, Intent.RESTART, Intent.DRAIN, Intent.STOP, Intent.KILL]


async def test_a_tree_describes_itself(autojump_clock):
    """Name, path, kind, state, age and children, in start order."""
    async with open_system() as system:
        spec = SupervisorSpec(children=(ChildSpec(name="slow", start=Slow),))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start_supervisor, "house", spec)
            await trio.sleep(1)
            (house,) = system.tree()
            assert (house.kind, house.state, house.age) == ("supervisor", State.STARTING, 1.0)
            (slow,) = house.children
            assert (slow.name, slow.path, slow.kind, slow.state) == ("slow", "house/slow", "Slow", State.STARTING)
        await trio.sleep(1)
        (house,) = system.tree()
        assert house.state is State.RUNNING
        (slow,) = house.children
        assert (slow.state, slow.age, slow.incarnation, slow.restarts, slow.queued) == (State.RUNNING, 3.0, 0, 0, 0)
