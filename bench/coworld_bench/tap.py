"""`bench tap`: what standing between costs. No relay, the tap's, and a relay of raw bytes on trio's streams.

The relay has a core to itself. Server and load generator are C and share the other: together they are several times faster than any
relay, which their figures without one show.
"""

from __future__ import annotations

import functools
import sys

from coworld_bench.contestants import Contestant, rival_command, started
from coworld_bench.harness import interleave
from coworld_bench.load import Load
from coworld_bench.plan import Cell, Plan, figure_of_loads
from coworld_bench.rivals import RIVALS
from coworld_bench.scenarios.echo import loaded, size_name

__all__ = ["CONTESTANTS", "measure"]

CELLS = ((1, 200), (64, 200), (64, 2048))
QUICK_CELLS = ((1, 200), (64, 200))

CONTESTANTS = {
    "direct": "no relay",
    "tap": "the tap",
    "trio-relay": "a relay of raw bytes on trio's streams",
}


def measure(plan: Plan) -> list[Cell]:
    """Measure every cell."""
    server = RIVALS["pump"] if RIVALS["c-frames"].missing else RIVALS["c-frames"]
    with started({"server": rival_command(server, "echo")}, core=plan.cores.load) as end:
        port = end["server"].port()
        command = [sys.executable, "-m", "coworld_bench.relays"]
        relays = {"tap": [*command, "tap", str(port)], "trio-relay": [*command, "trio", str(port)]}
        with started(relays, core=plan.cores.server) as running:
            ways = {"direct": (end["server"], port)}
            ways |= {name: (contestant, contestant.port()) for name, contestant in running.items()}
            cells = []
            for connections, size in QUICK_CELLS if plan.quick else CELLS:
                title = f"{connections} x {size_name(size)}"
                contestants = {
                    name: functools.partial(_measure, plan, *way, connections, size) for name, way in ways.items()
                }
                found = interleave(contestants, plan.rounds, progress=plan.progress, about=f"tap {title}")
                figures = {name: figure_of_loads(each) for name, each in found.items()}
                cells.append(
                    Cell(
                        scenario="tap",
                        title=title,
                        connections=connections,
                        size=size,
                        unit="messages/s",
                        figures=figures,
                    )
                )
    return cells


def _measure(plan: Plan, relay: Contestant, port: int, connections: int, size: int) -> Load:
    return loaded(plan, "echo", relay, port, connections=connections, size=size)
