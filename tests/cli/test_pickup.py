"""`pickup` with real episodes whose scores are known: the golden vector, constant sums, and what a constant is worth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.coworlds import quick_manifest, write_coworld

COMMAND = [sys.executable, "-m", "coworld_actors", "pickup"]

GOLDEN = {
    # Two of the candidate: 7 + 7. The second such episode never ends well.
    "42:14": {"7": [4, 6]},
    "43:14": None,
    # One of each: 7 + 1.
    "42:8": {"7": [8], "1": [0]},
    "43:8": {"7": [3], "1": [0]},
    # The pool alone: 1 + 1.
    "42:2": {"1": [1, 3]},
    "43:2": {"1": [2, 2]},
}
"""N = 2: candidate means 5 (one episode) and 5.5 (two), replacement 2; (5 * 2 * 1 + 5.5 * 1 * 2) / (2 + 2) - 2 = 3.25."""


def pickup(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )


def report_of(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "pickup.json").read_text())
    return found


def test_the_golden_vector_through_real_episodes(tmp_path: Path) -> None:
    """3.25, with an interval; the episode that failed is in the exit code and nowhere else."""
    manifest = quick_manifest(values={"candidate": 7, "pool": 1}, config={"table": GOLDEN})
    path = write_coworld(tmp_path / "c", manifest)
    done = pickup(path, "candidate", "--pool", "pool", "-n", "2", "--output", "out", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    report = report_of(tmp_path / "out")
    assert report["value"]["value"] == pytest.approx(3.25)
    assert report["replacement"]["value"] == pytest.approx(2.0)
    assert [scenario["episodes"] for scenario in report["scenarios"]] == [1, 2, 2]
    assert [scenario["candidate"]["value"] for scenario in report["scenarios"][:2]] == [5.0, 5.5]
    assert "3.250" in done.stdout
    assert "value over replacement" in (tmp_path / "out/summary.html").read_text().lower()


@pytest.mark.parametrize("parallel", ["1", "8"])
def test_a_constant_is_worth_its_difference_in_every_scenario(tmp_path: Path, parallel: str) -> None:
    """Candidate 7, pool 1 and 3: the value is 7 less what the pool brings, whatever is played at once."""
    manifest = quick_manifest(values={"candidate": 7, "low": 1, "high": 3})
    path = write_coworld(tmp_path / "c", manifest)
    done = pickup(
        path, "candidate", "--pool", "low", "--pool", "high", "-n", "2", "--parallel", parallel, "--json",
        "--output", "out", cwd=tmp_path,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 0
    report = document["pickup"]
    assert report == report_of(tmp_path / "out")
    assert report["candidate"] == "candidate"
    assert report["pool"] == ["low", "high"]
    assert [scenario["value"] and scenario["value"]["value"] for scenario in report["scenarios"]] == [5.0, 5.0, None]
    assert report["value"]["value"] == 5.0
    assert document["summary"]["episodes"]["good"] == 6


def test_a_constant_sum_is_noticed(tmp_path: Path) -> None:
    """The scenario that the rules fix is left out of the value, and both are shown."""
    table = {
        **{f"{seed}:14": {"7": [5, 5]} for seed in (42, 43)},
        **{f"{seed}:8": {"7": [8], "1": [2]} for seed in (42, 43)},
        **{f"{seed}:2": {"1": [5, 5]} for seed in (42, 43)},
    }
    manifest = quick_manifest(values={"candidate": 7, "pool": 1}, config={"table": table})
    path = write_coworld(tmp_path / "c", manifest)
    done = pickup(path, "candidate", "--pool", "pool", "-n", "2", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path / "out")
    assert report["constant_sum"]
    assert report["value"]["value"] == pytest.approx(3.0)
    assert report["value_all"]["value"] == pytest.approx(1.0)
    assert "Constant sum" in done.stdout


def test_one_variant_at_a_time(tmp_path: Path) -> None:
    """Values of games with different seats are different things."""
    path = write_coworld(tmp_path / "c", quick_manifest())
    done = pickup(path, "strong", "--pool", "weak", "--variant", "default", "--variant", "wide", cwd=tmp_path)
    assert done.returncode == 2
    assert "one variant" in done.stderr
