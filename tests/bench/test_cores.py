"""Which core each side gets."""

from __future__ import annotations

import os
import subprocess
import sys

from coworld_bench import cores
from coworld_bench.cores import pin, plan_cores


def test_two_sides_get_two_cores(monkeypatch) -> None:
    """Where there are several cores the sides have one each, and it is said which."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    monkeypatch.setattr(cores, "_siblings", lambda core: {core})
    planned = plan_cores()
    assert (planned.server, planned.load) == (3, 5)
    assert planned.note == "one core per side: server on 3, load on 5"


def test_two_threads_of_one_core_are_avoided_or_named(monkeypatch) -> None:
    """A sibling thread is taken only when there is nothing else, and then the note says so."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(cores, "_siblings", lambda _: {0, 1})
    assert plan_cores().load == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert plan_cores().note.startswith("two threads of one core")


def test_one_core_is_named(monkeypatch) -> None:
    """On a single core both sides share it, and the reader is told."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4})
    planned = plan_cores()
    assert planned.server == planned.load == 4
    assert "take each other's time" in planned.note


def test_a_process_is_pinned() -> None:
    """A pinned process sees only its core."""
    core = min(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        pin(core, process.pid)
        assert os.sched_getaffinity(process.pid) == {core}
        process.communicate(b"\n")
