"""The smallest manifest that keeps every rule, fresh for every test, and what a changed one is refused for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from coworld_actors.manifest.load import LoadedManifest, check_manifest
from coworld_protocol.errors import ManifestRefused

Raw = dict[str, Any]


@pytest.fixture
def raw() -> Raw:
    """A world of two to eight seats with two players and one variant."""
    text = {"type": "text", "value": "words"}
    role = {"description": "d", "image": "demo-player:1"}
    manifest: Raw = {
        "game": {
            "name": "demo",
            "version": "0.1.0",
            "description": "d",
            "owner": "me@example.org",
            "config_schema": {
                "type": "object",
                "additionalProperties": False,
                "required": ["tokens"],
                "properties": {
                    "tokens": {"type": "array", "minItems": 2, "maxItems": 8, "items": {"type": "string"}},
                    "players": {
                        "type": "array",
                        "items": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}}},
                    },
                    "num_agents": {"type": "integer"},
                    "width": {"type": "integer", "minimum": 4, "maximum": 40},
                },
            },
            "results_schema": {
                "type": "object",
                "required": ["scores"],
                "properties": {"scores": {"type": "array", "items": {"type": "number"}}},
            },
            "runnable": {"type": "game", "image": "demo-game:1"},
            "protocols": {"player": text, "global": text},
            "docs": {"readme": text},
        },
        "player": [
            {"id": "ada", "type": "player", "name": "Ada", "run": ["python", "ada.py"], "env": {"MODE": "a"}, **role},
            {"id": "bob", "type": "player", "name": "Bob", **role},
        ],
        "variants": [{"id": "trio", "name": "Trio", "description": "d", "game_config": {"players": [{}, {}, {}]}}],
        "certification": {"game_config": {}, "players": [{"player_id": "ada"}, {"player_id": "bob"}]},
    }
    # Every part its own object, so that a test changes one place only.
    copied: Raw = json.loads(json.dumps(manifest))
    return copied


@pytest.fixture
def load(raw: Raw) -> Callable[[], LoadedManifest]:
    """Checks `raw` as the test has left it."""
    return lambda: check_manifest(raw, source="world.json")


@pytest.fixture
def refusal(raw: Raw) -> Callable[[], list[str]]:
    """The problems of `raw` as the test has left it, as a user sees them."""

    def problems() -> list[str]:
        with pytest.raises(ManifestRefused) as caught:
            check_manifest(raw, source="world.json")
        return [str(problem) for problem in caught.value.problems]

    return problems
