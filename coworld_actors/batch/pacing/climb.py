"""How many episodes at once, found by trying: more as long as that makes more of them end in the same time.

Pure: it is told what happens and when, and answers with a number. Nothing here reads a clock.

What counts is the rate at which episodes end, by Little's law: those that were running at once, divided by how long one of them
took. So waves of episodes that end together do not disturb it. A level is judged by the episodes that began on it, a cohort, each
as a whole, so that short ones are not favoured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable
from typing import NamedTuple, final

__all__ = ["Climb", "Yield"]

PAYS = 0.3
"""A step up has to bring at least this share of what it would bring on a machine without limits."""
COSTS = 0.03
"""A step down may cost this share of the rate: the same work by fewer at once, so each of them gets its turn sooner."""
FALL = 0.7
"""What is left of the episodes at once when the machine chokes."""
SETTLE_SECONDS = 4.0
"""After such a fall, once it has taken effect, nothing is held against the new level for so long: pressure is an average."""
COHORT = 8
"""Episodes by which a level is judged, at least."""
RISING_COHORT = 4
"""The same during the first rise; on an idle machine those that fill the level are enough."""
COHORT_SECONDS = 2.0
"""A cohort takes in whatever begins within so long, so that episodes of milliseconds are judged by hundreds."""
STRAGGLERS = 0.75
"""A cohort of which so many are over, and whose level is three times as old as they took, waits for no more."""
FILLED = 0.8
"""A level was tried when so much of it was used on average. Otherwise starts are what holds things up, or the work has run out."""
IDLE = 0.5
"""Tasks that want each core; below that the cores are mostly idle, and a first climb doubles."""
CROWDED = 2.0
"""Tasks that want each core; above that a try may be a step down."""
PATIENCE = 32
"""Cohorts until the next try, at most; each try in vain doubles them."""


class Yield(NamedTuple):
    """What a level yields.

    Attributes:
        rate: episodes that end per second.
        error: its standard error, as a share of it.
    """

    rate: float
    error: float

    def mixed(self, other: Yield) -> Yield:
        """The mean of two measurements of one level."""
        return Yield((self.rate + other.rate) / 2, math.hypot(self.error, other.error) / 2)


@final
class Climb:
    """Finds the number of episodes at once.

    Args:
        start: where to begin, at least 1.
        most: never more than this.

    Attributes:
        parallel: the number now.
        because: why it is that number, in words.
    """

    def __init__(self, start: int, most: int) -> None:
        self.parallel = max(min(start, most), 1)
        self.because = "a start with one for each core"
        self._most = max(most, 1)
        self._base = self.parallel
        self._yield: Yield | None = None
        self._tries = 0
        self._hold = 0
        self._rising = True
        self._down = False
        self._deaf_until = 0.0
        self._draining = False
        self._level = _Level()

    def began(self, who: Hashable, now: float, running: int) -> None:
        """An episode has got its place; `running` counts it."""
        level = self._level
        level.pass_time(now)
        level.running = running
        level.take(who, now, self._cohort(1.0))
        if level.full_at is None and running >= self.parallel:
            level.full_at = now

    def ended(self, who: Hashable, now: float, running: int, crowd: float | None) -> bool:
        """An episode has left its place, and was played; `running` does not count it.

        Args:
            who: as in `began`.
            now: seconds.
            running: episodes that are left.
            crowd: tasks that want each core, lately; None where that is unknown.

        Returns:
            Whether `parallel` has changed.
        """
        level = self._level
        level.pass_time(now)
        level.running = running
        self._drained(now, running)
        if who in level.ages:
            level.over[who] = now - level.ages.pop(who)
        if self._draining or not level.judged(now, self._cohort(crowd)):
            return False
        before = self.parallel
        self._judge(level.found(now, self.parallel), crowd)
        self._level = level.successor()
        return self.parallel != before

    def left(self, who: Hashable, now: float, running: int) -> None:
        """An episode has left its place and says nothing about the machine: it was cancelled, or could not be played."""
        self._level.pass_time(now)
        self._level.running = running
        self._level.ages.pop(who, None)
        self._drained(now, running)

    def choked(self, now: float, running: int, evidence: str) -> bool:
        """The machine chokes; returns whether `parallel` has changed."""
        self._drained(now, running)
        if self._draining or now < self._deaf_until:
            return False
        before = self.parallel
        if before > self._base:
            self._back_off()
            self._rising = False
        else:
            # It has gone well like this until now, so something else uses the machine, and may be over soon.
            self._hold, self._tries, self._rising = 1, 0, True
        # Whoever ended and brought the news counts as well.
        self.parallel = max(min(math.ceil((running + 1) * FALL), before - 1), 1)
        self.because = evidence
        self._base, self._yield, self._down = self.parallel, None, False
        self._draining = True
        self._level = _Level(running=running)
        self._drained(now, running)
        return self.parallel != before

    def bound(self, most: int) -> None:
        """Never take a step beyond this from now on."""
        self._most = most

    def _drained(self, now: float, running: int) -> None:
        if self._draining and running <= self.parallel:
            self._draining = False
            self._deaf_until = now + SETTLE_SECONDS
            self._level = _Level(running=running)

    def _cohort(self, crowd: float | None) -> int:
        idle = crowd is not None and crowd < IDLE
        # What could not be told from chance by few is looked at again by more.
        least = COHORT if not self._rising else 0 if idle else RISING_COHORT
        return max(self.parallel, least << min(self._tries, 2))

    def _back_off(self) -> None:
        """A step in vain: the next one comes later."""
        self._tries += 1
        self._hold = min(2**self._tries, PATIENCE)
        self._rising = self._rising and self._tries < 2

    def _judge(self, found: Yield | None, crowd: float | None) -> None:
        """A cohort is over; `found` is None when its level was not filled."""
        before = self._yield
        trying = self.parallel != self._base
        if trying and (found is None or before is None or not self._paid(found, before, crowd)):
            self.because = (
                "starts take so long that there are never more at once"
                if found is None
                else "more at once did not make more of them end"
                if self.parallel > self._base
                else "fewer at once made fewer of them end"
            )
            self._down = self.parallel > self._base
            self.parallel = self._base
            self._back_off()
            return
        if found is None:
            return
        if trying:
            self._tries = 0
        self._yield = found if trying or before is None else before.mixed(found)
        self._base = self.parallel
        if self._hold:
            self._hold -= 1
            return
        self._try(crowd)

    def _paid(self, found: Yield, before: Yield, crowd: float | None) -> bool:
        growth = self.parallel / self._base
        if growth < 1:
            return found.rate >= before.rate * (1 - COSTS)
        # During the first rise the doubt speaks for it: what went too far falls back, what stops too early stays slow.
        open_minded = self._rising and (crowd is None or crowd < CROWDED)
        doubt = math.hypot(found.error, before.error) / 2 if open_minded else 0.0
        return found.rate * (1 + doubt) >= before.rate * (1 + PAYS * (growth - 1))

    def _try(self, crowd: float | None) -> None:
        now = self.parallel
        # Others may be what crowds it: being crowded is no proof that fewer do as well, only a reason to try.
        if self._down and not self._rising and now > 1 and (crowd is None or crowd > CROWDED):
            self.parallel = now - max(now // 8, 1)
            self.because = "fewer at once, to see whether as many of them end"
            return
        idle = crowd is not None and crowd < IDLE
        step = now if self._rising and idle else max(now // 2, 1) if self._rising else max(now // 8, 1)
        self.parallel = max(min(now + step, self._most), 1)
        self.because = "more at once, to see whether more of them end"


@final
class _Level:
    """What happened since the number was last changed or judged.

    Attributes:
        running: episodes that run now.
        full_at: since when the level has been filled once.
        ages: since when those of the cohort have run that are not over.
        over: how long the others took.
    """

    def __init__(self, running: int = 0) -> None:
        self.running = running
        self.full_at: float | None = None
        self.ages: dict[Hashable, float] = {}
        self.over: dict[Hashable, float] = {}
        self._first: float | None = None
        self._at: float | None = None
        self._occupied = 0.0

    def successor(self) -> _Level:
        return _Level(self.running)

    def pass_time(self, now: float) -> None:
        if self.full_at is not None and self._at is not None:
            self._occupied += self.running * (now - self._at)
        self._at = now

    def take(self, who: Hashable, now: float, size: int) -> None:
        """Into the cohort, unless that is complete."""
        self._first = now if self._first is None else self._first
        if now - self._first <= COHORT_SECONDS or len(self.ages) + len(self.over) < size:
            self.ages[who] = now

    def judged(self, now: float, size: int) -> bool:
        """Whether the cohort is complete and over."""
        if self._first is None or len(self.ages) + len(self.over) < size or now - self._first < COHORT_SECONDS:
            return False
        if not self.ages:
            return True
        enough = len(self.over) >= STRAGGLERS * (len(self.over) + len(self.ages))
        return enough and now - self._first >= 3 * sum(self.over.values()) / len(self.over)

    def found(self, now: float, parallel: int) -> Yield | None:
        """What the level yields; None when it was not filled."""
        if self.full_at is None or now <= self.full_at:
            return None
        running = self._occupied / (now - self.full_at)
        seconds = [*self.over.values(), *(now - began for began in self.ages.values())]
        mean = statistics.fmean(seconds)
        if running < FILLED * parallel or mean <= 0:
            return None
        spread = statistics.pstdev(seconds) / mean
        return Yield(running / mean, spread / math.sqrt(len(seconds)))
