"""What local processes use: exact processor time at their end, and the peak of their memory as far as it can be proven.

The kernel keeps two peaks, and neither is a role's by itself. `ru_maxrss` comes with the end and is exact, but a process that was
started by `exec` inherits the peak of whoever started it: `sleep` started by a process of 300 MB ends with 300 MB. It is
believed only where it exceeds that. `VmHWM` counts from the `exec` (from the fork for a warm role, which begins with the pages
that it shares with its template), but is gone with the memory, before anybody learns of the end: it has to be looked at while the
role runs. So one task per driver looks ten times at a role in its first second, and once a second later on. What a role held
after the last look, and did not exceed us with, is not known.

Measured: the end 2 us, a look at one process 12 to 20 us, a look for relatives 8 us per process of the machine; a round of looks
is never more than a hundredth of the time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
import time
from contextlib import suppress
from functools import cache
from typing import Final, NamedTuple

import trio

from coworld_drivers.driver import Usage

__all__ = ["LOOK_SECONDS", "ProcessUsage", "ProcessUsages", "own_peak"]

LOOK_SECONDS: Final = 1.0
"""Between two looks at a role that runs for long."""

_FIRST_LOOK: Final = 0.1
_SHARE: Final = 0.01
_AT_ONCE: Final = 64

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
# Kernels from 6.2 on count pages per processor and add them up only now and then; their peaks are off by as much.
_CPUS: Final = os.cpu_count() or 1
_BLUR: Final = max(32, 2 * _CPUS) * _CPUS * _PAGE

# The system call tells what libc's `waitid` keeps to itself; numbers of the 64-bit architectures.
_WAITID: Final = {"x86_64": 247, "aarch64": 95, "riscv64": 95, "loongarch64": 95}


class _Resources(ctypes.Structure):
    # struct rusage: user seconds, microseconds, system seconds, microseconds, peak in KiB, and 13 more.
    _fields_ = [("times", ctypes.c_long * 4), ("peak", ctypes.c_long), ("rest", ctypes.c_long * 13)]


class _End(NamedTuple):
    cpu_seconds: float
    peak_memory: int | None


class _Stat(NamedTuple):
    session: int
    cpu_seconds: float
    resident: int


@cache
def _libc() -> ctypes.CDLL | None:
    known = platform.machine() in _WAITID and sys.maxsize > 2**32
    return ctypes.CDLL(None, use_errno=True) if known else None


def _end_of(pid: int) -> _End | None:
    """What a child that has ended and was not reaped has used, with its reaped descendants; None while it runs."""
    libc = _libc()
    if libc is not None:
        found, info = _Resources(), (ctypes.c_char * 128)()
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        number = _WAITID[platform.machine()]
        if libc.syscall(number, int(os.P_PID), pid, ctypes.byref(info), options, ctypes.byref(found)) == 0:
            # si_signo, its first word, stays 0 while there is nothing to wait for.
            if not any(info.raw[:4]):
                return None
            seconds, micros, system_seconds, system_micros = found.times
            return _End(seconds + system_seconds + (micros + system_micros) / 1e6, found.peak * 1024)
        if ctypes.get_errno() == errno.ECHILD:
            return None
    stat = _stat(pid)
    return None if stat is None else _End(stat.cpu_seconds, None)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 8192)
    finally:
        os.close(fd)


def _stat(pid: int) -> _Stat | None:
    try:
        # After the command in parentheses, which may contain anything.
        field = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return _Stat(int(field[3]), sum(map(int, field[11:15])) / _TICKS, int(field[21]) * _PAGE)
    except (OSError, ValueError, IndexError):
        return None


def _kibibytes(path: str, name: bytes) -> int | None:
    """A line `NAME: 123 kB` of a file of procfs, in bytes; None when it is not there or not ours to see."""
    with suppress(OSError, ValueError, IndexError):
        return int(_read(path).split(b"\n" + name + b":", 1)[1].split(None, 1)[0]) * 1024
    return None


def own_peak() -> int:
    """Bytes that this process has held at most: what a child that it starts by `exec` may show as its own."""
    return _kibibytes("/proc/self/status", b"VmHWM") or sys.maxsize


class ProcessUsage:
    """The account of one role; made by `ProcessUsages.follow`.

    Args:
        pid: a child of ours that leads its session.
        inherited: bytes of `ru_maxrss` that need not be its own; 0 for a warm role, which was forked and executed nothing.
        usages: told when it is closed.
    """

    def __init__(self, pid: int, inherited: int, usages: ProcessUsages) -> None:
        self._pid = pid
        self._inherited = inherited
        self._usages = usages
        self._cpu: float | None = None
        self._peak: int | None = None

    @property
    def usage(self) -> Usage:
        """As of the last look; final once it is closed."""
        return Usage(cpu_seconds=self._cpu, peak_memory=self._peak)

    def look(self) -> None:
        """Look now, while it runs."""
        stat = _stat(self._pid)
        if stat is not None:
            self.add(stat.cpu_seconds, _kibibytes(f"/proc/{self._pid}/status", b"VmHWM"))

    def add(self, cpu_seconds: float, peak: int | None) -> None:
        """Take in what was seen of it and its relatives at one moment."""
        # What a relative had used that nobody reaped leaves the sums; it was used all the same.
        self._cpu = max(self._cpu or 0.0, cpu_seconds)
        if peak is not None:
            self._peak = max(self._peak or 0, peak)

    def close(self) -> None:
        """Take the last look; to be called once it has ended, before it is reaped."""
        end = _end_of(self._pid)
        if end is not None:
            proven = end.peak_memory is not None and end.peak_memory > self._inherited + (
                _BLUR if self._inherited else 0
            )
            self.add(end.cpu_seconds, end.peak_memory if proven else None)
        self._usages.forget(self._pid)


class ProcessUsages:
    """Looks at all roles of a driver, in one task that exists only while there are any."""

    def __init__(self) -> None:
        self._watched: dict[int, ProcessUsage] = {}
        self._due: dict[int, tuple[float, float]] = {}
        self._scope: trio.CancelScope | None = None

    def follow(self, pid: int, inherited: int) -> ProcessUsage:
        """Keep an account of a process from now on; `ProcessUsage` says what the arguments are."""
        watch = ProcessUsage(pid, inherited, self)
        self._watched[pid] = watch
        now = trio.current_time()
        self._due[pid] = (now + _FIRST_LOOK, now)
        if self._scope is None:
            self._scope = trio.CancelScope()
            # Of the system: it belongs to no site, and a driver has no nursery that would not wrap its body's errors.
            trio.lowlevel.spawn_system_task(self._serve, self._scope, name="usage of processes")
        return watch

    def forget(self, pid: int) -> None:
        """Look at it no more."""
        self._watched.pop(pid, None)
        self._due.pop(pid, None)
        if not self._watched and self._scope is not None:
            self._scope.cancel(reason="no process is left to look at")
            self._scope = None

    async def _serve(self, scope: trio.CancelScope) -> None:
        pause = 0.0
        with scope:
            while True:
                # Never longer than until the first look at somebody who comes meanwhile.
                first = min((at for at, _ in self._due.values()), default=0.0) - trio.current_time()
                await trio.sleep(max(min(first, _FIRST_LOOK), pause, 0.01))
                if all(at > trio.current_time() for at, _ in self._due.values()):
                    pause = 0.0
                    continue
                pause = await self._round() / _SHARE

    async def _round(self) -> float:
        """Look at all that are due, and at their relatives; returns the seconds that it took."""
        now = trio.current_time()
        due = [pid for pid, (at, _) in self._due.items() if at <= now]
        for pid in due:
            begun = self._due[pid][1]
            self._due[pid] = (now + (_FIRST_LOOK if now - begun < LOOK_SECONDS else LOOK_SECONDS), begun)
        spent, begin = 0.0, time.perf_counter()
        families: dict[int, dict[int, _Stat]] = {}
        for number, pid in enumerate(_pids(), 1):
            stat = _stat(pid)
            if stat is not None and stat.session in self._watched:
                families.setdefault(stat.session, {})[pid] = stat
            if number % _AT_ONCE == 0:
                spent += time.perf_counter() - begin
                await trio.lowlevel.checkpoint()
                begin = time.perf_counter()
        for pid in due:
            watch = self._watched.get(pid)
            family = families.get(pid)
            if watch is not None and family:
                watch.add(sum(stat.cpu_seconds for stat in family.values()), _peak_of(family))
            spent += time.perf_counter() - begin
            await trio.lowlevel.checkpoint()
            begin = time.perf_counter()
        return spent + time.perf_counter() - begin


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - ten times a second
    except OSError:
        return []


def _peak_of(family: dict[int, _Stat]) -> int | None:
    """The most that one of them ever held, or what they hold together now, each shared page counted once among its holders."""
    peaks = [_kibibytes(f"/proc/{pid}/status", b"VmHWM") or 0 for pid in family]
    if len(family) > 1:
        shares = [_kibibytes(f"/proc/{pid}/smaps_rollup", b"Pss") for pid in family]
        peaks.append(
            sum(stat.resident if share is None else share for stat, share in zip(family.values(), shares, strict=True))
        )
    return max(peaks) or None
