"""Playing a schedule: what is retried, what ends a batch early, and that the order of ends decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from coworld_actors.batch.events import BatchEnded, BatchEvent, BatchLaunched, EpisodeRetried, EpisodeSettled
from coworld_actors.batch.local import WorkerLost
from coworld_actors.batch.pacing.machine import Machine
from coworld_actors.batch.pacing.pace import Pace
from coworld_actors.batch.pacing.room import Room
from coworld_actors.batch.pacing.strain import StrainGauge
from coworld_actors.batch.plans import Plans
from coworld_actors.batch.records import EpisodeLine, Status
from coworld_actors.batch.runner import FAILURES_IN_A_ROW, FAULTS_IN_A_ROW, BatchEnd, BatchRunner, Decide
from coworld_actors.batch.schedule import Schedule, Scheduled
from coworld_actors.batch.store import BatchStore, read_batch
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.verdict import Blame, EndReason
from coworld_actors.manifest.seats import EpisodePlan
from coworld_protocol.errors import InternalFault, PreconditionMissing
from tests.batches import HEAD, line, schedule, scheduled
from tests.records import bad, record

Script = Callable[[int, int], Awaitable[EpisodeRecord]]
"""Index and attempt to what becomes of it."""


class ScriptedTable:
    """Plays what a script says, and notes what it was asked."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.attempts: list[int] = []
        self.alone: list[int] = []
        self.running: set[int] = set()
        self.most = 0
        self.cancelled: list[int] = []

    async def play(
        self, episode: str, plan: EpisodePlan, directory: Path, /, *, playing: Callable[[], None], alone: bool = False
    ) -> EpisodeRecord:
        del episode
        index = cast("Scheduled", plan).index
        directory.mkdir(parents=True)  # noqa: ASYNC240 - a moment
        self.attempts.append(index)
        if alone:
            self.alone.append(index)
        self.running.add(index)
        self.most = max(self.most, len(self.running))
        try:
            await trio.sleep(0.01)
            playing()
            return await self._script(index, self.attempts.count(index))
        except trio.Cancelled:
            self.cancelled.append(index)
            raise
        finally:
            self.running.discard(index)


class ItselfAsPlan:
    """Stands for `Plans`: the table only wants to know which episode it is."""

    seed_key: str | None = "seed"

    def plan(self, what: Scheduled) -> Scheduled:
        return what


class Batch:
    """A runner with everything it needs."""

    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "run"
        self._nowhere = tmp_path / "nowhere"
        self.events: list[BatchEvent] = []

    @asynccontextmanager
    async def runner(
        self, what: Schedule, table: ScriptedTable, *, parallel: int = 1, decide: Decide | None = None, **more: Any
    ) -> Any:
        fresh = not (self.directory / "batch.json").exists()
        store = (BatchStore.create if fresh else BatchStore.resume)(self.directory, HEAD)
        with store:
            # A machine without readings: what other tests do to the real one is none of this one's business.
            async with StrainGauge(Machine(proc=self._nowhere, root=self._nowhere)) as gauge:
                yield BatchRunner(
                    schedule=what,
                    plans=cast("Plans", ItselfAsPlan()),
                    table=table,
                    store=store,
                    pace=Pace(parallel, Room(most=1000, because="a test"), gauge),
                    gauge=gauge,
                    tell=self.events.append,
                    decide=decide,
                    **more,
                )

    async def play(self, what: Schedule, script: Script, **more: Any) -> tuple[BatchEnd, ScriptedTable]:
        table = ScriptedTable(script)
        async with self.runner(what, table, **more) as runner:
            return await runner.run(), table

    def lines(self) -> list[EpisodeLine]:
        return read_batch(self.directory)[1]


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """A batch in a new directory."""
    return Batch(tmp_path)


@pytest.fixture
def autojump_clock() -> MockClock:
    """Seconds of back-off take no time."""
    return MockClock(autojump_threshold=0.02)


async def good(index: int, attempt: int) -> EpisodeRecord:
    del index, attempt
    return record()


@pytest.mark.parametrize("parallel", [1, 8])
async def test_everything_is_played_once_and_written_down(batch: Batch, parallel: int) -> None:
    """Every episode of the schedule has its line, whatever the parallelism; never more play at once than were asked for."""
    end, table = await batch.play(schedule(20), good, parallel=parallel)
    assert end == BatchEnd()
    assert sorted(table.attempts) == list(range(20))
    assert table.most <= parallel
    lines = batch.lines()
    assert [each.index for each in lines] == list(range(20))
    assert {each.status for each in lines} == {Status.GOOD}
    assert [[seat.entrant for seat in each.seats] for each in lines[:2]] == [[0, 1], [1, 0]]
    assert isinstance(batch.events[0], BatchLaunched)
    assert isinstance(batch.events[-1], BatchEnded)
    settled = [event for event in batch.events if isinstance(event, EpisodeSettled)]
    assert [event.done for event in settled] == list(range(1, 21))


async def test_a_failure_of_a_role_is_its_line_and_not_retried(batch: Batch, autojump_clock: MockClock) -> None:
    """The others go on."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        del attempt
        return record(bad(EndReason.GAME_CRASHED)) if index == 2 else record()

    end, table = await batch.play(schedule(5), script)
    assert end == BatchEnd()
    assert table.attempts == [0, 1, 2, 3, 4]
    assert [each.status for each in batch.lines()] == [
        Status.GOOD, Status.GOOD, Status.FAILED, Status.GOOD, Status.GOOD,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["verdict", "raised", "defect"])
async def test_what_the_machine_is_to_blame_for_is_retried(batch: Batch, autojump_clock: MockClock, kind: str) -> None:
    """Until it works or the retries are used up; the line says how often it was tried."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        if index == 1 and attempt < 3:
            if kind == "raised":
                raise PreconditionMissing("no room")
            if kind == "defect":
                raise InternalFault("a defect")
            return record(bad(EndReason.INFRASTRUCTURE, Blame.INFRASTRUCTURE))
        return record()

    end, table = await batch.play(schedule(3), script)
    assert end == BatchEnd()
    assert table.attempts.count(1) == 3
    assert [(each.status, each.attempts) for each in batch.lines()] == [
        (Status.GOOD, 1), (Status.GOOD, 3), (Status.GOOD, 1),
    ]  # fmt: skip
    assert [event.wait for event in batch.events if isinstance(event, EpisodeRetried)] == [1.0, 2.0]


async def test_used_up_retries_leave_the_episode_open(batch: Batch, autojump_clock: MockClock) -> None:
    """It is written down as the machine's doing, and a resumed batch plays it again."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        del attempt
        return record(bad(EndReason.INFRASTRUCTURE, Blame.INFRASTRUCTURE)) if index == 1 else record()

    _, table = await batch.play(schedule(3), script, retries=1)
    assert table.attempts.count(1) == 2
    assert batch.lines()[1].status is Status.INFRASTRUCTURE
    end, table = await batch.play(schedule(3), good)
    assert end == BatchEnd()
    assert table.attempts == [1]
    assert {each.status for each in batch.lines()} == {Status.GOOD}


async def test_a_lost_worker_gets_its_episodes_another_one_alone(batch: Batch, autojump_clock: MockClock) -> None:
    """Retried once even without retries; who loses a worker of its own as well is to blame."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        if index == 1 or (index == 2 and attempt == 1):
            raise WorkerLost("killed by SIGSEGV")
        return record()

    end, table = await batch.play(schedule(4), script, retries=0)
    assert end == BatchEnd()
    assert table.attempts.count(1) == table.attempts.count(2) == 2
    assert table.alone == [1, 2]
    first, lost, victim, last = batch.lines()
    assert (lost.status, lost.reason, lost.blame) == (Status.FAILED, "worker_lost", "game")
    assert (first.status, victim.status, last.status) == (Status.GOOD, Status.GOOD, Status.GOOD)


async def test_max_failures_end_the_batch(batch: Batch) -> None:
    """One more than allowed; what is left is not played, and says so."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        del attempt
        return record(bad(EndReason.PLAYER_FAILED, Blame.PLAYERS)) if index % 2 else record()

    end, table = await batch.play(schedule(50), script, max_failures=3)
    assert "--max-failures is 3" in end.stopped
    assert end.error is None
    assert len(table.attempts) <= 9
    assert sum(each.status is Status.FAILED for each in batch.lines()) == 4
    # Failures of the earlier run count: the limit is the batch's.
    end, table = await batch.play(schedule(50), script, max_failures=3)
    assert len(table.attempts) <= 3


async def test_nothing_but_failures_ends_the_batch(batch: Batch) -> None:
    """Players that fail in every episode do not fail ten thousand times."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        del index, attempt
        return record(bad(EndReason.PLAYER_FAILED, Blame.PLAYERS))

    end, _ = await batch.play(schedule(500), script, parallel=4)
    assert f"the last {FAILURES_IN_A_ROW} episodes have failed" in end.stopped
    assert len(batch.lines()) <= FAILURES_IN_A_ROW + 4


async def test_a_broken_machine_ends_the_batch(batch: Batch, autojump_clock: MockClock) -> None:
    """As an error with the next step, not as a result."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        raise PreconditionMissing("the disk is gone")

    end, _ = await batch.play(schedule(500), script, retries=0)
    assert isinstance(end.error, PreconditionMissing)
    assert "the disk is gone" in end.error.what
    assert "--resume" in end.error.todo
    assert len(batch.lines()) == FAULTS_IN_A_ROW


async def test_a_line_that_cannot_be_written_ends_the_batch(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is played after that would be lost: nothing more is begun, and what runs is called off."""
    written: list[int] = []

    async def append(self: BatchStore, of: EpisodeLine) -> None:
        del self
        if len(written) == 3:
            raise PreconditionMissing("episodes.jsonl cannot be written: No space left on device")
        written.append(of.index)

    monkeypatch.setattr(BatchStore, "append", append)
    end, table = await batch.play(schedule(100), good, parallel=2)
    assert isinstance(end.error, PreconditionMissing)
    assert "No space left" in end.error.what
    assert len(table.attempts) <= 6


@pytest.mark.parametrize("cancel", [True, False])
async def test_stop_ends_in_order(batch: Batch, cancel: bool) -> None:
    """What runs is called off or plays to its end; the rest is not begun, and resuming plays exactly what is missing."""
    started = trio.Event()

    async def script(index: int, attempt: int) -> EpisodeRecord:
        del attempt
        if index >= 4:
            started.set()
            await trio.sleep(0.2)
        return record()

    table = ScriptedTable(script)
    async with batch.runner(schedule(20), table, parallel=2) as runner:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await started.wait()
                runner.stop("SIGINT received", cancel=cancel)

            nursery.start_soon(stop)
            end = await runner.run()
    assert end.stopped == "SIGINT received"
    assert bool(table.cancelled) is cancel
    written = {each.index for each in batch.lines()}
    assert written == set(table.attempts) - set(table.cancelled)
    _, rest = await batch.play(schedule(20), good, parallel=4)
    assert sorted(rest.attempts) == sorted(set(range(20)) - written)
    assert [each.index for each in batch.lines()] == list(range(20))


async def test_a_stopped_batch_waits_for_no_retry(batch: Batch) -> None:
    """The back-off of an episode ends with the batch; the episode stays open."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        raise PreconditionMissing("no room")

    table = ScriptedTable(script)
    async with batch.runner(schedule(2), table, retries=20) as runner:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:

                async def stop() -> None:
                    while not any(isinstance(event, EpisodeRetried) for event in batch.events):
                        await trio.sleep(0.01)
                    runner.stop("enough", cancel=False)

                nursery.start_soon(stop)
                await runner.run()
    assert batch.lines() == []


@pytest.mark.parametrize("parallel", [1, 7])
async def test_the_answer_does_not_depend_on_the_order_of_ends(batch: Batch, parallel: int) -> None:
    """Blocks are looked at whole and in the order of the schedule, although early episodes take longest."""
    asked: list[list[int]] = []

    def decide(lines: Sequence[EpisodeLine]) -> str | None:
        asked.append([each.index for each in lines])
        return "known" if len(asked) == 3 else None

    async def script(index: int, attempt: int) -> EpisodeRecord:
        del attempt
        await trio.sleep(0.1 if index < 4 else 0)
        return record()

    end, _ = await batch.play(schedule(40, block=2), script, parallel=parallel, decide=decide)
    assert (end.stopped, end.decided) == ("known", 2)
    assert asked == [[0, 1], [2, 3], [4, 5]]


async def test_a_resumed_batch_asks_about_the_old_blocks_first(batch: Batch) -> None:
    """With the answer known already nothing is played."""
    asked: list[int] = []

    def decide(lines: Sequence[EpisodeLine]) -> str | None:
        asked.append(lines[0].block)
        return "known" if len(asked) == 2 else None

    with BatchStore.create(batch.directory, HEAD) as store:
        for each in schedule(4, block=2).episodes:
            await store.append(line(each))
    end, table = await batch.play(schedule(40, block=2), good, decide=decide)
    assert (end.stopped, end.decided) == ("known", 1)
    assert asked == [0, 1]
    assert table.attempts == []


async def test_files_of_good_episodes_need_not_stay(batch: Batch) -> None:
    """Those of failed ones do, and the lines say where."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        del attempt
        return record(bad(EndReason.GAME_CRASHED)) if index == 1 else record()

    await batch.play(schedule(3), script, keep_good=False)
    assert [bool(each.directory) for each in batch.lines()] == [False, True, False]
    assert [each.name for each in (batch.directory / "episodes").iterdir()] == ["duel-e0001-s43"]


async def test_an_episode_that_was_called_off_by_hand_stays_open(batch: Batch) -> None:
    """Nobody knows how it would have ended, and whoever called it off does not want it again at once."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        del attempt
        return record(bad(EndReason.CANCELLED, Blame.CALLER)) if index == 1 else record()

    end, table = await batch.play(schedule(3), script)
    assert end == BatchEnd()
    assert table.attempts == [0, 1, 2]
    assert [each.index for each in batch.lines()] == [0, 2]


async def test_a_cancelled_run_leaves_what_is_written_and_nothing_running(batch: Batch) -> None:
    """Whoever embeds a batch may cancel it at any moment."""

    async def script(index: int, attempt: int) -> EpisodeRecord:
        del attempt
        if index == 3:
            await trio.sleep_forever()
        return record()

    table = ScriptedTable(script)
    async with batch.runner(schedule(9), table) as runner:
        with trio.move_on_after(1):
            await runner.run()
    assert table.running == set()
    assert [each.index for each in batch.lines()] == [0, 1, 2]


def test_scheduled_is_what_a_table_is_asked_for() -> None:
    """The stand-in of these tests is no plan, but tells episodes apart."""
    assert ItselfAsPlan().plan(scheduled(5)).index == 5
