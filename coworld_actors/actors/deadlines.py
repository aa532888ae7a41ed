"""One timer for all the asks of a system.

A cancel scope per ask would cost as much as the rest of it. Here asks of equally many seconds stand in one line, where they run
out in the order in which they came; an ask that ends leaves its line. One task sleeps until the earliest moment that it was ever
told of and looks at the heads of the lines then, so asks that are answered in time do not touch it: a virtual clock that jumps
to the next deadline may stop once at a moment that is nobody's any more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias, final

import trio

if TYPE_CHECKING:
    from coworld_actors.actors.asks import PendingAsk

__all__ = ["Deadlines", "Line"]

Line: TypeAlias = "dict[PendingAsk, float]"
"""Asks of equally many seconds in the order of their coming, each with the moment at which it runs out."""

SLACK = 64
"""Lines that may be there before the first look for empty ones."""


@final
class _Lines(dict[float, Line]):
    """Lines by seconds, made when they are first needed. Empty ones are kept for the next ask, but not too many of them."""

    _limit = SLACK

    def __missing__(self, seconds: float) -> Line:
        if len(self) >= self._limit:
            # At least as many new ones come before the next time as are looked at now: constant work for each.
            for empty in [other for other, line in self.items() if not line]:
                del self[empty]
            self._limit = 2 * len(self) + SLACK
        line = self[seconds] = {}
        return line


@final
class Deadlines:
    """When the asks of one system run out, on the trio clock.

    Attributes:
        now: reads the clock, also a virtual one.
        armed: until when the timer sleeps; whoever adds an ask that is due earlier calls `arm`.
        lines: the asks that are under way, by their seconds.
    """

    __slots__ = ("_scope", "armed", "lines", "now")

    def __init__(self) -> None:
        self.now = trio.lowlevel.current_clock().current_time
        self.armed = math.inf
        self.lines = _Lines()
        self._scope: trio.CancelScope | None = None

    def __len__(self) -> int:
        """Asks that are under way."""
        return sum(map(len, self.lines.values()))

    def arm(self, due: float) -> None:
        """Have the timer look at this moment, earlier than it would."""
        self.armed = due
        if self._scope is not None:
            self._scope.deadline = due

    async def run(self) -> None:
        """Be the timer, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self.armed) as self._scope:
                await trio.sleep_forever()
            self._expire(self.now())

    def _expire(self, now: float) -> None:
        self.armed = math.inf
        for line in self.lines.values():
            late = []
            for ask, due in line.items():
                if due > now:
                    self.armed = min(self.armed, due)
                    break
                late.append(ask)
            for ask in late:
                del line[ask]
                ask.expire()
