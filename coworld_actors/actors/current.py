"""Which actor is running: for log lines, spans and reports that are written far below its methods."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from coworld_actors.actors.incarnation import Incarnation

__all__ = ["RUNNING", "Place", "current_actor"]

RUNNING: ContextVar[Incarnation | None] = ContextVar("coworld_actors.running", default=None)
"""The life that this code is part of. The runtime's to set: a context of its own holds it, so an idle actor pays one node of
a hash trie, and the `Place` is made for those who ask."""


class Place(NamedTuple):
    """Where in a system some code runs.

    Attributes:
        path: names from below the root down to the actor.
        incarnation: which of its lives, from 0.
        scope: what it belongs to, an episode's id for example; empty outside.
    """

    path: str
    incarnation: int
    scope: str


def current_actor() -> Place | None:
    """The actor on whose behalf the calling code runs; None outside of all.

    Inherited as contexts are: by an actor's background tasks, by nurseries that it opens, by `trio.to_thread.run_sync`. An actor
    that it starts has a place of its own. Safe to call from any thread and under any event loop.
    """
    life = RUNNING.get()
    return None if life is None else life.place
