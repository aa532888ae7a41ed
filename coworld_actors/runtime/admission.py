"""Who may play now: so many episodes at once, so many that wait for their turn, and what becomes of one more."""

from __future__ import annotations

import enum
import os
from typing import final

import msgspec
import trio

from coworld_protocol.errors import CoworldError, Refused

__all__ = ["Admission", "Gate", "RuntimeFull", "WhenFull", "check_parallel"]


class WhenFull(enum.StrEnum):
    """What happens to one episode more than the queue holds."""

    WAIT = "wait"
    """Its caller waits for room."""
    REFUSE = "refuse"
    """Its caller gets `RuntimeFull`."""


class RuntimeFull(CoworldError):
    """All places are taken and the queue is full; the episode was not accepted."""

    exit_code = 3


def check_parallel(parallel: object) -> int:
    """A number of episodes at once that can be worked with.

    Raises:
        Refused: no integer of at least 1.
    """
    if not isinstance(parallel, int) or isinstance(parallel, bool) or parallel < 1:
        raise Refused(f"parallel={parallel!r} is no number of episodes", todo="give an integer of at least 1")
    return parallel


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """How many episodes are accepted.

    Attributes:
        parallel: episodes that run at once.
        queue: accepted episodes that wait for their turn, beyond those.
        when_full: what happens to one more.

    Raises:
        Refused: a number that admits nothing.
    """

    parallel: int = msgspec.field(default_factory=lambda: len(os.sched_getaffinity(0)))
    queue: int = 1024
    when_full: WhenFull = WhenFull.WAIT

    def __post_init__(self) -> None:
        check_parallel(self.parallel)
        queue: object = self.queue
        if not isinstance(queue, int) or isinstance(queue, bool) or queue < 0:  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not check types
            raise Refused(f"queue={queue!r} is no length of a queue", todo="give an integer of at least 0")
        if self.when_full not in set(WhenFull):
            raise Refused(
                f"when_full={self.when_full!r} is unknown", todo=f"use one of {', '.join(map(str, WhenFull))}"
            )


@final
class Gate:
    """An `Admission` at work. Two doors, first come, first served: into the house, and from its queue to the table.

    Args:
        admission: how many.

    Attributes:
        parallel: how many may sit at the table.
        paused: nobody sits down.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._house = trio.CapacityLimiter(admission.parallel + admission.queue)
        self._line: dict[object, trio.Event] = {}
        self._table: dict[object, trio.Event] = {}
        self.parallel = admission.parallel
        self.paused = False

    @property
    def running(self) -> int:
        """Guests at the table."""
        return len(self._table)

    @property
    def accepted(self) -> int:
        """Guests in the house: at the table or waiting for it."""
        return self._house.borrowed_tokens

    @property
    def outside(self) -> int:
        """Callers that wait for room in the queue."""
        return self._house.statistics().tasks_waiting

    async def accept(self, guest: object) -> None:
        """Let a guest into the house.

        Raises:
            RuntimeFull: there is no room, and the policy is not to wait for any.
        """
        if self._admission.when_full is WhenFull.WAIT:
            await self._house.acquire_on_behalf_of(guest)
        else:
            try:
                self._house.acquire_on_behalf_of_nowait(guest)
            except trio.WouldBlock:
                raise RuntimeFull(
                    f"{self.parallel} episodes may run at once, and {self._admission.queue} wait for their turn",
                    evidence=f"running: {self.running}, accepted: {self.accepted}{', paused' if self.paused else ''}",
                    todo="try again when one has ended, or open the runtime with a longer queue",
                ) from None
        self._line[guest] = trio.Event()
        self._seat()

    async def sit(self, guest: object) -> None:
        """Wait for an accepted guest's place at the table: they sit down in the order in which they were accepted."""
        await (self._line if guest in self._line else self._table)[guest].wait()

    def dismiss(self, guest: object) -> None:
        """An accepted guest leaves the house, from wherever it is."""
        self._line.pop(guest, None)
        self._table.pop(guest, None)
        self._house.release_on_behalf_of(guest)
        self._seat()

    def _seat(self) -> None:
        while self._line and not self.paused and len(self._table) < self.parallel:
            guest = next(iter(self._line))
            self._table[guest] = self._line.pop(guest)
            self._table[guest].set()

    def set_parallel(self, parallel: int) -> None:
        """Change how many may run at once. Those that run are not disturbed.

        Raises:
            Refused: not an integer of at least 1.
        """
        self.parallel = check_parallel(parallel)
        self._house.total_tokens = parallel + self._admission.queue
        self._seat()

    def pause(self) -> None:
        """Seat nobody until `resume`."""
        self.paused = True

    def resume(self) -> None:
        """Seat those who wait."""
        self.paused = False
        self._seat()
