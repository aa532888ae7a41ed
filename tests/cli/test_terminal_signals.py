"""P17 at a terminal: Ctrl-C typed once ends the run in order within its graces, typed twice within two seconds."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from tests.coworlds import scripted_manifest, write_coworld

SHUTDOWN = 10.0
"""Seconds that the roles of an episode may take to be stopped, from the page on semantics: five for the players together, five for
the game."""
SLACK = 10.0
"""For a busy machine: the start of the interpreter's exit, the verdict, the files."""

AT_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes stdin the controlling terminal of its session, and becomes the command: what is typed there is its signals."""


class Terminal:
    """A run at a pseudo-terminal of its own."""

    def __init__(self, directory: Path, *behaviours: str) -> None:
        manifest = scripted_manifest(behaviours[0], behaviours[1:], config={"ticks": 100000})
        coworld = write_coworld(directory / "coworld", manifest)
        self.output = directory / "out"
        self.leader, follower = pty.openpty()
        command = [sys.executable, "-m", "coworld_actors", "run", str(coworld), "--output", str(self.output)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, *command],
            cwd=directory,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(follower)
        self.shown = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # A terminal that nobody reads from would stop the run.
        try:
            while data := os.read(self.leader, 65536):
                self.shown += data
        except OSError:
            return

    def until(self, condition) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, self.shown
            assert self.process.poll() is None, self.shown
            time.sleep(0.02)

    def wait_for_players(self, seats: int) -> None:
        logs = [self.output / f"logs/policy_agent_{slot}.log" for slot in range(seats)]
        self.until(lambda: all(log.exists() and "connected" in log.read_text() for log in logs))

    def interrupt(self) -> None:
        os.write(self.leader, b"\x03")

    def end(self) -> tuple[int, list[psutil.Process]]:
        """Wait for the end; the exit code, and the roles that are still there a moment later."""
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=60)
        os.close(self.leader)
        return code, psutil.wait_procs(self.roles, timeout=5)[1]

    def remember_roles(self) -> None:
        self.roles = psutil.Process(self.process.pid).children(recursive=True)


def test_ctrl_c_ends_a_run_in_order_within_its_graces(tmp_path):
    """Roles that do not listen are given their grace and no more; the episode is recorded as cancelled."""
    terminal = Terminal(tmp_path, "ignores_sigterm", "ignores_sigterm", "ignores_sigterm")
    terminal.wait_for_players(2)
    terminal.remember_roles()
    began = time.monotonic()
    terminal.interrupt()
    code, left = terminal.end()
    took = time.monotonic() - began
    assert (code, left) == (130, []), terminal.shown
    # They ignored SIGTERM, so a run that ended sooner would have given them no grace.
    assert 4.0 < took < SHUTDOWN + SLACK
    verdict = json.loads((terminal.output / "episode.json").read_text())["verdict"]
    assert (verdict["reason"], verdict["blame"]) == ("cancelled", "caller")
    assert b"a second signal kills them" in terminal.shown


def test_ctrl_c_twice_ends_a_run_within_two_seconds(tmp_path):
    """In the best of three attempts, for the machine may be busy; in every one of them nothing is left."""
    best = 1e6
    for attempt in range(3):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        terminal = Terminal(directory, "ignores_sigterm", "ignores_sigterm")
        terminal.wait_for_players(1)
        terminal.remember_roles()
        terminal.interrupt()
        terminal.until(lambda terminal=terminal: b"a second signal kills them" in terminal.shown)
        began = time.monotonic()
        terminal.interrupt()
        code, left = terminal.end()
        best = min(best, time.monotonic() - began)
        assert (code, left) == (130, []), terminal.shown
        if best <= 2.0:
            break
    assert best <= 2.0
