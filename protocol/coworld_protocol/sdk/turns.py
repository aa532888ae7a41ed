"""Turns: thousands of tasks play in one loop, and everything else in it is still served in time.

trio runs whatever is ready before it looks at its timers again. With a thousand episodes that is a thousand ticks and as many
moves, a tenth of a second. So only so many of the tasks that have something to do are called at once; the others stand in a
line, first come, first served, and each one that begins to run calls the next.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Final

import trio

__all__ = ["PASS_SECONDS", "SHARE_SECONDS", "Turn", "Turns"]

PASS_SECONDS: Final = 0.008
"""How long a task that was called may have to wait for the loop before fewer are called at once."""

SHARE_SECONDS: Final = 1e-3
"""Work without a pause after which a task goes to the end of the line."""

_FEWEST: Final = 4
_MOST: Final = 1024
_FIRST: Final = 64
_LONG: Final = 16
"""What a long step weighs beside a move: two milliseconds in all."""

_RUNNING: Final = 0
_ASLEEP: Final = 1
_IN_LINE: Final = 2
_CALLED: Final = 3

_clock = time.perf_counter


class Turns:
    """The line of one loop."""

    __slots__ = ("_called", "_limit", "_line")

    def __init__(self) -> None:
        self._line: deque[Turn] = deque()
        # Called and not running yet. While somebody is in line there is at least one, and that one calls the next.
        self._called = 0
        self._limit = float(_FIRST)

    @property
    def waiting(self) -> int:
        """How many stand in line; those that were cancelled there may still be counted."""
        return len(self._line)

    async def take(self) -> None:
        """Wait for a turn; for a step that is long and happens once, such as a start or an end. A checkpoint."""
        await Turn(self, _LONG).pause()

    def call(self, turn: Turn, task: trio.lowlevel.Task) -> int:
        """For turns: call a sleeping task now, or put it in line; the state it is in then."""
        if self._line or self._called >= self._limit:
            self._line.append(turn)
            return _IN_LINE
        self._called += turn.weight
        trio.lowlevel.reschedule(task)
        return _CALLED

    def queue(self, turn: Turn) -> bool:
        """For turns: put the running task in line; False when its turn has come already, and it counts as called."""
        if self._line or self._called >= self._limit:
            self._line.append(turn)
            return True
        self._called += turn.weight
        return False

    def arrive(self, turn: Turn, waited: float) -> None:
        """For turns: a task that was called runs, `waited` seconds after it was called."""
        self._called -= turn.weight
        if waited > PASS_SECONDS:
            self._limit = max(_FEWEST, self._limit * 0.98)
        elif self._limit < _MOST:
            self._limit += 0.1
        while self._line and self._called < self._limit:
            turn = self._line.popleft()
            if turn.summon():
                self._called += turn.weight


class Turn:
    """One task's place; only one task at a time may sleep on it.

    Args:
        turns: the line.
        weight: for how many it counts when it is called.
    """

    __slots__ = ("_began", "_called_at", "_state", "_task", "_turns", "weight")

    def __init__(self, turns: Turns, weight: int = 1) -> None:
        self.weight = weight
        self._turns = turns
        self._state = _RUNNING
        self._task: trio.lowlevel.Task | None = None
        self._began = _clock()
        self._called_at = 0.0

    @property
    def spent(self) -> bool:
        """Whether the task has run for its share since its turn began."""
        return _clock() - self._began > SHARE_SECONDS

    def call(self) -> None:
        """There is something to do: wake the task when its turn has come. Nothing happens while it is not asleep."""
        if self._state == _ASLEEP:
            assert self._task is not None
            self._called_at = _clock()
            self._state = self._turns.call(self, self._task)

    def summon(self) -> bool:
        """For the line: wake the task; False when it has left the line."""
        if self._state != _IN_LINE:
            return False
        assert self._task is not None
        self._called_at = _clock()
        self._state = _CALLED
        trio.lowlevel.reschedule(self._task)
        return True

    async def sleep(self) -> None:
        """Sleep until called; a checkpoint.

        Raises:
            trio.BusyResourceError: another task sleeps here.
        """
        if self._state != _RUNNING:
            raise trio.BusyResourceError("Another task is waiting here.")
        self._state = _ASLEEP
        self._task = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            self._woken()

    async def pause(self) -> None:
        """Give way to everybody who is in line; a checkpoint.

        Raises:
            trio.BusyResourceError: another task sleeps here.
        """
        if self._state != _RUNNING:
            raise trio.BusyResourceError("Another task is waiting here.")
        if self._turns.queue(self):
            self._state = _IN_LINE
            self._task = trio.lowlevel.current_task()
            try:
                await trio.lowlevel.wait_task_rescheduled(self._abort)
            finally:
                self._woken()
            return
        self._called_at = _clock()
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self._began = _clock()
            self._turns.arrive(self, self._began - self._called_at)

    def _woken(self) -> None:
        called = self._state == _CALLED
        self._state = _RUNNING
        self._task = None
        self._began = _clock()
        if called:
            # Restores, also when it was cancelled meanwhile: whoever was called calls the next, or the line would stand still.
            self._turns.arrive(self, self._began - self._called_at)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        # From here on nobody may call it. Its place in line stays and is passed over; one that was called is never aborted.
        self._state = _RUNNING
        return trio.lowlevel.Abort.SUCCEEDED
