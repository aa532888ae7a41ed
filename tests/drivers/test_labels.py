"""Labels, and whether an owner is alive: certain about this machine's processes, silent about everybody else's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from coworld_drivers import labels
from coworld_drivers.labels import Owner, as_options, as_owner, having, is_alive, of_role, of_run, owner_label

SLEEPER = "import time; print(flush=True); time.sleep(600)"
ASKING = (
    "import sys\nfrom coworld_drivers.labels import owner_label\nprint(owner_label(), flush=True)\nsys.stdin.read()"
)
WITHOUT_MAIN_THREAD = """
import ctypes, threading, time
from coworld_drivers.labels import owner_label
print(owner_label(), flush=True)
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def mine(**changes: object) -> str:
    owner = as_owner(owner_label())
    assert owner is not None
    return str(msgspec.structs.replace(owner, **changes))


def test_labels_of_a_run_and_a_role():
    """Everything has run, owner and version; a role's container says besides whose it is; both become words of a call."""
    run = of_run("r1")
    assert run == {"coworld.run": "r1", "coworld.owner": owner_label(), "coworld.version": run["coworld.version"]}
    assert run["coworld.version"][0].isdigit()
    role = of_role("e1", "player", "player-3")
    assert role == {"coworld.episode": "e1", "coworld.role": "player", "coworld.actor": "player-3"}
    assert as_options({"a": "1", "b": "x=y z"}) == ("--label", "a=1", "--label", "b=x=y z")
    assert having("a") == ("--filter", "label=a")
    assert having("a", "") == ("--filter", "label=a=")


def test_an_owner_is_this_process():
    """Host, boot, id, start, namespace and installation; its own words are read again."""
    owner = as_owner(owner_label())
    assert owner is not None
    assert (owner.host, owner.pid) == (socket.gethostname(), os.getpid())
    assert owner.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert owner.namespace.startswith(str(Path("/proc/self/ns/pid").stat().st_ino))
    assert str(owner) == owner_label()
    assert owner.title == f"process {os.getpid()} of {socket.gethostname()}"
    assert is_alive(owner_label())


def test_the_first_four_parts_are_enough():
    """A label without namespace shows a living process, and proves nobody's death."""
    short = ":".join(owner_label().split(":")[:4])
    assert is_alive(short) is True
    owner = as_owner(short)
    assert is_alive(":".join([owner.host, owner.boot, str(owner.pid), "1"])) is None


@pytest.mark.parametrize(
    "label",
    [
        "",
        "x",
        "a:b:c:d",
        "a:b:0:1",
        "a:b:1:x",
        ":b:1:1",
        "a::1:1",
        "a:b:1:1:n",
        "a:b:1:1:n:i:more",
        "a:b:-1:1",
        "a:b:\u0661:1",
    ],
)
def test_what_is_no_owner_is_nobodys_business(label):
    """Another tool's label, or that of a version to come, never counts as dead."""
    assert as_owner(label) is None
    assert is_alive(label) is None
    assert is_alive(label, engine_is_here=True) is None


def test_a_process_that_was_killed_is_dead_before_it_is_reaped():
    """A zombie holds nothing; a process that merely has the same id is somebody else."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        label = process.stdout.readline().strip()
        assert is_alive(label) is True
        process.send_signal(signal.SIGSTOP)
        assert is_alive(label) is True
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_alive(label) is False
    assert is_alive(label) is False
    assert is_alive(mine(start=1)) is False


def test_a_process_whose_first_thread_has_ended_lives():
    """It looks like a zombie, and works."""
    with subprocess.Popen([sys.executable, "-c", WITHOUT_MAIN_THREAD], stdout=subprocess.PIPE, text=True) as process:
        label = process.stdout.readline().strip()
        stat = Path(f"/proc/{process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert process.poll() is None
        assert is_alive(label) is True
        process.kill()
    assert is_alive(label) is False


def test_elsewhere_nothing_is_known():
    """Another host, another namespace: never dead, not even on an engine of this machine."""
    for label in (mine(host="elsewhere", pid=1 << 22), mine(namespace="4026530000-4026531834", pid=1 << 22)):
        assert is_alive(label) is None
        assert is_alive(label, engine_is_here=True) is None


def test_another_boot_is_an_earlier_one_only_where_that_is_certain(monkeypatch):
    """The same installation and an engine that is here; a copy of this machine may have its name and use a shared engine."""
    monkeypatch.setattr(labels, "_installation", lambda: "i1")
    before = mine(boot="00000000-0000-0000-0000-000000000000")
    assert is_alive(before) is None
    assert is_alive(before, engine_is_here=True) is False
    monkeypatch.setattr(labels, "_installation", lambda: "i2")
    assert is_alive(before, engine_is_here=True) is None
    monkeypatch.setattr(labels, "_installation", lambda: "")
    assert is_alive(mine(boot="0", installation=""), engine_is_here=True) is None


def test_a_process_that_proc_hides_lives(monkeypatch, tmp_path):
    """With hidepid there is no file of another user's process, and the kernel still knows it."""
    real = labels._stat
    monkeypatch.setattr(labels, "_stat", lambda pid: real(pid) if pid == "self" else (tmp_path / "no").stat())
    assert is_alive(owner_label()) is True
    assert is_alive(mine(pid=(1 << 22) + 1)) is False
    assert is_alive(mine(pid=1 << 60)) is False


def test_without_proc_nothing_is_known(monkeypatch, tmp_path):
    """Whoever cannot look does not remove."""
    label = mine(start=1)
    monkeypatch.setattr(labels, "_PROC", tmp_path)
    assert is_alive(label) is None


def test_a_proc_of_another_namespace_is_not_believed(monkeypatch, tmp_path):
    """Where /proc/self is not this process, the ids in it mean others."""
    (tmp_path / "self").symlink_to("1")
    monkeypatch.setattr(labels, "_PROC", tmp_path)
    assert labels._namespace() == ""


def test_a_strange_host_name_does_not_break_the_label(monkeypatch):
    """Whatever the machine is called, the parts stay apart."""
    monkeypatch.setattr(socket, "gethostname", lambda: "a:b c,ä")
    owner = as_owner(owner_label())
    assert isinstance(owner, Owner)
    assert owner.host == "a_b_c_"
    assert is_alive(owner_label()) is True
