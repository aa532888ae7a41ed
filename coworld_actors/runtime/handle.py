"""What a caller holds of an episode that it has handed to a runtime."""

from __future__ import annotations

import enum
from collections import deque
from types import TracebackType
from typing import final

import msgspec
import trio

from coworld_actors.actors import Record
from coworld_actors.actors.events import snake_case
from coworld_actors.actors.stream import Subscription
from coworld_actors.episode.events import PhaseEntered
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.pages import Pages
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.runtime.events import EpisodeClosed

__all__ = ["HISTORY", "EpisodeHandle", "EpisodeState", "EpisodeStatus"]

HISTORY = 1024
"""Records of an episode that are kept for whoever comes late; one of 64 seats makes about 600."""


class EpisodeState(enum.StrEnum):
    """Where an accepted episode is."""

    QUEUED = "queued"
    RUNNING = "running"
    OVER = "over"


class EpisodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An episode at one moment.

    Attributes:
        id: unique in the runtime.
        coworld: name and version of the game.
        variant: id of the variant.
        seats: how many.
        state: where it is.
        phase: what a running one is doing; empty for others.
        seconds: since it was accepted.
        in_state: seconds since its state or phase was entered.
        cancelled: whether it has been called off.
        directory: where its files go.
    """

    id: str
    coworld: str
    variant: str
    seats: int
    state: EpisodeState
    phase: str
    seconds: float
    in_state: float
    cancelled: bool
    directory: str


@final
class EpisodeHandle:
    """One episode of a runtime: look at it, follow it, call it off, wait for it. Made by `Runtime.start_episode`.

    Attributes:
        spec: what is played.
        state: where it is.
    """

    def __init__(self, spec: EpisodeSpec) -> None:
        self.spec = spec
        self.state = EpisodeState.QUEUED
        self.interrupt = Interrupt()
        self._accepted = self._entered = trio.current_time()
        self._phase = ""
        self._history: deque[Record] = deque(maxlen=HISTORY)
        self._readers: dict[Subscription, None] = {}
        self._pages: Pages | None = None
        self._pages_known = trio.Event()
        self._over = trio.Event()
        self._record: EpisodeRecord | None = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None

    @property
    def id(self) -> str:
        """The episode's id."""
        return self.spec.id

    def cancel(self, reason: str = "called off by the embedding program") -> bool:
        """Call the episode off, in order and without waiting: its record will say `cancelled`.

        Returns:
            Whether that was news: False when it is over or has been called off before.
        """
        if self.state is EpisodeState.OVER or self.interrupt.raised:
            return False
        self.interrupt.throw(reason)
        return True

    async def wait(self) -> EpisodeRecord:
        """Wait for the end. Cancelling this call leaves the episode alone. Any number of tasks may wait, any number of times.

        Raises:
            Refused: the directory is not new.
            PreconditionMissing: something that the episode needs is not on this machine.
            InternalFault: a defect of ours; the episode is recorded all the same.
            RuntimeClosed: it was killed when the runtime's stop had used up its time.
        """
        await self.settled()
        if self._error is not None:
            # Raised again with the traceback that it came with: each raise would lengthen it.
            raise self._error.with_traceback(self._traceback)
        assert self._record is not None
        return self._record

    async def pages(self) -> Pages | None:
        """Wait until the game lets people in; any number of tasks may wait. What is returned holds the tokens of people's seats.

        Returns:
            Where people find it; None when the episode has ended, or when its games cannot be reached from outside of this process.
        """
        await self._pages_known.wait()
        return self._pages

    async def settled(self) -> None:
        """Wait for the end, however it comes."""
        await self._over.wait()

    def events(self, *, after: int = 0, capacity: int = HISTORY) -> Subscription:
        """The episode's events, from its beginning: `async for record in handle.events()`. Ends with the episode.

        Args:
            after: leave out records up to this `seq`, for a reader that goes on where it has been.
            capacity: records that wait for the reader; a slow one loses the oldest, and `dropped` counts them. What is
                older than the last `HISTORY` records is not there for late readers either.
        """
        reader = Subscription(capacity, [record for record in self._history if record.seq > after])
        if self._over.is_set():
            reader.close()
        else:
            self._readers[reader] = None
            reader.when_closed(lambda: self._readers.pop(reader))
        return reader

    def status(self) -> EpisodeStatus:
        """What it is like at this moment."""
        plan = self.spec.plan
        now = trio.current_time()
        return EpisodeStatus(
            id=self.id,
            coworld=f"{plan.manifest.game.name} {plan.manifest.game.version}",
            variant=plan.variant_id,
            seats=len(plan.seats),
            state=self.state,
            phase=self._phase,
            seconds=now - self._accepted,
            in_state=now - self._entered,
            cancelled=self.interrupt.raised,
            directory=str(self.spec.directory),
        )

    def __repr__(self) -> str:
        return f"<EpisodeHandle {self.id}: {self.state}{f', {self._phase}' if self._phase else ''}>"

    # The runtime's to call.

    def take(self, record: Record) -> None:
        """A record of this episode was published."""
        if isinstance(record.event, PhaseEntered):
            self._phase = record.event.phase
            self._entered = trio.current_time()
        self._history.append(record)
        for reader in tuple(self._readers):
            reader.take(record)

    def show(self, pages: Pages | None) -> None:
        """The game lets people in; None when it does so no more, or never will."""
        self._pages = pages
        self._pages_known.set()

    def admitted(self) -> float:
        """Its turn has come; returns the seconds that it waited."""
        self.state = EpisodeState.RUNNING
        self._entered = trio.current_time()
        return self._entered - self._accepted

    def closing(
        self, record: EpisodeRecord | None, error: Exception | None, waited: float, driver: str
    ) -> EpisodeClosed:
        """The event of its end: with a record or an error, after so many seconds in the queue, on a driver of that name."""
        plan = self.spec.plan
        verdict = record.verdict if record is not None else None
        return EpisodeClosed(
            coworld=plan.manifest.game.name,
            version=plan.manifest.game.version,
            variant=plan.variant_id,
            driver=driver,
            seats=len(plan.seats),
            outcome=verdict.reason if verdict else snake_case(type(error).__name__),
            good=verdict.good if verdict else False,
            blame=verdict.blame if verdict else "",
            failed_seats=verdict.failed_seats if verdict else (),
            waited=waited,
            seconds=trio.current_time() - self._accepted - waited,
            message=verdict.message if verdict else str(error),
            directory=record.directory if record is not None else "",
        )

    def settle(self, record: EpisodeRecord | None, error: BaseException | None = None) -> None:
        """It is over."""
        self.show(None)
        self.state = EpisodeState.OVER
        self._phase = ""
        self._entered = trio.current_time()
        self._record = record
        self._error = error
        self._traceback = error.__traceback__ if error is not None else None
        self._over.set()
        for reader in tuple(self._readers):
            reader.close()
