"""The load generator: strict request and response from the other core.

It must not be the bottleneck. So it is a C program (`load.c`) with one epoll set, a frame that was made beforehand and nothing
to do with what it receives but to count it; its share of its core is part of every result, and the suite measures what it manages
against a C server (`ceiling.c`). Where there is no C compiler, `python_load` does the same and says so.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Literal

import msgspec

from coworld_bench.cores import pin
from coworld_bench.programs import compiled
from coworld_protocol.errors import PreconditionMissing

__all__ = ["Load", "LoadMode", "run_load"]

LoadMode = Literal["echo", "ticks", "raw"]

_SETUP_SECONDS = 60.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator saw after its warm-up.

    Attributes:
        generator: `c` or `python`.
        messages: answered messages.
        seconds: how long was measured.
        cpu_seconds: processor time of the generator meanwhile.
        server_seconds: processor time of the server's main thread meanwhile; 0.0 where the system does not tell.
        p50: median time from a request to its whole answer, in microseconds.
        p90: as p50, ninety percent.
        p99: as p50, ninety-nine percent.
        p999: as p50, 99.9 percent.
        max: the longest, in microseconds.
        least: messages of the connection with the fewest.
        most: messages of the connection with the most.
    """

    generator: str
    messages: int
    seconds: float
    cpu_seconds: float
    server_seconds: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    least: int
    most: int

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def busy(self) -> float:
        """The generator's share of its core, 0..1."""
        return self.cpu_seconds / self.seconds


def run_load(
    mode: LoadMode,
    port: int,
    *,
    connections: int,
    size: int,
    seconds: float,
    warmup: float,
    server: int = 0,
    core: int | None = None,
    python: bool = False,
) -> Load:
    """Load a server on this machine.

    Args:
        mode: `echo`: ask and wait for the echo; `ticks`: wait for a message and answer it; `raw`: echo of bytes without framing.
        port: where it listens on 127.0.0.1.
        connections: at once.
        size: bytes of payload that are sent.
        seconds: measured.
        warmup: seconds before.
        server: its process id; 0: its processor time is not asked for.
        core: core to run on; None: anywhere.
        python: take the Python generator even if there is a C compiler.

    Raises:
        PreconditionMissing: the server did not play along.
    """
    program = None if python else compiled("load")
    command = [sys.executable, "-m", "coworld_bench.python_load"] if program is None else [str(program)]
    command += [mode, "127.0.0.1", str(port), str(connections), str(size), str(warmup), str(seconds), str(server)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        if core is not None:
            pin(core, process.pid)
        try:
            out, err = process.communicate(timeout=warmup + seconds + _SETUP_SECONDS)
        except BaseException as error:
            process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise _failed(mode, "the load generator has waited for an answer for a minute") from error
            raise
    if process.returncode:
        raise _failed(mode, err.decode(errors="replace").strip())
    return msgspec.json.decode(out, type=Load)


def _failed(mode: str, evidence: str) -> PreconditionMissing:
    return PreconditionMissing(
        f"The {mode} server could not be loaded.", evidence=evidence, todo="run it alone with --only to see why"
    )
