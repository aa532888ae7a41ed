"""Episodes in worker processes: spread, cancelled, lost with a process that is killed, hangs or leaves, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import trio

from coworld_actors.batch.local import WorkerLost
from coworld_actors.batch.workers.spoken import LINES
from coworld_actors.batch.workers.table import WorkerTable, open_workers, workers_for
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.episode.verdict import EndReason
from coworld_drivers.images import ImageMap, load_images
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from tests.counting import counting_spec
from tests.coworlds import IMAGE, PROGRAMS
from tests.worker_drivers import PLACE

ROOT = Path(__file__).parents[3]
LIMITS = Limits(timeout=60, startup=30, player_grace=5, support=30)
PATIENCE = 120
"""Seconds: far more than anything here takes, also on a busy machine."""


def images() -> ImageMap:
    return load_images(None, {IMAGE: str(PROGRAMS)})


class Play:
    """Plays counting games at a table; keeps what the table noted."""

    def __init__(self, table: WorkerTable, place: Path, notes: list[str]) -> None:
        self.table = table
        self.place = place
        self.notes = notes
        self.playing: list[str] = []

    async def __call__(self, name: str, *players: str, alone: bool = False) -> EpisodeRecord:
        spec = counting_spec(self.place, players or ("plays", "plays"), episode=name)
        with trio.fail_after(PATIENCE):
            return await self.table.play(
                name, spec.plan, spec.directory, playing=lambda: self.playing.append(name), alone=alone
            )


@asynccontextmanager
async def table(place: Path, *, driver: str = "counting", workers: int = 1, **more: Any) -> AsyncGenerator[Play]:
    notes: list[str] = []
    async with open_workers(
        images(),
        lambda name, plan, directory: EpisodeSpec(id=name, plan=plan, directory=directory, limits=LIMITS),
        driver=f"{PLACE}:{driver}",
        workers=workers,
        note=notes.append,
        **more,
    ) as opened:
        yield Play(opened, place, notes)


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not true():
            await trio.sleep(0.02)


async def test_episodes_are_spread_and_their_records_come_back(tmp_path):
    """Two workers share eight episodes; every record is whole, and each was told when it began to play."""
    async with table(tmp_path, workers=2) as play:
        records: dict[str, EpisodeRecord] = {}

        async def one(name: str) -> None:
            records[name] = await play(name)

        assert len(set(play.table.pids())) == 2
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(one, f"e-{number}")
        assert all(record.verdict.good and record.id == name for name, record in records.items())
        assert sorted(play.playing) == sorted(records) == [f"e-{number}" for number in range(8)]
        assert all((Path(record.directory) / "results.json").exists() for record in records.values())
        assert [seat.score for seat in records["e-0"].seats] == [3, 3]
    assert msgspec.json.decode((tmp_path / "run-e-1/episode.json").read_bytes(), type=EpisodeRecord) == records["e-1"]


async def test_a_killed_worker_loses_what_it_played_and_is_started_again(tmp_path):
    """SIGKILL: the episodes of that worker are lost with the status, those of the other are not, and both play on."""
    async with table(tmp_path, workers=2) as play:
        victim, other = play.table.pids()
        lost: list[WorkerLost] = []

        async def one(name: str) -> None:
            try:
                await play(name, "waits", "plays")
            except WorkerLost as error:
                lost.append(error)

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(one, f"e-{number}")
            await until(lambda: len(play.playing) == 4)
            os.kill(victim, signal.SIGKILL)
            await until(lambda: len(lost) == 2)
            await until(lambda: len(play.table.pids()) == 2)
            assert other in play.table.pids()
            assert victim not in play.table.pids()
            assert (await play("again")).verdict.good
            nursery.cancel_scope.cancel()
        assert "killed by SIGKILL while it played this and 1 other episode" in lost[0].what
        assert any("killed by SIGKILL; it is started again" in note for note in play.notes)


async def test_an_episode_that_leaves_by_os_exit_takes_only_its_worker(tmp_path):
    """The exit code is the evidence; the next episode is played by a new process."""
    async with table(tmp_path) as play:
        with pytest.raises(WorkerLost, match="exit code 7 while it played this"):
            await play("bad", "exits", "plays")
        assert (await play("good")).verdict.good


async def test_a_crash_in_c_is_told_with_its_place(tmp_path):
    """SIGSEGV: the last words say which line of Python was running."""
    async with table(tmp_path) as play:
        with pytest.raises(WorkerLost, match="SIGSEGV") as lost:
            await play("bad", "crashes", "plays")
    assert "Segmentation fault" in lost.value.evidence
    assert "line" in lost.value.evidence


async def test_a_worker_that_hangs_is_killed_and_says_where(tmp_path):
    """A call that never returns: no sign of life, so the worker is killed, and the evidence names the line."""
    async with table(tmp_path, silence=4.0) as play:
        with pytest.raises(WorkerLost, match="no sign of life for 4 s") as lost:
            await play("bad", "blocks", "plays")
        assert "worker_drivers.py" in lost.value.evidence
        assert (await play("good")).verdict.good


async def test_a_stopped_worker_is_killed(tmp_path):
    """A process that does not run at all is no better than one that hangs."""
    async with table(tmp_path, silence=1.0) as play:
        (pid,) = play.table.pids()
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: pid not in play.table.pids() and bool(play.table.pids()))
        assert (await play("good")).verdict.good


async def test_alone_is_a_process_in_which_nothing_else_is_played(tmp_path):
    """What kills its worker while alone kills nobody else, and the same lane plays the next one."""
    async with table(tmp_path) as play:
        waiting = trio.Event()

        async def wait_on() -> None:
            with pytest.raises(trio.Cancelled):
                await play("waits", "waits", "plays")
            waiting.set()
            await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_on)
            await until(lambda: "waits" in play.playing)
            with pytest.raises(WorkerLost, match=r"alone-1 died: exit code 7 while it played this$"):
                await play("bad", "exits", "plays", alone=True)
            assert (await play("good", alone=True)).verdict.good
            assert len(play.table.pids()) == 2
            assert not waiting.is_set()
            nursery.cancel_scope.cancel()
        assert waiting.is_set()


async def test_a_cancelled_episode_is_over_when_its_call_returns(tmp_path):
    """It is called off in the worker, in order: its record is on disk by then and says cancelled."""
    async with table(tmp_path) as play:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play, "e-1", "waits", "plays")
            await until(lambda: "e-1" in play.playing)
            nursery.cancel_scope.cancel()
        record = msgspec.json.decode((tmp_path / "run-e-1/episode.json").read_bytes(), type=EpisodeRecord)
        assert record.verdict.reason is EndReason.CANCELLED
        assert record.verdict.evidence == "the batch was stopped"


async def test_all_can_be_called_off_at_once(tmp_path):
    """`cancel_all` ends every episode in order, and those who wait get records."""
    async with table(tmp_path, workers=2) as play:
        records: list[EpisodeRecord] = []

        async def one(name: str) -> None:
            records.append(await play(name, "waits", "plays"))

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(one, f"e-{number}")
            await until(lambda: len(play.playing) == 4)
            play.table.cancel_all("enough")
        assert [record.verdict.reason for record in records] == [EndReason.CANCELLED] * 4
        assert {record.verdict.evidence for record in records} == {"enough"}


async def test_leaving_the_table_calls_off_what_is_played(tmp_path):
    """Whoever leaves the block with an exception finds no worker left, within the deadline."""
    with pytest.RaisesGroup(KeyError):
        async with table(tmp_path, stop_deadline=20.0) as play:
            pids = play.table.pids()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(play, "e-1", "waits", "plays")
                await until(lambda: "e-1" in play.playing)
                raise KeyError("somebody's own")
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_errors_travel_with_type_text_and_exit_code(tmp_path):
    """A directory that is not new is refused in the worker, and here it reads the same."""
    async with table(tmp_path) as play:
        (tmp_path / "run-e-1").mkdir()
        (tmp_path / "run-e-1/file").touch()
        with pytest.raises(Refused) as refused:
            await play("e-1")
        assert "run-e-1" in " ".join(refused.value.lines())
        assert refused.value.todo
        assert refused.value.exit_code == 2
        assert (await play("e-2")).verdict.good


async def test_an_id_is_played_once_at_a_time(tmp_path):
    """Two episodes with one id could not be told apart."""
    async with table(tmp_path) as play:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play, "e-1", "waits", "plays")
            await until(lambda: "e-1" in play.playing)
            spec = counting_spec(tmp_path, episode="e-2")
            with pytest.raises(Refused, match="has not ended yet"):
                await play.table.play("e-1", spec.plan, spec.directory, playing=lambda: None)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("driver", "error", "words"),
    [
        ("absent", Refused, "no driver 'absent'"),
        ("no.such.module:it", PreconditionMissing, "cannot be loaded in a worker"),
        (f"{PLACE}:broken", CoworldError, "no driver for"),
        (f"{PLACE}:deadly", PreconditionMissing, "did not start"),
    ],
)
async def test_a_table_whose_workers_cannot_start_is_not_opened(tmp_path, driver, error, words):
    """An unknown driver, one that cannot be imported, one that raises and one that ends the process: said at once."""
    with pytest.raises(error, match=words) as raised:
        async with open_workers(images(), lambda *_: pytest.fail("nothing is played"), driver=driver, workers=2):
            pytest.fail("it was opened")
    if driver.endswith("deadly"):
        assert "exit code 5" in raised.value.evidence
        assert "no such library" in raised.value.evidence


async def test_workers_that_cannot_start_again_are_given_up(tmp_path, monkeypatch):
    """After a few failures in a row whoever waits for a worker is told why, instead of waiting for ever."""
    monkeypatch.setenv("ONCE", str(tmp_path / "once"))
    async with table(tmp_path, driver="once") as play:
        with pytest.raises(WorkerLost):
            await play("bad", "exits", "plays")
        with pytest.raises(PreconditionMissing, match="no worker process can be started") as given_up:
            await play("next")
        assert "FileExistsError" in given_up.value.evidence


async def test_what_a_worker_writes_is_noted_and_bounded(tmp_path):
    """Lines reach the caller with the worker's name in front; a flood is cut and counted."""
    async with table(tmp_path) as play:
        assert (await play("e-1", "talks", "plays")).verdict.good
    lines = [note for note in play.notes if note.startswith("worker process worker-1: ")]
    assert "worker process worker-1: a word of a player" in lines
    assert "worker process worker-1: noise" in lines
    assert len(lines) <= 2 * LINES
    assert any("more lines are left out" in line for line in lines)


async def test_the_lateness_of_a_workers_loop_is_known(tmp_path):
    """A player that blocks the loop for 0.6 s is seen in the worst lag of that time, and not in the time after."""
    async with table(tmp_path) as play:
        begin = trio.current_time()
        await play("e-1", "naps", "plays")
        await until(lambda: play.table.worst_lag(begin) >= 0.5)
        assert play.table.worst_lag(begin) < PATIENCE
        assert play.table.worst_lag(trio.current_time() + 60) == 0.0


async def test_a_manifest_travels_once(tmp_path, monkeypatch):
    """However many episodes of one plan are played, each worker process gets its manifest once."""
    sizes: list[int] = []
    async with table(tmp_path) as play:
        spec = counting_spec(tmp_path, episode="e-0")
        send = trio.SocketStream.send_all

        async def count(stream: trio.SocketStream, data: bytes) -> None:
            sizes.append(len(data))
            await send(stream, data)

        monkeypatch.setattr(trio.SocketStream, "send_all", count)
        for number in range(3):
            await play.table.play(f"e-{number}", spec.plan, tmp_path / f"run-{number}", playing=lambda: None)
        monkeypatch.undo()
    first, second, third = sizes
    assert first > 2 * second
    assert second == third


def test_no_more_workers_than_episodes_or_cores() -> None:
    """One for each core that this process may use, as long as there is something to play in each."""
    cores = len(os.sched_getaffinity(0))
    assert workers_for(1) == 1
    assert workers_for(10_000) == cores
    with pytest.raises(Refused):
        workers_for(0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_parent(tmp_path, number):
    """Whatever ends the parent, also in the middle of episodes that block their loops: seconds later nothing of it is there."""
    program = f"import sys, trio; sys.path.insert(0, {str(ROOT)!r}); from tests.worker_host import host; trio.run(host, {str(tmp_path)!r})"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        family = [psutil.Process(pid) for pid in pids] + psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(number)
        parent.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family):
            assert time.monotonic() < deadline, [each for each in family if each.is_running()]
            time.sleep(0.05)
