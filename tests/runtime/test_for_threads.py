"""The runtime in synchronous programs, with real episodes on real processes; and the ends of whole host processes."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from coworld_actors.episode.events import Phase, PhaseEntered
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.verdict import EndReason
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.events import AdmissionChanged, EpisodeClosed
from coworld_actors.runtime.for_threads import SyncEpisode, SyncEvents, SyncRuntime, open_runtime_sync
from coworld_actors.runtime.handle import EpisodeState
from coworld_actors.runtime.runtime import RuntimeClosed
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.coworlds import scripted_manifest, write_coworld

SpecOf = Callable[..., EpisodeSpec]
LONG = 120.0
"""Far beyond anything here: what does not end is a failed test, not a hanging run."""
HOST = Path(__file__).parent / "programs/host.py"


def until_playing(episode: SyncEpisode) -> None:
    for record in episode.events(timeout=LONG):
        if isinstance(record.event, PhaseEntered) and record.event.phase is Phase.PLAYING:
            return
    raise AssertionError("the episode ended before it was played")


def found(runtime: SyncRuntime, id: str) -> SyncEpisode:  # noqa: A002
    while (episode := runtime.episode(id, timeout=LONG)) is None:
        time.sleep(0.01)
    return episode


def test_episodes_are_played_and_followed(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Verdicts, records, events from the beginning to the end, status, and everything of the runtime on one stream."""
    with open_runtime_sync(driver, name="mine", admission=Admission(parallel=2)) as runtime:
        assert runtime.name == "mine"
        everything = runtime.events()
        assert runtime.run_episode(spec_of(), timeout=LONG).reason is EndReason.COMPLETED
        episode = runtime.start_episode(spec_of("crashes_mid", id="bad"), timeout=LONG)
        assert (episode.id, episode.status().id) == ("bad", "bad")
        assert [status.id for status in runtime.episodes()] == ["bad"]
        assert runtime.tree()
        seen = list(episode.events(timeout=LONG))
        assert isinstance(seen[-1].event, EpisodeClosed)
        assert list(episode.events(after=seen[-2].seq)) == seen[-1:]
        assert episode.wait(timeout=LONG).verdict.reason is EndReason.GAME_CRASHED
        assert not episode.cancel()
        runtime.pause()
        runtime.set_parallel(7)
        runtime.resume()
        assert runtime.statistics().outcomes == {"completed": 1, "game_crashed": 1}
    records = list(everything)
    changes = [(r.event.parallel, r.event.paused) for r in records if isinstance(r.event, AdmissionChanged)]
    assert changes == [(2, True), (7, True), (7, False)]
    assert everything.dropped == 0
    for call in (runtime.statistics, runtime.stop, runtime.events, episode.wait, episode.status):
        with pytest.raises(RuntimeClosed):
            call()


def test_a_time_out_cancels_what_was_asked_for(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """`run_episode` calls its episode off and returns when that is over; `wait` and a read of events only stop waiting."""
    with open_runtime_sync(driver) as runtime:
        with pytest.raises(TimeoutError, match="run_episode"):
            runtime.run_episode(spec_of("endless"), timeout=0.5)
        assert runtime.episodes() == []
        episode = runtime.start_episode(spec_of("endless"), timeout=LONG)
        with pytest.raises(TimeoutError, match="wait"):
            episode.wait(timeout=0.01)
        runtime.pause()
        events = runtime.events(timeout=0.01)
        queued = runtime.start_episode(spec_of())
        until_playing(episode)
        assert not episode.status().cancelled
        episode.cancel()
        assert queued.status().state is EpisodeState.QUEUED
        episode.wait(timeout=LONG)
        events.batch(10_000)
        with pytest.raises(TimeoutError):
            next(events)
        runtime.set_parallel(5)
        assert isinstance(next(events).event, AdmissionChanged)


def test_a_full_queue_holds_its_callers_back(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """The calling thread waits for room, at most so long; what was not accepted is not there."""
    with open_runtime_sync(driver, admission=Admission(parallel=1, queue=0)) as runtime:
        runtime.pause()
        first = runtime.start_episode(spec_of(id="first"))
        with pytest.raises(TimeoutError):
            runtime.start_episode(spec_of(id="second"), timeout=0.2)
        assert [status.id for status in runtime.episodes()] == ["first"]
        assert runtime.statistics().outside == 0
        first.cancel()
        assert runtime.start_episode(spec_of(id="third"), timeout=LONG).id == "third"
        assert runtime.stop(drain=True, timeout=LONG).finished == 1


def test_many_threads_share_a_runtime(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Each gets the verdict of its own episode, and its own context variables are seen by propagators."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    seen: dict[str, str] = {}
    verdicts: dict[str, EndReason] = {}

    def propagate(spec: EpisodeSpec) -> Mapping[str, str]:
        seen[spec.id] = request.get()
        return {}

    with open_runtime_sync(driver, admission=Admission(parallel=2)) as runtime:
        runtime.propagators.append(propagate)

        def work(behaviour: str) -> None:
            request.set(behaviour)
            spec = spec_of(behaviour, id=behaviour.replace("_", "-"), directory=tmp / behaviour)
            verdicts[behaviour] = runtime.run_episode(spec, timeout=LONG).reason

        tmp = spec_of().directory.parent
        threads = [threading.Thread(target=work, args=(name,)) for name in ("plays", "crashes_mid", "no_results")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    assert verdicts == {
        "plays": EndReason.COMPLETED,
        "crashes_mid": EndReason.GAME_CRASHED,
        "no_results": EndReason.RESULTS_MISSING,
    }
    assert seen == {"plays": "plays", "crashes-mid": "crashes_mid", "no-results": "no_results"}


def test_whoever_stops_reading_is_unsubscribed(driver: ProcessDriver) -> None:
    """After `close`, a block's end, a `break`, and when a reader is simply forgotten; a slow one sees what it has lost."""
    with open_runtime_sync(driver) as runtime:

        def subscribers() -> int:
            return runtime.statistics().events.subscribers

        before = subscribers()
        closed, forgotten = runtime.events(), [runtime.events()]
        with runtime.events(capacity=3) as slow:
            assert subscribers() == before + 3
            for number in range(1, 11):
                runtime.set_parallel(number)
            assert [r.event.parallel for r in slow.batch() if isinstance(r.event, AdmissionChanged)] == [8, 9, 10]
            assert slow.dropped == 7
        assert subscribers() == before + 2
        closed.close()
        assert list(closed) == []
        assert subscribers() == before + 1
        forgotten.clear()
        gc.collect()
        assert subscribers() == before
        reading = runtime.events()
        runtime.pause()
        next(reading)
        del reading
        gc.collect()
        assert subscribers() == before


def test_what_cannot_be_opened_is_raised_at_once(driver: ProcessDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that cannot be entered, an option that does not exist: its own exception, and nothing is left."""

    async def no_room(self: ProcessDriver) -> ProcessDriver:
        raise PreconditionMissing("no room")

    monkeypatch.setattr(ProcessDriver, "__aenter__", no_room)
    with pytest.raises(PreconditionMissing, match="no room"), open_runtime_sync(driver):
        raise AssertionError
    options: dict[str, Any] = {"nonsense": 1}
    with pytest.raises(TypeError, match="nonsense"):
        open_runtime_sync(driver, **options)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("coworld-actors")]


def test_an_exception_leaves_the_block_as_it_is(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """What was started is over then."""

    def block() -> None:
        with open_runtime_sync(driver, name="block") as runtime:
            until_playing(runtime.start_episode(spec_of("endless")))
            raise ValueError("the host's")

    with pytest.raises(ValueError, match="the host's") as caught:
        block()
    assert caught.value.__cause__ is None
    assert "coworld-actors block" not in {thread.name for thread in threading.enumerate()}


def test_event_loops_are_not_blocked(driver: ProcessDriver) -> None:
    """In a thread that runs a loop every call is refused, with the way to do it; from a thread of that loop it works."""
    with open_runtime_sync(driver) as runtime:

        async def under_asyncio() -> None:
            with pytest.raises(Refused, match="asyncio loop") as caught:
                runtime.statistics()
            assert "to_thread" in caught.value.todo
            with pytest.raises(Refused, match="asyncio loop"), open_runtime_sync(driver):
                raise AssertionError
            assert (await asyncio.to_thread(runtime.statistics)).accepted == 0

        async def under_trio() -> None:
            with pytest.raises(Refused, match="trio run") as caught:
                runtime.statistics()
            assert "open_runtime" in caught.value.todo
            assert (await trio.to_thread.run_sync(runtime.statistics)).accepted == 0

        asyncio.run(under_asyncio())
        trio.run(under_trio)


def test_the_runtimes_own_thread_is_not_blocked(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """A propagator that calls the facade gets an error, the episode is played."""
    errors: list[Refused] = []

    def propagate(spec: EpisodeSpec) -> Mapping[str, str]:
        try:
            runtime.statistics()
        except Refused as error:
            errors.append(error)
        return {}

    with open_runtime_sync(driver) as runtime:
        runtime.propagators.append(propagate)
        assert runtime.run_episode(spec_of(), timeout=LONG).good
    assert "own thread" in str(errors[0])


def test_a_blocked_run_does_not_hang_its_callers(driver: ProcessDriver) -> None:
    """Whatever keeps the other side busy: a call returns when its time is up, and a late subscription is closed."""
    gate = threading.Event()
    with open_runtime_sync(driver) as runtime:
        before = runtime.statistics().events.subscribers
        runtime._line.thread.call(gate.wait, LONG)
        with pytest.raises(TimeoutError, match=r"Runtime\.statistics"):
            runtime.statistics(timeout=0.01)
        with pytest.raises(TimeoutError):
            runtime.events(timeout=0.01)
        gate.set()
        runtime.statistics(timeout=LONG)
        assert runtime.statistics().events.subscribers == before


# Whole processes.


@pytest.fixture
def host(tmp_path: Path) -> Generator[Callable[..., subprocess.Popen[str]]]:
    """Starts the host program with an episode that does not end; returns when it is played."""
    write_coworld(tmp_path / "coworld", scripted_manifest("endless", ("plays",)))
    started: list[subprocess.Popen[str]] = []

    def start(how: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            # A forked child drops its copy of a Popen object, which would be an error here and is right there.
            [sys.executable, "-W", "ignore" if how == "forks" else "error", str(HOST), how, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "playing\n", process.stderr and process.stderr.read()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(LONG)
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


Host = Callable[[str], "subprocess.Popen[str]"]


def end_of(process: subprocess.Popen[str], said: str = "") -> tuple[int, list[str], str]:
    """Say something to a host and wait for its end: its code, what it has said since `playing`, and its errors."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    # Not `communicate`: it would not see what `readline` has taken into its buffer already.
    limit = threading.Timer(LONG, process.kill)
    limit.start()
    try:
        process.stdin.write(said)
        process.stdin.close()
        lines = process.stdout.read().splitlines()
        return process.wait(LONG), lines, process.stderr.read()
    finally:
        limit.cancel()


def roles(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("sys-exit", 7, ["left in order"]),
        ("asyncio-sys-exit", 7, ["left in order"]),
        ("never-left", 0, ["end of the program", "left in order"]),
        ("never-left-but-used", 0, ["end of the program", "still 1", "left in order"]),
        ("asyncio-loop-closed", 0, ["closed", "end of the program", "left in order"]),
    ],
)
def test_however_a_host_ends_it_ends_in_order(host: Host, how: str, code: int, said: list[str]) -> None:
    """`sys.exit` in a block, a block that is never left, a loop that is closed first: the runtime is stopped, then the process ends."""
    process = host(how)
    alive = roles(process) if how.startswith("never") else []
    assert end_of(process) == (code, said, "")
    assert psutil.wait_procs(alive, timeout=10)[1] == []


@pytest.mark.parametrize("how", ["interrupted", "asyncio-interrupted"])
def test_an_interrupt_is_the_hosts_and_calls_its_episode_off(host: Host, how: str, tmp_path: Path) -> None:
    """`KeyboardInterrupt` is raised in the host when the call it hit is over, and everything is stopped in order."""
    process = host(how)
    second = tmp_path / "run-2/logs/policy_agent_0.log"
    deadline = time.monotonic() + LONG
    while not second.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    code, out, err = end_of(process, "now\n")
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    if how == "interrupted":
        assert "episodes ['e-1']" in out
    assert out[-1] == "left in order"
    for number in (1, 2):
        assert '"cancelled"' in (tmp_path / f"run-{number}/episode.json").read_text()


def test_a_host_that_is_killed_leaves_nothing(host: Host) -> None:
    """What it could not stop, the janitor does."""
    process = host("hangs")
    alive = roles(process)
    assert alive
    process.kill()
    process.wait(LONG)
    assert psutil.wait_procs(alive, timeout=10)[1] == []


def test_a_forked_child_is_refused_and_changes_nothing(host: Host) -> None:
    """Its calls are refused with the next step; its own end stops, signals and kills nothing of its parent's."""
    process = host("forks")
    code, out, err = end_of(process)
    assert (code, err) == (0, "")
    assert out == [
        *["refused True"] * 4,
        "child 0",
        "after the fork running",
        "left in order",
        "end of the program",
    ]


def test_a_block_holds_its_runtime(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Whoever forgets the runtime inside of its block, and keeps an episode, has not left the block."""
    with open_runtime_sync(driver) as runtime:
        episode = runtime.start_episode(spec_of("endless"), timeout=LONG)
        del runtime
        gc.collect()
        assert not episode.status(timeout=LONG).cancelled


def test_it_can_be_opened_a_hundred_times(driver: ProcessDriver) -> None:
    """Threads and descriptors are as many as before."""

    def once() -> None:
        with open_runtime_sync(driver) as runtime:
            runtime.statistics()

    once()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(100):
        once()
    assert len(os.listdir("/proc/self/fd")) <= files
    assert threading.active_count() <= threads


def test_a_second_interrupt_does_not_wait(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """The first one waits for the end of what it has called off; the second leaves at once, and nothing behind for long."""
    interrupts: list[float] = []

    def handler(number: int, frame: object) -> None:
        interrupts.append(time.monotonic())
        raise InterruptedError(len(interrupts))

    def interrupt(runtime: SyncRuntime) -> None:
        until_playing(found(runtime, "e-1"))
        os.kill(os.getpid(), signal.SIGUSR1)
        while not runtime.episodes()[0].cancelled:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with open_runtime_sync(driver) as runtime:
            # Its game takes the driver's whole grace to end.
            interrupting = threading.Thread(target=interrupt, args=(runtime,))
            interrupting.start()
            with pytest.raises(InterruptedError) as caught:
                runtime.run_episode(spec_of("ignores_sigterm", ("ignores_sigterm",), config={"ticks": 100000}))
            assert caught.value.args == (2,)
            assert len(runtime.episodes()) == 1
            interrupting.join(LONG)
            assert runtime.stop(drain=True, timeout=LONG).killed == ()
            assert runtime.statistics().outcomes == {"cancelled": 1}
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_while_reading_loses_nothing(driver: ProcessDriver) -> None:
    """What was on its way to a reader that was interrupted is what it reads next."""

    def handler(number: int, frame: object) -> None:
        raise InterruptedError

    with open_runtime_sync(driver) as runtime:
        events: SyncEvents = runtime.events()
        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(InterruptedError):
                next(events)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        runtime.set_parallel(9)
        event = next(events).event
        assert isinstance(event, AdmissionChanged)
        assert event.parallel == 9


def test_pages_are_told_while_there_are_any(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """A service finds the game for those who watch; afterwards there is nothing to be found."""
    with open_runtime_sync(driver) as runtime:
        episode = runtime.start_episode(spec_of("endless"), timeout=LONG)
        pages = episode.pages(timeout=LONG)
        assert pages is not None
        assert pages.viewer.endswith("/client/global")
        episode.cancel()
        episode.wait(timeout=LONG)
        assert episode.pages(timeout=LONG) is None
