"""`compare` with real episodes: it stops when the answer is known, and says what it rests on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coworld_actors.batch.store import read_batch
from tests.coworlds import quick_manifest, write_coworld

COMMAND = [sys.executable, "-m", "coworld_actors", "compare"]


def compare(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )


def report_of(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "comparison.json").read_text())
    return found


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A Coworld in which `strong` wins most blocks and `strong2` is as good as `strong`."""
    return write_coworld(
        tmp_path / "quick", quick_manifest(values={"strong": 3, "weak": 1, "strong2": 3}, config={"noise": 3})
    )


def test_the_better_one_is_found_early_and_ends_with_0(quick: Path, tmp_path: Path) -> None:
    """Every seed is played with both seatings; the estimates are said to be biased by stopping."""
    done = compare(quick, "strong", "weak", "--nelo1", "200", "--parallel", "4", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "strong is better than weak." in done.stdout
    assert "LLR" in done.stdout
    assert "biased by stopping" in done.stdout
    report = report_of(tmp_path / "out")
    assert report["state"]["decision"] == "h1"
    assert report["state"]["llr"] >= report["state"]["upper"]
    assert report["biased"]
    _, lines = read_batch(tmp_path / "out")
    assert len(lines) < 200
    by_seed: dict[int, list[tuple[int, ...]]] = {}
    for line in lines:
        by_seed.setdefault(line.seed, []).append(tuple(seat.entrant for seat in line.seats))
    whole = [seats for seats in by_seed.values() if len(seats) == 2]
    assert all(sorted(seats) == [(0, 1), (1, 0)] for seats in whole)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["blocks"] == report["state"]["blocks"]
    assert "h1" in (tmp_path / "out/summary.html").read_text().lower()


def test_the_answer_does_not_depend_on_how_many_are_played_at_once(quick: Path, tmp_path: Path) -> None:
    """What was played beyond the block that settled it does not count."""
    for parallel in ("1", "6"):
        done = compare(
            quick, "strong", "weak", "--nelo1", "200", "--parallel", parallel, "--output", parallel, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    assert report_of(tmp_path / "1") == report_of(tmp_path / "6")
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("1", "6")]
    for summary in summaries:
        del summary["duration"]
    assert summaries[0] == summaries[1]


def test_the_worse_one_ends_with_6(quick: Path, tmp_path: Path) -> None:
    """H0 is an answer, too."""
    done = compare(quick, "weak", "strong", "--nelo1", "200", "--output", "out", cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    assert "weak is not better than strong by 200 normalised Elo or more." in done.stdout
    assert report_of(tmp_path / "out")["state"]["decision"] == "h0"


def test_without_an_answer_it_ends_with_6_and_says_so(quick: Path, tmp_path: Path) -> None:
    """Two players that are equally good, and few blocks."""
    done = compare(quick, "strong", "strong2", "--max-blocks", "4", "--json", "--output", "out", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 6
    report = document["comparison"]
    assert "not known yet" in report["answer"]
    assert report["state"]["decision"] is None
    assert [count["blocks"] for count in report["state"]["counts"]] == [0, 0, 4, 0, 0]
    assert not report["biased"]


def test_an_answered_comparison_is_not_played_on(quick: Path, tmp_path: Path) -> None:
    """`--resume` of it gives the same answer at once; of an open one with other bounds is refused."""
    compare(quick, "strong", "weak", "--nelo1", "200", "--parallel", "1", "--output", "out", cwd=tmp_path)
    before = report_of(tmp_path / "out")
    count = len(read_batch(tmp_path / "out")[1])
    again = compare("--resume", "out", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert report_of(tmp_path / "out") == before
    assert len(read_batch(tmp_path / "out")[1]) == count
    other = compare("--resume", "out", "--alpha", "0.01", cwd=tmp_path)
    assert other.returncode == 2
    assert "--alpha" in other.stderr


def test_blocks_with_a_failed_episode_are_left_out(tmp_path: Path) -> None:
    """A crash decides nothing: its whole block is left out, and that is said."""
    table = {"42:4": None}
    path = write_coworld(tmp_path / "c", quick_manifest(config={"table": table}))
    done = compare(path, "strong", "weak", "--max-blocks", "3", "--output", "out", cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    report = report_of(tmp_path / "out")
    assert (report["skipped"], report["state"]["blocks"]) == (1, 2)
    assert "1 left out" in done.stdout
