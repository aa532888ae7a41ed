"""Findings in words: numbers with their intervals, and what a comparison and a pickup say."""

from __future__ import annotations

import msgspec
import pytest

from coworld_actors.batch.options import Bounds
from coworld_actors.batch.pages.page import Panel
from coworld_actors.batch.statistics.comparison import Comparison
from coworld_actors.batch.statistics.pickup import value_over_replacement
from coworld_actors.batch.statistics.summary import Estimate
from coworld_actors.batch.words import (
    SCENARIO,
    comparison_lines,
    comparison_panel,
    estimate_text,
    pickup_lines,
    pickup_panel,
    scenario_cells,
)
from tests.batches import line, schedule


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(value=12.34, low=4.0, high=20.91), "12.3 [4.0, 20.9]"),
        (Estimate(value=12.34), "12.3"),
        (Estimate(note="n/a (all wins)"), "n/a (all wins)"),
        (Estimate(low=200.0, note="n/a (all wins)"), "n/a (all wins), at least 200.0"),
        (Estimate(high=-200.0, note="n/a (all losses)"), "n/a (all losses), at most -200.0"),
        (Estimate(), "-"),
    ],
)
def test_an_estimate_is_never_an_infinite_number(estimate: Estimate, text: str) -> None:
    """Only the ends of its interval may be open."""
    assert estimate_text(estimate) == text


@pytest.mark.parametrize("scores", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_a_comparison_says_whether_its_numbers_are_biased(scores: tuple[float, float]) -> None:
    """Those of a test that has stopped are; the page has the same sentences and the curve."""
    made = schedule(40, block=2)
    report = Comparison(made, Bounds(nelo1=300)).report(
        line(each, [scores[entrant] for entrant in each.seats]) for each in made.episodes
    )
    said = comparison_lines(report)
    assert ("biased" in said[-1]) is report.biased
    assert said[0] == report.answer
    panel = comparison_panel(report)
    assert isinstance(panel, Panel)
    assert panel.sentences == tuple(said)
    assert len(panel.curve) == report.state.blocks


def test_a_pickup_says_what_its_table_says() -> None:
    """One row for each number of seats, and the value in a sentence."""
    made = schedule(4)
    lineups = ((0, 0), (0, 1), (0, 1), (1, 1))
    episodes = [msgspec.structs.replace(each, seats=seats) for each, seats in zip(made.episodes, lineups, strict=True)]
    report = value_over_replacement(made, [line(each, [float(2 - seat) for seat in each.seats]) for each in episodes])
    assert all(len(cells) == len(SCENARIO) for cells in scenario_cells(report))
    assert pickup_lines(report)[0].startswith("value over replacement of a against b")
    assert pickup_panel(report).rows == tuple(scenario_cells(report))
