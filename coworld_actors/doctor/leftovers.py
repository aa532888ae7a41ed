"""What runtimes that were killed have left: sockets of theirs here, containers and networks at the engine."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from coworld_actors.control.place import is_dead, sockets
from coworld_actors.doctor.finding import Finding, Status, Surroundings

__all__ = ["check_sockets"]

_TODO = "run `coworld-actors gc`, which removes what has no living owner"


async def check_sockets(_: Surroundings) -> Sequence[Finding]:
    """Control sockets at which nobody listens, and places where they cannot be."""
    found, troubles = await trio.to_thread.run_sync(sockets, abandon_on_cancel=True)
    dead = await trio.to_thread.run_sync(lambda: [path for path in found if is_dead(path)], abandon_on_cancel=True)
    if troubles:
        return [
            Finding(name="control sockets", status=Status.WARN, text=error.what, todo=error.todo) for error in troubles
        ]
    living = len(found) - len(dead)
    text = f"{living} {'runtime is' if living == 1 else 'runtimes are'} running"
    if not dead:
        return [Finding(name="control sockets", status=Status.OK, text=text)]
    text += f", and {len(dead)} killed {'one has' if len(dead) == 1 else 'ones have'} left a socket"
    return [Finding(name="control sockets", status=Status.WARN, text=text, todo=_TODO)]
