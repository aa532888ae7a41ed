"""What we ourselves and roles that are processes need: the interpreter, the kernel's services, ports of our own, a clock."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import trio

import coworld_actors
from coworld_actors.doctor.finding import Finding, Status, Surroundings
from coworld_drivers import ports, socket_tables
from coworld_drivers.images import ImageMap
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import CoworldError

__all__ = ["check_clock", "check_ports", "check_process", "check_python"]

_PROC = Path("/proc")
_CLOCK = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_QUICK_CLOCKS = frozenset({"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"})
"""Clocks that are read without the kernel; each of the others costs a call of a microsecond and more."""


async def check_python(_: Surroundings) -> Sequence[Finding]:
    """Which interpreter runs this."""
    version = importlib.metadata.version("coworld-actors")
    name, number = platform.python_implementation(), platform.python_version()
    text = f"coworld-actors {version} on {name} {number}, {sys.executable or 'an interpreter without a name'}"
    if name != "CPython":
        return [
            Finding(
                name="python", status=Status.WARN, text=f"{text}: it was not tried with this one", todo="use CPython"
            )
        ]
    if not sys.executable:
        return [Finding(name="python", status=Status.FAIL, text=text, todo="start python by its path")]
    return [Finding(name="python", status=Status.OK, text=text)]


async def check_process(here: Surroundings) -> Sequence[Finding]:
    """Whether roles can be processes: procfs, pidfds, and a janitor that can be started and ends."""
    if not sys.platform.startswith("linux"):
        return [
            Finding(
                name="processes",
                status=here.missing("process"),
                text=f"roles run as processes on Linux, and this is {sys.platform}",
                todo="run it on Linux, or in a virtual machine with it",
            )
        ]
    try:
        async with ProcessDriver(ImageMap({})) as driver:
            await driver.lifeline.ensure()
    except CoworldError as error:
        text = error.what + (f": {error.evidence}" if error.evidence else "")
        return [Finding(name="processes", status=here.missing("process"), text=text, todo=error.todo)]
    lacking: list[str] = []
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        lacking.append("there are no pidfds, so a process that ends is seen a little later")
    try:
        socket_tables.of_port(1)
    except OSError:
        lacking.append("the kernel does not tell its connections, so it is not seen which players have connected")
    if lacking:
        return [
            Finding(
                name="processes",
                status=Status.WARN,
                text="; ".join(lacking),
                todo="nothing has to be done; a less strict sandbox shows more",
            )
        ]
    return [Finding(name="processes", status=Status.OK, text="/proc, pidfds and the janitor work")]


async def check_ports(here: Surroundings) -> Sequence[Finding]:
    """Whether games find ports: those that we choose lie below the range that the kernel gives out."""
    try:
        ports.release(ports.claim())
    except CoworldError as error:
        text = error.what + (f": {error.evidence}" if error.evidence else "")
        return [Finding(name="ports", status=here.missing("process"), text=text, todo=error.todo)]
    try:
        low, high = map(int, (_PROC / "sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return [Finding(name="ports", status=Status.OK, text="a free port was found")]
    used = await trio.to_thread.run_sync(_local_ports, abandon_on_cancel=True)
    busy = sum(low <= port <= high for port in used)
    listening = sum(10_000 <= port < low for port in used)
    text = f"{busy:,} of the {high - low + 1:,} ports for connections ({low:,} to {high:,}) are in use"
    if busy > (high - low + 1) * 0.8:
        todo = "wait until connections in TIME_WAIT are gone, or widen net.ipv4.ip_local_port_range"
        return [Finding(name="ports", status=Status.WARN, text=text, todo=todo)]
    if low < 12_000:
        todo = "set net.ipv4.ip_local_port_range to 32768 60999, so that games have ports that no connection takes"
        return [Finding(name="ports", status=Status.WARN, text=text, todo=todo)]
    return [
        Finding(
            name="ports", status=Status.OK, text=f"{text}, and {listening:,} of the {low - 10_000:,} below for games"
        )
    ]


def _local_ports() -> set[int]:
    """Every TCP port of this machine that somebody has, also those in TIME_WAIT."""
    found: set[int] = set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError, ValueError, IndexError):
            lines = (_PROC / "net" / name).read_text(encoding="ascii").splitlines()[1:]
            found.update(int(line.split()[1].rpartition(":")[2], 16) for line in lines)
    return found


async def check_clock(_: Surroundings) -> Sequence[Finding]:
    """Whether the time can be right, and whether it is cheap to ask for: answers are measured with it."""
    installed, source = await trio.to_thread.run_sync(_installed_and_source, abandon_on_cancel=True)
    now = datetime.datetime.now(datetime.UTC)
    text = f"{now:%Y-%m-%d %H:%M:%S} UTC, clock source {source}"
    if now < installed - datetime.timedelta(days=1):
        text += f"; but this program was installed {installed:%Y-%m-%d}"
        return [
            Finding(name="clock", status=Status.WARN, text=text, todo="set the clock: ids and certificates rest on it")
        ]
    if source not in _QUICK_CLOCKS and _cost() > 1e-6:
        text += f", {_cost() * 1e6:.1f} microseconds to read"
        return [
            Finding(name="clock", status=Status.WARN, text=text, todo="choose tsc or the host's own as clock source")
        ]
    return [Finding(name="clock", status=Status.OK, text=text)]


def _installed_and_source() -> tuple[datetime.datetime, str]:
    installed = datetime.datetime.fromtimestamp(Path(coworld_actors.__file__).stat().st_mtime, datetime.UTC)
    return installed, _CLOCK.read_text(encoding="ascii").strip() if _CLOCK.exists() else "unknown"


def _cost() -> float:
    """Seconds that it takes to read the clock, at best."""
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(100):
            time.monotonic()
        best = min(best, (time.perf_counter() - began) / 100)
    return best
