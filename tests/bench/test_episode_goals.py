"""The goals of `bench episodes`, from figures that are made up."""

from __future__ import annotations

from coworld_bench.episode_goals import judge_episodes
from coworld_bench.harness import spread
from coworld_bench.plan import Cell, Figure


def cell(title: str, connections: int = 2, **rows: list[float]) -> Cell:
    figures = {name.replace("_", "-"): Figure(value=spread(values)) for name, values in rows.items()}
    return Cell(scenario="s", title=title, connections=connections, size=0, unit="u", figures=figures)


def test_nothing_is_judged_that_was_not_measured() -> None:
    """A part that did not run is no failure."""
    assert {goal.verdict for goal in judge_episodes([])} == {"not measured"}


def test_every_goal_has_its_figures() -> None:
    """Ratios round by round, values as they are, the larger batch against the smallest."""
    cells = [
        cell("Orchard duel", added_warm=[50.0, 90.0], start_by_hand=[500.0, 500.0]),
        cell("Paint Arena", added_warm=[200.0, 200.0], start_by_hand=[1000.0, 1000.0]),
        cell("2 at once", warm=[900.0, 900.0], cold=[100.0, 100.0]),
        cell(
            "rate",
            bare=[100.0, 100.0],
            inproc=[50.0, 30.0],
            workers=[80.0, 80.0],
            bare_cores=[200.0, 200.0],
            cold=[1.0, 1.0],
        ),
        cell(
            "flat out", 1000, together=[1000.0, 990.0], ended=[1000.0, 1000.0], memory=[800.0, 800.0], lag=[60.0, 60.0]
        ),
        cell("paced", 1000, together=[1000.0, 990.0], ended=[1000.0, 1000.0], memory=[1.0, 1.0], lag=[1.0, 1.0]),
        cell("10 episodes", 10, cost=[10.0, 10.0], growth=[1.0, 1.0]),
        cell("100 episodes", 100, cost=[10.0, 10.0], growth=[2.0, 2.0]),
        cell("1000 episodes", 1000, cost=[10.2, 10.2], growth=[9.0, 9.0]),
    ]
    found = {goal.measure: goal for goal in judge_episodes(cells)}
    verdicts = [(goal.measured.median, goal.verdict) for goal in found.values() if goal.measured is not None]
    assert verdicts == [
        (0.14, "met"),
        (70.0, "missed"),
        (0.2, "missed"),
        (9.0, "met"),
        (0.4, "met"),
        (80.0, "missed"),
        (200.0, "met"),
        (0.995, "missed"),
        (800.0, "met"),
        (60.0, "missed"),
        (1.02, "aim met"),
        (7.0, "missed"),
    ]
    assert "processor time for each episode, 1000 episodes vs 10" in found
