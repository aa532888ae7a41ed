"""One tick: an observation to everybody, an answer from everybody, the next observation. The load generator answers."""

from __future__ import annotations

import functools

from coworld_bench.contestants import Contestant, rival_command, started
from coworld_bench.harness import interleave
from coworld_bench.load import Load
from coworld_bench.plan import Cell, Plan, figure_of_loads
from coworld_bench.scenarios.echo import loaded, size_name

__all__ = ["ANSWER_BYTES", "CELLS", "run"]

CELLS = ((8, 200), (64, 200), (512, 200), (64, 2048))
"""Connections and bytes of an observation."""

QUICK_CELLS = ((64, 200),)

QUICK_RIVALS = ("pump", "trio-websocket", "picows-uvloop", "fastapi")

ANSWER_BYTES = 40


def run(plan: Plan) -> list[Cell]:
    """Measure every cell, each with servers of its own."""
    rivals = plan.rivals("ticks", QUICK_RIVALS)
    cells = []
    for connections, size in QUICK_CELLS if plan.quick else CELLS:
        title = f"{connections} x {size_name(size)}"
        plan.progress(f"broadcast {title}: starting {len(rivals)} servers")
        commands = {rival.name: rival_command(rival, "ticks", seats=connections, size=size) for rival in rivals}
        with started(commands, core=plan.cores.server) as running:
            contestants = {
                name: functools.partial(_measure, plan, contestant, contestant.port(), connections)
                for name, contestant in running.items()
            }
            found = interleave(contestants, plan.rounds, progress=plan.progress, about=f"broadcast {title}")
        figures = {name: figure_of_loads(each, per=connections) for name, each in found.items()}
        cells.append(
            Cell(scenario="broadcast", title=title, connections=connections, size=size, unit="ticks/s", figures=figures)
        )
    return cells


def _measure(plan: Plan, server: Contestant, port: int, connections: int) -> Load:
    return loaded(plan, "ticks", server, port, connections=connections, size=ANSWER_BYTES)
