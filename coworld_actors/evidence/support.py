"""The supporting roles of one good episode, all at once, each alone: one that fails takes no other with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from coworld_actors.actors import SupervisorRef
from coworld_actors.episode.record import SupportReport
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.workspace import Workspace
from coworld_actors.evidence.bundle import build_bundle
from coworld_actors.evidence.grader import run_grader
from coworld_actors.evidence.reporter import run_reporter
from coworld_drivers.driver import Site
from coworld_protocol.contract import Role
from coworld_protocol.errors import CoworldError
from coworld_protocol.manifest import RoleEntry
from coworld_protocol.messages.bundle import BundleManifest

__all__ = ["run_support"]


async def run_support(
    house: SupervisorRef,
    site: Site,
    spec: EpisodeSpec,
    workspace: Workspace,
    done: Callable[[SupportReport], None],
) -> None:
    """Run every reporter and grader of the manifest that runs here; what goes wrong is in their reports.

    Args:
        house: the episode's supervisor.
        site: where they run.
        spec: the episode.
        workspace: its files.
        done: called with each one's report as it comes in.
    """
    manifest = spec.plan.manifest
    try:
        bundle = await trio.to_thread.run_sync(_prepare, workspace, spec.id)
    except (CoworldError, OSError) as error:
        for role, entries in ((Role.REPORTER, manifest.reporter), (Role.GRADER, manifest.grader)):
            for entry in entries:
                message = f"it was not run: the episode's bundle cannot be written: {error}"
                done(SupportReport(role=role, id=entry.id, ok=False, message=message))
        return

    async def report(entry: RoleEntry) -> SupportReport:
        return await run_reporter(house, site, spec, workspace, entry, bundle)

    async def grade(entry: RoleEntry) -> SupportReport:
        return await run_grader(house, site, spec, workspace, entry)

    async def alone(role: Role, entry: RoleEntry, run: Callable[[RoleEntry], Awaitable[SupportReport]]) -> None:
        try:
            done(await run(entry))
        except (CoworldError, OSError) as error:
            done(SupportReport(role=role, id=entry.id, ok=False, message=f"it could not be run: {error}"))

    async with trio.open_nursery() as nursery:
        for entry in manifest.reporter:
            nursery.start_soon(alone, Role.REPORTER, entry, report)
        for entry in manifest.grader:
            nursery.start_soon(alone, Role.GRADER, entry, grade)


def _prepare(workspace: Workspace, episode: str) -> BundleManifest:
    """The bundle, and the directories that reporters and graders work in and that their outputs land in.

    Raises:
        OSError: the run's directory cannot be written.
    """
    places = (workspace.support, workspace.reports, workspace.grades)
    workspace.free(*places)
    for place in places:
        place.mkdir()
    return build_bundle(workspace, episode)
