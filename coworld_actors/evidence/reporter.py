"""Reporters: what each is asked, and what of its answer lands in the run's directory."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import trio

from coworld_actors.actors import SupervisorRef
from coworld_actors.episode.launches import wanted_resources
from coworld_actors.episode.record import SupportReport
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.workspace import FileRefused, Workspace, is_role_file, read_role_file
from coworld_actors.evidence.one_shot import run_once
from coworld_actors.evidence.report_rules import MAX_UNPACKED, Report, check_report
from coworld_drivers.driver import Launch, Mount, Site
from coworld_protocol import contract
from coworld_protocol.manifest import RoleEntry
from coworld_protocol.messages.bundle import BundleManifest
from coworld_protocol.messages.reporter import Artifact, Artifacts, EpisodeInput, ReportRequest
from coworld_protocol.printable import printable

__all__ = ["report_request", "run_reporter"]

REPORT_LIMIT = MAX_UNPACKED
"""Bytes of a report zip that are read."""

CHUNK = 1024 * 1024
"""Bytes that are unpacked at a time; after each of them it can be called off."""


def report_request(
    workspace: Workspace, site: Site, mounts: Sequence[Mount], bundle: BundleManifest, report: Path
) -> ReportRequest:
    """What a reporter is asked to do, with every input under the URI by which it can really be read."""

    def artifact(path: Path, media_type: str) -> Artifact | None:
        return Artifact(uri=site.uri(path, mounts), media_type=media_type) if is_role_file(path) else None

    def by_slot(paths: dict[str, Path], media_type: str) -> dict[str, Artifact]:
        found = {key: artifact(path, media_type) for key, path in paths.items()}
        return {key: item for key, item in found.items() if item is not None}

    slots = range(workspace.slots)
    game_logs = {"stdout": workspace.game_stdout, "stderr": workspace.game_stderr}
    files = dict(bundle.files)
    if "game_logs" in files:
        # The bundle joins both logs, the local request names each (so does the reference): keys here are keys of `artifacts`.
        files["game_logs"] = {
            key: str(path.relative_to(workspace.root)) for key, path in game_logs.items() if is_role_file(path)
        }
    return ReportRequest(
        request_id=f"report-{bundle.ereq_id}",
        report_uri=site.uri(report, mounts),
        episodes=(
            EpisodeInput(
                episode_request_id=bundle.ereq_id,
                status=bundle.status,
                manifest=msgspec.structs.replace(bundle, files=files),
                artifacts=Artifacts(
                    results=artifact(workspace.results, "application/json"),
                    replay=artifact(workspace.replay, "application/octet-stream"),
                    game_logs=by_slot(game_logs, "text/plain"),
                    player_logs=by_slot({str(s): workspace.player_log(s) for s in slots}, "text/plain"),
                    player_artifact=by_slot({str(s): workspace.player_artifact(s) for s in slots}, "application/zip"),
                ),
            ),
        ),
    )


async def run_reporter(
    house: SupervisorRef, site: Site, spec: EpisodeSpec, workspace: Workspace, entry: RoleEntry, bundle: BundleManifest
) -> SupportReport:
    """Run one reporter, check its report by the contract's rules and unpack what passes."""
    name = f"{contract.Role.REPORTER}-{entry.id}"
    directory = workspace.support_directory(name)
    directory.mkdir()
    target = directory / contract.FILE_REPORT
    mounts = (workspace.for_reporter(), Mount(path=directory, at=contract.CONTAINER_OWN, writable=True))
    request = report_request(workspace, site, mounts, bundle, target)
    launch = Launch(
        name=name,
        role=contract.Role.REPORTER,
        image=entry.runnable().image,
        run=tuple(entry.run),
        env={**entry.env, **spec.role_env, contract.ENV_REPORT_REQUEST: msgspec.json.encode(request).decode()},
        mounts=mounts,
        resources=wanted_resources(entry.resources),
        stdout=workspace.logs / f"{name}.log",
    )
    end = await run_once(house, site, launch, spec.limits.support)

    def failed(message: str) -> SupportReport:
        return SupportReport(role=launch.role, id=entry.id, ok=False, message=message, evidence=end.evidence)

    if not end.ok:
        return failed("the reporter did not finish well")
    try:
        data = read_role_file(target, REPORT_LIMIT)
    except FileRefused as error:
        return failed(error.what)
    if data is None:
        return failed(f"the reporter ended without writing {contract.FILE_REPORT}")
    # It touches nothing: who waits for it can be cancelled and leave it to its end.
    report = await trio.to_thread.run_sync(check_report, data, abandon_on_cancel=True)
    if report.problems:
        return failed("; ".join(report.problems))
    place = workspace.reports / entry.id
    try:
        await trio.to_thread.run_sync(_unpack, data, report, place, trio.from_thread.check_cancelled)
    except _NotUnpacked as error:
        return failed(printable(f"the report cannot be unpacked: {error}"))
    render = report.manifest.render if report.manifest else None
    return SupportReport(
        role=launch.role,
        id=entry.id,
        ok=True,
        output=str((place / contract.FILE_REPORT).relative_to(workspace.root)),
        render=str((place / render).relative_to(workspace.root)) if render else "",
    )


class _NotUnpacked(Exception):
    """A report that passed the rules and still cannot be laid out as files."""


def _unpack(data: bytes, report: Report, place: Path, pause: Callable[[], None]) -> None:
    """Lay the zip and every entry of it into a directory that no role has ever written in; all of it or nothing.

    `check_report` has seen to it that no entry leads out of the directory. `pause` is called after every piece and may raise to
    call it off.

    Raises:
        _NotUnpacked: an entry is damaged, two entries need the same place, a name is too long, or the disk is full.
    """
    try:
        place.mkdir()
        (place / contract.FILE_REPORT).write_bytes(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in report.entries:
                if name != contract.FILE_REPORT:
                    target = place / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("xb") as file, archive.open(name) as entry:
                        while piece := entry.read(CHUNK):
                            file.write(piece)
                            pause()
    except BaseException as error:
        # Half a report is none, whether it is damaged or was called off.
        shutil.rmtree(place, ignore_errors=True)
        if not isinstance(error, Exception):
            raise
        # Every decompressor has an exception of its own.
        raise _NotUnpacked(error.strerror if isinstance(error, OSError) else error) from error
