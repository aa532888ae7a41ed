"""Coworlds under supervision: every game, player, reporter and grader is an actor of one tree.

General layout, inner first; each may import what stands above it:

    coworld_protocol      what travels: contract, manifest, messages, the authors' SDK
    coworld_drivers       where roles run
    actors                the actor runtime; it knows nothing of games
    manifest              a manifest is loaded, checked and resolved
    episode               one episode as one supervised tree, its verdict and its record
    evidence              what reporters and graders make of an episode's files
    cli                   the command line
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coworld_actors.actors import ActorSystem, open_system
    from coworld_actors.episode.conductor import run_episode
    from coworld_actors.episode.interrupt import Interrupt
    from coworld_actors.episode.record import EpisodeRecord
    from coworld_actors.episode.spec import EpisodeSpec, Limits
    from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd, SeatReport, Verdict
    from coworld_actors.manifest.load import LoadedManifest, load_manifest
    from coworld_actors.manifest.seats import EpisodePlan, build_plan

__all__ = [
    "ActorSystem",
    "Blame",
    "EndReason",
    "EpisodePlan",
    "EpisodeRecord",
    "EpisodeSpec",
    "Interrupt",
    "Limits",
    "LoadedManifest",
    "SeatEnd",
    "SeatReport",
    "Verdict",
    "build_plan",
    "load_manifest",
    "open_system",
    "run_episode",
]

_HOMES = {
    "actors": ("ActorSystem", "open_system"),
    "episode.conductor": ("run_episode",),
    "episode.interrupt": ("Interrupt",),
    "episode.record": ("EpisodeRecord",),
    "episode.spec": ("EpisodeSpec", "Limits"),
    "episode.verdict": ("Blame", "EndReason", "SeatEnd", "SeatReport", "Verdict"),
    "manifest.load": ("LoadedManifest", "load_manifest"),
    "manifest.seats": ("EpisodePlan", "build_plan"),
}


def __getattr__(name: str) -> Any:
    """Import on first use: `coworld-actors --help` needs none of this, and httpx alone costs 80 ms."""
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module  # noqa: PLC0415

            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
