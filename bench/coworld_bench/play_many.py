"""Many episodes in a process of their own: `python -m coworld_bench.play_many JOB`, which prints what they took as JSON.

A process of its own, so that its memory is that of these episodes alone, and nothing of the one before is warm.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from importlib import import_module
from pathlib import Path
from typing import Literal

import msgspec
import trio

from coworld_actors.batch.local import LocalTable, Table
from coworld_actors.batch.workers.table import open_workers
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.manifest.seats import EpisodePlan
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.opening import OpenDriver, open_runtime
from coworld_bench.worlds import World, load_world, own_code
from coworld_drivers.inproc import InprocDriver
from coworld_drivers.process import ProcessDriver
from coworld_drivers.scratch import scratch
from coworld_protocol.errors import PreconditionMissing

__all__ = ["Job", "Kind", "Played", "main", "play_many"]

Kind = Literal["cold", "warm", "inproc", "workers", "bare"]

LAG_SECONDS = 0.005
"""How often the event loop's lateness is looked at."""
LIMIT_SECONDS = 3600.0

_PAGE = resource.getpagesize()


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to play.

    Attributes:
        kind: on what: the process driver cold or warm, in-process, in-process spread over workers, or the bare rules.
        world: its name.
        settings: changes to its configuration.
        episodes: how many.
        parallel: at once.
        warmup: played before, and not counted.
        workers: processes, of `workers` and `bare`.
        tidy: delete the files of an episode when it is over, as a batch does that keeps those of failed ones only.
    """

    kind: Kind
    world: str = "orchard"
    settings: tuple[str, ...] = ()
    episodes: int
    parallel: int
    warmup: int = 0
    workers: int = 1
    tidy: bool = False


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes:
        seconds: from the first start to the last end.
        each: how long every episode took, in seconds, in the order of their ends; empty for the bare rules.
        processor: processor seconds of this process and its ended children.
        good: episodes that count.
        alive: how many were being played at once at the most: all their players seated, and not over.
        memory: bytes that this process grew by, from before the first counted start to its peak.
        kept: bytes that it grew by until after the last end.
        lag: the event loop's lateness: 99 of 100 moments in which it would have been needed were served within so many seconds.
        lag_worst: the longest it was late.
        lag_own: as `lag`, without the time in which other programs had the core that it wanted.
    """

    seconds: float
    each: tuple[float, ...] = ()
    processor: float
    good: int
    alive: int = 0
    memory: int = 0
    kept: int = 0
    lag: float = 0.0
    lag_worst: float = 0.0
    lag_own: float = 0.0


def play_many(job: Job) -> Played:
    """Play in a process of its own, and wait for it.

    Raises:
        PreconditionMissing: it did not work; with what it said.
    """
    command = [sys.executable, "-m", "coworld_bench.play_many", msgspec.json.encode(job).decode()]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environ, capture_output=True, check=False, timeout=LIMIT_SECONDS)
    if done.returncode != 0:
        raise PreconditionMissing(
            f"{job.episodes} episodes of {job.world}, {job.kind}, could not be measured",
            evidence=done.stderr.decode(errors="replace").strip().rpartition("\n")[2],
            todo="play one with coworld-actors run to see why",
        )
    return msgspec.json.decode(done.stdout, type=Played)


class _Lag:
    """Watches how late the loop is."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self.own: list[float] = []

    async def watch(self) -> None:
        due = trio.current_time()
        waited = _waited()
        while True:
            due += LAG_SECONDS
            await trio.sleep_until(due)
            now = trio.current_time()
            before, waited = waited, _waited()
            _look(self.late, now - due)
            _look(self.own, max(now - due - (waited - before), 0.0))
            due = now


def _look(found: list[float], late: float) -> None:
    """A stall hides the looks that would have been due in it: they count, each as late as it would have been."""
    while late >= 0:
        found.append(late)
        late -= LAG_SECONDS


def _p99(found: list[float]) -> float:
    return sorted(found)[int(len(found) * 0.99)] if found else 0.0


def _waited() -> float:
    """Seconds for which our thread has been ready to run and another program had the core; 0 where the kernel does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


class _Memory:
    """Watches the resident size of this process."""

    def __init__(self) -> None:
        _give_back()
        self.before = self.peak = _resident()

    async def watch(self) -> None:
        while True:
            self.peak = max(self.peak, _resident())
            await trio.sleep(0.05)


async def _play(job: Job, world: World) -> Played:
    with scratch("bench") as directory:
        async with _table(job, world) as table:
            round_ = _Round(table, world.plan, directory, tidy=job.tidy)
            await round_.play(job.warmup, min(job.parallel, 8), "warm")
            memory = _Memory()
            lag = _Lag()
            round_.reset()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(memory.watch)
                nursery.start_soon(lag.watch)
                used, began = _processor(), time.perf_counter()
                await round_.play(job.episodes, job.parallel, "e")
                seconds, processor = time.perf_counter() - began, _processor() - used
                nursery.cancel_scope.cancel()
            _give_back()
            kept = _resident() - memory.before
        return Played(
            seconds=seconds,
            each=tuple(round_.each),
            processor=processor,
            good=round_.good,
            alive=round_.alive_most,
            memory=max(memory.peak - memory.before, 0),
            kept=kept,
            lag=_p99(lag.late),
            lag_worst=max(lag.late, default=0.0),
            lag_own=_p99(lag.own),
        )


class _Round:
    def __init__(self, table: Table, plan: EpisodePlan, directory: Path, *, tidy: bool) -> None:
        self._table = table
        self._plan = plan
        self._directory = directory
        self._tidy = tidy
        self.reset()

    def reset(self) -> None:
        self.each: list[float] = []
        self.good = 0
        self.alive = self.alive_most = 0

    async def play(self, episodes: int, parallel: int, name: str) -> None:
        """As many tasks as may play at once, each of which takes the next number."""
        numbers = iter(range(episodes))

        async def places() -> None:
            for number in numbers:
                await self._one(f"{name}{number}")

        async with trio.open_nursery() as nursery:
            for _ in range(min(parallel, episodes)):
                nursery.start_soon(places)

    async def _one(self, name: str) -> None:
        playing = False

        def begun() -> None:
            nonlocal playing
            playing = True
            self.alive += 1
            self.alive_most = max(self.alive_most, self.alive)

        directory = self._directory / name
        began = time.perf_counter()
        record = await self._table.play(name, self._plan, directory, playing=begun)
        self.each.append(time.perf_counter() - began)
        self.alive -= playing
        self.good += record.verdict.good
        if self._tidy:
            await trio.to_thread.run_sync(_remove, directory)


def _remove(directory: Path) -> None:
    for place, _, files in os.walk(directory, topdown=False):
        for file in files:
            os.unlink(os.path.join(place, file))  # noqa: PTH108, PTH118 - ten thousand times
        os.rmdir(place)  # noqa: PTH106


@contextlib.asynccontextmanager
async def _table(job: Job, world: World) -> AsyncGenerator[Table]:
    def spec(name: str, plan: EpisodePlan, directory: Path) -> EpisodeSpec:
        return EpisodeSpec(id=name, plan=plan, directory=directory, reports=False)

    if job.kind == "workers":
        async with open_workers(world.images, spec, driver="inproc", workers=job.workers) as workers:
            yield workers
        return
    driver: OpenDriver
    if job.kind == "inproc":
        driver = InprocDriver(world.images)
    else:
        driver = ProcessDriver(world.images, warm=job.kind == "warm")
    async with open_runtime(driver, admission=Admission(parallel=job.parallel + 8)) as runtime:
        with LocalTable.open(runtime, spec) as local:
            yield local


def _bare(job: Job, world: World) -> Played:
    """Rules and players of Orchard as plain calls, one episode after the other; several processes share them."""
    if job.workers > 1:
        return _bare_on_all_cores(job)
    own_code()
    rules_of, choose = import_module("orchard.rules"), import_module("orchard.players.greedy").choose
    Move = import_module("orchard.messages").Move  # noqa: N806 - a class
    raw = {**world.plan.game_config, "tokens": [str(seat.slot) for seat in world.plan.seats]}

    def one() -> None:
        rules = rules_of.Orchard(msgspec.convert(raw, rules_of.OrchardConfig))
        slots = range(len(world.plan.seats))
        welcomes = [rules.welcome(slot) for slot in slots]
        while not rules.done:
            rules.step({slot: Move(move=choose(welcomes[slot], rules.observe(slot))) for slot in slots})
        rules.results()

    for _ in range(job.warmup):
        one()
    used, began = _processor(), time.perf_counter()
    for _ in range(job.episodes):
        one()
    return Played(seconds=time.perf_counter() - began, processor=_processor() - used, good=job.episodes)


def _bare_on_all_cores(job: Job) -> Played:
    shares = [job.episodes // job.workers + (place < job.episodes % job.workers) for place in range(job.workers)]
    command = [sys.executable, "-m", "coworld_bench.play_many"]
    with contextlib.ExitStack() as stack:
        running: list[subprocess.Popen[bytes]] = []
        for share in shares:
            part = msgspec.structs.replace(job, episodes=share, workers=1)
            process = subprocess.Popen([*command, msgspec.json.encode(part).decode()], stdout=subprocess.PIPE)
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append(process)
        parts = [msgspec.json.decode(process.communicate()[0], type=Played) for process in running]
    return Played(
        seconds=max(part.seconds for part in parts),
        processor=sum(part.processor for part in parts),
        good=sum(part.good for part in parts),
    )


def _processor() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _give_back() -> None:
    """Free memory is given back to the system, so that the resident size is what is in use."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def main(text: str) -> None:
    """Do a job and print what came of it."""
    job = msgspec.json.decode(text, type=Job)
    world = load_world(job.world, job.settings)
    played = _bare(job, world) if job.kind == "bare" else trio.run(_play, job, world)
    os.write(1, msgspec.json.encode(played))


if __name__ == "__main__":
    main(sys.argv[1])
