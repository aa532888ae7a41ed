"""Choosing ports and telling who holds them."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from coworld_drivers import ports
from coworld_drivers.driver import MachineFault


def test_claimed_ports_differ_and_lie_below_the_kernels_own():
    """Outgoing connections never get a port that was chosen for a role."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    claimed = [ports.claim() for _ in range(200)]
    try:
        assert len(set(claimed)) == 200
        assert all(10_000 <= port < low for port in claimed)
    finally:
        for port in claimed:
            ports.release(port)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_insisted_on_is_claimed_once(address):
    """Not while somebody listens there, and by one role at a time."""
    port = ports.claim()
    ports.release(port)
    with socket.socket() as other:
        other.bind((address, port))
        other.listen()
        assert ports.claim_this(port).errno == errno.EADDRINUSE
    assert ports.claim_this(port) is None
    assert ports.claim_this(port).errno == errno.EADDRINUSE
    assert ports.obstacle(port) is None
    ports.release(port)
    assert ports.claim_this(port) is None
    ports.release(port)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_not_chosen(monkeypatch, address):
    """Somebody who listens, on loopback or everywhere, keeps the port from being chosen."""
    port = ports.claim()
    ports.release(port)
    monkeypatch.setattr(ports.secrets, "randbelow", lambda _: port - 10_000)
    with socket.socket() as other:
        other.bind((address, port))
        other.listen()
        with pytest.raises(MachineFault, match="no free TCP port") as caught:
            ports.claim()
        assert caught.value.todo
    assert ports.claim() == port
    ports.release(port)


@pytest.mark.parametrize(
    ("family", "address", "seen"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", True),
        (socket.AF_INET, "127.0.0.2", False),
    ],
)
def test_who_listens_is_seen(family, address, seen):
    """Every address that a connection to 127.0.0.1 can reach counts, others do not."""
    port = ports.claim()
    try:
        with socket.socket(family) as server:
            server.bind((address, port))
            assert ports.occupants(port, listening=True) == set()
            server.listen()
            inode = os.fstat(server.fileno()).st_ino
            assert ports.occupants(port, listening=True) == ({inode} if seen else set())
            assert ports.occupants(port) == ({inode} if seen else set())
            assert inode in ports.sockets_of_group(os.getpgid(0), "no-such-mark")
        assert ports.occupants(port) == set()
    finally:
        ports.release(port)


def test_connections_count_until_they_are_closed():
    """An open connection with the port as its own end holds it; in TIME_WAIT nobody does."""
    port = ports.claim()
    try:
        with socket.create_server(("127.0.0.1", port)) as server:
            client = socket.create_connection(("127.0.0.1", port))
            accepted, _ = server.accept()
        with client:
            assert ports.occupants(port, listening=True) == set()
            assert ports.occupants(port) == {os.fstat(accepted.fileno()).st_ino}
            accepted.close()
            assert ports.occupants(port) == set()
    finally:
        ports.release(port)


@pytest.mark.parametrize(("text", "start"), [("32768\t60999\n", 32_768), ("1024 65535\n", 60_000), ("", 32_768)])
def test_odd_ranges_of_the_kernel(tmp_path, monkeypatch, text, start):
    """A machine that gives out nearly every port leaves us a range all the same."""
    (tmp_path / "range").write_text(text)
    monkeypatch.setattr(ports, "_RANGE", tmp_path / "range")
    assert ports._ephemeral_start() == start
