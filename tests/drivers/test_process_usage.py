"""What processes use: exact at their end, honest about memory that they have only inherited, and looked at by one task."""

from __future__ import annotations

import os
import sys

import pytest
import trio
import trio.testing

from coworld_drivers import process_usage
from coworld_drivers.driver import Usage
from coworld_drivers.process_usage import ProcessUsages, own_peak

MB = 1_000_000
PATIENCE = 60.0
BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"


async def test_processor_time_is_exact_at_the_end(bench):
    """A role that used 0.3 s says so, finer than the kernel's clock tick."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("python", "-S", "-c", BURN))
        await handle.wait()
    assert 0.3 <= handle.usage.cpu_seconds < 5
    assert handle.usage.cpu_seconds * 100 % 1 != 0


async def test_what_its_reaped_children_used_is_its_own(bench):
    """A wrapper that waits for the program uses what the program uses."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", f"python -S -c '{BURN}'; exit 0"))
        assert (await handle.wait()).ok
    assert handle.usage.cpu_seconds >= 0.3


async def test_memory_of_whoever_started_it_is_not_its_own(bench):
    """A shell is not as large as we are, although the kernel hands our peak down to it."""
    ballast = bytearray(200 * MB)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert own_peak() > 200 * MB
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "exit 0"))
        await handle.wait()
        long = await site.start(bench.launch("sh", "-c", "sleep 600", name="long"))
        await long.stop(0)
    for usage in (handle.usage, long.usage):
        assert usage.peak_memory is None or usage.peak_memory < 100 * MB
    # It was looked at before it was stopped.
    assert long.usage.peak_memory is not None


async def test_a_peak_above_ours_needs_no_look(bench, monkeypatch):
    """What exceeds what can have been inherited is its own, however short it was held."""
    monkeypatch.setattr(process_usage, "_FIRST_LOOK", 1000.0)
    size = own_peak() + 100 * MB
    async with bench.site() as site:
        handle = await site.start(bench.launch("python", "-S", "-c", f"b'x' * {size}"))
        await handle.wait()
    assert size <= handle.usage.peak_memory < size + 100 * MB


async def test_a_role_that_runs_is_looked_at(bench, said, until):
    """Before its end, and the peak counts, not what it holds at the moment."""
    code = (
        "import sys\nx = b'x' * 60_000_000\nprint('big', flush=True)\ndel x\n"
        "y = 0\nwhile True:\n  for y in range(10**6): pass\n  sys.stdout.flush()"
    )
    async with bench.site() as site:
        handle = await site.start(bench.launch("python", "-S", "-c", code))
        await said(handle, "big")
        await until(lambda: (handle.usage.peak_memory or 0) > 60 * MB and (handle.usage.cpu_seconds or 0) > 0, PATIENCE)
        assert handle.status is None
        await handle.stop(0)
        assert handle.usage.peak_memory < 200 * MB


async def test_who_comes_later_does_not_wait_for_those_who_run_for_long(bench, until):
    """A young role is looked at soon, whenever the next look at the others is due."""
    usages = ProcessUsages()
    async with bench.site() as site:
        old = await site.start(bench.launch("sh", "-c", "sleep 600", name="old"))
        young = await site.start(bench.launch("sh", "-c", "sleep 600", name="young"))
        accounts = [usages.follow(old.pid, 0)]
        # As if it ran for long: nobody wants to look at it for an hour.
        usages._due[old.pid] = (trio.current_time() + 3600, trio.current_time() - 3600)
        await trio.testing.wait_all_tasks_blocked()
        accounts.append(usages.follow(young.pid, 0))
        await until(lambda: accounts[1].usage != Usage(), PATIENCE)
        assert accounts[0].usage == Usage()
        for account in accounts:
            account.close()


async def test_relatives_that_nobody_reaped_count_as_far_as_they_were_seen(bench, tmp_path, until):
    """A shell in front of a program that is killed with it hides neither its memory nor its time."""
    program = tmp_path / "big.py"
    program.write_text("x = b'x' * 80_000_000\nwhile True: pass\n")
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", f"python -S {program}; exit 0"))
        await until(
            lambda: (handle.usage.peak_memory or 0) > 80 * MB and (handle.usage.cpu_seconds or 0) > 0.05, PATIENCE
        )
        seen = handle.usage
        await handle.stop(0)
    assert handle.usage.peak_memory >= seen.peak_memory
    assert handle.usage.cpu_seconds >= seen.cpu_seconds


async def test_one_task_looks_at_all_and_ends_with_the_last(bench):
    """Only while there is somebody to look at."""
    usages = ProcessUsages()

    def looking() -> int:
        tasks = [trio.lowlevel.current_root_task()]
        found = 0
        while tasks:
            task = tasks.pop()
            found += task.name == "usage of processes"
            for nursery in task.child_nurseries:
                tasks += nursery.child_tasks
        return found

    assert looking() == 0
    accounts = [usages.follow(os.getpid() + number, 0) for number in range(3)]
    await trio.testing.wait_all_tasks_blocked()
    assert looking() == 1
    for account in accounts:
        account.close()
    await trio.testing.wait_all_tasks_blocked()
    assert looking() == 0
    again = usages.follow(os.getpid(), 0)
    await trio.testing.wait_all_tasks_blocked()
    assert looking() == 1
    again.close()


async def test_nothing_is_known_of_what_is_not_there(bench):
    """No process of that number, and no error."""
    account = ProcessUsages().follow(2**22 + 1, 0)
    account.look()
    account.close()
    assert account.usage == Usage()


async def test_without_the_system_call_the_clock_tick_is_what_there_is(bench, monkeypatch):
    """On an architecture whose number is not known: time as procfs shows it, and memory as far as it was looked at."""
    monkeypatch.setattr(process_usage, "_libc", lambda: None)
    async with bench.site() as site:
        handle = await site.start(bench.launch("python", "-S", "-c", BURN))
        await handle.wait()
    ticks = handle.usage.cpu_seconds * os.sysconf("SC_CLK_TCK")
    assert 0.2 < handle.usage.cpu_seconds < 5
    assert ticks == pytest.approx(round(ticks), abs=1e-6)


async def test_an_end_that_somebody_else_has_reaped_is_not_made_up(bench):
    """The number may be another process's by now."""
    process = await trio.run_process([sys.executable, "-S", "-c", "pass"])
    assert process.returncode == 0
    account = ProcessUsages().follow(1, 0)
    account.close()
    assert account.usage == Usage()


async def test_a_peak_of_a_family_counts_shared_pages_once(bench, said, until, monkeypatch):
    """A parent and its forks hold together what one of them made, not a multiple of it."""
    looked: list[int] = []
    peak_of = process_usage._peak_of

    def spy(family):
        looked.append(len(family))
        return peak_of(family)

    monkeypatch.setattr(process_usage, "_peak_of", spy)
    code = (
        "import os, signal\nx = b'x' * 100_000_000\n"
        "for _ in range(4):\n  if not os.fork(): signal.pause()\n"
        "print('forked', flush=True)\nsignal.pause()"
    )
    async with bench.site() as site:
        handle = await site.start(bench.launch("python", "-S", "-c", code))
        await said(handle, "forked")
        await until(lambda: 5 in looked, PATIENCE)
        await handle.stop(0)
    assert 100 * MB < handle.usage.peak_memory < 250 * MB


async def test_a_warm_role_counts_from_its_fork(bench, tmp_path):
    """Its peak is always known, and nothing of ours is in it: it begins with the pages that it shares with its template."""
    program = tmp_path / "imports.py"
    program.write_text("import decimal, json\nx = b'x' * 30_000_000\n")
    ballast = bytearray(200 * MB)
    ballast[::4096] = b"x" * len(ballast[::4096])
    driver = bench.driver(warm=True)
    with trio.fail_after(PATIENCE):
        async with driver, driver.open_site("e") as site:
            number = 0
            while not driver.warm_statistics().warm:
                number += 1
                handle = await site.start(bench.launch("python", str(program), name=f"role-{number}"))
                await handle.wait()
    assert 30 * MB < handle.usage.peak_memory < 100 * MB
    assert 0 < handle.usage.cpu_seconds < 5
