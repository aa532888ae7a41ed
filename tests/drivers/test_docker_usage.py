"""What containers use: from real control groups, and from trees of files that look like those of other machines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from coworld_drivers.docker_usage import UsageWatches
from coworld_drivers.driver import Usage
from tests.docker_engine import Engine

MB = 1_000_000
ID = "c0ffee" * 10 + "0123"
PATIENCE = 120.0


@pytest.fixture
async def watches() -> AsyncIterator[UsageWatches]:
    """Of a driver, and served."""
    watches = UsageWatches()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watches.serve)
        await trio.testing.wait_all_tasks_blocked()
        yield watches
        nursery.cancel_scope.cancel()


@contextmanager
def container(engine: Engine, image: str, code: str) -> Iterator[str]:
    """A container of ours that runs a Python program; gone when the block is left."""
    created = engine.run("run", "-d", "--init", "--label", "coworld.test=usage", image, "python3", "-S", "-c", code)
    name = created.stdout.strip()
    try:
        yield name
    finally:
        engine.run("rm", "-f", "-v", name)


async def called(engine: Engine, *args: str) -> str:
    done = await trio.to_thread.run_sync(partial(engine.run, *args))
    return done.stdout.strip()


async def test_a_container_that_ends_is_known_to_its_last_moment(
    engine: Engine, python_image: str, watches: UsageWatches
) -> None:
    """Peak and time at its end, although the engine removes its group within milliseconds."""
    code = (
        "import time\ntime.sleep(1.5)\nx = b'x' * 80_000_000\n"
        "end = time.process_time() + 0.6\nwhile time.process_time() < end: pass"
    )
    with container(engine, python_image, code) as name, trio.fail_after(PATIENCE):
        pid = int(await called(engine, "inspect", "-f", "{{.State.Pid}}", name))
        watch = watches.follow(pid, name)
        assert watch.usage.cpu_seconds is not None
        assert await called(engine, "wait", name) == "0"
        watch.close()
    assert watch.usage.cpu_seconds >= 0.6
    assert 80 * MB < watch.usage.peak_memory < 300 * MB


async def test_a_container_that_runs_is_looked_at(
    engine: Engine, python_image: str, watches: UsageWatches, until: Callable
) -> None:
    """Without being asked, and when asked."""
    with container(engine, python_image, "while True: pass") as name, trio.fail_after(PATIENCE):
        pid = int(await called(engine, "inspect", "-f", "{{.State.Pid}}", name))
        watch = watches.follow(pid, name)
        before = watch.usage.cpu_seconds
        await until(lambda: watch.usage.cpu_seconds > before, PATIENCE)
        watch.close()
        last = watch.usage
        watch.look()
        watch.close()
        assert watch.usage == last


async def test_a_process_that_is_not_the_containers_tells_nothing(watches: UsageWatches) -> None:
    """An engine elsewhere counts its processes by itself; here the number is somebody else's, or nobody's."""
    for pid in (1, 0, -1, 2**22 + 1):
        watch = watches.follow(pid, ID)
        watch.look()
        watch.close()
        assert watch.usage == Usage()


class Machine:
    """A tree of files that looks like another machine's procfs and control groups."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proc = root / "proc"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "77").mkdir()

    def describe(self, cgroup: str, mountinfo: str) -> None:
        (self.proc / "77/cgroup").write_text(cgroup)
        (self.proc / "self/mountinfo").write_text(mountinfo)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def second(self, group: str = f"system.slice/docker-{ID}.scope") -> str:
        """Describe one of the second version; returns where the container's files are."""
        self.describe(f"0::/{group}\n", f"30 23 0:26 / {self.root}/cg rw - cgroup2 cgroup2 rw,nsdelegate\n")
        self.write(f"cg/{group}/cpu.stat", "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
        return f"cg/{group}"

    def follow(self):
        return UsageWatches(proc=self.proc).follow(77, ID)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_second_version_with_a_peak(machine: Machine) -> None:
    """The kernel's own peak is taken, not what is held at the moment."""
    place = machine.second()
    machine.write(f"{place}/memory.peak", "4096000\n")
    machine.write(f"{place}/memory.current", "1000\n")
    assert machine.follow().usage == Usage(cpu_seconds=2.5, peak_memory=4_096_000)


def test_the_second_version_of_older_kernels(machine: Machine) -> None:
    """Without a peak of the kernel's, the largest value that was seen; a group that is gone changes nothing."""
    place = machine.second()
    machine.write(f"{place}/memory.current", "1000\n")
    watch = machine.follow()
    machine.write(f"{place}/memory.current", "5000\n")
    watch.look()
    machine.write(f"{place}/memory.current", "2000\n")
    machine.write(f"{place}/cpu.stat", "usage_usec 4000000\n")
    watch.look()
    (machine.root / place / "memory.current").unlink()
    (machine.root / place / "cpu.stat").unlink()
    watch.close()
    assert watch.usage == Usage(cpu_seconds=4.0, peak_memory=5000)


def test_the_first_version_with_controllers_side_by_side(machine: Machine) -> None:
    """Each controller where it is mounted, two of them together, and blanks in a path."""
    machine.describe(
        f"9:name=systemd:/docker/{ID}\n4:memory:/docker/{ID}\n2:cpu,cpuacct:/docker/{ID}\n0::/\n",
        f"33 31 0:30 / {machine.root}/c\\040g/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        f"35 31 0:32 / {machine.root}/c\\040g/memory rw - cgroup cgroup rw,memory\n"
        f"41 31 0:38 / {machine.root}/c\\040g/unified rw - cgroup2 cgroup2 rw\n",
    )
    machine.write(f"c g/cpu,cpuacct/docker/{ID}/cpuacct.usage", "1500000000\n")
    machine.write(f"c g/memory/docker/{ID}/memory.max_usage_in_bytes", "123456\n")
    assert machine.follow().usage == Usage(cpu_seconds=1.5, peak_memory=123_456)


def test_a_hierarchy_of_which_only_a_part_is_mounted(machine: Machine) -> None:
    """As in a container that starts others beside itself."""
    machine.describe(
        f"0::/outer/docker/{ID}\n", f"30 23 0:26 /outer {machine.root}/cg rw - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    machine.write(f"cg/docker/{ID}/cpu.stat", "usage_usec 1000000\n")
    assert machine.follow().usage == Usage(cpu_seconds=1.0)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo"),
    [
        (f"0::/../{ID}\n", "30 23 0:26 / ROOT/cg rw - cgroup2 cgroup2 rw\n"),
        (f"0::/docker/{ID}\n", "30 23 0:26 /elsewhere ROOT/cg rw - cgroup2 cgroup2 rw\n"),
        (f"0::/docker/{ID}\n", "nonsense\n"),
        (f"docker/{ID}\n", "30 23 0:26 / ROOT/cg rw - cgroup2 cgroup2 rw\n"),
        ("0::/\n", "30 23 0:26 / ROOT/cg rw - cgroup2 cgroup2 rw\n"),
        ("", ""),
    ],
)
def test_what_cannot_be_found_is_not_known(machine: Machine, cgroup: str, mountinfo: str) -> None:
    """Neither an error nor another group's use."""
    machine.write("cg/cpu.stat", "usage_usec 1000000\n")
    machine.write(f"{ID}/cpu.stat", "usage_usec 1000000\n")
    machine.describe(cgroup, mountinfo.replace("ROOT", str(machine.root)))
    assert machine.follow().usage == Usage()


@pytest.mark.parametrize("text", ["", "max\n", "user_usec 5\n", "usage_usec \n", "usage_usec many\n"])
def test_nonsense_in_a_group_is_not_known(machine: Machine, text: str) -> None:
    """Files that do not say what they should."""
    place = machine.second()
    machine.write(f"{place}/cpu.stat", text)
    machine.write(f"{place}/memory.peak", text)
    assert machine.follow().usage == Usage()
