"""The bytes of one connection of a server: written at once where the kernel takes them, kept in order where it does not.

Nothing here waits. A `Wire` tells its poll set when it has something left to write, and whoever polls calls `flush`.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from typing import Final, Protocol

__all__ = ["PollSet", "Wire"]

_WRITE_BYTES: Final = 256 * 1024


class PollSet(Protocol):
    """What a `Wire` needs of `select.epoll`."""

    def modify(self, fd: int, eventmask: int) -> None:
        """Change what a registered descriptor is watched for."""
        ...

    def unregister(self, fd: int) -> None:
        """Watch a descriptor no more."""
        ...


class Wire:
    """A non-blocking stream socket with an outbox.

    Args:
        sock: connected and non-blocking; closed by `close`.
        poll: where the socket is registered for `EPOLLIN`.

    Attributes:
        fd: the descriptor.
        recv: reads; `socket.recv`.
        waiting: bytes in the outbox.
        spared: how many of them are left of the one write that found the outbox empty.
        open: False once the peer is gone or `close` was called.
        taken: bytes that have left the outbox since the beginning.
        emptied: how often the outbox has become empty.
    """

    __slots__ = (
        "_interest",
        "_offset",
        "_outbox",
        "_poll",
        "_send",
        "_sock",
        "emptied",
        "fd",
        "open",
        "recv",
        "spared",
        "taken",
        "waiting",
    )

    def __init__(self, sock: socket.socket, poll: PollSet) -> None:
        self._sock = sock
        self._poll = poll
        self._send = sock.send
        self.recv = sock.recv
        self.fd = sock.fileno()
        self._outbox: deque[bytes] = deque()
        self._offset = 0
        self._interest = select.EPOLLIN
        self.waiting = 0
        self.spared = 0
        self.open = True
        self.taken = 0
        self.emptied = 0

    def write(self, data: bytes) -> bool:
        """Send `data` after everything before it; what the kernel does not take now waits in the outbox.

        Returns:
            Whether the kernel has it all.
        """
        if self.waiting:
            self._outbox.append(data)
            self.waiting += len(data)
            return False
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.open = False
            return False
        if sent == len(data):
            return True
        # The rest is kept as it is and not copied: a frame may be shared by hundreds of receivers.
        self._outbox.append(data)
        self._offset = sent
        self.waiting = self.spared = len(data) - sent
        self.watch(reading=bool(self._interest & select.EPOLLIN))
        return False

    def flush(self) -> None:
        """Write what the kernel takes now."""
        outbox = self._outbox
        while outbox:
            data = outbox[0]
            if self._offset:
                part: bytes | memoryview = memoryview(data)[self._offset : self._offset + _WRITE_BYTES]
            elif len(outbox) > 1 and len(data) < _WRITE_BYTES:
                part = data = self._gather()
            else:
                part = memoryview(data)[:_WRITE_BYTES]
            try:
                sent = self._send(part)
            except BlockingIOError:
                return
            except OSError:
                self.open = False
                return
            self.waiting -= sent
            # First in, first out: what was spared is in front of all the rest.
            self.spared = max(self.spared - sent, 0)
            self.taken += sent
            self._offset += sent
            if self._offset == len(data):
                self._offset = 0
                outbox.popleft()
            if sent < len(part):
                return
        self.emptied += 1
        self.watch(reading=bool(self._interest & select.EPOLLIN))

    def _gather(self) -> bytes:
        """Join small pieces at the front, so that a system call is worth its while."""
        pieces, size = [], 0
        while self._outbox and size + len(self._outbox[0]) <= _WRITE_BYTES:
            piece = self._outbox.popleft()
            pieces.append(piece)
            size += len(piece)
        joined = b"".join(pieces)
        self._outbox.appendleft(joined)
        return joined

    def watch(self, *, reading: bool, writing: bool = False) -> None:
        """Watch for bytes to read, or not; for room to write when asked to, and whenever something waits."""
        interest = (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if writing or self.waiting else 0)
        if interest != self._interest and self.open:
            self._interest = interest
            self._poll.modify(self.fd, interest)

    def end_writing(self) -> None:
        """Tell the peer that nothing more will come."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.open = False

    def close(self) -> None:
        """Give the descriptor back; what waits is lost. Twice does nothing."""
        self.open = False
        self._outbox.clear()
        self.waiting = self.spared = 0
        if self._sock.fileno() >= 0:
            # Not left to the close: where a forked child holds a copy the set would go on to report the descriptor, and the
            # peer would wait for the child's end.
            self._poll.unregister(self.fd)
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            self._sock.close()
