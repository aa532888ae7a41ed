"""Rivals as processes: started, pinned to their core, asked for their port, ended."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from coworld_bench.cores import pin
from coworld_bench.programs import compiled
from coworld_bench.rivals import Mode, Rival
from coworld_protocol.errors import PreconditionMissing

__all__ = ["Contestant", "rival_command", "started"]

_START_SECONDS = 60.0
_EXCERPT = 300


class Contestant:
    """A running process of the benchmark.

    Args:
        command: what to run.
        core: where; None: anywhere.
        environ: variables beside our own.
        cwd: where it works.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._words = " ".join(command)
        # What it complains of is shown when it fails; libraries also complain of every connection that just ends.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, **(environ or {})},
            cwd=cwd,
        )
        if core is not None:
            pin(core, self._process.pid)
        self._text = b""

    def port(self) -> int:
        """The port it listens on; waits until it says so.

        Raises:
            PreconditionMissing: it did not say so.
        """
        return int(self.line("ready ", _START_SECONDS).removeprefix("ready "))

    def line(self, start: str, seconds: float) -> str:
        """The next line on its standard output that begins with `start`; others are passed over.

        Raises:
            PreconditionMissing: it ended, or there was none in time.
        """
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        end = time.monotonic() + seconds
        while True:
            line, found, rest = self._text.partition(b"\n")
            if found:
                self._text = rest
                text = line.decode(errors="replace")
                if text.startswith(start):
                    return text
                continue
            ready, _, _ = select.select([fd], [], [], max(0.0, end - time.monotonic()))
            data = os.read(fd, 65536) if ready else b""
            if not data:
                raise PreconditionMissing(
                    f"{self._words} {'ended' if ready else 'said nothing'}.",
                    evidence=self._last_words(),
                    todo="run it by hand to see why",
                )
            self._text += data

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """End it, if it has not ended, and give its pipes back."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    def _last_words(self) -> str:
        self._complaints.seek(0)
        return " ".join(self._complaints.read().decode(errors="replace").split())[-_EXCERPT:]


def rival_command(rival: Rival, mode: Mode, **options: object) -> list[str]:
    """How to start a rival; `options` are those of `rivals.job.Job`."""
    if not rival.module:
        program = compiled("ceiling")
        assert program is not None
        return [str(program), "raw" if rival.raw else "ws"]
    given = [word for key, value in options.items() if value != "" for word in (f"--{key}", str(value))]
    return [sys.executable, "-m", "coworld_bench.rivals", rival.name, mode, *given]


@contextlib.contextmanager
def started(
    commands: Mapping[str, Sequence[str]], *, core: int | None = None, environ: Mapping[str, str] | None = None
) -> Generator[dict[str, Contestant]]:
    """Several processes while the block runs."""
    running: dict[str, Contestant] = {}
    try:
        for name, command in commands.items():
            running[name] = Contestant(command, core=core, environ=environ)
        yield running
    finally:
        for contestant in running.values():
            contestant.close()
