"""A scripted `docker` on PATH for tests that provoke what a real one does only at a bad time."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

__all__ = ["FakeDocker"]

PROGRAM = Path(__file__).parent / "programs" / "fake_docker.py"


class FakeDocker:
    """A `docker` of its own in a directory of its own; what no rule is about goes to the real client.

    Args:
        directory: an empty one; it leads the PATH of `environ`.
        rules: as `tests/programs/fake_docker.py` understands them.
        real: path of the real client; None takes that on PATH, or, where there is none, one that always fails.
    """

    def __init__(self, directory: Path, *rules: dict[str, Any], real: str | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.environ = {
            **os.environ,
            "FAKE_DOCKER": str(directory),
            "FAKE_DOCKER_REAL": real or shutil.which("docker") or "/bin/false",
            "PATH": f"{directory}{os.pathsep}{os.environ['PATH']}",
        }
        (directory / "calls").touch()
        self.script(*rules)
        program = directory / "docker"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {PROGRAM} "$@"\n')
        program.chmod(0o755)

    def script(self, *rules: dict[str, Any]) -> None:
        """Other rules from now on; `times` counts anew, and so does `calls`."""
        (self.directory / "calls").write_text("")
        waiting = self.directory / "script.json.new"
        waiting.write_text(json.dumps(rules))
        waiting.replace(self.directory / "script.json")

    @property
    def calls(self) -> list[list[str]]:
        """The words of every call since the last script, in order."""
        return [call["argv"] for call in self._calls()]

    @property
    def pids(self) -> list[int]:
        """The process of every call."""
        return [call["pid"] for call in self._calls()]

    def _calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "calls").read_text().splitlines()]
