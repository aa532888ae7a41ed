"""An episode without any runtime."""

from __future__ import annotations

import msgspec
import pytest

from coworld_bench.by_hand import play_by_hand
from coworld_bench.worlds import load_world
from coworld_drivers.images import Image, ImageMap
from coworld_protocol.errors import PreconditionMissing


def test_an_episode_is_played_by_hand() -> None:
    """Both parts of it take time, and the ports are free again."""
    found = play_by_hand(load_world("orchard", ("max_ticks=3",)))
    assert found.start > 0
    assert found.own > 0


def test_a_game_that_does_not_start_is_said(tmp_path) -> None:
    """No minute of waiting for a process that has ended."""
    world = load_world("orchard")
    (name,) = world.images.names()
    broken = msgspec.structs.replace(world, images=ImageMap({name: Image(root=tmp_path)}))
    with pytest.raises(PreconditionMissing, match="did not become healthy"):
        play_by_hand(broken)
