"""Busy-polling for a moment before sleeping: a bounded policy that keeps to it only where it gains something.

In lockstep with few seats the time goes into waking sleeping processes, not into Python. A process that looks again
for up to 200 us instead of going to sleep saves that, three- to fivefold, if a core is idle; on a loaded machine it
takes the core from whoever would have answered. Nobody can know beforehand, so the policy measures: it compares the
waits of short trials with and without polling, and gives up after a few misses in a row.

    budget = spinner.budget() if an_answer_is_expected else 0.0
    result, caught = spin(attempt, budget) if budget else (None, False)
    if result is None and spinner.naps: ...wait in the kernel for NAP_SECONDS...
    if result is None: ...sleep until there is something...
    spinner.tell(clock() - started, polled=budget > 0, caught=caught)      # only when an answer was expected
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final, Literal, TypeVar

from coworld_protocol.errors import Refused
from coworld_protocol.switches import ENV_SPIN

__all__ = ["NAP_SECONDS", "SPIN_SECONDS", "SpinMode", "Spinner", "make_spinner", "spin"]

T = TypeVar("T")
SpinMode = Literal["off", "auto", "always"]

SPIN_SECONDS: Final = 200e-6
"""Longest polling of one wait; about four times what waking a sleeping process costs."""

NAP_SECONDS: Final = 1e-3
"""Longest nap: sleeping in the kernel for this one answer instead of in trio for everything. It burns no processor time and saves the
turn of trio's loop that follows a wake-up, several times what a small game's tick costs; other tasks are held up that long at most."""

LONG_SECONDS: Final = 2e-3
"""After a wait longer than this somebody is thinking: the next wait is not polled, and such waits are not compared."""

BLOCK: Final = 16
"""Waits of a trial go in blocks: polled, slept, polled, slept; two blocks of each are compared."""

CLEARLY: Final = 0.8
"""Polling stays on when its median wait is below this part of the median sleeping wait."""

MISSES: Final = 4
"""Misses in a row after which polling stops at once."""

KEPT: Final = 2048
"""Waits for which polling that won its trial stays on before it is tried again."""

FIRST_PAUSE: Final = 128
LONGEST_PAUSE: Final = 16384
"""Waits without polling after a trial was lost: doubled with each loss in a row, from the first to the longest."""

# Not every system has it (macOS does not).
_give_way: Callable[[], object] = getattr(os, "sched_yield", lambda: time.sleep(0))


class Spinner:
    """The policy for one waiting place: a connection, or a pump with all its connections.

    Pure: it has no clock and waits for nothing.

    Args:
        mode: `auto` measures, `always` polls every wait, `off` none.
        seconds: longest polling of one wait.
    """

    __slots__ = ("_left", "_misses", "_mode", "_pause", "_polled", "_quiet", "_rounds", "_seconds", "_slept", "_state")

    def __init__(self, mode: SpinMode = "auto", *, seconds: float = SPIN_SECONDS) -> None:
        self._mode: SpinMode = mode
        self._seconds = seconds
        self._pause = FIRST_PAUSE
        self._quiet = False
        self._misses = 0
        self._start_trial()

    @property
    def polling(self) -> bool:
        """Whether polling has shown that it gains something; with `always`, always."""
        return self._mode == "always" or (self._mode == "auto" and self._state == "on")

    @property
    def naps(self) -> bool:
        """Whether to take a nap of `NAP_SECONDS` before going to sleep: unless the last answer took long, or it is switched off."""
        return self._mode != "off" and not self._quiet

    def budget(self) -> float:
        """Seconds to poll before sleeping; 0.0 means: go to sleep at once."""
        if self._mode != "auto":
            return self._seconds if self._mode == "always" else 0.0
        return 0.0 if self._quiet or self._state in {"slept", "off"} else self._seconds

    def tell(self, waited: float, *, polled: bool, caught: bool) -> None:
        """How a wait for an answer went; waits in which nobody owed an answer are not told.

        Args:
            waited: seconds from the first look to the answer.
            polled: whether there was a budget, and it was used.
            caught: whether polling saw the answer, on a core that nobody else needed for long.
        """
        if self._mode != "auto":
            return
        self._quiet = waited > LONG_SECONDS
        state = self._state
        if polled:
            self._misses = 0 if caught else self._misses + 1
            if self._misses >= MISSES:
                self._lose()
                return
        elif state in {"polled", "on"}:
            return
        if self._quiet:
            return
        if state == "polled":
            self._polled.append(waited)
        elif state == "slept":
            self._slept.append(waited)
        self._left -= 1
        if not self._left:
            self._turn()

    def _start_trial(self) -> None:
        self._state: Literal["polled", "slept", "on", "off"] = "polled"
        self._left = BLOCK
        self._rounds = 2
        self._misses = 0
        self._polled: list[float] = []
        self._slept: list[float] = []

    def _turn(self) -> None:
        if self._state == "polled":
            self._state, self._left = "slept", BLOCK
        elif self._state != "slept":
            self._start_trial()
        elif self._rounds > 1:
            self._state, self._left = "polled", BLOCK
            self._rounds -= 1
        elif median(self._polled) < CLEARLY * median(self._slept):
            self._state, self._left = "on", KEPT
            self._pause = FIRST_PAUSE
        else:
            self._lose()

    def _lose(self) -> None:
        self._state, self._left = "off", self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


def spin(
    attempt: Callable[[], T | None],
    budget: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
    give_way: Callable[[], object] = _give_way,
) -> tuple[T | None, bool]:
    """Look again and again for at most `budget` seconds, letting others have the core in between.

    Nothing else runs in this thread meanwhile: no task, no time-out.

    Args:
        attempt: looks once, without blocking; None when there is nothing yet.
        budget: seconds, as `Spinner.budget` gave them.
        clock: seconds.
        give_way: lets another process have the core if one wants it.

    Returns:
        What `attempt` found or None, and whether this counts as caught: it was found, and nobody else needed the core
        for long.
    """
    now = clock()
    end = now + budget
    while now <= end:
        give_way()
        found = attempt()
        if found is not None:
            # A yield that alone took longer has given the core to somebody who needed it: sleeping would have been
            # as quick.
            return found, clock() - now <= budget
        now = clock()
    return None, False


def make_spinner(wanted: bool | None = None, environ: Mapping[str, str] | None = None) -> Spinner:
    """The spinner that caller and environment ask for.

    Args:
        wanted: False never polls; True and None leave it to the environment.
        environ: variables; None takes the process's own.

    Raises:
        Refused: the environment's switch has a value that it does not know.
    """
    switch = (os.environ if environ is None else environ).get(ENV_SPIN, "auto") or "auto"
    mode: SpinMode | None = {"0": "off", "1": "always", "auto": "auto"}.get(switch)  # type: ignore[assignment]
    if mode is None:
        raise Refused(f"{ENV_SPIN} is {switch!r}.", todo="set it to 0, 1 or auto, or leave it unset")
    return Spinner("off" if wanted is False else mode)
