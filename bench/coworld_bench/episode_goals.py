"""The goals of `bench episodes`, and what every goal of whole episodes is made with."""

from __future__ import annotations

from collections.abc import Sequence

from coworld_bench.goals import Goal, verdict_of
from coworld_bench.harness import Spread, difference, ratio, spread
from coworld_bench.plan import Cell

__all__ = ["goal", "judge_episodes"]


def judge_episodes(cells: Sequence[Cell]) -> list[Goal]:
    """What was found beside what is wanted; of parts that did not run it says so."""
    goals: list[Goal] = []
    for title in ("Orchard duel", "Paint Arena"):
        cell = next((each for each in cells if each.title == title), None)
        measured = _ratio(cell, "added-warm", "start-by-hand")
        measure = f"{title}: warm, beyond the game's own time, vs a cold start by hand"
        goals.append(goal(measure, "x", 0.15, 0.1, measured, at_most=True))
        if title == "Orchard duel":
            own = _value(cell, "added-warm")
            goals.append(goal(f"{title}: warm, beyond the game's own time", "ms", 60, 40, own, at_most=True))
    process, inproc, alive = (_with(cells, row) for row in ("warm", "bare", "together"))
    flat = [cell for cell in cells if "cost" in cell.figures]
    goals += [
        goal("process driver, episodes per minute, warm vs cold", "x", 8, 12, _ratio(process, "warm", "cold")),
        goal("in-process vs the bare rules, one core each", "x", 0.4, 0.6, _ratio(inproc, "inproc", "bare")),
        goal("in-process vs process driver cold, all cores", "x", 200, 400, _ratio(inproc, "workers", "cold")),
        goal(
            "(bare rules vs process driver cold, all cores: no driver can be faster)",
            "x",
            200,
            400,
            _ratio(inproc, "bare-cores", "cold"),
        ),
        goal("all at once: share that was alive together and ended", "x", 1, 1, _share_alive(alive)),
        goal("all at once: memory for each episode", "KB", 1000, 500, _value(alive, "memory"), at_most=True),
        goal("all at once: lateness of the event loop, p99", "ms", 50, 20, _value(alive, "lag"), at_most=True),
    ]
    cost = kept = None
    if len(flat) > 1:
        cost = ratio(*(cell.figures["cost"].value.values for cell in (flat[-1], flat[0])))
        kept = difference(*(cell.figures["growth"].value.values for cell in (flat[-1], flat[-2])))
    sizes = f", {flat[-1].title} vs {flat[0].connections}" if flat else ", the most vs the fewest"
    goals += [
        goal(f"processor time for each episode{sizes}", "x", 1.1, 1.05, cost, at_most=True),
        goal("memory that the most episodes leave beyond the second most", "MB", 5, 1, kept, at_most=True),
    ]
    return goals


def goal(measure: str, unit: str, least: float, aim: float, measured: Spread | None, *, at_most: bool = False) -> Goal:
    """A goal and what was measured of it; None says that nothing was."""
    verdict = verdict_of(None if measured is None else measured.median, least, aim, at_most=at_most)
    return Goal(measure=measure, unit=unit, least=least, aim=aim, at_most=at_most, measured=measured, verdict=verdict)


def _with(cells: Sequence[Cell], row: str) -> Cell | None:
    """The first cell with such a row: of those with all alive at once it is the one that plays flat out."""
    return next((cell for cell in cells if row in cell.figures), None)


def _value(cell: Cell | None, row: str) -> Spread | None:
    return None if cell is None else cell.figures[row].value


def _ratio(cell: Cell | None, ours: str, theirs: str) -> Spread | None:
    if cell is None:
        return None
    return ratio(cell.figures[ours].value.values, cell.figures[theirs].value.values)


def _share_alive(cell: Cell | None) -> Spread | None:
    if cell is None:
        return None
    both = zip(cell.figures["together"].value.values, cell.figures["ended"].value.values, strict=True)
    return spread([min(together, ended) / cell.connections for together, ended in both])
