"""A prepared batch at play: where it is played, how fast, and how it is stopped. Signals, screens and files are the caller's.

prepared = prepare_batch(options)
with BatchStore.create(directory, prepared.head) as store:
async with open_session(prepared, store) as session:
end = await session.run()
conclusion = conclude(prepared, store, stopped=end.stopped)
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import final

from coworld_actors.batch.events import BatchEvent, ParallelChanged, Tell
from coworld_actors.batch.local import LocalTable, Table
from coworld_actors.batch.options import Handling, Keep
from coworld_actors.batch.pacing.pace import Gauge, Pace
from coworld_actors.batch.pacing.room import Room, require_room, room
from coworld_actors.batch.pacing.strain import Strain, StrainGauge, worst
from coworld_actors.batch.preparation import Prepared
from coworld_actors.batch.runner import BatchEnd, BatchRunner
from coworld_actors.batch.store import BatchStore
from coworld_actors.batch.workers.table import WorkerTable, open_workers, workers_for
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.driver_choice import choose_driver
from coworld_actors.runtime.opening import Attachment, open_runtime
from coworld_protocol.errors import Refused

__all__ = ["Session", "find_room", "open_session"]


def find_room(prepared: Prepared, handling: Handling) -> Room:
    """How many episodes the machine has room for.

    Raises:
        Refused: not for as many as were asked for, or workers where there are none.
    """
    if handling.workers is not None and prepared.options.driver != "inproc":
        raise Refused(
            "--workers is for --driver inproc",
            evidence=f"with --driver {prepared.options.driver} every role is a process of its own",
            todo="leave it out, or play with --driver inproc",
        )
    seats = max(variant.seats for variant in prepared.schedule.variants)
    found = room(prepared.options.driver, seats, tap=prepared.options.taps, wanted=handling.parallel)
    if handling.parallel is not None:
        require_room(handling.parallel, found)
    return found


@final
class Session:
    """One run of a batch; made by `open_session`.

    Args:
        runner: plays it.
        kill: ends every role at once.
    """

    def __init__(self, runner: BatchRunner, kill: Callable[[], None]) -> None:
        self._runner = runner
        self._kill = kill

    async def run(self) -> BatchEnd:
        """Play to the end, or to a reason to stop; see `BatchRunner.run`. Once."""
        return await self._runner.run()

    def stop(self, reason: str, *, cancel: bool) -> None:
        """Begin nothing more; see `BatchRunner.stop`."""
        self._runner.stop(reason, cancel=cancel)

    def kill(self) -> None:
        """Kill every role without waiting; for when there is no time for an orderly stop."""
        self._kill()


@asynccontextmanager
async def open_session(
    prepared: Prepared,
    store: BatchStore,
    handling: Handling | None = None,
    *,
    there: Room | None = None,
    tell: Tell = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
    secret_env: Mapping[str, str] | None = None,
    attach: Sequence[Attachment] = (),
) -> AsyncGenerator[Session]:
    """Make everything ready for a batch to be played, for the time of a block. Nothing of it outlives the block.

    Args:
        prepared: what is played.
        store: where its lines go.
        handling: how it is played.
        there: what `find_room` has found; None to look now.
        tell: takes the events of the batch.
        note: takes sentences that a user should see.
        secret_env: variables for players that appear nowhere.
        attach: what else is there while the runtime is; nothing where episodes are spread over workers.

    Raises:
        Refused: there is no room for as many at once as were asked for.
    """
    how = handling or Handling()
    space = find_room(prepared, how) if there is None else there
    async with AsyncExitStack() as stack:
        gauge = await stack.enter_async_context(StrainGauge())
        table, kill, felt = await _lay(stack, prepared, how, space, note, secret_env or {}, attach, gauge)
        pace = Pace(how.parallel, space, felt, on_change=_teller(tell))
        comparison = prepared.comparison
        runner = BatchRunner(
            schedule=prepared.schedule,
            plans=prepared.plans,
            table=table,
            store=store,
            pace=pace,
            gauge=felt,
            tell=tell,
            retries=how.retries,
            max_failures=how.max_failures,
            keep_good=how.keep is Keep.ALL,
            decide=None if comparison is None else comparison.decide,
        )
        yield Session(runner, kill)


async def _lay(
    stack: AsyncExitStack,
    prepared: Prepared,
    handling: Handling,
    there: Room,
    note: Callable[[str], None],
    secret_env: Mapping[str, str],
    attach: Sequence[Attachment],
    gauge: StrainGauge,
) -> tuple[Table, Callable[[], None], Gauge]:
    """Worker processes for roles that are tasks, if there is more than one to be had; else a runtime of this process."""
    make = prepared.spec_maker(secret_env)
    options = prepared.options
    images = prepared.plans.images
    if options.driver == "inproc":
        # Without a number of episodes, one worker for each core.
        workers = handling.workers or workers_for(handling.parallel or there.most)
        if workers > 1:
            spread = await stack.enter_async_context(
                open_workers(images, make, driver="inproc", workers=workers, note=note)
            )
            return spread, lambda: _kill(spread.pids()), _AlsoWorkers(gauge, spread)
    driver = choose_driver(options.place(handling.pull), images, note, warm=handling.warm)
    runtime = await stack.enter_async_context(
        open_runtime(driver, name=prepared.head.id, admission=Admission(parallel=there.most), attach=attach)
    )
    return stack.enter_context(LocalTable.open(runtime, make)), driver.kill_all, gauge


@final
class _AlsoWorkers:
    """A gauge that also knows how late the loops of workers were: there the episodes are, and not here."""

    def __init__(self, gauge: StrainGauge, workers: WorkerTable) -> None:
        self._gauge = gauge
        self._workers = workers

    def between(self, begin: float, end: float) -> Strain:
        """The worst of what was seen from both places."""
        theirs = Strain(seconds=end - begin, lag=self._workers.worst_lag(begin, end))
        return worst((self._gauge.between(begin, end), theirs))


def _teller(tell: Callable[[BatchEvent], None]) -> Callable[[int, str], None]:
    return lambda parallel, because: tell(ParallelChanged(parallel=parallel, because=because))


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
