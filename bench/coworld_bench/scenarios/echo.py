"""Echo, strict request and response: the server alone on one core, the load generator on the other."""

from __future__ import annotations

import functools

from coworld_bench.contestants import Contestant, rival_command, started
from coworld_bench.harness import interleave
from coworld_bench.load import Load, LoadMode, run_load
from coworld_bench.plan import Cell, Plan, figure_of_loads
from coworld_bench.rivals import Rival

__all__ = ["CELLS", "QUICK_RIVALS", "loaded", "run", "size_name"]

CELLS = ((1, 200), (8, 200), (64, 200), (512, 200), (64, 2048), (64, 32768))
"""Connections and bytes of payload."""

QUICK_CELLS = ((1, 200), (64, 200))

QUICK_RIVALS = (
    "pump",
    "connection",
    "trio-websocket",
    "websockets",
    "picows-uvloop",
    "fastapi",
    "raw-trio",
    "c-frames",
    "c-raw",
)


def run(plan: Plan) -> list[Cell]:
    """Measure every cell; all servers run all the time, and those that are not loaded sleep."""
    rivals = plan.rivals("echo", QUICK_RIVALS)
    plan.progress(f"echo: starting {len(rivals)} servers")
    with started({rival.name: rival_command(rival, "echo") for rival in rivals}, core=plan.cores.server) as running:
        ports = {name: contestant.port() for name, contestant in running.items()}
        cells = []
        for connections, size in QUICK_CELLS if plan.quick else CELLS:
            title = f"{connections} x {size_name(size)}"
            contestants = {
                rival.name: functools.partial(
                    _measure, plan, rival, running[rival.name], ports[rival.name], connections, size
                )
                for rival in rivals
            }
            found = interleave(contestants, plan.rounds, progress=plan.progress, about=f"echo {title}")
            figures = {name: figure_of_loads(each) for name, each in found.items()}
            cells.append(
                Cell(
                    scenario="echo", title=title, connections=connections, size=size, unit="messages/s", figures=figures
                )
            )
    return cells


def size_name(size: int) -> str:
    """200 B, 2 KB."""
    return f"{size // 1024} KB" if size >= 1024 else f"{size} B"


def _measure(plan: Plan, rival: Rival, server: Contestant, port: int, connections: int, size: int) -> Load:
    return loaded(plan, "raw" if rival.raw else "echo", server, port, connections=connections, size=size)


def loaded(plan: Plan, mode: LoadMode, server: Contestant, port: int, *, connections: int, size: int) -> Load:
    """One measurement."""
    return run_load(
        mode,
        port,
        connections=connections,
        size=size,
        seconds=plan.seconds,
        warmup=plan.warmup,
        server=server.pid,
        core=plan.cores.load,
        python=plan.python_load,
    )
