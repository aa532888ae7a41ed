"""How a batch's end is shown to a person, and its exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.console import JustifyMethod
from rich.table import Table

from coworld_actors.batch.budgets import BudgetCount
from coworld_actors.batch.conclusion import SUMMARY_CSV, SUMMARY_HTML, SUMMARY_JSON, Conclusion
from coworld_actors.batch.preparation import Prepared
from coworld_actors.batch.statistics.pickup import PickupReport
from coworld_actors.batch.statistics.sprt import Decision
from coworld_actors.batch.statistics.standings import PlayerSummary
from coworld_actors.batch.statistics.summary import Summary
from coworld_actors.batch.words import SCENARIO, comparison_lines, estimate_text, pickup_lines, scenario_cells
from coworld_actors.cli.batch_play import Played
from coworld_actors.cli.batch_screen import BatchScreen
from coworld_actors.cli.exits import Exit
from coworld_actors.cli.screen import safe_text

__all__ = ["exit_code_of", "show", "standings_table"]

FAILURES_SHOWN = 5

FAULTS = "own faults"

FOLDING = frozenset({"player", FAULTS})

FOLDED = 16
"""Columns of the screen that a text which can be broken over lines gets at least."""

LEFT_OUT: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({FAULTS}),
    frozenset({FAULTS, "Elo against the field"}),
    frozenset({FAULTS, "Elo against the field", "won", "drawn", "lost"}),
    frozenset({FAULTS, "Elo against the field", "won", "drawn", "lost", "episodes"}),
)
"""What a terminal goes without, the narrower the more; faults stay where there are any."""

_Column = tuple[str, JustifyMethod, Callable[[PlayerSummary], str]]


def exit_code_of(found: Conclusion, played: Played) -> int:
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
    return Exit.GOOD if found.budget is None else _budget_code(found.budget)


def _budget_code(budget: BudgetCount) -> Exit:
    return Exit.GATE if budget.failed else Exit.PRECONDITION if budget.refused else Exit.GOOD


def show(screen: BatchScreen, prepared: Prepared, found: Conclusion) -> None:
    """The outcome for a person."""
    summary = found.summary
    # In a pickup who meets whom depends on the line-up, and a ranking would compare what is not alike.
    if found.pickup is None:
        screen.show(standings_table(summary, prepared.title, screen.width))
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
    # On a full disk the summary is only what is shown here.
    names = (SUMMARY_HTML, SUMMARY_CSV, SUMMARY_JSON, "episodes.jsonl")
    written = [name for name in names if (found.directory / name).exists()]
    screen.show(f"files: {found.directory}  ({', '.join(written)})")
    if counts.open and (found.comparison is None or found.comparison.decided is None):
        screen.show(f"go on: coworld-actors {_command(prepared)} --resume {found.directory}")


def standings_table(summary: Summary, title: str, width: int) -> Table:
    """The standings in as many columns as fit `width`: numbers cut off in the middle would be worse than none."""
    columns: list[_Column] = [
        ("", "right", lambda player: "-" if player.rank is None else str(player.rank)),
        ("player", "left", lambda player: player.name),
        ("score [95 %]", "right", lambda player: estimate_text(player.score, 2)),
        ("episodes", "right", lambda player: str(player.episodes)),
        ("won", "right", lambda player: str(player.wins)),
        ("drawn", "right", lambda player: str(player.draws)),
        ("lost", "right", lambda player: str(player.losses)),
        ("Elo against the field", "right", lambda player: estimate_text(player.elo, 0)),
        (FAULTS, "left", lambda player: ", ".join(f"{end} {count}" for end, count in player.faults.items())),
    ]
    faulty = any(player.faults for player in summary.players)
    chosen = columns
    for less in LEFT_OUT:
        chosen = [each for each in columns if each[0] not in less or (each[0] == FAULTS and faulty)]
        if _room(summary, chosen) <= width:
            break
    table = Table(title=safe_text(title, "table.title"), title_justify="left")
    for heading, justify, _ in chosen:
        least = len(heading) if heading in FOLDING else None
        table.add_column(heading, justify=justify, no_wrap=least is None, min_width=least, overflow="fold")
    for player in summary.players:
        style = "bold green" if player.rank == 1 else ""
        table.add_row(*(safe_text(text(player), style) for _, _, text in chosen))
    return table


def _room(summary: Summary, columns: Sequence[_Column]) -> int:
    """The width of a table of these columns, in which names may be broken over lines."""
    needed = 1
    for heading, _, text in columns:
        widest = max(cell_len(each) for each in (heading, *(text(player) for player in summary.players)))
        needed += 3 + (min(widest, FOLDED) if heading in FOLDING else widest)
    return needed


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


def _command(prepared: Prepared) -> str:
    return str(prepared.options.kind)


def _scenarios(report: PickupReport) -> Table:
    title = f"{report.candidate} in the place of {', '.join(report.pool)}"
    table = Table(title=safe_text(title, "table.title"), title_justify="left")
    for heading in SCENARIO:
        table.add_column(heading, justify="right")
    for cells in scenario_cells(report):
        table.add_row(*map(safe_text, cells))
    return table
