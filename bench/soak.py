"""Does a runtime that works for a long time stay as small as it was in the beginning?

    python bench/soak.py [--minutes 30] [--parallel 4] [--seed 1] [--json]

One runtime plays small episodes without end, one in ten with a game or a player that goes wrong, some called off. Beside them
actors are started, asked, watched, crashed, restarted and stopped, and subscribers come and go, some of which never read. Every
ten seconds all of that stands still for a moment and what is left is counted; standing still, the counts of descriptors,
processes and tasks have to be the same as ever. Ctrl-C gives the verdict on the time so far.

Memory is the resident size after the allocator has given back what it only keeps for later (glibc's malloc_trim). Without that
it wanders within 60 and 100 MB for some thousand episodes, which can feign a leak and can hide one; the peak is told in the end.

Exit code 1 when memory has grown by more than 5 % or 8 MB, whichever is more, between the first and the last quarter (medians,
after a warm-up of a quarter of the time, three minutes at most), when descriptors, processes or tasks have grown at all or
threads by more than two, when an episode did not end as it had to, or when something was left in the end.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import random
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import trio

from coworld_actors import EpisodeSpec, build_plan, load_manifest
from coworld_actors.actors import (
    Actor,
    ActorError,
    ChildSpec,
    Down,
    MailboxPolicy,
    Overflow,
    Record,
    Request,
    Restart,
    RestartPolicy,
    Strategy,
    SupervisorSpec,
)
from coworld_actors.actors.events import ActorCrashed, ActorRestarted
from coworld_actors.manifest.load import LoadedManifest
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.events import EpisodeClosed
from coworld_actors.runtime.handle import EpisodeHandle
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime
from coworld_bench.machine import machine
from coworld_drivers.images import load_images
from coworld_drivers.janitor import marked
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import CoworldError

PROGRAMS = Path(__file__).parent.parent / "tests" / "programs"
SAMPLE_SECONDS = 10.0
MEGABYTE = 1024 * 1024
WARM_UP_SECONDS = 180.0
LEAVE_SECONDS = 10.0
"""For the janitor, which is told of an orderly end and leaves by itself."""
GROWTH = 0.05
GROWTH_BYTES = 8 * MEGABYTE
THREAD_SLACK = 2
"""Idle threads of trio's pool stay for 10 s: how many there are depends on how many were busy at the same time before."""


class Case(NamedTuple):
    """Something to ask of an episode, and what has to become of it."""

    outcome: str
    players: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    failed: tuple[int, ...] = ()


GOOD = Case("completed")
CRASHES = [
    Case("game_crashed", settings=('behaviour="crashes_mid"',)),
    Case("game_crashed", settings=('behaviour="killed_mid"',)),
    Case("game_start_failed", settings=('behaviour="exits_at_once"',)),
    Case("results_malformed", settings=('behaviour="results_no_json"',)),
    Case("precondition_missing", settings=('behaviour="takes_the_directory"',)),
    Case("completed", players=("crashes-mid",), settings=("pause=0.25",), failed=(0,)),
    Case("completed", players=("crashes-at-once",), settings=("pause=0.1",), failed=(0,)),
]
CALLED_OFF = Case("cancelled", settings=("ticks=100000", "pause=0.05"))


def write_coworld(directory: Path) -> LoadedManifest:
    """A Coworld of one seat around the quick programs of the test suite."""

    def run(program: str) -> dict[str, Any]:
        return {"image": "quick:1", "run": ["python", "-S", "-E", program]}

    text = {"type": "text", "value": "text"}
    config = {"behaviour": "plays", "ticks": 3}
    behaviours = ("plays", "crashes_mid", "crashes_at_once")
    number = {"type": "number"}
    manifest = {
        "game": {
            "name": "quick",
            "version": "1.0.0",
            "description": "d",
            "owner": "me@example.org",
            "config_schema": {
                "type": "object",
                "required": ["tokens"],
                "properties": {
                    "tokens": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string"}},
                    "behaviour": {"type": "string"},
                    "ticks": {"type": "integer"},
                    "pause": number,
                },
            },
            "results_schema": {"type": "object", "properties": {"scores": {"type": "array", "items": number}}},
            "runnable": {"type": "game", **run("quick_game.py")},
            "protocols": {"player": text, "global": text},
            "docs": {"readme": text},
        },
        "player": [
            {
                "id": name.replace("_", "-"),
                "type": "player",
                "name": name,
                "description": "d",
                "env": {"BEHAVIOUR": name},
                **run("quick_player.py"),
            }
            for name in behaviours
        ],
        "variants": [{"id": "default", "name": "Default", "description": "d", "game_config": config}],
        "certification": {"game_config": config, "players": [{"player_id": "plays"}]},
    }
    directory.mkdir()
    (directory / "coworld_manifest.json").write_text(json.dumps(manifest))
    image = f'[images."quick:1"]\nroot = {json.dumps(str(PROGRAMS))}\npython = {json.dumps(sys.executable)}\n'
    (directory / "coworld_local.toml").write_text(image)
    return load_manifest(directory)


class Add(Request[int], frozen=True):
    amount: int


class Crash(Request[int], frozen=True):
    pass


class Worker(Actor[Add | Crash]):
    """Adds, and crashes when asked to; a task of its own beside."""

    async def on_start(self) -> None:
        self.sum = 0
        self.context.spawn(trio.sleep_forever)

    async def handle(self, message: Add | Crash) -> int:
        match message:
            case Crash():
                raise RuntimeError("asked to crash")
            case Add(amount=amount):
                self.sum += amount
        return self.sum


class Watcher(Actor[Down]):
    """Is told of the ends of others; its mailbox is the smallest there is."""

    def __init__(self, others: list[Any]) -> None:
        self.others = others

    async def on_start(self) -> None:
        for other in self.others:
            self.context.watch(other, lambda down: down)

    async def handle(self, message: Down) -> None:
        assert message.path


class Standstill:
    """Lets workers do one round after the other, and holds all of them between rounds."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._turns = trio.CapacityLimiter(workers)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        me = object()
        await self._turns.acquire_on_behalf_of(me)
        try:
            yield
        finally:
            self._turns.release_on_behalf_of(me)

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncGenerator[None]:
        self._turns.total_tokens = 0
        while self._turns.borrowed_tokens:  # noqa: ASYNC110 - once in ten seconds, outside of what is measured
            await trio.sleep(0.02)
        yield
        self._turns.total_tokens = self._workers


class Sample(NamedTuple):
    seconds: float
    memory: float
    descriptors: int
    threads: int
    processes: int
    tasks: int
    objects: int


def give_back() -> None:
    """Have the allocator return what is free; does nothing where the C library has no such call."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def tasks_of(task: trio.lowlevel.Task) -> int:
    return 1 + sum(tasks_of(child) for nursery in task.child_nurseries for child in nursery.child_tasks)


class Soak:
    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options = options
        self.directory = directory
        self.loaded = write_coworld(directory / "coworld")
        self.random = random.Random(options.seed)
        self.still = Standstill(options.parallel + 2)
        self.process = psutil.Process()
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.samples: list[Sample] = []
        self.began = time.monotonic()

    async def run(self) -> None:
        driver = ProcessDriver(load_images(self.loaded.directory, {}))
        admission = Admission(parallel=self.options.parallel, queue=self.options.parallel)
        async with open_runtime(driver, name="soak", admission=admission, random=self.random) as runtime:
            runtime.system.events.subscribe(self.count)
            with runtime.events(capacity=256) as never_read:
                async with trio.open_nursery() as nursery:
                    for _ in range(self.options.parallel):
                        nursery.start_soon(self.play_on, runtime)
                    nursery.start_soon(self.churn_on, runtime)
                    nursery.start_soon(self.listen_on, runtime)
                    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                        nursery.start_soon(self.watch, runtime, nursery.cancel_scope)
                        async for _ in signals:
                            break
                    nursery.cancel_scope.cancel()
                self.counts["dropped by who never reads"] = never_read.dropped
            report = await runtime.stop()
        if report.killed:
            self.wrong.append(f"the stop had to kill {', '.join(report.killed)}")
        with trio.move_on_after(LEAVE_SECONDS):
            while self.left(driver):  # noqa: ASYNC110 - processes tell nobody that they have gone
                await trio.sleep(0.1)
        if left := self.left(driver):
            self.wrong.append(f"processes are left: {left}")

    def left(self, driver: ProcessDriver) -> list[int]:
        return sorted({*marked(driver.mark), *(child.pid for child in self.process.children(recursive=True))})

    def count(self, record: Record) -> None:
        match record.event:
            case ActorCrashed():
                self.counts["actor crashes"] += 1
            case ActorRestarted():
                self.counts["actor restarts"] += 1
            case EpisodeClosed(outcome=outcome):
                self.outcomes[outcome] += 1
            case _:
                pass

    async def play_on(self, runtime: Runtime) -> None:
        while True:
            async with self.still.turn():
                await self.play(runtime)

    async def play(self, runtime: Runtime) -> None:
        """One episode with its followers; its files are removed."""
        draw = self.random.random()
        case = self.random.choice(CRASHES) if draw < 0.1 else CALLED_OFF if draw < 0.12 else GOOD
        plan = build_plan(self.loaded, players=case.players, overrides=case.settings)
        self.counts["episodes"] += 1
        directory = self.directory / f"run-{self.counts['episodes']}"
        handle = await runtime.start_episode(EpisodeSpec(plan=plan, directory=directory))
        if self.random.random() < 0.3:
            handle.events(capacity=4)  # Neither read nor closed: it ends with its episode.
        if case is CALLED_OFF:
            await trio.sleep(self.random.random())
            handle.cancel()
        if self.random.random() < 0.3:
            async for _ in handle.events():
                self.counts["events read of an episode"] += 1
        found = await self.end_of(handle)
        if found != (case.outcome, case.failed):
            self.wrong.append(f"{handle.id} was to end as {case.outcome} {case.failed} and did as {found}")
        await trio.to_thread.run_sync(lambda: shutil.rmtree(directory, ignore_errors=True))

    async def end_of(self, handle: EpisodeHandle) -> tuple[str, tuple[int, ...]]:
        try:
            record = await handle.wait()
        except CoworldError as error:
            return "precondition_missing" if error.exit_code == 3 else type(error).__name__, ()
        return str(record.verdict.reason), record.verdict.failed_seats

    async def churn_on(self, runtime: Runtime) -> None:
        while True:
            async with self.still.turn():
                await self.churn(runtime)
            await trio.sleep(0.2)

    async def churn(self, runtime: Runtime) -> None:
        """A house of actors for one short life."""
        self.counts["houses"] += 1
        spec = SupervisorSpec(
            strategy=self.random.choice(list(Strategy)), restarts=RestartPolicy(max_restarts=10_000, within=1.0)
        )
        house = await runtime.system.start_supervisor(f"house-{self.counts['houses']}", spec)
        workers = [await house.start_actor(ChildSpec(name=f"worker-{number}", start=Worker)) for number in range(4)]
        smallest = MailboxPolicy(capacity=1, overflow=Overflow.REFUSE)
        watcher = ChildSpec(name="watcher", start=lambda: Watcher(list(workers)), mailbox=smallest)
        await house.start_actor(watcher)
        await house.start_actor(ChildSpec(name="passing", start=Worker, restart=Restart.TEMPORARY))
        for _ in range(100):
            message = Crash() if self.random.random() < 0.1 else Add(1)
            worker = self.random.choice(workers)
            try:
                if self.random.random() < 0.5:
                    await worker.ask(message, deadline=10.0)
                else:
                    worker.tell_nowait(message)
            except ActorError as error:
                self.counts[f"asks that ended with {type(error).__name__}"] += 1
            self.counts["messages"] += 1
        with contextlib.suppress(
            KeyError
        ):  # A sibling's restart may have taken it along, and temporary ones do not return.
            await house.stop_child("passing")
        await house.stop()

    async def listen_on(self, runtime: Runtime) -> None:
        while True:
            async with self.still.turn():
                with runtime.events(capacity=64) as reader, runtime.events(capacity=16):
                    with trio.move_on_after(self.random.random()):
                        while batch := await reader.batch():
                            self.counts["events read"] += len(batch)
                    self.counts["subscribers"] += 2

    async def watch(self, runtime: Runtime, scope: trio.CancelScope) -> None:
        every = min(SAMPLE_SECONDS, self.options.minutes * 60 / 24)
        end = self.began + self.options.minutes * 60
        told = 0
        while (now := time.monotonic()) < end:
            await trio.sleep(min(every, end - now))
            async with self.still.hold():
                self.samples.append(self.sample())
            minute = int(self.samples[-1].seconds / 60)
            if minute > told and not self.options.json:
                told = minute
                print(self.line(self.samples[-1], runtime), flush=True)
        scope.cancel()

    def sample(self) -> Sample:
        gc.collect()
        give_back()
        with self.process.oneshot():
            return Sample(
                seconds=time.monotonic() - self.began,
                memory=self.process.memory_info().rss / MEGABYTE,
                descriptors=self.process.num_fds(),
                threads=self.process.num_threads(),
                processes=len(self.process.children(recursive=True)),
                tasks=tasks_of(root) if (root := trio.lowlevel.current_root_task()) else 0,
                objects=len(gc.get_objects()),
            )

    def line(self, sample: Sample, runtime: Runtime) -> str:
        return (
            f"{sample.seconds / 60:5.1f} min  {self.outcomes.total():6} episodes  {self.counts['actor restarts']:7} restarts"
            f"  {sample.memory:6.1f} MB  {sample.descriptors:3} descriptors  {sample.threads:2} threads"
            f"  {sample.processes} processes  {sample.tasks:3} tasks  {sample.objects:7} objects"
            f"  {runtime.statistics().actors} actors  {len(self.wrong)} wrong"
        )


class Trend(NamedTuple):
    """One measure after the warm-up: medians of the first and the last quarter, growth per hour, and what it may grow by."""

    first: float
    last: float
    per_hour: float
    limit: float | None

    @property
    def ok(self) -> bool:
        return self.limit is None or self.last - self.first <= self.limit


def trends(samples: list[Sample]) -> dict[str, Trend]:
    whole = samples[-1].seconds
    warm = [sample for sample in samples if sample.seconds > min(WARM_UP_SECONDS, whole / 4)]
    quarter = max(1, len(warm) // 4)
    result: dict[str, Trend] = {}
    for index, name in enumerate(Sample._fields[1:], start=1):
        values = [sample[index] for sample in warm]
        first, last = (statistics.median(part) for part in (values[:quarter], values[-quarter:]))
        slope = statistics.linear_regression([sample.seconds for sample in warm], values).slope * 3600
        memory = max(first * GROWTH, GROWTH_BYTES / MEGABYTE)
        limits = {"memory": memory, "threads": THREAD_SLACK, "objects": None}
        result[name] = Trend(first, last, slope, limits.get(name, 0))
    return result


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show(soak: Soak, measured: dict[str, Trend], failures: list[str]) -> None:
    print("  ".join(f"{key} {value}" for key, value in machine().items()))
    print(f"{'':14}{'first quarter':>15}{'last quarter':>15}{'per hour':>12}{'may grow by':>14}")
    for name, trend in measured.items():
        limit = "not judged" if trend.limit is None else f"{trend.limit:.1f}"
        verdict = "" if trend.ok else "  GROWS"
        row = f"{name:14}{trend.first:15.1f}{trend.last:15.1f}{trend.per_hour:+12.1f}{limit:>14}{verdict}"
        print(row)
    print(f"peak of the resident size: {peak():.1f} MB")
    print("episodes: " + ", ".join(f"{count} {outcome}" for outcome, count in soak.outcomes.most_common()))
    print("besides: " + ", ".join(f"{count} {what}" for what, count in sorted(soak.counts.items())))
    print("\n".join(failures) or f"flat for {soak.samples[-1].seconds / 60:.1f} minutes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        soak = Soak(options, Path(directory))
        trio.run(soak.run)
    if len(soak.samples) < 8:
        print(f"{len(soak.samples)} samples are too few for a verdict; let it run longer", file=sys.stderr)
        return 1
    measured = trends(soak.samples)
    failures = [f"{name} grows" for name, trend in measured.items() if not trend.ok] + soak.wrong
    if options.json:
        document = {
            "machine": machine(),
            "minutes": soak.samples[-1].seconds / 60,
            "peak_rss": peak(),
            "trends": {name: {**trend._asdict(), "ok": trend.ok} for name, trend in measured.items()},
            "outcomes": soak.outcomes,
            "counts": soak.counts,
            "failures": failures,
            "samples": [sample._asdict() for sample in soak.samples],
        }
        print(json.dumps(document, indent=2))
    else:
        show(soak, measured, failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
