"""`bench ws`: which scenarios and contestants."""

from __future__ import annotations

import msgspec
import pytest

from coworld_bench import ws
from coworld_bench.plan import Plan
from coworld_bench.rivals import RIVALS
from coworld_bench.scenarios import lockstep, orchard
from coworld_protocol.errors import Refused


def test_names_choose_scenarios_and_contestants(plan: Plan) -> None:
    """A scenario's name chooses among scenarios, every other among contestants."""
    cells = ws.measure(msgspec.structs.replace(plan, names=frozenset({"broadcast", "pump"})))
    assert [(cell.scenario, list(cell.figures)) for cell in cells] == [("broadcast", ["pump"])]


def test_without_a_scenario_the_contestant_is_taken_wherever_it_plays(plan: Plan) -> None:
    """A contestant alone appears in all scenarios that it knows; empty ones are left out."""
    cells = ws.measure(msgspec.structs.replace(plan, names=frozenset({"raw-epoll"})))
    assert {cell.scenario for cell in cells} == {"echo"}


def test_an_unknown_name_is_refused_with_the_known_ones(plan: Plan) -> None:
    """A typing error does not measure nothing for ten minutes."""
    with pytest.raises(Refused, match="--only pmup") as caught:
        ws.measure(msgspec.structs.replace(plan, names=frozenset({"pmup"})))
    assert "pump" in caught.value.todo


def test_everybody_who_can_take_part_has_a_title() -> None:
    """Names are the same on the command line, in JSON and behind the titles."""
    names = {*RIVALS, *(pair.name for pair in lockstep.PAIRS), *orchard.CONTESTANTS}
    assert ws.titles().keys() == names


def test_who_is_skipped_is_named(monkeypatch) -> None:
    """A rival that is not installed is listed with what it needs."""
    monkeypatch.setitem(RIVALS, "aiohttp", msgspec.structs.replace(RIVALS["aiohttp"], packages=("no-such-thing",)))
    assert ws.skipped()["aiohttp"] == "no-such-thing"
