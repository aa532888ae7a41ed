"""Whole episodes: every part runs alone, and together they are one report."""

from __future__ import annotations

import msgspec
import pytest

from coworld_bench import episodes
from coworld_bench.documents import as_json, measure
from coworld_bench.episodes import CONTESTANTS, PARTS, Sizes
from coworld_bench.plan import Plan
from coworld_bench.tables import markdown
from coworld_protocol.errors import PreconditionMissing, Refused

SMALLEST = Sizes(
    variants=("duel",),
    single=1,
    cold=2,
    warm=2,
    inproc=3,
    bare=3,
    alive=4,
    paced=('mode="realtime"', "tick_rate=10", "max_ticks=10"),
    flat=(2, 4),
    small=1,
    settled=1,
    rounds_alive=1,
)


@pytest.fixture(autouse=True)
def smallest(monkeypatch) -> None:
    """A few episodes of each, and no Paint Arena, whose installation takes minutes."""
    monkeypatch.setattr(episodes, "_QUICK", SMALLEST)
    monkeypatch.setattr(episodes, "missing", lambda name: "" if name == "orchard" else "the reference")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_runs_alone(part: str, plan: Plan) -> None:
    """Its cells have a value for each row, and every row has a title."""
    cells = episodes.measure(msgspec.structs.replace(plan, names=frozenset({part})))
    assert cells
    for cell in cells:
        assert set(cell.figures) <= set(CONTESTANTS)
        assert all(len(figure.value.values) == 1 for figure in cell.figures.values())


def test_one_report_in_the_style_of_the_house(plan: Plan) -> None:
    """Goals, tables, what was left out and what it did not say anything about."""
    report = measure("episodes", msgspec.structs.replace(plan, names=frozenset({"flat"}), seconds=0.0))
    assert report.skipped == {"paint-arena": "the reference"}
    assert (report.cores, report.generator) == ("", "")
    text = markdown(report)
    assert "processor time for each episode, 4 episodes vs 2" in text
    assert CONTESTANTS["growth"] in text
    assert "skipped: paint-arena (needs the reference)" in text
    assert "s each" not in text
    assert msgspec.json.decode(as_json(report), type=type(report)) == report


def test_an_unknown_part_is_refused(plan: Plan) -> None:
    """With the names that there are."""
    with pytest.raises(Refused, match="no part 'wram'") as refused:
        episodes.measure(msgspec.structs.replace(plan, names=frozenset({"wram"})))
    assert "warm" in refused.value.todo


def test_without_a_checkout_nothing_is_measured(plan: Plan, monkeypatch) -> None:
    """An installed package has no examples: said at once."""
    monkeypatch.setattr(episodes, "missing", lambda _: "a checkout")
    with pytest.raises(PreconditionMissing, match="without a checkout"):
        episodes.measure(plan)


def test_an_episode_that_does_not_count_spoils_the_figure() -> None:
    """A crash is quickly over; it is no fast episode."""
    job = episodes.Job(kind="inproc", episodes=3, parallel=1)
    with pytest.raises(PreconditionMissing, match="1 of 3 episodes"):
        episodes._good(job, episodes.Played(seconds=1.0, processor=1.0, good=2))
