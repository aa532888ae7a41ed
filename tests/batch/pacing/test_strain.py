"""The gauge: what it sees of our own lateness and of the machine, on made-up machines and on a real one that is choked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from coworld_actors.batch.pacing.machine import Counters, Machine
from coworld_actors.batch.pacing.strain import (
    AVAILABLE_LIMIT,
    BEAT,
    CROWD_LIMIT,
    FINE_BINS,
    LAG_LIMIT,
    MEMORY_LIMIT,
    STARVED_LIMIT,
    STOLEN_LIMIT,
    THROTTLED_LIMIT,
    Strain,
    StrainGauge,
    SymptomKind,
    overload,
    symptoms,
    worst,
)

PATIENCE = 60.0


class Acted(Machine):
    """A machine that says what it is told to."""

    def __init__(self) -> None:
        super().__init__(proc=Path("/nowhere"), root=Path("/nowhere"))
        self.count = Counters(cpu=0.0, memory=0.0, io=0.0, stolen=0.0, throttled=0.0)
        self.tasks_now: int | None = 0
        self.left: int | None = 2**30

    def counters(self) -> Counters:
        return self.count

    def runnable(self) -> int | None:
        return self.tasks_now

    def available(self) -> int | None:
        return self.left


@pytest.fixture
def machine() -> Acted:
    return Acted()


PROCESSORS = os.cpu_count() or 1


def hold_up(seconds: float) -> None:
    """Keep the loop from running without working."""
    time.sleep(seconds)


async def test_shares_are_of_the_time_between_two_looks(machine: Acted, autojump_clock: MockClock) -> None:
    """Two seconds of pressure within ten are 20 %; what came before is not counted."""
    async with StrainGauge(machine) as gauge:
        await trio.sleep(20)
        begin = trio.current_time()
        machine.count = machine.count._replace(cpu=2.0, memory=1.0, stolen=PROCESSORS * 5.0)
        await trio.sleep(10)
        strain = gauge.between(begin, trio.current_time())
        await trio.sleep(10)
        later = gauge.between(begin + 10, trio.current_time())
    assert strain.seconds == pytest.approx(10)
    assert strain.pressure == pytest.approx(0.2, rel=0.1)
    assert strain.memory == pytest.approx(0.1, rel=0.1)
    assert strain.stolen == pytest.approx(0.5, rel=0.1)
    assert later.pressure == 0.0


async def test_counters_of_a_short_time_are_taken_over_a_longer_one(machine: Acted, autojump_clock: MockClock) -> None:
    """The kernel adds pressure up every two seconds: a burst of it must not look like twice the time that there was."""
    async with StrainGauge(machine) as gauge:
        await trio.sleep(20)
        machine.count = machine.count._replace(cpu=2.0)
        await trio.sleep(0.6)
        now = trio.current_time()
        strain = gauge.between(now - 0.5, now)
    assert strain.pressure == pytest.approx(0.5, rel=0.3)


async def test_tasks_are_averaged_over_looks_and_cores(machine: Acted, autojump_clock: MockClock) -> None:
    """A quiet half and a crowded half are half as crowded."""
    async with StrainGauge(machine) as gauge:
        await trio.sleep(5)
        begin = trio.current_time()
        machine.tasks_now = 8 * PROCESSORS
        await trio.sleep(5)
        crowded = gauge.between(begin, trio.current_time())
        machine.tasks_now = 0
        await trio.sleep(5)
        mixed = gauge.between(begin, trio.current_time())
    assert crowded.crowd == pytest.approx(8, rel=0.15)
    assert mixed.crowd == pytest.approx(4, rel=0.15)


async def test_the_least_memory_counts(machine: Acted, autojump_clock: MockClock) -> None:
    """Memory that was short for a moment is not averaged away."""
    async with StrainGauge(machine) as gauge:
        await trio.sleep(5)
        machine.left = 1000
        await trio.sleep(1)
        machine.left = 2**30
        await trio.sleep(5)
        assert gauge.now(8).available == 1000
        assert gauge.now(2).available == 2**30


async def test_a_machine_that_says_nothing_still_shows_our_lag(tmp_path: Path) -> None:
    """Without any file every share is None and named as blind, and a loop that is held up is seen all the same."""
    async with StrainGauge(Machine(proc=tmp_path, root=tmp_path)) as gauge:
        await trio.sleep(3 * BEAT)
        begin = trio.current_time()
        hold_up(1.0)
        strain = gauge.between(begin, trio.current_time())
    assert strain.crowd is strain.pressure is strain.memory is strain.available is None
    assert "cpu pressure" in strain.blind
    assert strain.lag > 0.8
    assert overload(strain)


async def test_own_work_is_lag_and_no_starvation(machine: Acted) -> None:
    """A loop that computes is late by its own doing: its thread has used the time."""
    async with StrainGauge(machine) as gauge:
        await trio.sleep(3 * BEAT)
        begin = trio.current_time()
        until = time.thread_time() + 1.0
        while time.thread_time() < until:
            pass
        passed = trio.current_time() - begin
        strain = gauge.between(begin, trio.current_time())
    assert strain.lag > 0.8
    assert strain.starved < passed - 0.8


async def test_what_was_before_is_not_held_against_an_episode(machine: Acted) -> None:
    """Half a second after the loop was held up, an episode begins without it."""
    async with StrainGauge(machine) as gauge:
        hold_up(2.0)
        with trio.fail_after(PATIENCE):
            while gauge.now(BEAT).lag > 1:
                await trio.sleep(BEAT)
        begin = trio.current_time()
        await trio.sleep(BEAT)
        now = trio.current_time()
        assert gauge.between(begin, now).lag < gauge.between(0, now).lag


async def test_old_times_are_kept_coarsely_and_memory_is_bounded(machine: Acted, autojump_clock: MockClock) -> None:
    """An hour later the lag of the first minutes is still known, and no more bins are kept than allowed."""
    async with StrainGauge(machine) as gauge:
        machine.tasks_now = 10 * PROCESSORS
        await trio.sleep(60)
        machine.tasks_now = 0
        await trio.sleep(3600)
        crowded = gauge.between(-1, trio.current_time() - 3600)
        kept = len(gauge._fine) + len(gauge._coarse)
        everything = gauge.between(0, trio.current_time())
    assert crowded.crowd is not None
    assert crowded.crowd > 5
    assert everything.crowd == pytest.approx(10 / 61, rel=0.2)
    assert kept < 2 * FINE_BINS


async def test_an_error_of_the_body_stays_bare(machine: Acted) -> None:
    """The gauge wraps nothing in a group."""
    with pytest.raises(KeyError, match="bare"):
        async with StrainGauge(machine):
            raise KeyError("bare")


async def test_what_was_seen_stays_readable(machine: Acted, autojump_clock: MockClock) -> None:
    """After the gauge was left, an episode that ended before is judged as it was, and time that nobody watched adds nothing."""
    async with StrainGauge(machine) as gauge:
        await trio.sleep(10)
        machine.count = machine.count._replace(cpu=5.0)
        await trio.sleep(5)
        end = trio.current_time()
    await trio.sleep(100)
    strain = gauge.between(end - 10, end)
    assert strain.pressure == pytest.approx(0.5, rel=0.1)
    assert strain.lag < LAG_LIMIT
    assert overload(gauge.now(5)) == ""


async def test_it_goes_on_while_its_caller_is_cancelled(machine: Acted, autojump_clock: MockClock) -> None:
    """An orderly end that takes its time is observed as well."""
    async with StrainGauge(machine) as gauge:
        with trio.CancelScope() as scope:
            scope.cancel()
            with trio.CancelScope(shield=True):
                machine.tasks_now = 4 * PROCESSORS
                await trio.sleep(5)
        assert gauge.now(4).crowd == pytest.approx(4, rel=0.1)


WELL = Strain(
    seconds=10, lag=0.1, starved=0.1, crowd=2.0, pressure=1.0, memory=0.0, io=0.5, stolen=0.0, available=2**33
)


@pytest.mark.parametrize(
    ("field", "limit", "kind"),
    [
        ("lag", LAG_LIMIT, SymptomKind.STALL),
        ("starved", STARVED_LIMIT, SymptomKind.STALL),
        ("crowd", CROWD_LIMIT, SymptomKind.PROCESSORS),
        ("throttled", THROTTLED_LIMIT, SymptomKind.PROCESSORS),
        ("stolen", STOLEN_LIMIT, SymptomKind.PROCESSORS),
        ("memory", MEMORY_LIMIT, SymptomKind.MEMORY),
    ],
)
def test_each_limit_holds_by_itself(field: str, limit: float, kind: SymptomKind) -> None:
    """Just below nothing is said, and from the limit on there is one sentence of the right kind."""
    below = msgspec.structs.replace(WELL, **{field: limit * 0.99})
    above = msgspec.structs.replace(WELL, **{field: limit})
    assert overload(below) == ""
    assert [symptom.kind for symptom in symptoms(above)] == [kind]


def test_little_memory_is_a_symptom() -> None:
    """Less than the kernel needs to go on is said in MiB."""
    short = msgspec.structs.replace(WELL, available=AVAILABLE_LIMIT - 1)
    assert [symptom.kind for symptom in symptoms(short)] == [SymptomKind.MEMORY]
    assert "MiB" in overload(short)


def test_full_cpu_pressure_alone_is_no_overload() -> None:
    """It is full long before anything is slow."""
    assert overload(msgspec.structs.replace(WELL, pressure=1.0, io=1.0)) == ""


def test_nothing_known_is_no_overload() -> None:
    """What cannot be seen accuses nobody."""
    assert overload(Strain()) == ""


def test_the_worst_of_two_places() -> None:
    """Each value is the worse one; unknown is neither good nor bad."""
    ours = Strain(seconds=1, lag=0.5, crowd=None, available=100, blind=("a",))
    theirs = Strain(seconds=2, lag=0.1, starved=0.3, crowd=3.0, available=50, blind=("a", "b"))
    assert worst([ours, theirs]) == Strain(seconds=2, lag=0.5, starved=0.3, crowd=3.0, available=50, blind=("a", "b"))
    assert worst([]) == Strain()


async def test_it_costs_next_to_nothing(machine: Acted) -> None:
    """A look at the real machine takes so little that ten of them a second are below 0.5 % of a core."""
    async with StrainGauge() as gauge:
        before = time.thread_time()
        for _ in range(200):
            gauge._look()
        assert (time.thread_time() - before) / 200 < 0.005 * BEAT


BUSY = "while True: pass"


async def test_too_many_busy_processes_are_seen() -> None:
    """Eight for each core, on the real machine, are a crowd: an episode that fails among them proves nothing."""
    # At the lowest priority: they want the cores as much as any others, and keep nobody else from working.
    command = ["nice", "-n", "19", sys.executable, "-S", "-c", BUSY]
    hogs = [await trio.lowlevel.open_process(command) for _ in range(8 * PROCESSORS)]
    try:
        async with StrainGauge() as gauge:
            with trio.fail_after(PATIENCE):
                while not overload(gauge.now(2.0)):
                    await trio.sleep(BEAT)
            strain = gauge.now(2.0)
    finally:
        for hog in hogs:
            hog.kill()
        with trio.CancelScope(deadline=trio.current_time() + PATIENCE, shield=True):
            # Restores: no busy process outlives the test.
            for hog in hogs:
                await hog.wait()
    assert SymptomKind.PROCESSORS in {symptom.kind for symptom in symptoms(strain)}


STOPPED = """
import os, signal, sys, trio
from coworld_actors.batch.pacing.strain import StrainGauge, overload

async def main():
    async with StrainGauge() as gauge:
        begin = trio.current_time()
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        strain = gauge.between(begin, trio.current_time())
        print(strain.starved, overload(strain), flush=True)

trio.run(main)
"""


def test_a_stopped_process_sees_that_it_was_stopped() -> None:
    """SIGSTOP for longer than the limit is starvation, whichever task runs first afterwards."""
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        # The line waits for the process, so the answer comes right after it goes on.
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(STARVED_LIMIT + 0.5)
        process.send_signal(signal.SIGCONT)
        starved, _, evidence = process.stdout.readline().partition(" ")
        assert float(starved) > STARVED_LIMIT
        assert "did not get to run" in evidence
