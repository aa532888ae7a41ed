"""The janitor as a program: what it ends, when, and that it ends itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from coworld_drivers import janitor
from coworld_drivers.janitor import MARK, marked, signal_marked

PATIENCE = 30.0
FAMILY = Path(__file__).parent / "programs" / "family.py"


@pytest.fixture
def mark(session_mark) -> str:
    return f"{session_mark}.{uuid.uuid4().hex}"


@contextmanager
def janitor_process(mark: str, parent: int | None = None):
    command = [sys.executable, "-I", "-S", "-E", janitor.__file__, mark, str(parent or os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd="/", env={}) as process:
        yield process


@contextmanager
def family(mark: str, *words: str):
    env = {**os.environ, MARK: mark}
    command = [sys.executable, FAMILY, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, start_new_session=True) as process:
        assert process.stdout is not None
        relative = int(process.stdout.readline().split()[1])
        try:
            yield process, relative
        finally:
            signal_marked(mark, signal.SIGKILL)
            process.wait()


def test_marked_finds_the_mark_and_what_is_below_it(mark):
    """A run finds its sites and its nested runs, and never one that only begins like it."""
    with family(mark + ".1.2", "stubborn", "wait") as (process, relative):
        for wider in (mark + ".1.2", mark + ".1", mark):
            assert set(marked(wider)) == {process.pid, relative}
        for other in (mark + ".1.2.3", mark[:-1], mark + ".", mark + ".2"):
            assert marked(other) == []


def test_signal_marked_spares_whom_it_is_told_to(mark, running, gone):
    """A process of the mark that is not to be hit is not hit."""
    with family(mark, "escapee", "wait") as (process, relative):
        assert signal_marked(mark, signal.SIGKILL, spare={process.pid}) == [relative]
        gone(lambda: not running(relative), PATIENCE)
        assert process.poll() is None


def test_end_of_the_lifeline_ends_groups_and_escapees(mark, running, gone):
    """Without a word of farewell everything registered or marked is ended, first politely, then not."""
    with (
        family(mark, "escapee", "wait") as (process, escaped),
        family("unmarked", "stubborn", "wait") as (other, child),
        janitor_process(mark) as watcher,
    ):
        watcher.stdin.write(b"+%d\n+%d\n" % (process.pid, other.pid))
        watcher.stdin.close()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert other.wait(PATIENCE) == -signal.SIGTERM
        gone(lambda: not running(escaped) and not running(child), PATIENCE)
        assert watcher.wait(PATIENCE) == 0


def test_a_group_that_has_ended_is_left_alone(mark):
    """A group that was taken back is not signalled: its id may be somebody else's by now."""
    with family("unmarked." + mark, "stubborn", "wait") as (process, _):
        with janitor_process(mark) as watcher:
            watcher.stdin.write(b"+%d\n-%d\n" % (process.pid, process.pid))
            watcher.stdin.close()
            assert watcher.wait(PATIENCE) == 0
        assert process.poll() is None


def test_messages_may_come_in_pieces(mark):
    """A line that is split between two reads is one line."""
    with family("unmarked." + mark, "stubborn", "wait") as (process, _), janitor_process(mark) as watcher:
        for byte in b"+%d\n" % process.pid:
            watcher.stdin.write(bytes([byte]))
            watcher.stdin.flush()
        watcher.stdin.close()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert watcher.wait(PATIENCE) == 0


def test_an_orderly_end_sweeps_too(mark, running, gone):
    """Even after the farewell nothing that carries the mark is left."""
    with family(mark, "escapee", "leave") as (process, escaped), janitor_process(mark) as watcher:
        assert process.wait(PATIENCE) == 4
        watcher.stdin.write(b".\n")
        watcher.stdin.flush()
        assert watcher.wait(PATIENCE) == 0
        gone(lambda: not running(escaped), PATIENCE)


def test_the_terminals_signals_do_not_end_it(mark):
    """Ctrl-C, a hang-up or a polite kill of everything leave the janitor at its post."""
    with janitor_process(mark) as watcher:
        status = Path(f"/proc/{watcher.pid}/status")
        wanted = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]

        def ignoring() -> bool:
            ignored = next(line for line in status.read_text().splitlines() if line.startswith("SigIgn:"))
            return all(int(ignored.split()[1], 16) >> (number - 1) & 1 for number in wanted)

        for _ in range(3000):
            if ignoring():
                break
            assert watcher.poll() is None
            psutil.Process(watcher.pid).cpu_percent(0.01)
        assert ignoring()
        for number in wanted:
            watcher.send_signal(number)
        watcher.stdin.write(b".\n")
        watcher.stdin.close()
        assert watcher.wait(PATIENCE) == 0


def test_it_notices_a_parent_that_is_gone_although_the_pipe_is_held(mark):
    """A fork that never exec'd may keep the lifeline open; the parent's death is noticed all the same."""
    with janitor_process(mark, parent=1 << 21) as watcher:
        assert watcher.wait(PATIENCE) == 0
