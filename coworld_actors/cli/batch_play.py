"""A batch is played under signals: the first one stops it in order, the second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Callable, Mapping

import msgspec
import trio

from coworld_actors.batch.events import BatchEvent, ParallelChanged, Tell
from coworld_actors.batch.local import LocalTable, Table
from coworld_actors.batch.options import Handling, Keep
from coworld_actors.batch.pace import Pace
from coworld_actors.batch.room import Room, require_room, room
from coworld_actors.batch.runner import BatchEnd, BatchRunner
from coworld_actors.batch.store import BatchStore
from coworld_actors.batch.strain import StrainGauge
from coworld_actors.cli.batch_prepare import Prepared
from coworld_actors.cli.batch_screen import BatchScreen
from coworld_actors.cli.driver_choice import choose_driver
from coworld_actors.cli.exits import Interrupted, Outcome, answer
from coworld_actors.cli.play import HARD_STOP, control_socket
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.opening import open_runtime
from coworld_protocol.errors import Refused, alone

__all__ = ["Played", "find_room", "play_under_signals"]


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """How it went.

    Attributes:
        end: of the run.
        received: the first signal, if there was one.
    """

    end: BatchEnd
    received: int | None


class _Stopper:
    """What a signal reaches: there is no runner before the table is laid, and a signal may come by then.

    Attributes:
        runner: once there is one.
        kill: ends every role at once.
    """

    def __init__(self) -> None:
        self.runner: BatchRunner | None = None
        self.kill: Callable[[], None] = lambda: None
        self._reason = ""
        self._cancel = False

    def stop(self, reason: str, *, cancel: bool) -> None:
        self._reason, self._cancel = reason, cancel
        self.pass_on()

    def pass_on(self) -> None:
        if self.runner is not None and self._reason:
            self.runner.stop(self._reason, cancel=self._cancel)


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


async def play_under_signals(
    prepared: Prepared,
    store: BatchStore,
    handling: Handling,
    there: Room,
    screen: BatchScreen,
    tell: Tell,
    secret_env: Mapping[str, str],
    *,
    as_json: bool,
) -> Played:
    """Play what is open; see `BatchRunner.run`."""
    stopper = _Stopper()
    received: list[int] = []
    failure: Exception | None = None
    end: BatchEnd | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stopper, store, handling, screen, received, as_json)
        try:
            end = await _play(prepared, store, handling, there, screen, tell, secret_env, stopper)
        except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery that would wrap it
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise alone(failure)
    assert end is not None
    return Played(end=end, received=received[0] if received else None)


async def _play(
    prepared: Prepared,
    store: BatchStore,
    handling: Handling,
    there: Room,
    screen: BatchScreen,
    tell: Tell,
    secret_env: Mapping[str, str],
    stopper: _Stopper,
) -> BatchEnd:
    comparison = prepared.comparison
    async with StrainGauge() as gauge:
        pace = Pace(handling.parallel, there, gauge, on_change=_teller(tell))
        async with _table(prepared, handling, there, screen, secret_env, stopper) as table:
            runner = BatchRunner(
                schedule=prepared.schedule,
                plans=prepared.plans,
                table=table,
                store=store,
                pace=pace,
                gauge=gauge,
                tell=tell,
                retries=handling.retries,
                max_failures=handling.max_failures,
                keep_good=handling.keep is Keep.ALL,
                decide=None if comparison is None else comparison.decide,
            )
            stopper.runner = runner
            stopper.pass_on()
            return await runner.run()


def _teller(tell: Callable[[BatchEvent], None]) -> Callable[[int, str], None]:
    return lambda parallel, because: tell(ParallelChanged(parallel=parallel, because=because))


@contextlib.asynccontextmanager
async def _table(
    prepared: Prepared,
    handling: Handling,
    there: Room,
    screen: BatchScreen,
    secret_env: Mapping[str, str],
    stopper: _Stopper,
) -> AsyncGenerator[Table]:
    """Where it is played: worker processes for roles that are tasks, if there is more than one to be had, else here."""
    make = prepared.spec_maker(secret_env)
    options = prepared.options
    images = prepared.plans.images
    if options.driver == "inproc":
        from coworld_actors.batch.workers import open_workers, workers_for

        # Without a number of episodes, one worker for each core.
        workers = handling.workers or workers_for(handling.parallel or there.most)
        if workers > 1:
            async with open_workers(images, make, driver="inproc", workers=workers, note=screen.note) as spread:
                stopper.kill = lambda: _kill(spread.pids())
                yield spread
            return
    driver = choose_driver(options.driver, images, screen.note, warm=handling.warm)
    stopper.kill = driver.kill_all
    admission = Admission(parallel=there.most)
    async with open_runtime(
        driver, name=prepared.head.id, admission=admission, attach=[control_socket(screen.note)]
    ) as runtime:
        with LocalTable.open(runtime, make) as table:
            yield table


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def _watch_signals(
    stopper: _Stopper,
    store: BatchStore,
    handling: Handling,
    screen: BatchScreen,
    received: list[int],
    as_json: bool,
    task_status: trio.TaskStatus[None],
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            received.append(number)
            if len(received) == 1:
                how = "running episodes go on to their ends" if handling.finish else "running episodes are called off"
                screen.note(f"stopping: {how}; a second signal kills them")
                stopper.stop(f"{signal.Signals(number).name} received", cancel=not handling.finish)
            else:
                stopper.kill()
                await trio.sleep(HARD_STOP)
                screen.restore()
                error = Interrupted(
                    f"a second signal, {signal.Signals(number).name}, ended the batch",
                    todo=f"go on with it by --resume {store.directory}",
                    where=str(store.directory),
                )
                os._exit(answer(Outcome(exit_code=128 + received[0], error=error), as_json=as_json))
