"""`bench tap`: the relays as processes."""

from __future__ import annotations

import sys

import pytest

from coworld_bench.contestants import Contestant, rival_command
from coworld_bench.goals import judge_tap
from coworld_bench.load import run_load
from coworld_bench.plan import Plan
from coworld_bench.rivals import RIVALS
from coworld_bench.tap import CONTESTANTS, measure


def test_everybody_is_measured_and_judged(plan: Plan) -> None:
    """No relay, the tap's and a raw one, at one and at many connections."""
    cells = measure(plan)
    assert [cell.connections for cell in cells] == [1, 64]
    assert all(cell.figures.keys() == CONTESTANTS.keys() for cell in cells)
    assert all(goal.measured is not None for goal in judge_tap(cells))


@pytest.mark.parametrize("kind", ["tap", "trio"])
def test_a_relay_passes_messages_of_any_size(kind: str) -> None:
    """What goes in comes out, also in pieces larger than any buffer."""
    server = Contestant(rival_command(RIVALS["pump"], "echo"))
    try:
        relay = Contestant([sys.executable, "-m", "coworld_bench.relays", kind, str(server.port())])
        try:
            load = run_load("echo", relay.port(), connections=3, size=500_000, seconds=0.5, warmup=0)
        finally:
            relay.close()
    finally:
        server.close()
    assert load.messages > 0
