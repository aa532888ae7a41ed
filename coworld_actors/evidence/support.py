"""The supporting roles of one good episode, all at once, each alone: one that fails takes no other with it."""

from __future__ import annotations

from collections.abc import Callable

import trio

from coworld_actors.actors import SupervisorRef
from coworld_actors.episode.record import SupportReport
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.workspace import Workspace
from coworld_actors.evidence.bundle import build_bundle
from coworld_actors.evidence.grader import run_grader
from coworld_actors.evidence.reporter import run_reporter
from coworld_drivers.driver import Site
from coworld_protocol.manifest import RoleEntry

__all__ = ["run_support"]


async def run_support(
    house: SupervisorRef,
    site: Site,
    spec: EpisodeSpec,
    workspace: Workspace,
    done: Callable[[SupportReport], None],
) -> None:
    """Run every reporter and grader of the manifest that runs here.

    Args:
        house: the episode's supervisor.
        site: where they run.
        spec: the episode.
        workspace: its files.
        done: called with each one's report as it comes in.
    """
    bundle = await trio.to_thread.run_sync(build_bundle, workspace, spec.id)
    manifest = spec.plan.manifest
    async with trio.open_nursery() as nursery:
        for entry in manifest.reporter:

            async def report(entry: RoleEntry = entry) -> None:
                done(await run_reporter(house, site, spec, workspace, entry, bundle))

            nursery.start_soon(report)
        for entry in manifest.grader:

            async def grade(entry: RoleEntry = entry) -> None:
                done(await run_grader(house, site, spec, workspace, entry))

            nursery.start_soon(grade)
