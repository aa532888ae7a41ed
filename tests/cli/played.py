"""Commands that really play, for tests of those that look at what was played."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.coworlds import quick_manifest, write_coworld

__all__ = ["COMMAND", "command", "play_batch", "until_said"]

COMMAND = [sys.executable, "-m", "coworld_actors"]


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `coworld-actors`."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False, cwd=cwd
    )


def until_said(process: subprocess.Popen[str], log: Path, words: str, seconds: float = 180.0) -> None:
    """Wait until a role of a running command has said it; that the command ends before is a failure."""
    end = time.monotonic() + seconds
    while not (log.exists() and words in log.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"nobody said {words!r}"
        time.sleep(0.05)


def play_batch(directory: Path) -> Path:
    """Three episodes of two seats in `directory/batch`: with seed 43 the game crashes, the others are good."""
    manifest = write_coworld(directory / "coworld", quick_manifest(config={"table": {"43:4": None}, "noise": 0}))
    done = command(
        "run",
        manifest,
        "strong",
        "weak",
        "-n",
        "3",
        "--seed",
        "42",
        "--output",
        directory / "batch",
        "--json",
        cwd=directory,
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["exit_code"] == 1
    return directory / "batch"
