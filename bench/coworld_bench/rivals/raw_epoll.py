"""Sockets and epoll, no framing, no event loop: what Python itself can do."""

from __future__ import annotations

import select
import socket

from coworld_bench.rivals.job import Job, listen, ready

__all__ = ["echo"]

_RECEIVE_BYTES = 64 * 1024


def echo(job: Job) -> None:
    """Serve until killed."""
    del job
    listener = listen()
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    sockets: dict[int, socket.socket] = {}
    outboxes: dict[int, bytes] = {}
    ready(listener.getsockname()[1])
    while True:
        for fd, _ in poll.poll():
            sock = sockets.get(fd)
            if sock is None:
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sockets[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
                continue
            try:
                data = outboxes.pop(fd, b"") or sock.recv(_RECEIVE_BYTES)
                sent = sock.send(data) if data else 0
            except BlockingIOError:
                continue
            except OSError:
                data, sent = b"", 0
            if not data:
                del sockets[fd]
                sock.close()
            elif sent < len(data):
                outboxes[fd] = data[sent:]
                poll.modify(fd, select.EPOLLOUT)
            else:
                poll.modify(fd, select.EPOLLIN) if _ != select.EPOLLIN else None
