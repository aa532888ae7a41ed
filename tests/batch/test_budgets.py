"""What `--budget` said of a batch's episodes, from the reports among their files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from coworld_actors.batch.budgets import BudgetCount, count_budget
from coworld_actors.batch.records import Status
from coworld_actors.episode.tap_log import TapDocument
from coworld_actors.traffic.report import BudgetVerdict, Judgement, TapReport
from tests.batches import line
from tests.coworlds import quick_manifest, write_coworld


def test_good_episodes_are_counted_by_their_verdicts(tmp_path: Path) -> None:
    """One without a report could not be judged; one that does not count is not asked."""
    found = [Judgement.PASSED, Judgement.FAILED, Judgement.REFUSED, None, Judgement.PASSED, Judgement.FAILED]
    lines = [line(index, directory=f"episodes/{index}") for index in range(len(found))]
    lines[5] = line(5, directory="episodes/5", status=Status.FAILED)
    for index, judgement in enumerate(found):
        if judgement is not None:
            directory = tmp_path / f"episodes/{index}"
            directory.mkdir(parents=True)
            report = TapReport(budget=BudgetVerdict(budget="55ms:3", judgement=judgement, seats=()))
            document = TapDocument(report=report, refused=(), fault_count=0, faults=())
            (directory / "tap.json").write_bytes(msgspec.json.encode(document))
    count = count_budget(tmp_path, lines)
    assert count == BudgetCount(passed=2, failed=(1,), refused=(2, 3))
    assert count.words("55ms:3") == "budget 55ms:3: 2 passed, 1 exceeded (e0001), 2 could not be judged (e0002, ...)"


def test_the_reports_of_real_episodes_are_read(tmp_path: Path) -> None:
    """A player that thinks for three seconds is over a budget of one, and one that answers is within sixty."""
    manifest = quick_manifest(values={"quick": 1, "slow": 1}, config={"ticks": 3})
    manifest["player"][1]["env"]["BEHAVIOUR"] = "thinks_long"
    path = write_coworld(tmp_path / "c", manifest)
    for player, budget, code, words in (("quick", "60s:1", 0, "2 passed"), ("slow", "1s:0", 6, "2 exceeded")):
        done = subprocess.run(
            [sys.executable, "-m", "coworld_actors", "run", path, player, "-n", "2", "--budget", budget],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert words in done.stdout


def test_a_verdict_is_not_thrown_away_with_its_files(tmp_path: Path) -> None:
    """`--keep failed` would leave nothing to judge the good ones by."""
    path = write_coworld(tmp_path / "c", quick_manifest())
    done = subprocess.run(
        [sys.executable, "-m", "coworld_actors", "run", path, "-n", "2", "--budget", "1s:1", "--keep", "failed"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "--budget and --keep failed" in done.stderr
    assert not (tmp_path / "runs").exists()
