"""The kernel's tables: what netlink says is what the text files say."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from coworld_drivers import socket_tables
from coworld_drivers.socket_tables import ANY_STATE, LISTEN, TIME_WAIT, connected_to, of_port


def families() -> list[tuple[int, str]]:
    return [
        (socket.AF_INET, "127.0.0.1"),
        *([(socket.AF_INET6, "::1")] if Path("/proc/net/if_inet6").exists() else []),
    ]


@pytest.fixture(params=["netlink", "text"])
def source(request, monkeypatch):
    """Once as it is, once in a sandbox that has no netlink."""
    if request.param == "text":

        def refuse(*_: object) -> None:
            raise PermissionError

        monkeypatch.setattr(socket_tables.socket, "socket", refuse)
    return request.param


@pytest.fixture(params=families(), ids=lambda param: param[1])
def line(request):
    """A listener, a client of it and the accepted end."""
    family, host = request.param
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket(family))
        server.bind((host, 0))
        server.listen()
        client = stack.enter_context(socket.socket(family))
        client.connect(server.getsockname())
        accepted = stack.enter_context(server.accept()[0])
        yield server, client, accepted


def inode(each: socket.socket) -> int:
    return os.fstat(each.fileno()).st_ino


def test_a_listener_and_its_connections(line, source):
    """Sockets are found by their own port and by the port at their other end, with their own address."""
    server, client, accepted = line
    port = server.getsockname()[1]
    address = socket.inet_pton(server.family, server.getsockname()[0])
    if server.family == socket.AF_INET6 and source == "text":
        # Words in host byte order, as they were.
        assert len(of_port(port)[0].local) == 16
    listening = of_port(port, 1 << LISTEN)
    assert [(entry.state, entry.local, entry.inode) for entry in listening] == [(LISTEN, address, inode(server))]
    assert {entry.inode for entry in of_port(port)} == {inode(server), inode(accepted)}
    assert {entry.inode for entry in connected_to(port)} == {inode(client)}
    assert of_port(port, 1 << TIME_WAIT) == []


def test_both_ways_agree_about_everything(line):
    """Whatever is asked, the two sources give the same."""
    port = line[0].getsockname()[1]
    for local, remote in ((port, 0), (0, port)):
        for states in (ANY_STATE, 1 << LISTEN):
            text = set(socket_tables._from_text(states, local, remote))
            assert set(socket_tables._look(states, local, remote)) == text
            assert bool(text) == (local == port or states == ANY_STATE)


def test_nobody_at_a_port():
    """A port that nobody has gives nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        assert of_port(port) == []
        assert connected_to(port) == []


def test_without_descriptors_nothing_is_known(monkeypatch):
    """A want of descriptors is not taken for a want of netlink."""

    def refuse(*_: object) -> None:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(socket_tables.socket, "socket", refuse)
    with pytest.raises(OSError, match="too many"):
        of_port(1)
