"""The worlds that whole episodes are measured with."""

from __future__ import annotations

import sys

import pytest

from coworld_bench import worlds
from coworld_bench.worlds import ENV_REFERENCE, load_world, missing, own_code
from coworld_protocol.errors import PreconditionMissing

TEMPLATE = """{
  "game": {
    "name": "paintarena", "description": "d", "owner": "me@example.org",
    "runnable": {"type": "game", "image": "{{PAINTARENA_IMAGE}}", "run": ["python", "game.py"]},
    "config_schema": {"type": "object", "required": ["tokens"], "properties": {
      "tokens": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "string"}},
      "max_ticks": {"type": "integer"}, "tick_rate": {"type": "number"}}},
    "results_schema": {"type": "object", "required": ["scores"], "properties": {
      "scores": {"type": "array", "items": {"type": "number"}}}},
    "protocols": {"player": {"type": "text", "value": "t"}, "global": {"type": "text", "value": "t"}},
    "docs": {"readme": {"type": "text", "value": "t"}}
  },
  "player": [{"id": "painter", "type": "player", "name": "p", "description": "d", "image": "{{PAINTARENA_IMAGE}}"}],
  "commissioner": [{"id": "c", "type": "commissioner", "name": "c", "description": "d", "image": "{{COMMISSIONER_IMAGE}}"}],
  "variants": [{"id": "default", "name": "D", "description": "d", "game_config": {"max_ticks": 100}}],
  "certification": {"game_config": {"max_ticks": 100}, "players": [{"player_id": "painter"}, {"player_id": "painter"}]}
}"""


def test_orchard_is_two_greedy_players() -> None:
    """The variant duel, changed as asked."""
    world = load_world("orchard", ("max_ticks=7",))
    assert [seat.player_id for seat in world.plan.seats] == ["greedy", "greedy"]
    assert world.plan.game_config["max_ticks"] == 7
    assert world.plan.manifest.game.runnable.image in world.images


def test_paint_arena_is_filled_in_where_it_is_installed(tmp_path, monkeypatch) -> None:
    """The package's own template, with its interpreter; without it the world is missing, with what it needs."""
    monkeypatch.setenv(ENV_REFERENCE, str(tmp_path))
    assert "coworld 0.1.26" in missing("paint-arena")
    with pytest.raises(PreconditionMissing, match="needs coworld"):
        load_world("paint-arena")
    place = tmp_path / "lib/python3.11/site-packages/coworld/examples/paintarena"
    place.mkdir(parents=True)
    (place / "coworld_manifest_template.json").write_text(TEMPLATE)
    assert missing("paint-arena") == ""
    world = load_world("paint-arena", ("max_ticks=10",))
    assert world.plan.game_config["max_ticks"] == 10
    (name,) = world.images.names()
    assert world.images.entries[name].python == tmp_path / "bin/python"


def test_without_a_checkout_orchard_is_missing(tmp_path, monkeypatch) -> None:
    """An installed package has no examples."""
    monkeypatch.setattr(worlds, "folder", lambda: tmp_path)
    assert missing("orchard") == "a checkout's examples/orchard"


def test_orchards_own_code_can_be_called(monkeypatch) -> None:
    """Once, however often it is asked for."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    own_code()
    own_code()
    assert sys.path.count(str(worlds.folder())) == 1
