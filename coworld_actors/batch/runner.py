"""A schedule is played: so many episodes at once as the pace allows, each its own failure, and a line for each that is over.

The order in which episodes end never decides anything that lasts. Lines are looked up by index, `decide` is asked about whole blocks
in the order of the schedule, and what is played beyond the block that settled the question does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import final

import msgspec
import trio

from coworld_actors.batch.events import (
    BatchEnded,
    BatchLaunched,
    EpisodeBegan,
    EpisodePlaying,
    EpisodeRetried,
    EpisodeSettled,
    Tell,
)
from coworld_actors.batch.lines import WORKER_LOST, line_of, lost_line, unplayed_line
from coworld_actors.batch.local import Table, WorkerLost
from coworld_actors.batch.pacing.pace import Gauge, Pace, Place
from coworld_actors.batch.pacing.verdicts import invalidated
from coworld_actors.batch.plans import Plans
from coworld_actors.batch.records import EpisodeLine, Status
from coworld_actors.batch.schedule import Schedule, Scheduled
from coworld_actors.batch.store import BatchStore
from coworld_actors.episode.verdict import EndReason
from coworld_protocol.errors import CoworldError, InternalFault, PreconditionMissing, alone

__all__ = ["FAILURES_IN_A_ROW", "FAULTS_IN_A_ROW", "BatchEnd", "BatchRunner", "Decide"]

FAILURES_IN_A_ROW = 20
"""So many failed episodes without a good one between them, as they end, and the batch ends: more of them would teach nobody anything."""

FAULTS_IN_A_ROW = 5
"""The same for episodes that the machine kept from being played, after all their retries."""

RETRY_PAUSE = 1.0
"""Seconds before the first retry; doubled for each further one. A daemon that is busy or a disk that is being cleared needs a moment."""

Decide = Callable[[Sequence[EpisodeLine]], str | None]
"""Takes the lines of a whole block, blocks in the order of the schedule; returns why the batch may end, if it may."""


class BatchEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a run of a batch ended.

    Attributes:
        stopped: why before its schedule did; empty when everything is played.
        decided: the number of the block that settled the question; None without one.
        error: what kept it from going on: no user's wish and no answer.
    """

    stopped: str = ""
    decided: int | None = None
    error: CoworldError | None = None


@final
class BatchRunner:
    """Plays what is still open of a batch: `await BatchRunner(...).run()`, once.

    Args:
        schedule: everything that is to be played.
        plans: makes the plan of each episode.
        table: where they are played.
        store: where their lines go; episodes that it has a settled line of are not played again.
        pace: how many at once.
        gauge: tells whether the machine was choking.
        tell: takes the events of the batch.
        retries: how often an episode is tried again that something of the machine's kept from counting.
        max_failures: the batch ends once more episodes than this have failed; None for never.
        keep_good: whether the files of good episodes stay.
        decide: asked after every block whether the question is settled.
    """

    def __init__(
        self,
        *,
        schedule: Schedule,
        plans: Plans,
        table: Table,
        store: BatchStore,
        pace: Pace,
        gauge: Gauge,
        tell: Tell,
        retries: int = 2,
        max_failures: int | None = None,
        keep_good: bool = True,
        decide: Decide | None = None,
    ) -> None:
        self._schedule = schedule
        self._plans = plans
        self._table = table
        self._store = store
        self._pace = pace
        self._gauge = gauge
        self._tell = tell
        self._retries = retries
        self._max_failures = max_failures
        self._keep_good = keep_good
        self._blocks = _Blocks(schedule, decide)
        self._feeding = trio.CancelScope()
        self._stopping = trio.Event()
        self._playing = trio.CancelScope()
        self._settled = {index for index, line in store.lines.items() if line.status.settled}
        self._failed = sum(store.lines[index].status is Status.FAILED for index in self._settled)
        self._failures_in_a_row = 0
        self._faults_in_a_row = 0
        self._stopped = ""
        self._error: CoworldError | None = None

    def stop(self, reason: str, *, cancel: bool) -> None:
        """Begin nothing more. The first reason is the one that is told.

        Args:
            reason: why.
            cancel: call off what runs; it is not written down, and is played anew when the batch is resumed.
        """
        self._stopped = self._stopped or reason
        self._feeding.cancel()
        self._stopping.set()
        if cancel:
            self._playing.cancel()

    async def run(self) -> BatchEnd:
        """Play to the end, or to a reason to stop. What went wrong with an episode is in its line, never raised.

        Cancelled, it calls off what runs.
        """
        began = trio.current_time()
        todo = [each for each in self._schedule.episodes if each.index not in self._settled]
        head = self._store.head
        self._tell(
            BatchLaunched(
                id=head.id,
                directory=str(self._store.directory),
                coworld=f"{head.coworld} {head.game_version}",
                entrants=self._schedule.entrants,
                episodes=len(self._schedule.episodes),
                open=len(todo),
                parallel=self._pace.parallel,
            )
        )
        self._look(self._blocks.settled(self._store.lines, self._settled))
        with self._playing:
            async with trio.open_nursery() as nursery:
                with self._feeding:
                    for scheduled in todo:
                        # One at a time waits for a place: ten thousand open episodes are ten thousand values and not tasks.
                        seated = trio.Event()
                        nursery.start_soon(self._episode, scheduled, seated, name=f"episode {scheduled.index}")
                        await seated.wait()
        total, seconds = len(self._schedule.episodes), trio.current_time() - began
        self._tell(BatchEnded(stopped=self._stopped, done=len(self._settled), total=total, seconds=seconds))
        return BatchEnd(stopped=self._stopped, decided=self._blocks.decided, error=self._error)

    async def _episode(self, scheduled: Scheduled, seated: trio.Event) -> None:
        """One episode with all its attempts."""
        try:
            line = await self._played(scheduled, seated)
            if line is not None:
                await self._settle(line)
        except CoworldError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not take along what has been played
            only = alone(error)
            self._give_up(only if isinstance(only, CoworldError) else InternalFault(f"{type(only).__name__}: {only}"))
        finally:
            seated.set()

    async def _played(self, scheduled: Scheduled, seated: trio.Event) -> EpisodeLine | None:
        """Try until there is something to write down; None when the batch was stopped before."""
        attempt, by_itself = 0, False
        while True:
            attempt += 1
            async with self._pace.place() as place:
                seated.set()
                if self._stopping.is_set():
                    return None
                self._tell(EpisodeBegan(index=scheduled.index, seats=scheduled.seats, attempt=attempt))
                line = await self._attempt(scheduled, attempt, place, by_itself=by_itself)
            if line.status.settled or attempt > self._retries + (line.reason == WORKER_LOST):
                return line
            if line.reason == EndReason.CANCELLED:
                # Somebody called this one off, by the control socket. It is left open, and nobody is asked again in this run.
                return None
            by_itself = by_itself or line.reason == WORKER_LOST
            wait = RETRY_PAUSE * 2 ** (attempt - 1)
            reason = line.overload or line.message
            self._tell(EpisodeRetried(index=scheduled.index, attempt=attempt, reason=reason, wait=wait))
            with trio.move_on_after(wait):
                await self._stopping.wait()
                return None

    async def _attempt(self, scheduled: Scheduled, attempt: int, place: Place, *, by_itself: bool) -> EpisodeLine:
        """One attempt, in its place."""
        directory = self._store.place(scheduled)
        seed_applied = self._plans.seed_key is not None
        began = trio.current_time()

        def playing() -> None:
            place.playing()
            self._tell(EpisodePlaying(index=scheduled.index, seconds=trio.current_time() - began))

        def left() -> str:
            return str(directory.relative_to(self._store.directory)) if directory.exists() else ""

        try:
            record = await self._table.play(
                directory.name, self._plans.plan(scheduled), directory, playing=playing, alone=by_itself
            )
        except WorkerLost as lost:
            strain = self._gauge.between(began, trio.current_time())
            line = lost_line(
                scheduled,
                lost,
                seconds=trio.current_time() - began,
                alone=by_itself,
                seed_applied=seed_applied,
                attempts=attempt,
                directory=left(),
            )
        except (PreconditionMissing, InternalFault) as error:
            strain = self._gauge.between(began, trio.current_time())
            line = unplayed_line(
                scheduled,
                error,
                seconds=trio.current_time() - began,
                seed_applied=seed_applied,
                attempts=attempt,
                directory=left(),
            )
        else:
            strain = self._gauge.between(began, trio.current_time())
            line = line_of(
                scheduled,
                record,
                overload=invalidated(record, strain),
                seed_applied=seed_applied,
                attempts=attempt,
                directory=left() if self._keep_good or not record.verdict.good else "",
            )
        place.over(line.status, strain)
        if line.status is Status.GOOD and not line.directory:
            await self._store.drop(directory)
        return line

    async def _settle(self, line: EpisodeLine) -> None:
        """Write an episode down and see whether the batch goes on."""
        await self._store.append(line)
        if line.status.settled:
            self._settled.add(line.index)
        total = len(self._schedule.episodes)
        self._tell(EpisodeSettled(line=line, done=len(self._settled), total=total))
        good = line.status is Status.GOOD
        self._failures_in_a_row = 0 if good else self._failures_in_a_row + (line.status is Status.FAILED)
        self._faults_in_a_row = 0 if line.status.settled else self._faults_in_a_row + 1
        self._failed += line.status is Status.FAILED
        if self._max_failures is not None and self._failed > self._max_failures:
            self.stop(f"{self._failed} episodes have failed, and --max-failures is {self._max_failures}", cancel=True)
        elif self._failures_in_a_row >= FAILURES_IN_A_ROW:
            self.stop(f"the last {FAILURES_IN_A_ROW} episodes have failed: {line.message}", cancel=True)
        elif self._faults_in_a_row >= FAULTS_IN_A_ROW:
            why = line.overload or line.message
            self._give_up(
                PreconditionMissing(
                    f"the machine kept {FAULTS_IN_A_ROW} episodes in a row from counting: {why}",
                    todo=f"put that right, then go on with --resume {self._store.directory}",
                )
            )
        self._look(self._blocks.settled(self._store.lines, {line.index} if line.status.settled else set()))

    def _look(self, answer: str | None) -> None:
        if answer is not None:
            self.stop(answer, cancel=True)

    def _give_up(self, error: CoworldError) -> None:
        if self._error is None:
            self._error = error
        self.stop(error.what, cancel=True)


class _Blocks:
    """Whole blocks in the order of the schedule, for whoever decides about the end.

    Attributes:
        decided: the block after which the answer was known.
    """

    def __init__(self, schedule: Schedule, decide: Decide | None) -> None:
        self._decide = decide
        self._members: dict[int, list[int]] = {}
        self._block_of: dict[int, int] = {}
        if decide is not None:
            for each in schedule.episodes:
                self._members.setdefault(each.block, []).append(each.index)
                self._block_of[each.index] = each.block
        self._missing = {block: len(members) for block, members in self._members.items()}
        self._order = iter(self._members)
        self._next = next(self._order, None)
        self.decided: int | None = None

    def settled(self, lines: Mapping[int, EpisodeLine], indices: set[int]) -> str | None:
        """These episodes are over now; returns why the batch may end, if it may."""
        if self._decide is None or self.decided is not None:
            return None
        for index in indices:
            self._missing[self._block_of[index]] -= 1
        while self._next is not None and not self._missing[self._next]:
            answer = self._decide([lines[index] for index in self._members[self._next]])
            if answer is not None:
                self.decided = self._next
                return answer
            self._next = next(self._order, None)
        return None
