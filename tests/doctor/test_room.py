"""How many episodes fit, by each thing that there is a limit of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from coworld_actors.batch.pacing.room import Limit, Limits
from coworld_actors.doctor.finding import Status, Surroundings
from coworld_actors.doctor.room import check_room, judge_room
from tests.doctor.clients import found

LIMITS = Limits(
    soft_files=1024,
    hard_files=1_000_000,
    open_files=10,
    memory=(Limit(2**34, "16 GiB are available"),),
    processes=(Limit(30_000, "this machine may have 32,768 processes"),),
)


async def test_this_machine_has_room() -> None:
    """Real limits give a line each, none of them a failure where these tests can run."""
    findings = await check_room(Surroundings())
    assert {"descriptors", "memory"} <= {finding.name for finding in findings}
    assert all(finding.status is not Status.FAIL for finding in findings), findings


@pytest.mark.parametrize(
    ("name", "changes", "status"),
    [
        ("descriptors", {}, Status.OK),
        ("descriptors", {"hard_files": 256}, Status.OK),
        ("descriptors", {"hard_files": 120}, Status.WARN),
        ("descriptors", {"hard_files": 80}, Status.WARN),
        ("descriptors", {"hard_files": 40}, Status.WARN),
        ("descriptors", {"hard_files": 30}, Status.FAIL),
        ("memory", {"memory": (Limit(200 * 2**20, ""),)}, Status.WARN),
        ("memory", {"memory": (Limit(20 * 2**20, ""), Limit(2**34, ""))}, Status.FAIL),
        ("tasks", {"processes": (Limit(18, "few"),)}, Status.FAIL),
        ("tasks", {"processes": (Limit(24, "few"),)}, Status.WARN),
    ],
)
def test_the_tightest_limit_decides(name: str, changes: dict[str, object], status: Status) -> None:
    """No episode is a failure, fewer than processors a warning; the other lines stay as they are."""
    findings = judge_room(LIMITS._replace(**changes), Surroundings(), workers=4)  # type: ignore[arg-type]
    assert found(findings, name).status is status, findings
    assert bool(found(findings, name).todo) is (status is not Status.OK)
    assert {finding.status for finding in findings if finding.name != name} == {Status.OK}


def test_the_number_is_that_of_the_driver_asked_for() -> None:
    """Tasks of one process take no files and no processes."""
    inside = judge_room(LIMITS, Surroundings(drivers=frozenset({"inproc"})), 2)
    assert {finding.name for finding in inside} == {"descriptors", "memory"}
    assert "with --driver inproc" in found(inside, "memory").text
    assert "of 8 seats with --driver process" in found(judge_room(LIMITS, Surroundings(seats=8), 2), "memory").text


def test_of_several_drivers_the_one_with_the_least_room_counts() -> None:
    """Whatever their names: each has to work."""
    few = LIMITS._replace(memory=(Limit(25 * 2**20, "25 MiB"),))
    both = judge_room(few, Surroundings(drivers=frozenset({"inproc", "process"})), 1)
    assert "--driver process" in found(both, "memory").text
    assert found(both, "memory").status is Status.FAIL
    both = judge_room(LIMITS, Surroundings(drivers=frozenset({"docker", "process"})), 1)
    assert "--driver docker" in found(both, "memory").text
    assert (
        "--driver process" in found(judge_room(LIMITS, Surroundings(drivers=frozenset({"kubectl"})), 1), "memory").text
    )


def test_what_is_said_to_be_little_is_enough_for_one(tmp_path: Path) -> None:
    """An episode of 2 seats ends well with as many open files as are said to be enough, and not with half of them."""
    program = Path(__file__).parents[2] / "examples/orchard/coworld_manifest.json"

    def run(files: int) -> int:
        words = [
            "run",
            str(program),
            "--variant",
            "duel",
            "--set",
            "max_ticks=3",
            "--output",
            str(tmp_path / str(files)),
        ]
        command = f'ulimit -n {files}; exec "$@"'
        return subprocess.run(
            ["sh", "-c", command, "sh", sys.executable, "-m", "coworld_actors", *words, "--quiet"],
            capture_output=True,
            check=False,
            timeout=120,
        ).returncode

    def status(files: int) -> Status:
        # Those that a program has when it begins.
        limits = LIMITS._replace(soft_files=files, hard_files=files, open_files=6)
        return found(judge_room(limits, Surroundings(), 1), "descriptors").status

    assert [status(files) for files in (22, 36)] == [Status.FAIL, Status.WARN]
    assert [run(files) for files in (22, 40)] == [3, 0]
