"""What killed runtimes have left in the place of control sockets."""

from __future__ import annotations

import socket
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import trio

from coworld_actors.doctor.finding import Status, Surroundings
from coworld_actors.doctor.leftovers import check_remnants
from tests.hosts import own_place


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A directory for sockets in an XDG_RUNTIME_DIR of its own, which nobody else may write to."""
    with own_place() as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
        place = path / "coworld-actors"
        place.mkdir(mode=0o700, exist_ok=True)
        yield place


async def dead_socket(home: Path) -> Path:
    """A socket as a killed runtime leaves it: bound, named after a process that is gone."""
    gone = await trio.run_process([sys.executable, "-c", "import os; print(os.getpid())"], capture_stdout=True)
    path = home / f"match-{gone.stdout.decode().strip()}.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    return path


async def test_nothing_is_left(home: Path) -> None:
    """A runtime that listens is no leftover."""
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(home / "a-1.sock"))
        living.listen()
        (finding,) = await check_remnants(Surroundings())
    assert (finding.status, finding.todo) == (Status.OK, "")


async def test_a_dead_socket_is_told_and_stays(home: Path) -> None:
    """Removing is the business of another command."""
    path = await dead_socket(home)
    (finding,) = await check_remnants(Surroundings())
    assert finding.status is Status.WARN
    assert finding.text == f"1 of dead runs: {path}"
    assert "gc" in finding.todo
    assert path.exists()


async def test_a_place_that_others_may_write_to(home: Path) -> None:
    """It is a warning with the reason: no control socket will be made there."""
    home.chmod(0o777)  # noqa: ASYNC240 - a directory in memory
    (finding,) = await check_remnants(Surroundings())
    assert finding.status is Status.WARN
    assert "others may write to it" in finding.text
