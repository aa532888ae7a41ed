"""Numbers and findings of a batch in words, the same on a terminal and on the page."""

from __future__ import annotations

from coworld_actors.batch.pages.page import Panel
from coworld_actors.batch.statistics.comparison import ComparisonReport
from coworld_actors.batch.statistics.pickup import PickupReport
from coworld_actors.batch.statistics.summary import Estimate

__all__ = [
    "SCENARIO",
    "comparison_lines",
    "comparison_panel",
    "estimate_text",
    "pickup_lines",
    "pickup_panel",
    "scenario_cells",
]

SCENARIO = ("seats", "episodes", "candidate", "pool", "value over replacement", "team lift", "partner effect")
"""Headings of the table of a pickup."""


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
    if estimate.low is None:
        return f"{value}, at most {estimate.high:.{digits}f}"
    if estimate.high is None:
        return f"{value}, at least {estimate.low:.{digits}f}"
    return f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


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


def scenario_cells(report: PickupReport) -> list[tuple[str, ...]]:
    """The rows of the table of a pickup."""

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


def comparison_panel(report: ComparisonReport) -> Panel:
    """A comparison as a part of the page."""
    state = report.state
    return Panel(
        heading=f"{report.first} against {report.second}",
        sentences=tuple(comparison_lines(report)),
        curve=report.ratios,
        levels=(state.lower, state.upper),
        across="log-likelihood ratio after each block",
    )


def pickup_panel(report: PickupReport) -> Panel:
    """A value over replacement as a part of the page."""
    return Panel(
        heading="Value over replacement",
        sentences=tuple(pickup_lines(report)),
        headings=SCENARIO,
        rows=tuple(scenario_cells(report)),
    )
