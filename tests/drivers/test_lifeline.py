"""The runtime's end of the lifeline: one janitor, started late, replaced when killed, gone at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from coworld_drivers.driver import MachineFault
from coworld_drivers.forks import ForkedProcess
from coworld_drivers.janitor import MARK
from coworld_drivers.lifeline import Lifeline


async def test_one_janitor_started_late_and_gone_at_the_end(bench, running):
    """There is none before the first role, one whatever the number of roles, and none afterwards."""
    async with bench.site() as site:
        lifeline = site._driver.lifeline
        assert lifeline.pid is None
        await site.start(bench.launch("sh", "-c", "sleep 600", name="a"))
        first = lifeline.pid
        await site.start(bench.launch("sh", "-c", "sleep 600", name="b"))
        assert lifeline.pid == first
    assert lifeline.pid is None
    assert not running(first)


async def test_a_janitor_that_was_killed_is_replaced(bench, said, until):
    """The next start brings a new one, which is told of what already runs."""
    async with bench.site() as site:
        lifeline = site._driver.lifeline
        old = await site.start(bench.launch("python", "family.py", "stubborn", "wait", name="a"))
        await said(old, "relative")
        first = lifeline.pid
        psutil.Process(first).kill()
        await until(lambda: psutil.Process(first).status() == psutil.STATUS_ZOMBIE)
        await site.start(bench.launch("sh", "-c", "sleep 600", name="b"))
        assert lifeline.pid not in (None, first)
        # Its lifeline is cut, as by our death: it ends what it was told of.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, lifeline._pipe)
        os.close(null)
        assert (await old.wait()).signal is not None


async def test_the_janitor_has_nothing_of_ours(bench, until):
    """No descriptor but the lifeline, no variable, no mark, a session of its own, no directory kept busy."""
    async with bench.site() as site:
        read, write = os.pipe()
        os.set_inheritable(write, True)
        await site.start(bench.launch("sh", "-c", "sleep 600"))
        place = Path(f"/proc/{site._driver.lifeline.pid}")
        await until(lambda: b"janitor" in (place / "cmdline").read_bytes())
        targets: dict[int, str] = {}
        for entry in (place / "fd").iterdir():
            # It may just be reading its own program: what it closes while we look is none of what it keeps.
            with suppress(FileNotFoundError):
                targets[int(entry.name)] = str(entry.readlink())
        os.close(read)
        os.close(write)
        assert targets[0].startswith("pipe:")
        assert {targets[1], targets[2]} == {"/dev/null"}
        assert not any(target.startswith(("socket:", "pipe:")) for number, target in targets.items() if number > 2)
        assert MARK.encode() not in (place / "environ").read_bytes()
        assert os.getsid(site._driver.lifeline.pid) == site._driver.lifeline.pid
        assert str((place / "cwd").readlink()) == "/"


async def test_a_janitor_that_cannot_start_is_a_failed_start(monkeypatch, descriptors):
    """Without a janitor, which is ours, nothing is started, nothing is left open, and no role is to blame."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = descriptors()
    lifeline = Lifeline("mark")
    with pytest.raises(MachineFault) as caught:
        await lifeline.ensure()
    assert "/no/such/python: No such file" in caught.value.evidence
    assert descriptors() == before
    await lifeline.aclose()


FORKING = Path(__file__).parent / "programs" / "forking.py"


def test_a_forked_child_does_not_keep_roles_alive(tmp_path, running, gone):
    """The host is killed while its child lives: the child holds no end of the lifeline, and the roles are gone within 5 s."""
    command = [sys.executable, FORKING, "sleep", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as host:
        about = json.loads(host.stdout.readline())
        child = psutil.Process(about["child"])
        try:
            pipe = Path(f"/proc/{about['janitor']}/fd/0").readlink()

            def holds(pid: int) -> bool:
                found = set()
                for entry in Path(f"/proc/{pid}/fd").iterdir():
                    # It may be closed while we look.
                    with suppress(FileNotFoundError):
                        found.add(entry.readlink())
                return pipe in found

            assert holds(host.pid)
            # What runs in the child after a fork may not have run yet.
            gone(lambda: not holds(child.pid), 30.0)
            assert all(running(pid) for pid in about["roles"])
            host.send_signal(signal.SIGKILL)
            gone(lambda: not any(running(pid) for pid in about["roles"]), 5.0)
            gone(lambda: not running(about["janitor"]), 30.0)
            assert child.is_running()
        finally:
            host.kill()
            child.kill()


async def test_a_lifeline_is_dead_in_a_forked_child(monkeypatch, bench):
    """There it has no janitor, says nothing, ends nothing, and starts none."""
    async with bench.site() as site:
        await site.start(bench.launch("sh", "-c", "sleep 600"))
        lifeline = site._driver.lifeline
        pid, pipe = lifeline.pid, lifeline._pipe
        with monkeypatch.context() as patch:
            patch.setattr(lifeline.owner, "pid", os.getpid() + 1)
            patch.setattr(os, "write", lambda *_: pytest.fail("said something"))
            lifeline.started(1)
            lifeline.ended(1)
            await lifeline.aclose()
            with pytest.raises(ForkedProcess, match="does not survive a fork"):
                await lifeline.ensure()
        lifeline.ended(1)
        assert (lifeline.pid, lifeline._pipe) == (pid, pipe)
