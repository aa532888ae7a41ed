"""What runtimes that were killed have left on this machine: control sockets and scratch directories."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from coworld_actors.control.leftovers import find_remnants
from coworld_actors.doctor.finding import Finding, Status, Surroundings

__all__ = ["check_remnants"]

_FEW = 3


async def check_remnants(_: Surroundings) -> Sequence[Finding]:
    """What is left, and what is wrong with places where there might be more."""
    remnants, troubles = await trio.to_thread.run_sync(find_remnants, abandon_on_cancel=True)
    found = [Finding(name="leftovers", status=Status.WARN, text=each.what, todo=each.todo) for each in troubles]
    if remnants:
        few = ", ".join(str(each.path) for each in remnants[:_FEW])
        more = f", and {len(remnants) - _FEW} more" if len(remnants) > _FEW else ""
        todo = "run `coworld-actors gc`, which removes what has no living owner"
        found.append(
            Finding(name="leftovers", status=Status.WARN, text=f"{len(remnants)} of dead runs: {few}{more}", todo=todo)
        )
    return found or [Finding(name="leftovers", status=Status.OK, text="no dead run has left anything here")]
