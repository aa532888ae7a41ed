"""What an engine holds, for tests that play whole episodes in containers, and a caller who is not root."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Caller", "gone", "left_of", "made_by", "ordinary_user", "run_of"]

USER = 4242
"""A user and a group that no machine has."""

ASK_SECONDS = 60


class Caller(NamedTuple):
    """Who runs the command.

    Attributes:
        uid: of all that it writes.
        words: to be put before a command.
    """

    uid: int
    words: tuple[str, ...]


def ordinary_user() -> Caller:
    """Whoever runs the tests; when that is root, somebody else who may read what root may, and may ask the engine."""
    if os.geteuid() != 0:
        return Caller(os.geteuid(), ())
    program = shutil.which("setpriv")
    assert program is not None, "needs setpriv: apt-get install util-linux"
    socket = Path("/var/run/docker.sock")
    assert socket.exists(), "needs an engine on this machine"
    # Python and this checkout may be below root's own home.
    capabilities = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    user = ("--reuid", str(USER), "--regid", str(USER), "--groups", str(socket.stat().st_gid))
    return Caller(USER, (program, *user, *capabilities, "--"))


def left_of(label: str) -> list[str]:
    """Containers, running or not, and networks with a label such as `coworld.episode=ID`."""
    asked = ("--filter", f"label={label}", "--format")
    containers = _ask("container", "ls", "--all", *asked, "{{.Names}}")
    return [*containers, *_ask("network", "ls", *asked, "{{.Name}}")]


def gone(label: str, seconds: float) -> bool:
    """Whether nothing with a label is left, or soon will be."""
    end = time.monotonic() + seconds
    while left_of(label):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def run_of(episode: str) -> str:
    """The value of the label `coworld.run` of an episode that is being played."""
    asked = ("container", "ls", "--all", "--filter", f"label=coworld.episode={episode}")
    found = set(_ask(*asked, "--format", '{{.Label "coworld.run"}}'))
    assert len(found) == 1, found
    return found.pop()


def made_by(pid: int) -> list[str]:
    """Containers, running or not, and networks that a process of this machine has made and that are there."""
    owner = '{{.Label "coworld.owner"}}'
    listed = [*_lines("container", "ls", "--all", "--format", f"{{{{.Names}}}} {owner}")]
    listed += _lines("network", "ls", "--filter", "label=coworld.owner", "--format", f"{{{{.Name}}}} {owner}")
    return [line.split()[0] for line in listed if f":{pid}:" in line]


def _lines(*words: str) -> Sequence[str]:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True, timeout=ASK_SECONDS)
    return done.stdout.splitlines()


def _ask(*words: str) -> Sequence[str]:
    return [word for line in _lines(*words) for word in line.split()]
