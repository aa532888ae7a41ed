"""Sockets for small messages."""

from __future__ import annotations

import socket
from pathlib import Path

from coworld_protocol.ws.tuning import tune


def test_small_messages_leave_at_once():
    """A tuned connection does not wait for more to send, and on loopback it does without a paced algorithm."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client, server.accept()[0] as accepted:
            tune(accepted)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            chosen = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
            allowed = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
            assert chosen == b"reno" or (allowed.exists() and "reno" not in allowed.read_text().split())
            client.close()
            tune(accepted)
