"""Whether the machine chokes: how late our own event loop is, and what the kernel says about processors and memory.

A player that misses a deadline on a machine that could not keep up has lost to the machine. So everything that is played is
measured against what it was played under, and what was found comes with the number that shows it.
"""

from __future__ import annotations

import bisect
import enum
import os
import time
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Self, final

import msgspec
import trio

from coworld_actors.batch.pacing.machine import Counters, Machine

__all__ = [
    "CROWD_LIMIT",
    "LAG_LIMIT",
    "MEMORY_LIMIT",
    "STARVED_LIMIT",
    "STOLEN_LIMIT",
    "THROTTLED_LIMIT",
    "Strain",
    "StrainGauge",
    "Symptom",
    "SymptomKind",
    "overload",
    "symptoms",
    "worst",
]

# Measured with Orchard's `duel` (a game and two players, cold, process driver) on a machine with 2 cores that others used as well,
# 4 to 34 episodes each, all runs taken together:
#
#   episodes at once                        1          2          4           8          16    2, and 8 busy processes
#   tasks that want each core           1.1-5.0    1.4-3.5    2.7-5.4     8.1-9.5    8.6-11.6        8.1-9.4
#   longest lateness of our loop, s   0.00-0.11  0.00-0.09  0.01-0.04   0.11-0.15   0.15-0.34       0.25-2.87
#   share of time with CPU pressure   0.36-0.97  0.55-0.99  0.78-1.00   1.00        0.99-1.00       1.00
#   seconds of an episode, median        0.9-1.5    1.2-2.4      1.7        5.8        10.7             9.4
#
# CPU pressure is full long before anything is slow, so it is shown and judges nothing.

LAG_LIMIT = 0.5
"""Seconds that our loop may be late at most. Above everything that was seen at twice as many episodes as cores, by 5 times."""
STARVED_LIMIT = 2.0
"""Seconds without running at all after which not even a good episode counts. Reached where the process was stopped or the machine
slept, and next to 8 busy processes; at 16 episodes on 2 cores it was 0.34 s."""
CROWD_LIMIT = 6.0
"""Tasks for each core, on average over an episode: between what was seen at two and at four episodes for each core."""
MEMORY_LIMIT = 0.2
"""Share of time in which some task waited for memory: a machine with enough shows 0.00, so this is thrashing. Not measured."""
AVAILABLE_LIMIT = 64 * 1024 * 1024
"""Bytes; with less than this the kernel begins to kill. Not measured."""
STOLEN_LIMIT = 0.3
"""Share of the processors. Quiet neighbours take up to 0.02. Not measured above that."""
THROTTLED_LIMIT = 0.3
"""Share of time. A quota that is used up so often makes a third of all answers late by a scheduling period. Not measured."""

BEAT = 0.1
"""Seconds between two looks at our own lateness and at the queue for processors. An idle loop that is woken costs 0.3 ms each time,
most of it the wake-up; every 50 ms that would be close to 1 % of a core."""
BEATS_PER_BIN = 5
"""Looks that are kept as one; the counters are read once for each."""
FINE_BINS = 1200
"""Kept as they are: ten minutes."""
COARSE = 60
"""Older ones are kept as one for so many, and in all for as long as an episode may take."""
COARSE_BINS = 2880
PRESSURE_GRAIN = 4.0
"""Seconds over which pressure is looked at, at least: the kernel adds it up every 2 s only (`PSI_FREQ` in its `psi.c`)."""


class Strain(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine was like for some time. Shares are of that time, 0 to 1; None where this machine does not say.

    Attributes:
        seconds: of that time that were observed.
        lag: seconds that our own event loop was late, at most.
        starved: seconds of such a lateness in which our own thread did not even run, at most: it waited for a processor, was
            stopped, or for a disk. The rest of the lag is our own work.
        crowd: tasks that ran or waited for a processor, for each core, on average; ours is not counted.
        pressure: share in which some task waited for a processor.
        memory: share in which some task waited for memory to be made free.
        io: share in which some task waited for a disk.
        stolen: share of the processors that the host gave to somebody else.
        throttled: share in which our group's quota of processor time was used up.
        available: bytes of memory that could still be had, at least.
        blind: what cannot be seen on this machine.
    """

    seconds: float = 0.0
    lag: float = 0.0
    starved: float = 0.0
    crowd: float | None = None
    pressure: float | None = None
    memory: float | None = None
    io: float | None = None
    stolen: float | None = None
    throttled: float | None = None
    available: int | None = None
    blind: tuple[str, ...] = ()


class SymptomKind(enum.StrEnum):
    """What the machine is short of."""

    STALL = "stall"
    """Our own loop stood still."""
    PROCESSORS = "processors"
    """Too many tasks for too few processors."""
    MEMORY = "memory"
    """Memory is short."""


class Symptom(NamedTuple):
    """One piece of evidence that the machine choked: what it is short of, and the number that shows it, in a sentence."""

    kind: SymptomKind
    text: str


def symptoms(strain: Strain) -> tuple[Symptom, ...]:
    """Everything that shows that the machine choked, the most telling first."""
    found: list[Symptom] = []

    def add(kind: SymptomKind, text: str) -> None:
        found.append(Symptom(kind, text))

    if strain.starved >= STARVED_LIMIT:
        add(SymptomKind.STALL, f"this process did not get to run for {strain.starved:.2f} s")
    elif strain.lag >= LAG_LIMIT:
        add(SymptomKind.STALL, f"our own event loop was {strain.lag:.2f} s late")
    if strain.crowd is not None and strain.crowd >= CROWD_LIMIT:
        add(SymptomKind.PROCESSORS, f"{strain.crowd:.1f} tasks wanted each core, on average")
    if strain.throttled is not None and strain.throttled >= THROTTLED_LIMIT:
        add(SymptomKind.PROCESSORS, f"the quota of processor time was used up for {strain.throttled:.0%} of the time")
    if strain.stolen is not None and strain.stolen >= STOLEN_LIMIT:
        add(SymptomKind.PROCESSORS, f"the host took away {strain.stolen:.0%} of the processors")
    if strain.memory is not None and strain.memory >= MEMORY_LIMIT:
        add(SymptomKind.MEMORY, f"tasks waited for memory for {strain.memory:.0%} of the time")
    if strain.available is not None and strain.available < AVAILABLE_LIMIT:
        add(SymptomKind.MEMORY, f"only {strain.available / 2**20:.0f} MiB of memory were left")
    return tuple(found)


def overload(strain: Strain) -> str:
    """What shows that the machine choked, in a sentence; empty when it did not."""
    return "; ".join(symptom.text for symptom in symptoms(strain))


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def worst(strains: Iterable[Strain]) -> Strain:
    """The worst of each value: for what was observed from two places, a worker and its supervisor."""
    seen = tuple(strains)
    return Strain(
        seconds=max((strain.seconds for strain in seen), default=0.0),
        lag=max((strain.lag for strain in seen), default=0.0),
        starved=max((strain.starved for strain in seen), default=0.0),
        crowd=_most(strain.crowd for strain in seen),
        pressure=_most(strain.pressure for strain in seen),
        memory=_most(strain.memory for strain in seen),
        io=_most(strain.io for strain in seen),
        stolen=_most(strain.stolen for strain in seen),
        throttled=_most(strain.throttled for strain in seen),
        available=min((strain.available for strain in seen if strain.available is not None), default=None),
        blind=tuple(dict.fromkeys(what for strain in seen for what in strain.blind)),
    )


class _Bin(NamedTuple):
    """What was seen from `begin` to `end`; the counters are those of its end."""

    begin: float
    end: float
    lag: float
    starved: float
    runnable: int
    counted: int
    available: int | None
    counters: Counters


def _begin(seen: _Bin) -> float:
    return seen.begin


def _end(seen: _Bin) -> float:
    return seen.end


@final
class StrainGauge:
    """Watches the event loop and the machine while it is entered: `async with StrainGauge() as gauge`. To be entered once.

    A task of its own looks every `BEAT` seconds, also while its caller is being cancelled. It costs less than 0.5 % of a core.

    Args:
        machine: what the kernel says; opened and closed by the gauge.
    """

    def __init__(self, machine: Machine | None = None) -> None:
        self._machine = Machine() if machine is None else machine
        self._processors = os.cpu_count() or 1
        self._fine: list[_Bin] = []
        self._coarse: list[_Bin] = []
        self._scope = trio.CancelScope()
        self._watching = False
        self._due = 0.0
        self._burnt = 0.0
        self._begin = 0.0
        self._lag = 0.0
        self._starved = 0.0
        self._beats = 0
        self._runnable = 0
        self._counted = 0

    async def __aenter__(self) -> Self:
        """Begin to look; no checkpoint."""
        self._machine.__enter__()
        self._watching = True
        self._begin = now = trio.current_time()
        self._close_bin(now)
        self._due = now + BEAT
        self._burnt = time.thread_time()
        # A system task: a nursery here would wrap what the body raises in a group.
        trio.lowlevel.spawn_system_task(self._watch, name="strain gauge")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Look no longer; no checkpoint. What was seen stays readable."""
        self._scope.cancel()
        self._close_bin(trio.current_time())
        self._watching = False
        self._machine.__exit__(kind, error, traceback)

    async def _watch(self) -> None:
        with self._scope:
            while True:
                await trio.sleep_until(self._due)
                self._look()

    def _look(self) -> None:
        now = trio.current_time()
        late, starved = self._late(now)
        self._burnt = time.thread_time()
        self._due = now + BEAT
        self._lag = max(self._lag, late)
        self._starved = max(self._starved, starved)
        self._beats += 1
        runnable = self._machine.runnable()
        if runnable is not None:
            self._runnable += runnable
            self._counted += 1
        if self._beats >= BEATS_PER_BIN or late >= LAG_LIMIT:
            self._close_bin(now)

    def _late(self, now: float) -> tuple[float, float]:
        """How late the look that is due is, and how much of that our thread did not run."""
        late = max(now - self._due, 0.0)
        return late, min(max(now - self._due + BEAT - (time.thread_time() - self._burnt), 0.0), late)

    def _close_bin(self, now: float) -> None:
        self._fine.append(self._bin(now))
        self._begin, self._lag, self._starved = now, 0.0, 0.0
        self._beats = self._runnable = self._counted = 0
        if len(self._fine) >= FINE_BINS + COARSE:
            self._coarse.append(_merged(self._fine[:COARSE]))
            del self._fine[:COARSE]
            del self._coarse[: max(len(self._coarse) - COARSE_BINS, 0)]

    def _bin(self, now: float) -> _Bin:
        return _Bin(
            begin=self._begin,
            end=now,
            lag=self._lag,
            starved=self._starved,
            runnable=self._runnable,
            counted=self._counted,
            available=self._machine.available(),
            counters=self._machine.counters(),
        )

    def now(self, seconds: float = 2.0) -> Strain:
        """What the machine was like in the last seconds."""
        now = trio.current_time()
        return self.between(now - seconds, now)

    def between(self, begin: float, end: float) -> Strain:
        """What the machine was like between two times of trio's clock.

        What is seen is kept for half a second as one, so that a little of what was before or after is in it. Counters of the
        kernel are taken over the last `PRESSURE_GRAIN` seconds at least. Of more than a day ago nothing is known.
        """
        seen = [*_within(self._coarse, begin, end), *_within(self._fine, begin, end)]
        now = trio.current_time()
        if self._watching and end > self._begin:
            # When the whole process was stopped, whoever asks may run before our look that was due meanwhile.
            late, starved = self._late(now)
            last = self._bin(now)
            seen.append(last._replace(lag=max(last.lag, late), starved=max(last.starved, starved)))
        counted = sum(each.counted for each in seen)
        first, last = self._state_at(min(begin, end - PRESSURE_GRAIN)), seen[-1] if seen else self._state_at(end)
        passed = last.end - first.end

        def share(name: str, of: float = 1.0) -> float | None:
            before: float | None = getattr(first.counters, name)
            after: float | None = getattr(last.counters, name)
            if before is None or after is None or passed <= 0:
                return None
            return min(max((after - before) / passed / of, 0.0), 1.0)

        return Strain(
            seconds=max(min(end, now) - max(begin, (self._coarse or self._fine)[0].begin), 0.0),
            lag=max((each.lag for each in seen), default=0.0),
            starved=max((each.starved for each in seen), default=0.0),
            crowd=sum(each.runnable for each in seen) / counted / self._processors if counted else None,
            pressure=share("cpu"),
            memory=share("memory"),
            io=share("io"),
            stolen=share("stolen", self._processors),
            throttled=share("throttled"),
            available=min((each.available for each in seen if each.available is not None), default=None),
            blind=tuple(self._machine.blind),
        )

    def _state_at(self, when: float) -> _Bin:
        """The last bin that ended by then, or the first one that is known."""
        for bins in (self._fine, self._coarse):
            index = bisect.bisect_right(bins, when, key=_end)
            if index:
                return bins[index - 1]
        return (self._coarse or self._fine)[0]


def _within(bins: list[_Bin], begin: float, end: float) -> list[_Bin]:
    first = bisect.bisect_right(bins, begin, key=_end)
    last = bisect.bisect_left(bins, end, key=_begin)
    return bins[first:last]


def _merged(bins: list[_Bin]) -> _Bin:
    return _Bin(
        begin=bins[0].begin,
        end=bins[-1].end,
        lag=max(each.lag for each in bins),
        starved=max(each.starved for each in bins),
        runnable=sum(each.runnable for each in bins),
        counted=sum(each.counted for each in bins),
        available=min((each.available for each in bins if each.available is not None), default=None),
        counters=bins[-1].counters,
    )
