"""A Coworld on the SDK, of which a test says how each role behaves, to be played in one process or in several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_drivers.images import ImageMap, load_images
from tests.coworlds import IMAGE, scripted_manifest, write_coworld

__all__ = ["memory_images", "memory_spec"]

LIMITS = Limits(timeout=60, startup=30, player_grace=10, support=60)


def memory_spec(
    directory: Path,
    *,
    game: str = "plays",
    players: Sequence[str] = ("plays", "plays"),
    episode: str = "e-1",
    numbers: Sequence[int] = (1, 2, 3, 4),
    limits: Limits = LIMITS,
    config: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    run: Sequence[str] = ("python", "-m", "memory_roles.player"),
    reporters: Sequence[str] = (),
    verify_replay: bool = False,
) -> EpisodeSpec:
    """One episode; seat N adds `numbers[N]` each tick."""
    manifest = scripted_manifest(game, players, config=config, reporters=reporters)
    parts = manifest["game"]
    parts["runnable"]["run"] = ["python", "-m", "memory_roles.game"]
    parts["config_schema"]["properties"] |= {
        name: {"type": "number"}
        for name in ("tick_timeout_seconds", "player_connect_timeout_seconds", "reconnect_grace_seconds")
    }
    manifest["player"] = [
        {
            "id": f"p{slot}",
            "type": "player",
            "name": behaviour,
            "description": "d",
            "image": IMAGE,
            "run": list(run),
            "env": {"BEHAVIOUR": behaviour, "ME": str(numbers[slot]), **(env or {})},
        }
        for slot, behaviour in enumerate(players)
    ]
    manifest["certification"]["players"] = [{"player_id": f"p{slot}"} for slot in range(len(players))]
    loaded = load_manifest(write_coworld(directory / "coworld", manifest))
    return EpisodeSpec(
        id=episode,
        plan=build_plan(loaded),
        directory=directory / episode,
        limits=limits,
        verify_replay=verify_replay,
    )


def memory_images(directory: Path) -> ImageMap:
    """What `memory_spec` has written about its image."""
    return load_images(directory / "coworld", {})
