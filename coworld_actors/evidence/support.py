"""The supporting roles of one good episode, all at once, each alone: one that fails takes no other with it."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

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
from coworld_protocol.errors import CoworldError, InternalFault
from coworld_protocol.manifest import RoleEntry
from coworld_protocol.messages.bundle import BundleManifest
from coworld_protocol.printable import printable

__all__ = ["run_support"]


async def run_support(
    house: SupervisorRef,
    site: Site,
    spec: EpisodeSpec,
    workspace: Workspace,
    done: Callable[[SupportReport], None],
) -> None:
    """Run every reporter and grader of the manifest that runs here.

    What goes wrong is in their reports, and there is one of each, whatever happens: a defect of ours is one that failed, and who
    is still at work when this is cancelled was stopped.

    Args:
        house: the episode's supervisor.
        site: where they run.
        spec: the episode.
        workspace: its files.
        done: called with each one's report as it comes in.
    """
    manifest = spec.plan.manifest
    everybody = [
        *((Role.REPORTER, entry) for entry in manifest.reporter),
        *((Role.GRADER, entry) for entry in manifest.grader),
    ]
    bundle: BundleManifest | None = None
    message, evidence = "it was not run: it was stopped while the episode's bundle was written", ""
    try:
        bundle = await trio.to_thread.run_sync(_prepare, workspace, spec.id)
    # What was played counts, whatever becomes of its reports.
    except Exception as error:  # noqa: BLE001
        what, evidence = _told(error)
        message = f"it was not run: the episode's bundle cannot be written: {what}"
    finally:
        if bundle is None:
            for role, entry in everybody:
                done(SupportReport(role=role, id=entry.id, ok=False, message=message, evidence=evidence))
    if bundle is None:
        return
    written = bundle

    async def report(entry: RoleEntry) -> SupportReport:
        return await run_reporter(house, site, spec, workspace, entry, written)

    async def grade(entry: RoleEntry) -> SupportReport:
        return await run_grader(house, site, spec, workspace, entry)

    work = {Role.REPORTER: report, Role.GRADER: grade}
    async with trio.open_nursery() as nursery:
        for role, entry in everybody:
            nursery.start_soon(_alone, role, entry, work[role], done)


async def _alone(
    role: Role,
    entry: RoleEntry,
    run: Callable[[RoleEntry], Awaitable[SupportReport]],
    done: Callable[[SupportReport], None],
) -> None:
    """Run one of them; whatever it raises is its report, and only a cancellation passes."""
    report = SupportReport(role=role, id=entry.id, ok=False, message="it was stopped before it had ended")
    try:
        report = await run(entry)
    # A defect that one reporter's output brings to light must not cost the episode's record.
    except Exception as error:  # noqa: BLE001
        what, evidence = _told(error)
        report = SupportReport(
            role=role, id=entry.id, ok=False, message=f"it could not be run: {what}", evidence=evidence
        )
    finally:
        done(report)


def _told(error: Exception) -> tuple[str, str]:
    """An exception as a sentence, and where in our code it was raised if it is a defect of ours."""
    if isinstance(error, CoworldError | OSError) and not isinstance(error, InternalFault):
        return printable(str(error)), ""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f"a defect of ours: {type(error).__name__}: {error}"[:300]
    return printable(what), f"raised in {Path(frame.filename).name}:{frame.lineno}, {frame.name}"


def _prepare(workspace: Workspace, episode: str) -> BundleManifest:
    """The bundle, and the directories that reporters and graders work in and that their outputs land in.

    Runs in a thread of trio's, and ends within one piece of work when its caller is cancelled.

    Raises:
        OSError: the run's directory cannot be written.
    """
    places = (workspace.support, workspace.reports, workspace.grades)
    workspace.free(*places)
    for place in places:
        place.mkdir()
    return build_bundle(workspace, episode, trio.from_thread.check_cancelled)
