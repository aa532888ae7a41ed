"""`bench codec`."""

from __future__ import annotations

import msgspec

from coworld_bench.codec import CONTESTANTS, SIZES, measure
from coworld_bench.plan import Plan


def test_every_step_is_measured_for_every_size(plan: Plan) -> None:
    """Sending, receiving and masking, beside the libraries that are installed."""
    cells = measure(msgspec.structs.replace(plan, seconds=0.01))
    assert [cell.size for cell in cells] == [*SIZES] * 4
    assert {cell.scenario for cell in cells} == {"server sends", "client sends", "server receives", "masking alone"}
    for cell in cells:
        assert "ours" in cell.figures
        assert cell.figures.keys() <= CONTESTANTS.keys()
        assert all(figure.value.low > 0 for figure in cell.figures.values())
