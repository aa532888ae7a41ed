"""What a batch ends with: documents in its directory, standings on the screen, and an exit code."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from coworld_actors.batch.comparison import ComparisonReport
from coworld_actors.batch.options import BatchKind
from coworld_actors.batch.page import Panel, page
from coworld_actors.batch.pickup import PickupReport, value_over_replacement
from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.schedule import Schedule
from coworld_actors.batch.sprt import Decision
from coworld_actors.batch.store import BatchStore
from coworld_actors.batch.summary import Estimate, Summary, summarize
from coworld_actors.batch.table import table_csv
from coworld_actors.cli.batch_budget import BudgetCount, count_budget
from coworld_actors.cli.batch_play import Played
from coworld_actors.cli.batch_prepare import Prepared
from coworld_actors.cli.batch_screen import BatchScreen
from coworld_actors.cli.exits import Exit
from coworld_actors.cli.screen import safe_text
from coworld_protocol.errors import CoworldError, PreconditionMissing

__all__ = [
    "BatchOutcome",
    "comparison_lines",
    "conclude",
    "estimate_text",
    "exit_code_of",
    "pickup_lines",
    "show",
    "write_down",
]

SUMMARY_JSON, SUMMARY_CSV, SUMMARY_HTML = "summary.json", "summary.csv", "summary.html"
FAILURES_SHOWN = 5


class BatchOutcome(msgspec.Struct, frozen=True, kw_only=True):
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


def conclude(prepared: Prepared, store: BatchStore, played: Played) -> BatchOutcome:
    """Sum up what there is, whether or not the batch is complete."""
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
    return BatchOutcome(
        summary=summary,
        comparison=comparison,
        pickup=pickup,
        budget=None if options.budget is None else count_budget(store.directory, lines),
        directory=store.directory,
        stopped=played.end.stopped,
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


def write_down(prepared: Prepared, store: BatchStore, found: BatchOutcome) -> CoworldError | None:
    """Write the documents into the batch's directory; returns what kept them from being written."""
    panels: list[Panel] = []
    documents: dict[str, msgspec.Struct] = {SUMMARY_JSON: found.summary}
    if found.comparison is not None:
        panels.append(_comparison_panel(found.comparison))
        documents["comparison.json"] = found.comparison
    if found.pickup is not None:
        panels.append(_pickup_panel(found.pickup))
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


def exit_code_of(found: BatchOutcome, played: Played) -> int:
    """A signal's code comes first, then what the machine or we have done wrong, then the answer, then whether all are good."""
    if played.received is not None:
        return Exit.INTERRUPTED if played.received == signal.SIGINT else Exit.TERMINATED
    if played.end.error is not None:
        return played.end.error.exit_code
    counts = found.summary.episodes
    if found.comparison is not None:
        decision = found.comparison.state.decision
        if decision is not None:
            return Exit.GOOD if decision is Decision.H1 else Exit.GATE
        if played.end.stopped:
            return Exit.FAILED
        return Exit.GATE
    if counts.invalid or counts.infrastructure:
        return Exit.PRECONDITION
    if counts.good < counts.requested:
        return Exit.FAILED
    return Exit.GOOD if found.budget is None else found.budget.exit_code


def show(screen: BatchScreen, prepared: Prepared, found: BatchOutcome) -> None:
    """The outcome for a person."""
    summary = found.summary
    # In a pickup who meets whom depends on the line-up, and a ranking would compare what is not alike.
    if found.pickup is None:
        screen.show(_standings(summary, prepared.title))
    counts = summary.episodes
    parts = [f"{counts.good} of {counts.requested} episodes count"]
    parts += [
        f"{count} {words}"
        for count, words in (
            (counts.failed, "failed"),
            (counts.invalid, "invalid (the machine was overloaded)"),
            (counts.infrastructure, "kept by the machine from being played"),
            (counts.open, "not played"),
        )
        if count
    ]
    screen.show(", ".join(parts) + f"; {summary.blocks} complete blocks")
    if found.stopped and (found.comparison is None or found.comparison.decided is None):
        screen.show(f"stopped: {found.stopped}")
    screen.show(_failures(summary))
    if found.budget is not None:
        screen.show(found.budget.words(prepared.options.budget or ""))
    screen.show(f"note: {note}" for note in summary.notes)
    if found.comparison is not None:
        screen.show(comparison_lines(found.comparison))
    if found.pickup is not None:
        screen.show(_scenarios(found.pickup))
        screen.show(pickup_lines(found.pickup))
    screen.show(f"files: {found.directory}  ({SUMMARY_HTML}, {SUMMARY_CSV}, {SUMMARY_JSON}, episodes.jsonl)")
    if counts.open and (found.comparison is None or found.comparison.decided is None):
        screen.show(f"go on: coworld-actors {_command(prepared)} --resume {found.directory}")


def comparison_lines(report: ComparisonReport) -> list[str]:
    """A comparison in words."""
    state, bounds = report.state, report.bounds
    counts = ", ".join(f"{count.score:g}: {count.blocks}" for count in state.counts if count.blocks)
    hypotheses = f"normalised Elo {bounds.nelo0:g} or {bounds.nelo1:g}, alpha {bounds.alpha:g}, beta {bounds.beta:g}"
    return [
        report.answer,
        f"LLR {state.llr:.3f} in ({state.lower:.3f}, {state.upper:.3f}) for {hypotheses}",
        f"blocks by share of the points: {counts or 'none'}; {state.blocks} used, {report.skipped} left out",
        f"Elo {estimate_text(state.elo)}, normalised Elo {estimate_text(state.nelo)}"
        + ("; both are biased by stopping when the answer was known" if report.biased else ""),
    ]


def estimate_text(estimate: Estimate, digits: int = 1) -> str:
    """A number and its interval: `12.3 [4.0, 20.9]`."""
    if estimate.value is None and estimate.low is None and estimate.high is None:
        return estimate.note or "-"
    value = estimate.note or "-" if estimate.value is None else f"{estimate.value:.{digits}f}"
    if estimate.low is None and estimate.high is None:
        return value
    low = "-inf" if estimate.low is None else f"{estimate.low:.{digits}f}"
    high = "inf" if estimate.high is None else f"{estimate.high:.{digits}f}"
    return f"{value} [{low}, {high}]"


def _standings(summary: Summary, title: str) -> Table:
    table = Table(title=safe_text(title, "table.title"), title_justify="left")
    table.add_column("", justify="right")
    table.add_column("player")
    table.add_column("score [95 %]", justify="right")
    table.add_column("episodes", justify="right")
    table.add_column("won", justify="right")
    table.add_column("drawn", justify="right")
    table.add_column("lost", justify="right")
    table.add_column("Elo against the field", justify="right")
    table.add_column("own faults")
    for player in summary.players:
        faults = ", ".join(f"{end} {count}" for end, count in player.faults.items())
        cells = (
            "-" if player.rank is None else str(player.rank),
            player.name,
            estimate_text(player.score, 2),
            str(player.episodes),
            str(player.wins),
            str(player.draws),
            str(player.losses),
            estimate_text(player.elo, 0),
            faults,
        )
        table.add_row(*(safe_text(cell, "bold green" if player.rank == 1 else "") for cell in cells))
    return table


def _failures(summary: Summary) -> list[str]:
    names = {player.entrant: player.name for player in summary.players}
    found = [
        f"{failure.count} x {failure.reason}"
        + (f" by {names.get(failure.entrant, failure.entrant)}" if failure.entrant is not None else "")
        + f" (e{failure.example:04d})"
        for failure in summary.failures[:FAILURES_SHOWN]
    ]
    if len(summary.failures) > FAILURES_SHOWN:
        found.append(f"... {len(summary.failures) - FAILURES_SHOWN} kinds more")
    return [f"went wrong: {line}" for line in found]


def _comparison_panel(report: ComparisonReport) -> Panel:
    state = report.state
    return Panel(
        heading=f"{report.first} against {report.second}",
        sentences=tuple(comparison_lines(report)),
        curve=report.ratios,
        levels=(state.lower, state.upper),
        across="log-likelihood ratio after each block",
    )


def _command(prepared: Prepared) -> str:
    return str(prepared.options.kind)


def pickup_lines(report: PickupReport) -> list[str]:
    """A value over replacement in words."""
    pool = ", ".join(report.pool)
    found = [
        f"value over replacement of {report.candidate} against {pool}: {estimate_text(report.value, 3)}",
        f"replacement: {estimate_text(report.replacement, 3)} a seat",
    ]
    if report.constant_sum:
        found.append(
            f"with the scenario in which {report.candidate} has all seats: {estimate_text(report.value_all, 3)}"
        )
    return [*found, *(f"note: {note}" for note in report.notes)]


def _scenario_cells(report: PickupReport) -> list[tuple[str, ...]]:
    def cell(estimate: Estimate | None) -> str:
        return "" if estimate is None else estimate_text(estimate, 2)

    return [
        (
            str(scenario.seats),
            str(scenario.episodes),
            cell(scenario.candidate if scenario.seats else None),
            cell(scenario.pool if scenario.seats < report.seats else None),
            cell(scenario.value),
            cell(scenario.team_lift),
            cell(scenario.partner_effect),
        )
        for scenario in report.scenarios
    ]


_SCENARIO = ("seats", "episodes", "candidate", "pool", "value over replacement", "team lift", "partner effect")


def _scenarios(report: PickupReport) -> Table:
    title = f"{report.candidate} in the place of {', '.join(report.pool)}"
    table = Table(title=safe_text(title, "table.title"), title_justify="left")
    for heading in _SCENARIO:
        table.add_column(heading, justify="right")
    for cells in _scenario_cells(report):
        table.add_row(*map(safe_text, cells))
    return table


def _pickup_panel(report: PickupReport) -> Panel:
    return Panel(
        heading="Value over replacement",
        sentences=tuple(pickup_lines(report)),
        headings=_SCENARIO,
        rows=tuple(_scenario_cells(report)),
    )
