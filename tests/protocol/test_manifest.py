"""The Structs read what the contract describes and write what was read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from coworld_protocol.contract import Role
from coworld_protocol.manifest import ROLE_SECTIONS, EpisodeRequest, Manifest, RoleEntry, UriDoc

TEXT = {"type": "text", "value": "words"}
ENTRY = {"id": "p", "type": "player", "name": "P", "description": "d", "image": "demo-player:latest"}
SMALLEST: dict[str, Any] = {
    "game": {
        "name": "demo",
        "version": "0.1.0",
        "description": "d",
        "owner": "me@example.org",
        "config_schema": {"type": "object"},
        "results_schema": {"type": "object"},
        "runnable": {"type": "game", "image": "demo-game:latest"},
        "protocols": {"player": TEXT, "global": {"type": "uri", "value": "https://example.org/p.md"}},
        "docs": {"readme": TEXT},
    },
    "player": [ENTRY],
    "variants": [{"id": "default", "name": "Default", "description": "d", "game_config": {}}],
    "certification": {"game_config": {}, "players": [{"player_id": "p"}]},
}


def test_smallest_manifest_is_read() -> None:
    """What is left out has the contract's defaults."""
    manifest = msgspec.convert(SMALLEST, Manifest)
    assert manifest.game.protocols.global_ == UriDoc(value="https://example.org/p.md")
    assert manifest.game.runnable.run == ()
    assert manifest.reporter == manifest.optimizer == ()
    assert manifest.api_version is None


def test_renamed_keys_survive_a_round_trip() -> None:
    """`$schema`, `apiVersion`, `global` and Kubernetes' names are written as they are read."""
    resources = {"requests": {"cpu": "1", "ephemeral-storage": "10Gi"}}
    document = {**SMALLEST, "$schema": "s", "apiVersion": "coworld.softmax.com/v1"}
    document["player"] = [{**ENTRY, "resources": resources}]
    manifest = msgspec.convert(document, Manifest)
    written = msgspec.to_builtins(manifest)
    assert (written["$schema"], written["apiVersion"]) == ("s", "coworld.softmax.com/v1")
    assert written["game"]["protocols"]["global"]["type"] == "uri"
    assert written["player"][0]["resources"]["requests"]["ephemeral-storage"] == "10Gi"
    assert msgspec.convert(written, Manifest) == manifest


def test_sections_are_found_by_role() -> None:
    """Every role but the game has a section."""
    manifest = msgspec.convert({**SMALLEST, "grader": [{**ENTRY, "type": "grader"}]}, Manifest)
    assert [len(manifest.roles(section)) for section in ROLE_SECTIONS] == [1, 0, 0, 1, 0, 0]
    with pytest.raises(KeyError):
        manifest.roles(Role.GAME)


def test_players_and_variants_are_found_by_id() -> None:
    """Or not at all."""
    manifest = msgspec.convert(SMALLEST, Manifest)
    assert manifest.find_player("p") is manifest.player[0]
    assert manifest.find_variant("default") is manifest.variants[0]
    assert manifest.find_player("q") is None
    assert manifest.find_variant("q") is None


def test_a_role_entry_gives_its_runnable_part() -> None:
    """Identity stays behind: the contract refuses it in an episode request."""
    entry = msgspec.convert({**ENTRY, "run": ["a"], "env": {"A": "b"}, "source_url": "https://example.org"}, RoleEntry)
    runnable = msgspec.json.decode(msgspec.json.encode(entry.runnable()))
    assert {key: value for key, value in runnable.items() if value is not None} == {
        "type": "player",
        "image": "demo-player:latest",
        "run": ["a"],
        "env": {"A": "b"},
        "source_url": "https://example.org",
    }


def test_a_player_file_has_no_runnable_part() -> None:
    """It has no image; asking is the caller's mistake."""
    entry = msgspec.convert({**ENTRY, "image": None, "file": "bot.zip"}, RoleEntry)
    with pytest.raises(ValueError, match="player 'p' has no image"):
        entry.runnable()


def test_episode_request_is_read() -> None:
    """The whole manifest, a configuration, runnables and labels."""
    request = msgspec.convert(
        {"manifest": SMALLEST, "game_config": {"width": 8}, "players": [{"type": "player", "image": "i"}] * 2},
        EpisodeRequest,
    )
    assert request.manifest.game.name == "demo"
    assert [player.image for player in request.players] == ["i", "i"]
    assert request.episode_tags == {}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("player", []),
        ("variants", []),
        ("apiVersion", "v2"),
        ("players_per_user", 0),
        ("episode_timeout_minutes", 1441),
        ("tags", ["a", "b"]),
    ],
)
def test_bounds_are_kept(place: str, value: object) -> None:
    """What one value shows to be wrong is refused by the Structs alone."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**SMALLEST, place: value}, Manifest)
