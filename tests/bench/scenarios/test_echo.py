"""The echo scenario."""

from __future__ import annotations

import msgspec

from coworld_bench.plan import Plan
from coworld_bench.scenarios import echo
from coworld_bench.scenarios.echo import run, size_name


def test_a_cell_has_rates_latencies_and_shares(plan: Plan, monkeypatch) -> None:
    """Whoever is asked for is measured in each cell, with what the load generator and the server took."""
    monkeypatch.setattr(echo, "QUICK_CELLS", ((1, 200), (3, 2048)))
    cells = run(msgspec.structs.replace(plan, rounds=2, names=frozenset({"pump", "raw-epoll"})))
    assert [(cell.title, cell.connections, cell.size) for cell in cells] == [
        ("1 x 200 B", 1, 200),
        ("3 x 2 KB", 3, 2048),
    ]
    for cell in cells:
        assert list(cell.figures) == ["pump", "raw-epoll"]
        for figure in cell.figures.values():
            assert len(figure.value.values) == 2
            assert figure.value.low > 0
            assert figure.p50 is not None
            assert figure.p99 is not None
            assert figure.load_busy is not None
            assert figure.server_us is not None


def test_sizes_have_short_names() -> None:
    """200 B, 2 KB, 32 KB."""
    assert [size_name(size) for size in (200, 2048, 32768)] == ["200 B", "2 KB", "32 KB"]
