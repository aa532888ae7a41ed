"""The sockets a server listens on."""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Final

import trio

from coworld_protocol.errors import PreconditionMissing

__all__ = ["NO_ROOM", "listen_tcp", "listen_unix"]

_BACKLOG: Final = 1024

NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of `accept` that say nothing about the peer: there will be room when something else ends."""
_LAST_PORT: Final = 65535


async def listen_tcp(host: str, port: int) -> list[socket.socket]:
    """Listening, non-blocking sockets for every address of a host; the caller closes them.

    Args:
        host: name or address.
        port: 0 picks a free one.

    Raises:
        PreconditionMissing: the address cannot be bound.
    """
    if not 0 <= port <= _LAST_PORT:
        # The resolver would take it modulo 65536.
        raise PreconditionMissing(f"The server cannot listen on {host}:{port}.", todo="choose a port from 0 to 65535")
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    except (OSError, ValueError) as error:
        raise PreconditionMissing(
            f"The server cannot listen on {host}:{port}.",
            evidence=str(error),
            todo="choose another port (a game's is COGAME_PORT), or end the program that holds it",
        ) from error
    sockets = []
    for listener in listeners:
        sock = socket.socket(fileno=listener.socket.detach())
        sock.setblocking(False)
        # A peer that vanishes without a word is noticed by the kernel, too; accepted sockets inherit this.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sockets.append(sock)
    return sockets


@contextlib.contextmanager
def listen_unix(path: str) -> Generator[socket.socket, None, None]:
    """A listening, non-blocking Unix socket for its owner only; taken away at the end. A dead socket of that name is replaced.

    Raises:
        PreconditionMissing: the path cannot be bound.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    place = Path(path)
    try:
        try:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(place.lstat().st_mode) and not _answers(path):
                    place.unlink()
            sock.bind(path)
            place.chmod(0o600)
            sock.listen(_BACKLOG)
            sock.setblocking(False)
        except (OSError, ValueError) as error:
            raise PreconditionMissing(
                f"The server cannot listen on the Unix socket {path}.",
                evidence=str(error),
                todo="name a path of at most 107 bytes that nobody uses, in a directory that can be written",
            ) from error
        inode = place.stat().st_ino
        try:
            yield sock
        finally:
            with contextlib.suppress(OSError):
                if place.stat().st_ino == inode:
                    place.unlink()
    finally:
        sock.close()


def _answers(path: str) -> bool:
    """Whether anybody may still listen there: only a refusal says that nobody does, and a full queue blocks."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
        return True
