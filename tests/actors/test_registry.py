"""Who lives, by path."""

from __future__ import annotations

import pytest

from coworld_actors.actors import Actor, ChildSpec, StartFailed, open_system


class Idle(Actor[int]):
    pass


class Stillborn(Actor[int]):
    async def on_start(self) -> None:
        raise ValueError("no")


async def test_refs_are_found_by_path_from_first_start_to_down():
    """The root has the empty path; an ended child's path is free again."""
    async with open_system() as system:
        registry = system.registry
        assert registry[""] is system.root
        house = await system.start_supervisor("house")
        ref = await house.start_actor(ChildSpec(name="a", start=Idle))
        assert registry["house/a"] is ref
        assert registry.find("house") is house
        assert registry.matching("hou") == ["house", "house/a"]
        assert "house/a" in registry
        assert list(registry) == ["", "house", "house/a"]
        await ref.stop()
        assert registry.find("house/a") is None
        again = await house.start_actor(ChildSpec(name="a", start=Idle))
        assert registry["house/a"] is again is not ref
        await house.stop()
        assert len(registry) == 1


async def test_a_failed_start_leaves_nothing_in_it():
    """The path is free afterwards."""
    async with open_system() as system:
        with pytest.raises(StartFailed):
            await system.start_actor(ChildSpec(name="a", start=Stillborn))
        assert "a" not in system.registry
