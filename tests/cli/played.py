"""A small batch that has really been played, for the commands that look at one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.coworlds import quick_manifest, write_coworld

__all__ = ["COMMAND", "command", "play_batch"]

COMMAND = [sys.executable, "-m", "coworld_actors"]


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `coworld-actors`."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False, cwd=cwd
    )


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
