"""What containers use, read from their control groups on this machine: exact processor time, and the peak of their memory.

The control group is found through `/proc/PID/cgroup` of the container's first process, so that it does not matter how the engine
names its groups. Memory is what the kernel accounts to the group, page cache included. Both versions of control groups keep the
processor time; the first keeps the memory's peak and so does the second from Linux 5.19 on; on an older kernel the peak is the
largest of the values seen. The group disappears with the container, so one task per driver looks at all of them about once a second,
and once more at the moment at which a container's first process ends: the engine needs some milliseconds to remove the group.
Where that race is lost, or that process cannot be waited for, what was used after the look before is not known.

Nothing is known (`Usage()`) where the group is not here to be read: an engine on another machine or in a virtual machine, no
permission, another process than the container's behind the number.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from coworld_drivers.driver import Usage

__all__ = ["LOOK_SECONDS", "UsageWatch", "UsageWatches"]

LOOK_SECONDS: Final = 1.0
"""Between two looks at a container."""

_AT_ONCE: Final = 32
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class _Group(NamedTuple):
    """Where to read; opened for each look, because descriptors are scarcer than microseconds where many containers run."""

    cpu: str = ""
    cpu_field: bytes = b""
    cpu_unit: float = 1.0
    memory: str = ""


class UsageWatch:
    """The account of one container; made by `UsageWatches.follow`.

    Args:
        pid: its first process, as the engine says.
        container: its whole id; its group's path has to contain it.
        proc: where procfs is.
        forget: told when it is closed.
    """

    def __init__(self, pid: int, container: str, *, proc: Path, forget: Callable[[UsageWatch], None]) -> None:
        self._cpu: float | None = None
        self._peak: int | None = None
        self._forget = forget
        self._group = _find(pid, container, proc)

    @property
    def usage(self) -> Usage:
        """As of the last look that found anything."""
        return Usage(cpu_seconds=self._cpu, peak_memory=self._peak)

    def look(self) -> None:
        """Look now; a group that is gone changes nothing."""
        group = self._group
        with suppress(OSError, ValueError, IndexError):
            text = _read(group.cpu)
            number = int(text.split(group.cpu_field, 1)[1].split(None, 1)[0] if group.cpu_field else text)
            self._cpu = max(self._cpu or 0.0, number * group.cpu_unit)
        with suppress(OSError, ValueError):
            self._peak = max(self._peak or 0, int(_read(group.memory)))

    def close(self) -> None:
        """Look once more, then no more; may be called again."""
        self.look()
        self._group = _Group()
        self._forget(self)


class UsageWatches:
    """All containers of a driver.

    Args:
        proc: where procfs is.
    """

    def __init__(self, *, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._watches: dict[UsageWatch, int] = {}
        self._ends: select.epoll | None = None
        self._by_end: dict[int, UsageWatch] = {}

    def follow(self, pid: int, container_id: str) -> UsageWatch:
        """Keep an account of a container from now on, and look at it once; never fails.

        Args:
            pid: `State.Pid` of `docker inspect`; 0 when it does not run, and of no use when the engine is on another machine.
            container_id: its whole id.
        """
        watch = UsageWatch(pid, container_id, proc=self._proc, forget=self._forget)
        self._watches[watch] = -1
        watch.look()
        if self._ends is not None and watch.usage != Usage():
            with suppress(OSError):
                end = self._watches[watch] = os.pidfd_open(pid)
                self._by_end[end] = watch
                self._ends.register(end, select.EPOLLIN)
        return watch

    def _forget(self, watch: UsageWatch) -> None:
        self._let_go(self._watches.pop(watch, -1))

    def _let_go(self, end: int) -> None:
        if end >= 0:
            self._by_end.pop(end, None)
            if self._ends is not None:
                with suppress(OSError):
                    self._ends.unregister(end)
            os.close(end)

    async def serve(self) -> None:
        """Look at all of them about once a second, and at each when it ends, until cancelled. To be started before `follow`."""
        with select.epoll() as ends:
            self._ends = ends
            try:
                while True:
                    with trio.move_on_after(LOOK_SECONDS) as pause:
                        while True:
                            await trio.lowlevel.wait_readable(ends.fileno())
                            self._look_at_ended(ends)
                    if pause.cancelled_caught:
                        for number, watch in enumerate(tuple(self._watches), 1):
                            watch.look()
                            if number % _AT_ONCE == 0:
                                await trio.lowlevel.checkpoint()
            finally:
                self._ends = None
                for watch, end in self._watches.items():
                    self._watches[watch] = -1
                    self._let_go(end)

    def _look_at_ended(self, ends: select.epoll) -> None:
        for end, _ in ends.poll(0):
            watch = self._by_end[end]
            watch.look()
            self._watches[watch] = -1
            self._let_go(end)


def _find(pid: int, container: str, proc: Path) -> _Group:
    group = _Group()
    if pid <= 0 or not container:
        return group
    try:
        lines = (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        mounts = _mounts(proc)
    except OSError:
        return group
    for line in lines:
        names, _, path = line.partition(":")[2].partition(":")
        # A number that is somebody else's process here, or a group that others share, would tell another's use.
        if container not in path:
            continue
        for name in names.split(","):
            place = _place(mounts.get(name), path)
            if place is not None:
                group = group._replace(**_files(name, place))
    return group


def _files(controller: str, place: Path) -> dict[str, Any]:
    """What a group of one hierarchy has to be read; those that exist and may be read."""
    found: dict[str, Any] = {}
    cpu = place / ("cpu.stat" if not controller else "cpuacct.usage")
    if controller in {"", "cpuacct"} and os.access(cpu, os.R_OK):
        field, unit = (b"usage_usec ", 1e-6) if not controller else (b"", 1e-9)
        found = {"cpu": str(cpu), "cpu_field": field, "cpu_unit": unit}
    names = {"": ("memory.peak", "memory.current"), "memory": ("memory.max_usage_in_bytes",)}.get(controller, ())
    memory = next((place / name for name in names if os.access(place / name, os.R_OK)), None)
    return found if memory is None else {**found, "memory": str(memory)}


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _mounts(proc: Path) -> dict[str, tuple[str, str]]:
    """Where hierarchies are mounted: controller (empty for the second version) to the root that is shown and the mount point."""
    found: dict[str, tuple[str, str]] = {}
    for line in (proc / "self" / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if len(fields) < 5 or len(kinds) < 3:
            continue
        place = (_plain(fields[3]), _plain(fields[4]))
        if kinds[0] == "cgroup2":
            found.setdefault("", place)
        elif kinds[0] == "cgroup":
            for option in kinds[2].split(","):
                found.setdefault(option, place)
    return found


def _plain(text: str) -> str:
    # The kernel writes blanks and backslashes of a path as octal numbers.
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def _place(mount: tuple[str, str] | None, path: str) -> Path | None:
    """Where a group's files are, seen through a mount that may show a part of its hierarchy only."""
    if mount is None:
        return None
    root, at = mount
    inner = path if root == "/" else path.removeprefix(root) if path == root or path.startswith(f"{root}/") else None
    if inner is None or ".." in inner.split("/"):
        return None
    return Path(at) / inner.lstrip("/")
