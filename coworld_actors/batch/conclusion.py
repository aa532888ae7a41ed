"""What a batch ends with: everything its lines say, as values and as documents in its directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from coworld_actors.batch.budgets import BudgetCount, count_budget
from coworld_actors.batch.options import BatchKind
from coworld_actors.batch.pages.page import Panel, page
from coworld_actors.batch.pages.table import table_csv
from coworld_actors.batch.preparation import Prepared
from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.schedule import Schedule
from coworld_actors.batch.statistics.comparison import ComparisonReport
from coworld_actors.batch.statistics.pickup import PickupReport, value_over_replacement
from coworld_actors.batch.statistics.summary import Summary, summarize
from coworld_actors.batch.store import BatchStore
from coworld_actors.batch.words import comparison_panel, pickup_panel
from coworld_protocol.errors import CoworldError, PreconditionMissing

__all__ = ["SUMMARY_CSV", "SUMMARY_HTML", "SUMMARY_JSON", "Conclusion", "conclude", "write_down"]

SUMMARY_JSON, SUMMARY_CSV, SUMMARY_HTML = "summary.json", "summary.csv", "summary.html"
"""Names of the documents in a batch's directory."""


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """What has been found.

    Attributes:
        summary: of the episodes.
        comparison: of `compare`.
        pickup: of `pickup`.
        budget: under `--budget`, good episodes by what it said of them.
        directory: of the batch.
        stopped: why it ended before its schedule did; empty when it did not.
    """

    summary: Summary
    comparison: ComparisonReport | None = None
    pickup: PickupReport | None = None
    budget: BudgetCount | None = None
    directory: Path
    stopped: str = ""

    def fields(self) -> dict[str, Any]:
        """What the document of `--json` has."""
        found: dict[str, Any] = {
            "directory": str(self.directory),
            "stopped": self.stopped,
            "summary": self.summary,
        }
        if self.budget is not None:
            found["budget"] = self.budget
        if self.comparison is not None:
            found["comparison"] = self.comparison
        if self.pickup is not None:
            found["pickup"] = self.pickup
        return found


def conclude(prepared: Prepared, store: BatchStore, *, stopped: str = "") -> Conclusion:
    """Sum up what there is, whether or not the batch is complete.

    Args:
        prepared: the batch.
        store: its lines.
        stopped: why its run ended before its schedule did.
    """
    options = prepared.options
    lines = [store.lines[index] for index in sorted(store.lines)]
    comparison = None if prepared.comparison is None else prepared.comparison.report(lines)
    schedule, lines = _counting(prepared, comparison, lines)
    summary = summarize(
        coworld=prepared.head.coworld,
        game_version=prepared.head.game_version,
        schedule=schedule,
        lines=lines,
        lower_is_better=options.lower_is_better,
        stopped_early="" if comparison is None or comparison.decided is None else "the comparison was decided",
    )
    pickup = None
    if options.kind is BatchKind.PICKUP:
        pickup = value_over_replacement(
            schedule, lines, coworld=prepared.head.coworld, lower_is_better=options.lower_is_better
        )
    return Conclusion(
        summary=summary,
        comparison=comparison,
        pickup=pickup,
        budget=None if options.budget is None else count_budget(store.directory, lines),
        directory=store.directory,
        stopped=stopped,
    )


def _counting(
    prepared: Prepared, comparison: ComparisonReport | None, lines: list[EpisodeLine]
) -> tuple[Schedule, list[EpisodeLine]]:
    """What counts: all, or what led to the answer. What was played beyond it depends on how many were played at once."""
    schedule = prepared.schedule
    if comparison is None or comparison.decided is None:
        return schedule, lines
    episodes = tuple(each for each in schedule.episodes if each.block <= comparison.decided)
    return msgspec.structs.replace(schedule, episodes=episodes), [line for line in lines if line.index < len(episodes)]


def write_down(prepared: Prepared, store: BatchStore, found: Conclusion) -> CoworldError | None:
    """Write the documents into the batch's directory; returns what kept them from being written."""
    panels: list[Panel] = []
    documents: dict[str, msgspec.Struct] = {SUMMARY_JSON: found.summary}
    if found.comparison is not None:
        panels.append(comparison_panel(found.comparison))
        documents["comparison.json"] = found.comparison
    if found.pickup is not None:
        panels.append(pickup_panel(found.pickup))
        documents["pickup.json"] = found.pickup
    _, lines = _counting(prepared, found.comparison, [store.lines[index] for index in sorted(store.lines)])
    title = f"{prepared.title}: {', '.join(prepared.schedule.entrants)}"
    html = page(found.summary, lines, title=title, panels=panels)
    try:
        for name, document in documents.items():
            store.write(name, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        store.write(SUMMARY_CSV, table_csv(found.summary).encode())
        store.write(SUMMARY_HTML, html.encode())
    except CoworldError as error:
        return error
    except OSError as error:
        return PreconditionMissing(
            f"the summary cannot be written: {error.strerror}",
            todo=f"free some space, then --resume {store.directory} writes it",
            where=str(store.directory),
        )
    return None
