"""Which children of a supervisor are down and when they come up again."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from coworld_actors.actors.children import Child

__all__ = ["Revivals"]


class _Revival(NamedTuple):
    """Children that are started together, in this order, at a time. `order` tells equal times apart."""

    due: float
    order: int
    members: list[Child]


class Revivals:
    """What is due first comes first; of what is due at one time, what was scheduled first."""

    __slots__ = ("_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[_Revival] = []
        self._order = itertools.count()

    @property
    def due(self) -> float:
        """When the next one is due, on the trio clock; infinity if there is none."""
        return self._heap[0].due if self._heap else math.inf

    def schedule(self, due: float, members: list[Child]) -> None:
        """Have children started together, in this order, at a time."""
        heapq.heappush(self._heap, _Revival(due, next(self._order), members))

    def pop(self) -> list[Child]:
        """Take out the children that are due first; some of them may have been stopped for good meanwhile."""
        return heapq.heappop(self._heap).members

    def join(self, child: Child) -> bool:
        """Have a further child started with those that are due first, as the last of them; False if none are."""
        if self._heap:
            self._heap[0].members.append(child)
        return bool(self._heap)

    def forget(self, children: AbstractSet[Child]) -> None:
        """Call off whatever has one of these among its members."""
        self._heap = [revival for revival in self._heap if children.isdisjoint(revival.members)]
        heapq.heapify(self._heap)

    def clear(self) -> None:
        """Call off everything."""
        self._heap.clear()
