"""Graders: one number for an episode, taken at its word only when it is exactly that."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from coworld_actors.actors import SupervisorRef
from coworld_actors.episode.launches import wanted_resources
from coworld_actors.episode.record import SupportReport
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.workspace import FOR_READERS, FileRefused, Workspace, read_role_file, write_atomically
from coworld_actors.evidence.one_shot import run_once
from coworld_drivers.driver import Launch, Mount, Site
from coworld_protocol import contract
from coworld_protocol.contract import Role
from coworld_protocol.manifest import RoleEntry
from coworld_protocol.printable import printable

__all__ = ["GradeRefused", "parse_grade", "run_grader"]

GRADE_FILE = "grade.json"
"""Where a grader is told to write; ours to choose, it learns it from its environment."""

GRADE_LIMIT = 16 * 1024 * 1024
"""Bytes of a grade that are read."""


class GradeRefused(ValueError):
    """What a grader wrote is no grade."""


def parse_grade(data: bytes) -> float:
    """The score in a grade.

    Raises:
        GradeRefused: not one JSON object with a finite number `score`; a boolean, a text or NaN is no number.
    """
    try:
        grade: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise GradeRefused(f"the grade is no JSON: {error}") from error
    if not isinstance(grade, dict):
        raise GradeRefused("the grade is no JSON object")
    score = grade.get("score")
    if isinstance(score, dict | list):
        raise GradeRefused(
            f"the grade's score is {'an object' if isinstance(score, dict) else 'a list'}, not a finite number"
        )
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise GradeRefused(f"the grade's score is {repr(score)[:80]}, not a finite number")
    try:
        number = float(score)
    except OverflowError as error:
        raise GradeRefused("the grade's score is too large a number") from error
    if not math.isfinite(number):
        raise GradeRefused(f"the grade's score is {score!r}, not a finite number")
    return number


async def run_grader(
    house: SupervisorRef, site: Site, spec: EpisodeSpec, workspace: Workspace, entry: RoleEntry
) -> SupportReport:
    """Run one grader on the bundle; what passes lands in `grades/ID.json`."""
    name = f"{Role.GRADER}-{entry.id}"
    directory = workspace.support_directory(name)
    directory.mkdir()
    written = directory / GRADE_FILE
    mounts = (
        Mount(path=workspace.bundle, at=f"{contract.CONTAINER_WORKSPACE}/{workspace.bundle.name}"),
        Mount(path=directory, at=contract.CONTAINER_OWN, writable=True),
    )
    launch = Launch(
        name=name,
        role=Role.GRADER,
        image=entry.runnable().image,
        run=tuple(entry.run),
        env={
            **entry.env,
            **spec.role_env,
            contract.ENV_EPISODE_BUNDLE_URI: site.uri(workspace.bundle, mounts),
            contract.ENV_GRADE_URI: site.uri(written, mounts),
        },
        mounts=mounts,
        resources=wanted_resources(entry.resources),
        stdout=workspace.logs / f"{name}.log",
    )
    end = await run_once(house, site, launch, spec.limits.support)

    def failed(message: str) -> SupportReport:
        return SupportReport(role=launch.role, id=entry.id, ok=False, message=message, evidence=end.evidence)

    if not end.ok:
        return failed("the grader did not finish well")
    try:
        data = read_role_file(written, GRADE_LIMIT)
        if data is None:
            return failed("the grader ended without writing its grade")
        score = parse_grade(data)
    except (FileRefused, GradeRefused) as error:
        return failed(printable(str(error)))
    target = workspace.grades / f"{entry.id}.json"
    write_atomically(target, data, FOR_READERS)
    return SupportReport(
        role=launch.role, id=entry.id, ok=True, output=str(target.relative_to(workspace.root)), score=score
    )
