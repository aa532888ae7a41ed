"""The watchdog: what it reports, as whose doing, and what it leaves in peace."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from coworld_actors.actors import Actor, ChildSpec, EventStream, open_system
from coworld_actors.runtime.loop_stack import Look
from coworld_actors.runtime.watchdog import LoopBlocked, Watchdog
from coworld_protocol.errors import Refused

LIMIT = 0.4
LONG = 3 * LIMIT
PATIENCE = 30.0
PROGRAMS = Path(__file__).parent / "programs"


class Nap(msgspec.Struct, frozen=True):
    how: str


def doze(seconds=LONG):
    time.sleep(seconds)


def grind(seconds=2 * LONG):
    # One call into C that keeps the interpreter lock, about that long by this thread's own processor time.
    count = 1_000_000
    start = time.thread_time()
    sum(itertools.repeat(1, count))
    sum(itertools.repeat(1, int(count * seconds / (time.thread_time() - start))))


class Sleeper(Actor[Nap]):
    async def handle(self, message: Nap) -> None:
        match message.how:
            case "handler":
                doze()
            case "background":
                self.context.spawn(self.snore)
            case "nursery":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.snore)
            case "lock":
                grind()
            case _:
                raise ValueError(message.how)

    async def snore(self) -> None:
        doze()
        await trio.lowlevel.checkpoint()


class Seen:
    def __init__(self, stream):
        self.records = []
        stream.subscribe(self.take)

    def take(self, record):
        if isinstance(record.event, LoopBlocked):
            self.records.append(record)

    async def first(self):
        with trio.fail_after(PATIENCE):
            while not self.records:
                await trio.sleep(0.01)
        # Whatever would follow wrongly has had its time.
        await trio.sleep(LIMIT)
        return self.records[0]


@asynccontextmanager
async def watched_system(**options):
    async with open_system("test") as system, Watchdog(system.events, blocked_after=LIMIT, **options) as watchdog:
        yield system, watchdog, Seen(system.events)


@pytest.mark.parametrize(
    ("how", "who"),
    [
        ("handler", "the handler of"),
        ("background", "a background task of"),
        ("nursery", "a background task of"),
    ],
)
async def test_an_actor_that_blocks_is_named(how, who):
    """One event per block, with the actor's stamp, what of it blocked, the line, and a stack that ends there."""
    async with watched_system() as (system, watchdog, seen):
        supervisor = await system.start_supervisor("team")
        actor = await supervisor.start_actor(ChildSpec(name="sleeper", start=Sleeper))
        await actor.tell(Nap(how))
        record = await seen.first()
        assert (record.actor, record.incarnation, record.scope) == ("team/sleeper", 0, "")
        assert record.event.where.startswith(f"{who} team/sleeper in test_watchdog.py:")
        assert record.event.where.endswith(" doze")
        lines = record.event.stack.splitlines()
        assert lines[-2].endswith("in doze")
        assert lines[-1].strip() == "time.sleep(seconds)"
        # It was asked for a sign of life at most a quarter of the limit after the block began.
        assert LIMIT <= record.event.seconds < PATIENCE
        assert len(seen.records) == 1
        assert watchdog.statistics().blocked == 1
        assert watchdog.statistics().worst_lag >= LIMIT


async def test_each_block_is_reported_once():
    """Two blocks with air between them are two events."""
    async with watched_system() as (system, watchdog, seen):
        actor = await system.start_actor(ChildSpec(name="sleeper", start=Sleeper))
        for count in (1, 2):
            await actor.tell(Nap("handler"))
            with trio.fail_after(PATIENCE):
                while len(seen.records) < count:
                    await trio.sleep(0.01)
        await trio.sleep(LIMIT)
        assert watchdog.statistics().blocked == len(seen.records) == 2


async def test_a_call_into_c_that_keeps_the_lock_is_named_afterwards():
    """While the interpreter lock is held nobody can look; the moment it is free the caller is still there to be seen."""
    async with watched_system() as (system, _, seen):
        actor = await system.start_actor(ChildSpec(name="sleeper", start=Sleeper))
        await actor.tell(Nap("lock"))
        record = await seen.first()
        assert record.actor == "sleeper"
        assert record.event.where.endswith(" grind, holding the interpreter lock")
        assert "in grind" in record.event.stack


async def test_what_is_over_before_it_can_be_looked_at_is_reported_without_a_name():
    """The sign of life was late, and whoever delayed it is gone: the time is told, nobody is accused."""
    stream = EventStream()
    seen = Seen(stream)
    async with Watchdog(stream, blocked_after=LIMIT) as watchdog:
        # As if the thread had been kept from looking, by another thread that held the interpreter lock, for example.
        patient = watchdog._look
        watchdog._look = lambda *_: None
        ping = watchdog._ask(time.monotonic() - LONG, Look(idle=False, scheduled=True, frames=()))
        await trio.testing.wait_all_tasks_blocked()
        assert ping.answered is not None
        watchdog._look = patient
        record = await seen.first()
        assert record.event.where == "code that was over before it could be looked at"
        assert (record.actor, record.event.stack) == ("", "")
        assert record.event.seconds >= LONG
        assert len(seen.records) == 1


async def test_a_task_of_the_host_is_named_by_its_name_and_line():
    """What is no actor's has no stamp, and the task's name."""
    async with watched_system() as (_, _, seen), trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, time.sleep, LONG)

        async def training_step() -> None:
            doze()

        nursery.start_soon(training_step, name="training")
        record = await seen.first()
        assert (record.actor, record.scope) == ("", "")
        assert record.event.where.startswith("task training in test_watchdog.py:")
        assert len(seen.records) == 1


async def test_a_subscriber_that_blocks_is_blamed_where_it_stands():
    """A callback runs in its publisher's task: the stamp is the publisher's, the line is the callback's."""
    async with watched_system() as (system, _, seen):

        def slow(record) -> None:
            if type(record.event).__name__ == "ActorStopped":
                doze()

        system.events.subscribe(slow)
        actor = await system.start_actor(ChildSpec(name="brief", start=Sleeper))
        await actor.stop()
        record = await seen.first()
        assert "slow" in record.event.stack
        assert record.event.where.endswith(" doze")


async def test_another_systems_actor_is_named_without_a_stamp():
    """Two systems in one loop: both are told, and only the owner's record carries the path."""
    async with watched_system() as (ours, _, seen), watched_system() as (_, _, others):
        actor = await ours.start_actor(ChildSpec(name="sleeper", start=Sleeper))
        await actor.tell(Nap("handler"))
        assert (await seen.first()).actor == "sleeper"
        assert (await others.first()).actor == ""
        assert others.records[0].event.where.endswith(" of another system")


async def test_many_short_tasks_accuse_nobody():
    """A crowd delays everybody as one task does, but none of them is to blame."""
    stream = EventStream()
    seen = Seen(stream)
    async with Watchdog(stream, blocked_after=LIMIT):

        async def short() -> None:
            await trio.lowlevel.checkpoint()
            doze(LIMIT / 20)

        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(short)
        record = await seen.first()
        assert record.event.where.startswith("many tasks in turn, none of them for long; at last task ")


async def test_a_short_block_is_no_event():
    """Below the limit there is only a lag to be read."""
    stream = EventStream()
    seen = Seen(stream)
    async with Watchdog(stream, blocked_after=30.0) as watchdog:
        doze(0.1)
        await trio.sleep(0.1)
    assert seen.records == []
    assert watchdog.statistics().blocked == 0


async def test_what_is_left_early_is_published_all_the_same():
    """A block that ends with the watch itself is reported on the way out."""
    stream = EventStream()
    seen = Seen(stream)
    async with Watchdog(stream, blocked_after=LIMIT):
        doze(2 * LONG)
    assert len(seen.records) == 1
    assert "in test_what_is_left_early" in seen.records[0].event.stack


async def test_the_warning_comes_while_it_lasts(caplog):
    """The loop may never come back: the log does not wait for it."""
    stream = EventStream()
    async with Watchdog(stream, blocked_after=LIMIT):
        with caplog.at_level(logging.WARNING, logger="coworld_actors.watchdog"):
            deadline = time.monotonic() + PATIENCE
            # This blocks the loop until its own block is in the log.
            while not caplog.records and time.monotonic() < deadline:
                doze(0.01)
        assert [record.name for record in caplog.records] == ["coworld_actors.watchdog"]
        assert "the event loop has been blocked for" in caplog.text
        assert "test_the_warning_comes_while_it_lasts" in caplog.text


def test_an_endless_block_is_in_the_log_while_it_lasts():
    """A program whose loop never comes back has it in its log who did that."""
    program = [sys.executable, str(PROGRAMS / "blocked.py"), "for-ever"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        rescue = threading.Timer(PATIENCE, process.kill)
        rescue.start()
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("coworld_actors.watchdog: the event loop has been blocked for ")
            assert "the handler of greeter in blocked.py:" in line
            assert line.rstrip().endswith(" poll")
            assert process.poll() is None
        finally:
            rescue.cancel()
            process.kill()


def test_a_stopped_process_was_not_blocked():
    """SIGSTOP for several times the limit and on with it: no event, no warning, and a count of what was not seen."""
    program = [sys.executable, str(PROGRAMS / "blocked.py"), "not-at-all"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for _ in range(3):
            os.kill(process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            time.sleep(4 * LIMIT)
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(LIMIT / 2)
        output, errors = process.communicate(b"over\n", timeout=PATIENCE)
    assert errors == b""
    blocked, starved = map(int, output.split())
    assert blocked == 0
    assert starved >= 1


def test_watchdogs_of_several_threads_mind_their_own_loop():
    """Two loops in two threads: who blocks one is not reported to the other."""
    found = {}
    ready = threading.Barrier(2)

    async def loop(name, block):
        stream = EventStream()
        seen = Seen(stream)
        async with Watchdog(stream, blocked_after=LIMIT):
            await trio.to_thread.run_sync(ready.wait)
            if block:
                doze()
                await seen.first()
            else:
                await trio.sleep(2 * LONG)
        found[name] = seen.records

    threads = [threading.Thread(target=trio.run, args=(loop, *words)) for words in (("a", True), ("b", False))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found["a"]) == 1
    assert found["b"] == []


async def test_the_thread_ends_with_the_watch():
    """It is a daemon with a name, and gone when the block is left."""

    def named() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "coworld-actors watchdog"]

    before = named()
    async with Watchdog(EventStream(), blocked_after=LIMIT):
        (thread,) = set(named()) - set(before)
        assert thread.daemon
    assert not thread.is_alive()


async def test_an_idle_loop_is_left_asleep():
    """What waits for the system is seen to be alive without being woken."""
    turns = []

    class Turns(trio.abc.Instrument):
        def after_io_wait(self, timeout: float) -> None:
            turns.append(timeout)

    async with Watchdog(EventStream(), blocked_after=0.05) as watchdog:
        await trio.lowlevel.checkpoint()
        counter = Turns()
        trio.lowlevel.add_instrument(counter)
        await trio.sleep(1.0)
        trio.lowlevel.remove_instrument(counter)
        statistics = watchdog.statistics()
    # Some 80 looks; one that happened to meet the loop between two waits has woken it.
    assert len(turns) <= 5
    assert statistics.beats + statistics.starved >= 5


async def test_a_busy_loop_gives_signs_of_life():
    """Beats are counted and the lag of a loop that turns quickly is small against a block."""
    async with Watchdog(EventStream(), blocked_after=0.1) as watchdog:
        with trio.fail_after(PATIENCE):
            while watchdog.statistics().beats < 5:
                await trio.lowlevel.checkpoint()
        assert 0 <= watchdog.statistics().lag <= watchdog.statistics().worst_lag


@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_a_mock_clock_jumps_as_without(threshold):
    """Hours of virtual time pass in moments, and no virtual second counts as a blocked one."""
    stream_records = []

    async def main() -> float:
        stream = EventStream()
        seen = Seen(stream)
        # Looks come more often than the threshold: if they woke the loop it would never have been idle for that long.
        async with Watchdog(stream, blocked_after=0.4):
            for _ in range(5):
                await trio.sleep(3600)
        stream_records.extend(seen.records)
        return trio.current_time()

    start = time.monotonic()
    clock = trio.testing.MockClock(autojump_threshold=threshold)
    assert trio.run(main, clock=clock) >= 5 * 3600
    assert time.monotonic() - start < PATIENCE
    assert stream_records == []


def test_a_guest_is_told_that_its_host_blocks():
    """In guest mode the loop shares its thread with a host; what the host blocks is the host's, with its stack."""
    found = []

    async def guest() -> None:
        stream = EventStream()
        seen = Seen(stream)
        async with Watchdog(stream, blocked_after=LIMIT):
            asyncio.get_running_loop().call_later(0.1, doze)
            found.append((await seen.first()).event)

    async def host() -> None:
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=over.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        (await over).unwrap()

    asyncio.run(host())
    assert found[0].where.startswith("the program around the event loop in test_watchdog.py:")
    assert "in doze" in found[0].stack


def test_a_loop_that_ends_without_leaving_does_not_leave_a_thread(gone_soon):
    """Whoever enters it by hand and never leaves it does not keep the process or the thread."""
    watchdogs = []

    async def main() -> None:
        watchdog = Watchdog(EventStream(), blocked_after=0.02)
        await watchdog.__aenter__()
        watchdogs.append(watchdog)

    trio.run(main)
    gone_soon(lambda: not watchdogs[0]._thread.is_alive())


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
async def test_a_limit_has_to_be_positive(seconds):
    """A limit of nothing is refused with the next step."""
    with pytest.raises(Refused, match="cannot report"):
        Watchdog(EventStream(), blocked_after=seconds)


@pytest.fixture
def gone_soon():
    def wait(condition) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait
