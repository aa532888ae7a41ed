"""What `--budget` said of a batch's episodes, from the reports among their files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from coworld_actors.batch.records import Status
from coworld_actors.cli.batch_budget import BudgetCount, count_budget
from coworld_actors.cli.exits import Exit
from coworld_actors.traffic.report import BudgetVerdict, Judgement, TapReport
from tests.batches import line


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
            (directory / "tap.json").write_bytes(msgspec.json.encode(report))
    count = count_budget(tmp_path, lines)
    assert count == BudgetCount(passed=2, failed=(1,), refused=(2, 3))
    assert count.words("55ms:3") == "budget 55ms:3: 2 passed, 1 exceeded (e0001), 2 could not be judged (e0002, ...)"


@pytest.mark.parametrize(
    ("count", "code"),
    [
        (BudgetCount(passed=1), Exit.GOOD),
        (BudgetCount(passed=1, refused=(0,)), Exit.PRECONDITION),
        (BudgetCount(passed=1, failed=(1,), refused=(0,)), Exit.GATE),
    ],
)
def test_one_that_is_too_slow_is_enough(count: BudgetCount, code: Exit) -> None:
    """As for a single episode: 6, or 3 where nothing can be said."""
    assert count.exit_code is code
