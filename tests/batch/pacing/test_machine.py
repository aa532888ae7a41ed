"""What the kernel says about the machine, read from files as they are there and from made-up ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from coworld_actors.batch.pacing.machine import Counters, Machine, cores, own_cgroups

STAT = "cpu  100 0 50 1000 0 0 0 250 0 0\ncpu0 100 0 50 1000 0 0 0 250 0 0\n"


def made_up(root: Path, **files: str) -> Path:
    """A directory in which `a__b=text` is the file `a/b`."""
    for name, text in files.items():
        place = root / name.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    pressure = "some avg10=1.00 avg60=0.50 avg300=0.10 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    return made_up(
        tmp_path / "proc",
        pressure__cpu=pressure.format(2_500_000),
        pressure__memory=pressure.format(1_000_000),
        pressure__io=pressure.format(0),
        stat=STAT,
        meminfo="MemTotal:       2048 kB\nMemFree:         100 kB\nMemAvailable:   1024 kB\n",
        loadavg="0.10 0.20 0.30 5/123 4567\n",
        self__cgroup="0::/ours/run\n",
    )


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    root = made_up(tmp_path / "cgroup", ours__run__cpu_stat="", ours__memory_max="max\n")
    (root / "ours/run/cpu.stat").write_text("usage_usec 10\nnr_throttled 3\nthrottled_usec 1500000\n")
    return root


def test_every_value_is_read_in_its_unit(proc: Path, groups: Path) -> None:
    """Pressure and throttling are seconds, stolen ticks become seconds, memory is in bytes."""
    with Machine(proc=proc, root=groups) as machine:
        counters = machine.counters()
        assert counters._replace(stolen=None) == Counters(cpu=2.5, memory=1.0, io=0.0, stolen=None, throttled=1.5)
        assert counters.stolen is not None
        assert counters.stolen > 0
        assert machine.available() == 1024 * 1024
        assert machine.tasks() == 123
        assert not machine.blind


def test_whoever_asks_is_not_counted(proc: Path) -> None:
    """The task that reads the number is one of the runnable ones, and is left out."""
    with Machine(proc=proc) as machine:
        assert machine.runnable() == 4


def test_a_file_is_read_anew_each_time(proc: Path) -> None:
    """A value that changes is seen although the file stays open."""
    with Machine(proc=proc) as machine:
        before = machine.runnable()
        with (proc / "loadavg").open("r+") as file:
            file.write("0.10 0.20 0.30 9/123 4567\n")
        assert (before, machine.runnable()) == (4, 8)


def test_what_is_missing_is_named_and_not_zero(tmp_path: Path) -> None:
    """On a machine that says nothing every value is None, and `blind` lists what cannot be seen."""
    with Machine(proc=tmp_path, root=tmp_path) as machine:
        assert machine.counters() == Counters()
        assert machine.runnable() is None
        assert machine.available() is None
        assert machine.tasks() is None
        assert {"cpu pressure", "memory pressure", "io pressure", "runnable tasks", "available memory"} <= set(
            machine.blind
        )


def test_a_made_up_number_of_tasks_is_not_believed(proc: Path) -> None:
    """Whoever asks runs, so a sandbox that says 0 does not know."""
    (proc / "loadavg").write_text("0.00 0.00 0.00 0/0 0\n")
    with Machine(proc=proc) as machine:
        assert machine.runnable() is None


def test_a_group_without_a_quota_is_not_throttled(proc: Path, tmp_path: Path) -> None:
    """That nothing is said about throttling is no gap in what can be seen."""
    with Machine(proc=proc, root=tmp_path / "nothing") as machine:
        assert machine.counters().throttled is None
        assert not machine.blind


def test_no_descriptor_stays_open(proc: Path) -> None:
    """Leaving the machine closes what it opened, and reading afterwards finds nothing."""
    opened = set(Path("/proc/self/fd").iterdir())
    with Machine(proc=proc) as machine:
        assert set(Path("/proc/self/fd").iterdir()) > opened
    assert machine.available() is None


def test_groups_of_version_2_are_one_tree(proc: Path, groups: Path) -> None:
    """Our own group comes first, then those around it."""
    assert own_cgroups("memory", proc=proc, root=groups) == [groups / "ours/run", groups / "ours", groups]


def test_groups_of_version_1_are_a_tree_for_each_controller(tmp_path: Path) -> None:
    """Only the tree of the controller is looked at."""
    proc = made_up(tmp_path / "proc", self__cgroup="5:pids:/a\n4:memory:/a/b\n")
    root = made_up(tmp_path / "cgroup", memory__a__b__x="", pids__a__x="")
    assert own_cgroups("memory", proc=proc, root=root) == [root / "memory/a/b", root / "memory/a", root / "memory"]


def test_a_group_of_the_host_is_the_mounted_one(proc: Path, tmp_path: Path) -> None:
    """Where the path is not there, as in a container, what is mounted is our own group."""
    root = made_up(tmp_path / "inside", some_file="")
    assert own_cgroups("memory", proc=proc, root=root) == [root]


@pytest.mark.parametrize(
    ("quota", "most"), [("100000 100000", 1), ("max 100000", None), ("10 100000", 1), ("junk", None)]
)
def test_a_quota_bounds_the_cores(proc: Path, groups: Path, quota: str, most: int | None) -> None:
    """A quota of one core leaves one core; one that cannot be read or has no bound leaves all."""
    (groups / "ours/cpu.max").write_text(quota)
    everything = cores(proc=proc, root=Path("/nowhere"))
    assert cores(proc=proc, root=groups) == (everything if most is None else most)


def test_the_real_machine_says_something() -> None:
    """On Linux the number of tasks and the memory are always there."""
    with Machine() as machine:
        assert (machine.tasks() or 0) > 0
        assert (machine.available() or 0) > 0
        assert cores() >= 1
