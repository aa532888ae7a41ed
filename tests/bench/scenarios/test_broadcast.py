"""The broadcast scenario."""

from __future__ import annotations

import msgspec
import pytest

from coworld_bench.plan import Plan
from coworld_bench.scenarios import broadcast


def test_ticks_are_messages_by_connections(plan: Plan, monkeypatch) -> None:
    """A tick is one message to each; the rate counts ticks."""
    monkeypatch.setattr(broadcast, "QUICK_CELLS", ((5, 200),))
    (cell,) = broadcast.run(msgspec.structs.replace(plan, names=frozenset({"pump", "connection"})))
    assert (cell.scenario, cell.unit, cell.connections) == ("broadcast", "ticks/s", 5)
    for figure in cell.figures.values():
        # One connection is answered once per tick: the round trip is the tick.
        assert figure.p50 is not None
        assert figure.value.median > 0
        assert figure.value.median * figure.p50.median / 1e6 == pytest.approx(1, abs=0.95)
