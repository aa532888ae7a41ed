"""`bench ws`: every scenario beside every rival, in one run."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from coworld_bench.plan import Cell, Plan
from coworld_bench.rivals import RIVALS
from coworld_bench.scenarios import broadcast, echo, lockstep, orchard
from coworld_protocol.errors import Refused

__all__ = ["PACKAGES", "SCENARIOS", "measure", "skipped", "titles"]

SCENARIOS = {"echo": echo.run, "broadcast": broadcast.run, "lockstep": lockstep.run, "orchard": orchard.run}

PACKAGES = tuple(dict.fromkeys(package for rival in RIVALS.values() for package in rival.packages))
"""Whose versions belong to the figures."""


def measure(plan: Plan) -> list[Cell]:
    """Measure; of `plan.names` those that are scenarios choose scenarios, the others contestants.

    Raises:
        Refused: a name is neither.
        PreconditionMissing: a contestant did not play along.
    """
    known = titles()
    for name in sorted(plan.names):
        if name not in SCENARIOS and name not in known:
            words = ", ".join((*SCENARIOS, *known))
            raise Refused(f"--only {name} is neither a scenario nor a contestant.", todo=f"choose from {words}")
    chosen = [name for name in SCENARIOS if name in plan.names] or list(SCENARIOS)
    inner = msgspec.structs.replace(plan, names=plan.names - SCENARIOS.keys())
    return [cell for name in chosen for cell in SCENARIOS[name](inner) if cell.figures]


def titles() -> dict[str, str]:
    """What every contestant is called in tables."""
    pairs: Iterable[tuple[str, str]] = ((pair.name, pair.title) for pair in lockstep.PAIRS if pair.name not in RIVALS)
    return {**{name: rival.title for name, rival in RIVALS.items()}, **dict(pairs), **orchard.CONTESTANTS}


def skipped() -> dict[str, str]:
    """Who cannot take part, and what is missing."""
    found = {name: rival.missing for name, rival in RIVALS.items()}
    found |= {name: orchard.missing(name) for name in orchard.CONTESTANTS}
    return {name: missing for name, missing in found.items() if missing}
