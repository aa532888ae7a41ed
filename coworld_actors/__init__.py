"""Coworlds under supervision: every game, player, reporter and grader is an actor of one tree.

General layout, inner first; each may import what stands above it:

    coworld_protocol      what travels: contract, manifest, messages, the authors' SDK
    coworld_drivers       where roles run
    actors                the actor runtime; it knows nothing of games
    manifest              a manifest is loaded, checked and resolved
    episode               one episode as one supervised tree, its verdict and its record
    evidence              what reporters and graders make of an episode's files
    runtime               many episodes over a long time: admission, watchdog, orderly stop; from trio, asyncio and threads
    batch                 very many episodes: schedule, parallel play, resuming, statistics
    observe, control      metrics, traces, logs; a socket to look inside and to steer
    cli                   the command line
    testing               fakes, faults and fixtures for people who write actors and roles of their own
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coworld_actors.actors import ActorSystem, open_system
    from coworld_actors.episode.pages import Pages
    from coworld_actors.episode.record import EpisodeRecord
    from coworld_actors.episode.spec import EpisodeSpec, Limits
    from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd, SeatReport, Verdict
    from coworld_actors.manifest.load import LoadedManifest, load_manifest
    from coworld_actors.manifest.seats import EpisodePlan, build_plan
    from coworld_actors.runtime.admission import Admission, RuntimeFull, WhenFull
    from coworld_actors.runtime.events import StopReport
    from coworld_actors.runtime.for_asyncio import open_runtime_asyncio
    from coworld_actors.runtime.for_threads import open_runtime_sync
    from coworld_actors.runtime.handle import EpisodeHandle
    from coworld_actors.runtime.opening import open_runtime
    from coworld_actors.runtime.runtime import Runtime, RuntimeClosed

__all__ = [
    "ActorSystem",
    "Admission",
    "Blame",
    "EndReason",
    "EpisodeHandle",
    "EpisodePlan",
    "EpisodeRecord",
    "EpisodeSpec",
    "Limits",
    "LoadedManifest",
    "Pages",
    "Runtime",
    "RuntimeClosed",
    "RuntimeFull",
    "SeatEnd",
    "SeatReport",
    "StopReport",
    "Verdict",
    "WhenFull",
    "build_plan",
    "load_manifest",
    "open_runtime",
    "open_runtime_asyncio",
    "open_runtime_sync",
    "open_system",
]

_HOMES = {
    "actors": ("ActorSystem", "open_system"),
    "episode.pages": ("Pages",),
    "episode.record": ("EpisodeRecord",),
    "episode.spec": ("EpisodeSpec", "Limits"),
    "episode.verdict": ("Blame", "EndReason", "SeatEnd", "SeatReport", "Verdict"),
    "manifest.load": ("LoadedManifest", "load_manifest"),
    "manifest.seats": ("EpisodePlan", "build_plan"),
    "runtime.admission": ("Admission", "RuntimeFull", "WhenFull"),
    "runtime.events": ("StopReport",),
    "runtime.for_asyncio": ("open_runtime_asyncio",),
    "runtime.for_threads": ("open_runtime_sync",),
    "runtime.handle": ("EpisodeHandle",),
    "runtime.opening": ("open_runtime",),
    "runtime.runtime": ("Runtime", "RuntimeClosed"),
}


def __getattr__(name: str) -> Any:
    """Import on first use: `coworld-actors --help` needs none of this, and httpx alone costs 80 ms."""
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module  # noqa: PLC0415

            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
