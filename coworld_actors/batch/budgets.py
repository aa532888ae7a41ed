"""What `--budget` said of the episodes of a batch: it is in the report of each one's tap."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from coworld_actors.batch.records import EpisodeLine
from coworld_actors.episode.tap_log import TapDocument
from coworld_actors.traffic.report import Judgement

__all__ = ["BudgetCount", "count_budget"]

_REPORT = "tap.json"


class BudgetCount(msgspec.Struct, frozen=True, kw_only=True):
    """Good episodes by what the budget said.

    Attributes:
        passed: so many.
        failed: indices of those in which a player was too slow too often.
        refused: indices of those that could not be judged, or whose report is not there any more.
    """

    passed: int
    failed: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()

    def words(self, budget: str) -> str:
        """It as a line for people."""
        parts = [f"{self.passed} passed"]
        for name, indices in (("exceeded", self.failed), ("could not be judged", self.refused)):
            if indices:
                parts.append(f"{len(indices)} {name} (e{indices[0]:04d}{', ...' if len(indices) > 1 else ''})")
        return f"budget {budget}: {', '.join(parts)}"


def count_budget(directory: Path, lines: Iterable[EpisodeLine]) -> BudgetCount:
    """Look into the reports of the good episodes.

    Args:
        directory: of the batch.
        lines: of its episodes.
    """
    found: dict[Judgement, list[int]] = {judgement: [] for judgement in Judgement}
    for line in lines:
        if line.counts:
            found[_judgement(directory / line.directory / _REPORT)].append(line.index)
    return BudgetCount(
        passed=len(found[Judgement.PASSED]),
        failed=tuple(found[Judgement.FAILED]),
        refused=tuple(found[Judgement.REFUSED]),
    )


def _judgement(path: Path) -> Judgement:
    try:
        budget = msgspec.json.decode(path.read_bytes(), type=TapDocument).report.budget
    except (OSError, msgspec.MsgspecError):
        return Judgement.REFUSED
    return Judgement.REFUSED if budget is None else budget.judgement
