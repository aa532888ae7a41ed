"""The Orchard scenario: the whole example on our SDK and on FastAPI."""

from __future__ import annotations

import msgspec
import pytest

from coworld_bench.plan import Plan
from coworld_bench.scenarios import orchard
from coworld_protocol.errors import PreconditionMissing


@pytest.mark.parametrize("name", orchard.CONTESTANTS)
def test_an_episode_is_played_to_its_end(name: str, plan: Plan) -> None:
    """Game and greedy players of each kind play all the ticks that were asked for."""
    assert not orchard.missing(name)
    assert orchard.play(plan, name, 2, 20) > 0


def test_an_episode_that_ended_early_has_no_rate(plan: Plan, monkeypatch) -> None:
    """Twenty ticks of thirty are not two thirds of a result."""
    real = orchard._config
    monkeypatch.setattr(orchard, "_config", lambda seats, ticks: real(seats, ticks - 1))
    with pytest.raises(PreconditionMissing, match="played 9 ticks and not 10"):
        orchard.play(plan, "orchard-sdk", 2, 10)


def test_both_are_compared(plan: Plan, monkeypatch) -> None:
    """One cell, a contestant each."""
    monkeypatch.setattr(orchard, "QUICK_SEATS", 2)
    monkeypatch.setattr(orchard, "_TICKS", 10)
    (cell,) = orchard.run(plan)
    assert list(cell.figures) == list(orchard.CONTESTANTS)
    assert orchard.run(msgspec.structs.replace(plan, names=frozenset({"pump"}))) == []


def test_without_the_checkout_it_is_left_out(plan: Plan, monkeypatch, tmp_path) -> None:
    """An installed package has no examples; the scenario is then skipped and named."""
    monkeypatch.setattr(orchard, "folder", lambda: tmp_path)
    assert orchard.missing("orchard-sdk") == "a checkout's examples/orchard"
    assert orchard.run(plan) == []
