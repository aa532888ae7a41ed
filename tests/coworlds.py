"""Coworlds made for tests: real processes that keep the contract, or break one clause of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent / "programs"
IMAGE = "scripted:1"


def scripted_manifest(
    behaviour: str = "plays",
    players: Sequence[str] = ("plays", "plays"),
    *,
    config: Mapping[str, Any] | None = None,
    reporters: Sequence[str] = (),
    graders: Sequence[str] = (),
) -> dict[str, Any]:
    """A manifest of the scripted game; every name is a behaviour of the program behind it."""

    def role(section: str, behaviour: str, program: str, *arguments: str) -> dict[str, Any]:
        return {
            "id": behaviour.replace("_", "-"),
            "type": section,
            "name": f"{behaviour} {section}",
            "description": "d",
            "image": IMAGE,
            "run": ["python", program, *arguments],
            "env": {"BEHAVIOUR": behaviour},
        }

    text = {"type": "text", "value": "text"}
    game_config = {"behaviour": behaviour, "ticks": 3, **(config or {})}
    return {
        "game": {
            "name": "scripted",
            "version": "1.0.0",
            "description": "d",
            "owner": "me@example.org",
            "config_schema": {
                "type": "object",
                "required": ["tokens", "behaviour"],
                "properties": {
                    "tokens": {"type": "array", "minItems": 1, "maxItems": 64, "items": {"type": "string"}},
                    "behaviour": {"type": "string"},
                    "ticks": {"type": "integer", "minimum": 1, "maximum": 100000},
                },
            },
            "results_schema": {
                "type": "object",
                "required": ["scores"],
                "properties": {"scores": {"type": "array", "items": {"type": "number"}}},
            },
            "runnable": {"type": "game", "image": IMAGE, "run": ["python", "scripted_game.py"]},
            "protocols": {"player": text, "global": text},
            "docs": {"readme": text},
        },
        "player": [role("player", name, "scripted_player.py") for name in dict.fromkeys(players)],
        "reporter": [role("reporter", name, "scripted_support.py", "report") for name in reporters],
        "grader": [role("grader", name, "scripted_support.py", "grade") for name in graders],
        "variants": [{"id": "default", "name": "Default", "description": "d", "game_config": game_config}],
        "certification": {
            "game_config": game_config,
            "players": [{"player_id": name.replace("_", "-")} for name in players],
        },
    }


def write_coworld(directory: Path, manifest: Mapping[str, Any], *, root: Path = PROGRAMS, mapped: bool = True) -> Path:
    """Write a manifest with its image mapping into a directory; returns the manifest's path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "coworld_manifest.json"
    path.write_text(json.dumps(manifest))
    if mapped:
        mapping = f'[images."{IMAGE}"]\nroot = {json.dumps(str(root))}\npython = {json.dumps(sys.executable)}\n'
        (directory / "coworld_local.toml").write_text(mapping)
    return path


def quick_manifest(
    seats: int = 2, *, values: Mapping[str, float] | None = None, config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A manifest of the quick game, which takes a seed: for tests that play many episodes.

    Args:
        seats: of the fixture and of the variant `default`; the variant `wide` has two more.
        values: what each player scores, by its id.
        config: further configuration.
    """
    values = values or {"strong": 3, "weak": 1}
    manifest = scripted_manifest(players=[*values])
    game = manifest["game"]
    game["name"] = "quick"
    game["runnable"]["run"] = ["python", "-S", "-E", "quick_game.py"]
    game["config_schema"]["properties"] |= {
        "seed": {"type": "integer", "minimum": 0, "maximum": 1000000},
        "level": {"type": "integer", "minimum": 0},
        "pause": {"type": "number"},
        "noise": {"type": "integer"},
        "table": {"type": "object"},
        "players": {"type": "array"},
    }
    for player, value in zip(manifest["player"], values.values(), strict=True):
        player["run"] = ["python", "-S", "-E", "quick_player.py"]
        player["env"] = {"VALUE": f"{value:g}"}
    base = {"behaviour": "plays", "ticks": 1, **(config or {})}
    manifest["variants"] = [
        {"id": name, "name": name, "description": "d", "game_config": {**base, "players": [{}] * count}}
        for name, count in (("default", seats), ("wide", seats + 2))
    ]
    ids = [*values]
    manifest["certification"] = {
        "game_config": {**base, "players": [{}] * seats},
        "players": [{"player_id": ids[seat % len(ids)]} for seat in range(seats)],
    }
    return manifest
