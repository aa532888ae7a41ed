"""What the kernel says about how busy this machine is: counters and levels, read from files that are kept open.

Every value may be missing: a kernel without pressure information, a container that hides a file, another system than Linux.
What is missing is None and named once, and never taken for zero.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

__all__ = ["Counters", "Machine", "cores", "own_cgroups"]

_TICK = os.sysconf("SC_CLK_TCK")
_CGROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_BYTES = 8192
"""Longer than any part that we look at."""


class Counters(NamedTuple):
    """Seconds since boot, which only grow; None where the kernel does not count them.

    Attributes:
        cpu: in which some task waited for a processor.
        memory: in which some task waited for memory to be made free.
        io: in which some task waited for a disk.
        stolen: of one core, that the host of this virtual machine gave to somebody else.
        throttled: in which a quota of processor time kept our own group from running.
    """

    cpu: float | None = None
    memory: float | None = None
    io: float | None = None
    stolen: float | None = None
    throttled: float | None = None


def own_cgroups(controller: str, *, proc: Path = _PROC, root: Path = _CGROUPS) -> list[Path]:
    """Directories of our own control group and of those around it, innermost first: limits of all of them hold.

    Args:
        controller: such as `memory`. Version 2 has one tree for all; version 1 has one for each controller.
        proc: where procfs is.
        root: where control groups are mounted.
    """
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        tree = root / controllers if controllers else root
        # In a container the path is often that of the host, and what is mounted here begins with our own group.
        place = tree / path.lstrip("/")
        place = place if place.is_dir() else tree
        while place.is_dir():
            found.append(place)
            if place == tree:
                break
            place = place.parent
    return found


def cores(*, proc: Path = _PROC, root: Path = _CGROUPS) -> int:
    """Processors that this process may keep busy, at least 1: those it may run on, and no more than its quota pays for.

    Args:
        proc: where procfs is.
        root: where control groups are mounted.
    """
    count = len(os.sched_getaffinity(0))
    for group in own_cgroups("cpu", proc=proc, root=root):
        quota = _quota(group)
        if quota is not None:
            count = min(count, max(math.ceil(quota), 1))
    return count


def _quota(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            most, period = (group / "cpu.max").read_text().split()
            return None if most == "max" else int(most) / int(period)
        most = (group / "cpu.cfs_quota_us").read_text()
        return int(most) / int((group / "cpu.cfs_period_us").read_text()) if int(most) > 0 else None
    except (OSError, ValueError):
        return None


class Machine:
    """The kernel's files, open: a context manager. Reading them takes no lock and no disk.

    Args:
        proc: where procfs is.
        root: where control groups are mounted.

    Attributes:
        blind: what cannot be seen here, in words; complete after the first reading of each kind.
    """

    def __init__(self, *, proc: Path = _PROC, root: Path = _CGROUPS) -> None:
        self._proc = proc
        self._root = root
        self._open: dict[str, int] = {}
        self.blind: dict[str, None] = {}

    def __enter__(self) -> Self:
        for name in ("pressure/cpu", "pressure/memory", "pressure/io", "stat", "meminfo", "loadavg"):
            self._keep(name, self._proc / name)
        for group in own_cgroups("cpu", proc=self._proc, root=self._root)[:1]:
            self._keep("cpu.stat", group / "cpu.stat")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _keep(self, name: str, path: Path) -> None:
        try:
            self._open[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return

    def _read(self, name: str) -> bytes:
        descriptor = self._open.get(name)
        if descriptor is None:
            return b""
        try:
            return os.pread(descriptor, _BYTES, 0)
        except OSError:
            # The kernel has the file, and was told at boot not to fill it.
            return b""

    def _blind(self, what: str) -> None:
        self.blind.setdefault(what, None)

    def counters(self) -> Counters:
        """All counters of this moment."""
        return Counters(
            self._pressure("cpu"), self._pressure("memory"), self._pressure("io"), self._stolen(), self._throttled()
        )

    def _pressure(self, kind: str) -> float | None:
        # `some avg10=0.00 avg60=0.00 avg300=0.00 total=MICROSECONDS`, then a line `full`.
        first = self._read(f"pressure/{kind}").partition(b"\n")[0]
        total = first.rpartition(b"total=")[2]
        if not total.isdigit():
            self._blind(f"{kind} pressure")
            return None
        return int(total) / 1e6

    def _stolen(self) -> float | None:
        # `cpu user nice system idle iowait irq softirq steal ...`, in ticks.
        words = self._read("stat").partition(b"\n")[0].split()
        if len(words) < 9 or words[0] != b"cpu":
            self._blind("stolen processor time")
            return None
        return int(words[8]) / _TICK

    def _throttled(self) -> float | None:
        # Groups without a quota have no such line, and are not throttled.
        for line in self._read("cpu.stat").splitlines():
            key, _, value = line.partition(b" ")
            if key == b"throttled_usec":
                return int(value) / 1e6
            if key == b"throttled_time":
                return int(value) / 1e9
        return None

    def runnable(self) -> int | None:
        """Tasks that run or wait for a processor at this moment, without the one that asks."""
        # `0.00 0.01 0.05 RUNNABLE/ALL LAST_PID`
        words = self._read("loadavg").split()
        runnable = words[3].partition(b"/")[0] if len(words) > 3 else b""
        # Whoever asks is runnable. A sandbox that makes the file up says 0.
        if not runnable.isdigit() or int(runnable) < 1:
            self._blind("runnable tasks")
            return None
        return int(runnable) - 1

    def tasks(self) -> int | None:
        """All tasks of the machine, also those that sleep."""
        words = self._read("loadavg").split()
        every = words[3].rpartition(b"/")[2] if len(words) > 3 else b""
        return int(every) if every.isdigit() else None

    def available(self) -> int | None:
        """Bytes that could be used without swapping, of the whole machine."""
        for line in self._read("meminfo").splitlines():
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) * 1024
        self._blind("available memory")
        return None
