"""How many episodes are played at once, and how fast their starts follow one another."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, final

import trio

from coworld_actors.batch.pacing.climb import Climb
from coworld_actors.batch.pacing.machine import cores
from coworld_actors.batch.pacing.room import MEMORY_SHARE, Room, require_room, room
from coworld_actors.batch.pacing.strain import Strain, overload
from coworld_actors.batch.records import Status
from coworld_actors.runtime.admission import check_parallel

__all__ = ["Pace", "Place", "Room", "StartGate", "room"]

START_FACTOR = 2
"""Start-ups at once for each core, to begin with."""
SWOLLEN = 4.0
"""Start-ups that take so many times as long as the first ones did are too many at once."""
CALM = 2.0
"""Start-ups that take less than so many times as long as the first ones did leave room for more."""
SAMPLE = 5
"""Start-ups of which the middle one counts."""
LATELY = 5.0
"""Seconds before an episode's end by which it is judged whether the machine chokes now. An average over a warm episode's own 0.8 s
would be one of eight looks."""


class Gauge(Protocol):
    """What a pace needs of `coworld_actors.batch.pacing.strain.StrainGauge`."""

    def between(self, begin: float, end: float) -> Strain:
        """What the machine was like between two times of trio's clock."""
        ...


@final
class StartGate:
    """How many start-ups there may be at once. The first ones show how long one takes when nothing is in its way.

    Args:
        processors: at least so many may always start.

    Attributes:
        limit: so many may start now.
    """

    def __init__(self, processors: int) -> None:
        self.limit = START_FACTOR * processors
        self._least = processors
        self._usual: float | None = None
        self._recent: list[float] = []

    def started(self, seconds: float, *, full: bool) -> None:
        """A start-up is over.

        Args:
            seconds: how long it took.
            full: as many as may were starting when it was over.
        """
        self._recent.append(seconds)
        if len(self._recent) < SAMPLE:
            return
        middle = statistics.median(self._recent)
        self._recent.clear()
        if self._usual is None:
            self._usual = middle
        elif middle > SWOLLEN * self._usual:
            self.limit = max(self.limit // 2, self._least)
        elif middle < CALM * self._usual and full:
            self.limit += 1


@final
class Place:
    """One episode's place, from `Pace.place`.

    Attributes:
        began: when it was given, on trio's clock.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._given = trio.Event()
        self.began = 0.0
        self.starting = True

    async def given(self) -> None:
        """Wait for it."""
        await self._given.wait()

    def give(self, now: float) -> None:
        """It is taken from now on."""
        self.began = now
        self._given.set()

    @property
    def taken(self) -> bool:
        """Whether it was given."""
        return self._given.is_set()

    def playing(self) -> None:
        """Its start-up is over: another one may begin its own. Further calls change nothing."""
        if self.starting:
            self.starting = False
            self._pace.started(self)

    def over(self, status: Status, strain: Strain) -> None:
        """What came of the episode, for learning; to be called before the place is left.

        Args:
            status: what it is to the batch.
            strain: what the machine was like from its start to its end.
        """
        self._pace.learn(self, status, strain)


@final
class Pace:
    """Gives places to episodes, first come, first served.

    Args:
        wanted: how many at once; None to find out.
        there: how many this machine has room for.
        gauge: what the machine is like; None to find out from the rate alone.
        start: where to begin to find out; one for each core if left out.
        processors: cores to be used; those of this process if left out.
        on_change: called with the number and the reason whenever the number has changed.

    Raises:
        Refused: there is no room for so many.
    """

    def __init__(
        self,
        wanted: int | None,
        there: Room,
        gauge: Gauge | None = None,
        *,
        start: int | None = None,
        processors: int | None = None,
        on_change: Callable[[int, str], None] | None = None,
    ) -> None:
        count = cores() if processors is None else processors
        self._there = there
        self._gauge = gauge
        self._gate = StartGate(count)
        self._climb: Climb | None = None
        self._fixed = 1
        self.on_change = on_change
        if wanted is None:
            self._climb = Climb(count if start is None else start, there.most)
        else:
            self._fixed = check_parallel(wanted)
            require_room(wanted, there)
        self._line: deque[Place] = deque()
        self._seated: dict[Place, None] = {}
        self._starting = 0
        self._spare: int | None = None

    @property
    def parallel(self) -> int:
        """So many episodes may run at once."""
        return self._fixed if self._climb is None else self._climb.parallel

    @property
    def auto(self) -> bool:
        """Whether that number is being found out."""
        return self._climb is not None

    @property
    def running(self) -> int:
        """Places that are taken."""
        return len(self._seated)

    @property
    def starting(self) -> int:
        """Of these, those whose start-up is not over."""
        return self._starting

    @property
    def waiting(self) -> int:
        """Who waits for a place."""
        return len(self._line)

    def set_parallel(self, parallel: int | None) -> None:
        """Say how many may run at once from now on; None to find out. Those that run are not disturbed.

        Raises:
            Refused: not an integer of at least 1, or there is no room for so many.
        """
        before = self.parallel
        if parallel is None:
            self._climb = self._climb or Climb(before, self._there.most)
        else:
            check_parallel(parallel)
            require_room(parallel, self._there)
            self._fixed, self._climb = parallel, None
            if parallel != before:
                self._tell(parallel, "somebody asked for it")
        self._seat()

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[Place]:
        """Wait for a place and keep it for the length of the context."""
        place = Place(self)
        self._line.append(place)
        self._seat()
        try:
            await place.given()
            yield place
        finally:
            self._leave(place)

    def _seat(self) -> None:
        now = trio.current_time()
        if self._spare is None and self._gauge is not None:
            self._spare = self._gauge.between(now - LATELY, now).available
        while self._line and self.running < self.parallel and self._starting < self._gate.limit:
            place = self._line.popleft()
            self._seated[place] = None
            self._starting += 1
            if self._climb is not None:
                self._climb.began(place, now, self.running)
            place.give(now)

    def _leave(self, place: Place) -> None:
        if not place.taken:
            self._line.remove(place)
            return
        del self._seated[place]
        self._starting -= place.starting
        if self._climb is not None:
            self._climb.left(place, trio.current_time(), self.running)
        self._seat()

    def started(self, place: Place) -> None:
        """The place's start-up is over; for `Place`."""
        full = self._starting >= self._gate.limit
        self._starting -= 1
        self._gate.started(trio.current_time() - place.began, full=full)
        self._seat()

    def learn(self, place: Place, status: Status, strain: Strain) -> None:
        """What came of the place's episode; for `Place`."""
        climb = self._climb
        if climb is None or status is Status.INFRASTRUCTURE:
            return
        now = trio.current_time()
        lately = strain if self._gauge is None else self._gauge.between(now - LATELY, now)
        self._bound(climb, lately.available)
        evidence = overload(lately)
        if evidence:
            changed = climb.choked(now, self.running - 1, evidence)
        else:
            changed = climb.ended(place, now, self.running - 1, lately.crowd)
        if changed:
            self._tell(climb.parallel, climb.because)
            self._seat()

    def _bound(self, climb: Climb, available: int | None) -> None:
        """No step takes more memory than there is, if further episodes take as much as those that run."""
        if available is None or self._spare is None or self._spare <= available:
            return
        each = (self._spare - available) / self.running
        fitting = self.running + int(available * MEMORY_SHARE / each)
        climb.bound(min(self._there.most, fitting))

    def _tell(self, parallel: int, because: str) -> None:
        if self.on_change is not None:
            self.on_change(parallel, because)
