"""The interpreter, processes, ports and the clock of this machine, and of worse ones."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

import coworld_actors
from coworld_actors.doctor import system
from coworld_actors.doctor.finding import Status, Surroundings
from coworld_actors.doctor.system import check_clock, check_ports, check_process, check_python
from coworld_drivers import ports
from coworld_drivers.driver import MachineFault


async def test_this_interpreter_is_told() -> None:
    """With the path by which it is started again."""
    (finding,) = await check_python(Surroundings())
    assert finding.status is Status.OK
    assert sys.executable in finding.text


async def test_an_interpreter_without_a_path_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The janitor and every role on Python are started by it."""
    monkeypatch.setattr(sys, "executable", "")
    (finding,) = await check_python(Surroundings())
    assert finding.status is Status.FAIL


async def test_processes_work_here() -> None:
    """A janitor was started for it, and it has ended."""
    (finding,) = await check_process(Surroundings())
    assert finding.status is Status.OK


@pytest.mark.parametrize(("drivers", "status"), [({"process"}, Status.FAIL), ({"docker"}, Status.WARN)])
async def test_a_janitor_that_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, drivers: set[str], status: Status
) -> None:
    """Without it no role is started."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    (finding,) = await check_process(Surroundings(drivers=frozenset(drivers)))
    assert finding.status is status
    assert "janitor could not be started" in finding.text


async def test_a_sandbox_without_pidfds_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything works, only later."""

    def refuse(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    (finding,) = await check_process(Surroundings())
    assert finding.status is Status.WARN
    assert "no pidfds" in finding.text


async def test_elsewhere_than_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Roles as processes need it; nothing else is tried."""
    monkeypatch.setattr(sys, "platform", "darwin")
    (finding,) = await check_process(Surroundings())
    assert finding.status is Status.FAIL


async def test_ports_are_counted() -> None:
    """One was really free; it is given back."""
    held = set(ports._held)
    (finding,) = await check_ports(Surroundings())
    assert finding.status is not Status.FAIL
    assert ports._held == held


async def test_no_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then no game can be reached."""

    def refuse() -> int:
        raise MachineFault("no free TCP port was found", todo="end other servers")

    monkeypatch.setattr(ports, "claim", refuse)
    (finding,) = await check_ports(Surroundings())
    assert (finding.status, finding.todo) == (Status.FAIL, "end other servers")


@pytest.mark.parametrize(
    ("text", "busy", "words"),
    [("32768 60999", 25_000, "TIME_WAIT"), ("1024 65535", 10, "ip_local_port_range to 32768")],
)
async def test_ranges_that_leave_too_little(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, busy: int, words: str
) -> None:
    """Connections that have nearly all ports, or a kernel that may give out ours: warnings with what to set."""
    proc = tmp_path / "proc"
    (proc / "sys/net/ipv4").mkdir(parents=True)
    (proc / "net").mkdir()
    (proc / "sys/net/ipv4/ip_local_port_range").write_text(f"{text}\n")
    lines = [f"   0: 0100007F:{port:04X} 00000000:0000 0A" for port in range(33_000, 33_000 + busy)]
    (proc / "net/tcp").write_text("\n".join(["  sl  local_address", *lines, ""]))
    monkeypatch.setattr(system, "_PROC", proc)
    (finding,) = await check_ports(Surroundings())
    assert finding.status is Status.WARN
    assert words in finding.todo


async def test_the_clock_of_this_machine() -> None:
    """It is later than the installation."""
    (finding,) = await check_clock(Surroundings())
    assert finding.status in {Status.OK, Status.WARN}
    assert time.strftime("%Y-", time.gmtime()) in finding.text


async def test_a_clock_before_the_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has lost its time is told so."""
    later = time.time() + 1e7
    (tmp_path / "package.py").touch()
    os.utime(tmp_path / "package.py", (later, later))
    monkeypatch.setattr(coworld_actors, "__file__", str(tmp_path / "package.py"))
    (finding,) = await check_clock(Surroundings())
    assert finding.status is Status.WARN
    assert "was installed" in finding.text


async def test_a_clock_that_is_dear_to_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each answer is timed with it."""
    (tmp_path / "source").write_text("acpi_pm\n")
    monkeypatch.setattr(system, "_CLOCK", tmp_path / "source")
    monkeypatch.setattr(system, "_cost", lambda: 3e-6)
    (finding,) = await check_clock(Surroundings())
    assert finding.status is Status.WARN
    assert "acpi_pm, 3.0 microseconds" in finding.text
