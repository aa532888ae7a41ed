"""How a connected TCP socket is set up for small messages in both directions."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

__all__ = ["tune"]

_CONGESTION: Final[int | None] = getattr(socket, "TCP_CONGESTION", None)
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})


def tune(sock: socket.socket) -> None:
    """Send small messages at once, and on loopback without pacing; a Unix socket is left as it is.

    On loopback there is no congestion to control, but algorithms that hosts prefer for the world (bbr) set timers for what they send.
    `reno` does not. To other machines the host's choice stands.
    """
    if sock.family == getattr(socket, "AF_UNIX", None):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A kernel without it keeps what it has, and so does a connection that has gone meanwhile.
    with contextlib.suppress(OSError):
        if _CONGESTION is not None and sock.getpeername()[0] in _LOOPBACK:
            sock.setsockopt(socket.IPPROTO_TCP, _CONGESTION, b"reno")
