"""Who is connected to a port, and whether that is all of them."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from coworld_drivers import connections
from coworld_drivers.connections import clients, look
from coworld_drivers.driver import Connections
from coworld_drivers.janitor import MARK

DIAL = """
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
sys.stdin.read()
"""


@contextmanager
def dialler(port: int, *, mark: str = "", before: str = "") -> Generator[int]:
    """A process in a session of its own that is connected to the port; yields its id."""
    code = f"import os, socket, sys\n{before}\n{DIAL}"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, MARK: mark},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"connected\n"
        yield process.pid
        process.communicate()


@pytest.fixture
def port() -> Generator[int]:
    """A port that is listened on."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]


def test_only_the_connecting_side_counts():
    """The accepting side of a connection is no client."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert clients(port) == set()
        with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as accepted:
            assert clients(port) == {os.fstat(client.fileno()).st_ino}
            assert clients(port) != {os.fstat(accepted.fileno()).st_ino}
        assert clients(port) == set()


def test_a_role_is_told_by_group_session_and_mark(port):
    """Each of the three is enough, and each names its own role."""
    with (
        dialler(port) as leader,
        dialler(port, mark="run.1.7") as marked,
        dialler(port, mark="run.1.8.inner") as nested,
    ):
        assert len({leader, marked, nested}) == 3
        seen = look(port, {leader: "grouped"}, "run.1.", {"7": "marked", "8": "nested", "9": "absent"})
    assert seen == Connections(names=frozenset({"grouped", "marked", "nested"}), complete=True)


def test_a_session_is_enough(port):
    """A process that left its role's group but not its session belongs to the role."""
    with dialler(port, before="if os.fork(): sys.exit(os.waitpid(-1, 0)[1])\nos.setpgid(0, 0)") as leader:
        assert look(port, {leader: "player"}, "run.", {}) == Connections(names=frozenset({"player"}), complete=True)


@pytest.mark.parametrize("mark", ["", "run.2.7", "run.1.70", "other"])
def test_a_stranger_is_nobody_and_leaves_the_look_incomplete(port, mark):
    """Whoever it is may be a role's, so who is not named may be connected all the same."""
    with dialler(port, mark=mark), dialler(port) as leader:
        assert look(port, {leader: "player"}, "run.1.", {"7": "marked"}) == Connections(
            names=frozenset({"player"}), complete=False
        )
    assert look(port, {}, "run.1.", {"7": "marked"}) == Connections(complete=True)


def test_our_own_connections_are_no_strangers(port):
    """This process watches the game over connections of its own."""
    with socket.create_connection(("127.0.0.1", port)):
        assert look(port, {}, "run.", {}) == Connections(complete=True)


def test_a_connection_that_ends_during_the_look_leaves_it_incomplete(port, monkeypatch):
    """Nobody knows any more whose it was."""
    connection = socket.create_connection(("127.0.0.1", port))
    found = clients(port)
    connection.close()
    monkeypatch.setattr(connections, "clients", lambda _: found)
    assert look(port, {}, "run.", {}) == Connections(complete=False)


@pytest.mark.parametrize(
    ("spare", "expected"),
    [(0, Connections(complete=False)), (1, Connections(names=frozenset({"player"}), complete=True))],
)
def test_without_descriptors_nothing_is_known(port, spare, expected):
    """With none left no name is made up, the look is not complete, and nothing is raised; a single one is enough."""
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    with dialler(port) as leader:
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare, kept[1]))
        try:
            assert look(port, {leader: "player"}, "run.", {}) == expected
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, kept)


def test_a_descriptor_that_is_missing_in_the_middle_leaves_the_look_incomplete(port, monkeypatch):
    """The tables were read, the processes cannot be."""

    def refuse(_: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with dialler(port) as leader:
        monkeypatch.setattr(connections.os, "scandir", refuse)
        assert look(port, {leader: "player"}, "run.", {}) == Connections(complete=False)
