"""Who is measured."""

from __future__ import annotations

import msgspec

from coworld_bench.plan import Plan
from coworld_bench.rivals import RIVALS


def test_a_quick_run_takes_those_that_the_goals_are_about(plan: Plan) -> None:
    """A quick run is content with a few rivals, a full one takes all that are installed."""
    assert [rival.name for rival in plan.rivals("ticks", ("pump", "websockets"))] == ["pump", "websockets"]
    full = msgspec.structs.replace(plan, quick=False)
    everybody = [name for name, rival in RIVALS.items() if "ticks" in rival.modes and not rival.missing]
    assert [rival.name for rival in full.rivals("ticks", ("pump",))] == everybody


def test_names_decide_when_there_are_any(plan: Plan) -> None:
    """Who is asked for by name is measured, in a quick run as well."""
    chosen = msgspec.structs.replace(plan, names=frozenset({"picows", "pump"}))
    assert {rival.name for rival in chosen.rivals("echo", ("websockets",))} == {"picows", "pump"}


def test_a_rival_that_is_not_installed_is_left_out(plan: Plan, monkeypatch) -> None:
    """What is missing is named and not measured."""
    absent = msgspec.structs.replace(RIVALS["websockets"], packages=("no-such-distribution", "trio"))
    assert absent.missing == "no-such-distribution"
    monkeypatch.setitem(RIVALS, "websockets", absent)
    names = [rival.name for rival in msgspec.structs.replace(plan, quick=False).rivals("echo", ())]
    assert "websockets" not in names
    assert "pump" in names
