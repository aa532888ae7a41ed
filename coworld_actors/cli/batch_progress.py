"""How a batch stands while it is played: counts, speed, who runs, and standings that cost nothing to keep."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from coworld_actors.batch.events import (
    BatchEvent,
    BatchLaunched,
    EpisodeBegan,
    EpisodePlaying,
    EpisodeRetried,
    EpisodeSettled,
    ParallelChanged,
)
from coworld_actors.batch.records import EpisodeLine, Status
from coworld_actors.batch.schedule import Schedule

__all__ = ["BatchProgress", "Running", "Standing"]

RATE_WINDOW = 60.0
"""Seconds over which episodes per minute are counted; long enough for several of most games."""

_Z = 1.959964
"""Standard deviations of a normal distribution on either side that hold 95 %."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """An episode that is being played.

    Attributes:
        index: in the schedule.
        seats: index of the entrant per slot.
        attempt: from 1.
        phase: what it does.
        since: when it began.
    """

    index: int
    seats: tuple[int, ...]
    attempt: int
    phase: str
    since: float


class Standing(NamedTuple):
    """A player so far.

    Attributes:
        name: of the player.
        mean: score per block.
        half: half of the interval's width; None below two blocks.
        blocks: complete ones.
    """

    name: str
    mean: float | None
    half: float | None
    blocks: int


class BatchProgress:
    """Takes the events of a batch.

    The intervals are those of a normal distribution, for a look while it runs; the summary at the end has bootstrapped ones.

    Args:
        schedule: what is played.
        lines: what was played before.
        clock: seconds, monotonic.

    Attributes:
        counts: episodes of the schedule by what they are to the batch.
        running: those that are being played, by index.
        parallel: how many may be played at once.
        because: why so many.
        warnings: signs of overload, with how often each was seen.
        remark: a sentence of whoever decides about the end.
    """

    def __init__(
        self, schedule: Schedule, lines: Iterable[EpisodeLine] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.schedule = schedule
        self.counts: Counter[Status] = Counter()
        self.running: dict[int, Running] = {}
        self.parallel = 0
        self.because = ""
        self.warnings: Counter[str] = Counter()
        self.remark = ""
        self._clock = clock
        self._began = clock()
        self._ends: deque[float] = deque()
        self._open = Counter(each.block for each in schedule.episodes)
        self._sums: dict[int, dict[int, list[float]]] = {}
        self._spread = [_Spread() for _ in schedule.entrants]
        self._statuses: dict[int, Status] = {}
        for line in lines:
            self._settle(line)

    @property
    def total(self) -> int:
        """Episodes of the schedule."""
        return len(self.schedule.episodes)

    @property
    def done(self) -> int:
        """Episodes that need not be played again."""
        return self.counts[Status.GOOD] + self.counts[Status.FAILED]

    @property
    def rate(self) -> float:
        """Episodes per minute, lately; 0 before the first."""
        now = self._clock()
        while self._ends and self._ends[0] < now - RATE_WINDOW:
            self._ends.popleft()
        seconds = min(now - self._began, RATE_WINDOW)
        return 60.0 * len(self._ends) / seconds if seconds > 0 else 0.0

    @property
    def left(self) -> float:
        """Seconds until all is played at this rate; infinite before the first end."""
        rate = self.rate
        return 60.0 * (self.total - self.done) / rate if rate else math.inf

    def take(self, event: BatchEvent) -> None:
        """Take an event into account."""
        match event:
            case BatchLaunched(parallel=parallel):
                self.parallel = parallel
                self._began = self._clock()
            case EpisodeBegan(index=index, seats=seats, attempt=attempt):
                self.running[index] = Running(
                    index=index, seats=seats, attempt=attempt, phase="starting", since=self._clock()
                )
            case EpisodePlaying(index=index) if index in self.running:
                self.running[index] = msgspec.structs.replace(self.running[index], phase="playing")
            case EpisodeRetried(index=index, reason=reason):
                self.running.pop(index, None)
                self.warnings[reason] += 1
            case EpisodeSettled(line=line):
                self.running.pop(line.index, None)
                self._ends.append(self._clock())
                self._settle(line)
                if line.overload:
                    self.warnings[line.overload] += 1
            case ParallelChanged(parallel=parallel, because=because):
                self.parallel, self.because = parallel, because
            case _:
                pass

    def now(self) -> float:
        """The clock's time, to compare `Running.since` with."""
        return self._clock()

    def standings(self) -> list[Standing]:
        """The players, the highest mean first."""
        found = [
            Standing(name, spread.mean if spread.count else None, spread.half, spread.count)
            for name, spread in zip(self.schedule.entrants, self._spread, strict=True)
        ]
        return sorted(found, key=lambda each: -math.inf if each.mean is None else each.mean, reverse=True)

    def seated(self, seats: tuple[int, ...]) -> str:
        """Who sits where, in words."""
        return " ".join(self.schedule.entrants[entrant] for entrant in seats)

    def _settle(self, line: EpisodeLine) -> None:
        before = self._statuses.get(line.index)
        if before is not None:
            self.counts[before] -= 1
        self._statuses[line.index] = line.status
        self.counts[line.status] += 1
        if not line.counts or before is Status.GOOD:
            return
        block = line.block
        sums = self._sums.setdefault(block, {})
        for seat in line.seats:
            assert seat.score is not None, "a line that counts has all scores"
            sums.setdefault(seat.entrant, []).append(seat.score)
        self._open[block] -= 1
        if not self._open[block]:
            for entrant, scores in self._sums.pop(block).items():
                self._spread[entrant].add(math.fsum(scores) / len(scores))


class _Spread:
    """Mean and variance of what is added, in one pass (Welford)."""

    __slots__ = ("count", "mean", "squares")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self.squares += delta * (value - self.mean)

    @property
    def half(self) -> float | None:
        if self.count < 2:
            return None
        return _Z * math.sqrt(self.squares / (self.count - 1) / self.count)
