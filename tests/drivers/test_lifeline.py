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

from coworld_drivers import janitor
from coworld_drivers import lifeline as lifeline_module
from coworld_drivers.driver import MachineFault
from coworld_drivers.forks import ForkedProcess
from coworld_drivers.janitor import MARK
from coworld_drivers.lifeline import Lifeline, Will


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


def legacy(tmp_path: Path, **environ: str) -> tuple[Will, Path]:
    """A will about the files of a directory, and the directory."""
    estate = tmp_path / "estate"
    estate.mkdir()
    listing = f"cd {estate} && ls; env > {tmp_path}/environ"
    removing = f'cd {estate} && rm -f -- "$@"'
    variables = {"PATH": os.defpath, **environ}
    return (
        Will(list=("/bin/sh", "-c", listing), remove=("/bin/sh", "-c", removing, "sh"), environ=variables),
        estate,
    )


def cut(lifeline: Lifeline) -> None:
    """End the lifeline as our death would."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, lifeline._pipe)
    os.close(null)


async def test_a_will_shows_nowhere_and_is_done(session_mark, tmp_path, until):
    """Words and environment go over the pipe alone; a large one, which a pipe cannot hold, and one that is no text, arrive."""
    large = {f"BIG_{number}": "x" * 60_000 for number in range(4)}
    will, estate = legacy(tmp_path, SECRET="s3cret-\n*\udcff", **large, **{MARK: session_mark})
    assert "s3cret" not in repr(will)
    lifeline = Lifeline(f"{session_mark}.wills", [will])
    await lifeline.ensure()
    watcher = psutil.Process(lifeline.pid)
    (estate / "c1").touch()
    place = Path(f"/proc/{watcher.pid}")
    for file in ("cmdline", "environ"):
        assert b"s3cret" not in (place / file).read_bytes()
    assert str(estate) not in " ".join(watcher.cmdline())
    cut(lifeline)
    await until(lambda: lifeline._process.poll() is not None)
    assert list(estate.iterdir()) == []
    environ = (tmp_path / "environ").read_bytes()
    assert b"SECRET=s3cret-\n*\xff\n" in environ
    assert all(f"{name}={value}\n".encode() in environ for name, value in large.items())
    assert MARK.encode() not in environ
    await lifeline.aclose()


async def test_an_orderly_end_leaves_no_inheritance(session_mark, tmp_path):
    """What is there when the lifeline is closed was meant to be there."""
    will, estate = legacy(tmp_path)
    lifeline = Lifeline(f"{session_mark}.wills", [will])
    await lifeline.ensure()
    (estate / "c1").touch()
    await lifeline.aclose()
    assert [path.name for path in estate.iterdir()] == ["c1"]
    assert not (tmp_path / "environ").exists()


async def test_the_next_janitor_is_told_the_wills_again(session_mark, tmp_path, until):
    """Who kills the janitor does not break the will."""
    will, estate = legacy(tmp_path)
    lifeline = Lifeline(f"{session_mark}.wills", [will])
    await lifeline.ensure()
    first = lifeline._process
    first.kill()
    await first.wait()
    lifeline.started(os.getpid() + (1 << 22))
    await lifeline.ensure()
    assert lifeline.pid != first.pid
    (estate / "c1").touch()
    cut(lifeline)
    await until(lambda: lifeline._process.poll() is not None)
    assert list(estate.iterdir()) == []
    await lifeline.aclose()


async def test_a_janitor_that_does_not_listen_is_a_failed_start(monkeypatch, session_mark, tmp_path, descriptors):
    """It is killed, nothing is left open, and nothing is started without one."""
    before = descriptors()
    will, _ = legacy(tmp_path, **{f"BIG_{number}": "x" * 60_000 for number in range(4)})
    monkeypatch.setattr(lifeline_module, "CLOSE_SECONDS", 0.3)
    deaf = tmp_path / "deaf.py"
    deaf.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(janitor, "__file__", str(deaf))
    lifeline = Lifeline(f"{session_mark}.wills", [will])
    with pytest.raises(MachineFault, match="could not be told") as caught:
        await lifeline.ensure()
    assert caught.value.evidence == "it has ended"
    assert lifeline.pid is None
    deaf.write_text("raise SystemExit\n")
    with pytest.raises(MachineFault, match="could not be told"):
        await lifeline.ensure()
    assert descriptors() == before
    await lifeline.aclose()


async def test_a_lifeline_says_whose_it_is():
    """A forked child is told what it cannot use."""
    lifeline = Lifeline("mark", what="docker driver")
    assert lifeline.owner.here
    lifeline.owner.pid += 1
    with pytest.raises(ForkedProcess, match="this docker driver belongs to process"):
        await lifeline.ensure()
