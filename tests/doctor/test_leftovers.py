"""What killed runtimes have left in the place of control sockets."""

from __future__ import annotations

import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from coworld_actors.doctor.finding import Status, Surroundings
from coworld_actors.doctor.leftovers import check_sockets
from tests.hosts import own_place


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """An XDG_RUNTIME_DIR with a directory for sockets in it, which nobody else may write to."""
    with own_place() as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
        place = path / "coworld-actors"
        place.mkdir(mode=0o700, exist_ok=True)
        yield place


async def test_a_living_runtime_is_no_leftover(home: Path) -> None:
    """Whoever listens is counted and left alone."""
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(home / "a-1.sock"))
        living.listen()
        (finding,) = await check_sockets(Surroundings())
    assert (finding.status, finding.text) == (Status.OK, "1 runtime is running")


async def test_a_dead_socket_is_told_and_stays(home: Path) -> None:
    """Removing is the business of another command."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home / "b-2.sock"))
    (finding,) = await check_sockets(Surroundings())
    assert finding.status is Status.WARN
    assert "1 killed one has left a socket" in finding.text
    assert "gc" in finding.todo
    assert (home / "b-2.sock").exists()


async def test_a_place_that_others_may_write_to(home: Path) -> None:
    """It is a warning with the reason: no control socket will be made there."""
    home.chmod(0o777)  # noqa: ASYNC240 - a directory in memory
    (finding,) = await check_sockets(Surroundings())
    assert finding.status is Status.WARN
    assert "others may write to it" in finding.text
