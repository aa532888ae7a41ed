"""`coworld_protocol.ws.listening`: the sockets that a server listens on, and what happens when it cannot."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

import pytest

from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.ws.listening import listen_tcp, listen_unix


@pytest.fixture
def path(tmp_path, monkeypatch) -> str:
    """A short path: a Unix socket's has at most 107 bytes."""
    monkeypatch.chdir(tmp_path)
    return "game.sock"


def dial(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(path)
    return sock


async def test_a_host_is_listened_on_without_blocking():
    """Port 0 picks a free one; accepting does not block, and what is accepted is watched by the kernel."""
    (listener,) = await listen_tcp("127.0.0.1", 0)
    with listener:
        with pytest.raises(BlockingIOError):
            listener.accept()
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("host", ["256.1.1.1", "192.0.2.1", "x" * 64])
async def test_an_address_that_is_not_ours_is_a_sentence(host):
    """What cannot be bound is named, with what to do."""
    with pytest.raises(PreconditionMissing, match=host) as caught:
        await listen_tcp(host, 0)
    assert "port" in caught.value.todo


async def test_a_port_out_of_range_is_a_sentence():
    """So is a port that no machine has."""
    with pytest.raises(PreconditionMissing, match="70000"):
        await listen_tcp("127.0.0.1", 70000)


def test_a_unix_socket_is_its_owners_and_goes_at_the_end(path):
    """Others cannot connect while it is there, and nothing is left behind."""
    with listen_unix(path) as listener:
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        with pytest.raises(BlockingIOError):
            listener.accept()
        dial(path).close()
    assert not Path(path).exists()


def test_a_dead_socket_is_replaced(path):
    """What a killed server left behind is in nobody's way."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(path)
        dead.listen()
    assert Path(path).exists()
    with listen_unix(path):
        dial(path).close()


def test_a_living_socket_is_left_alone(path):
    """Where somebody listens nobody else does, also when that one has no time to accept."""
    with listen_unix(path), contextlib.ExitStack() as stack:
        with pytest.raises(PreconditionMissing, match=r"game\.sock"), listen_unix(path):
            pass
        # A full queue: the kernel lets nobody connect any more.
        with contextlib.suppress(BlockingIOError):
            for _ in range(5000):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                sock.setblocking(False)
                sock.connect(path)
            pytest.fail("the queue has no end")
        with pytest.raises(PreconditionMissing), listen_unix(path):
            pass
        assert Path(path).exists()


def test_a_file_is_never_taken_away(path):
    """A path that is no socket is refused, and stays."""
    Path(path).write_text("precious")
    with pytest.raises(PreconditionMissing), listen_unix(path):
        pass
    assert Path(path).read_text() == "precious"


def test_a_link_is_never_followed(path, tmp_path):
    """A link in place of the socket is refused, and what it leads to stays, dead socket or not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind("elsewhere")
    Path(path).symlink_to("elsewhere")
    with pytest.raises(PreconditionMissing), listen_unix(path):
        pass
    assert Path("elsewhere").is_socket()


def test_the_successors_socket_is_not_taken_away(path):
    """A server whose path was taken over meanwhile leaves it to the one that has it."""
    with contextlib.ExitStack() as stack:
        with listen_unix(path):
            Path(path).unlink()
            stack.enter_context(listen_unix(path))
        dial(path).close()
    assert not Path(path).exists()


@pytest.mark.parametrize("bad", ["x" * 108, "no/such/folder/game.sock", "y" * 5000, "a\0b"])
def test_a_path_that_cannot_be_bound_is_a_sentence(path, bad):
    """Too long or nowhere: the error names the limit, and no descriptor is left."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PreconditionMissing, match="Unix socket") as caught, listen_unix(bad):
        pass
    assert "107" in caught.value.todo
    assert len(os.listdir("/proc/self/fd")) == before
