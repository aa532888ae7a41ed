"""TCP ports of this machine: choosing a free one, and proving who listens there."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from coworld_drivers import socket_tables
from coworld_drivers.driver import MachineFault
from coworld_drivers.janitor import marked

__all__ = ["HOST", "claim", "claim_this", "obstacle", "occupants", "release", "sockets_of", "sockets_of_group"]

HOST = "127.0.0.1"

_FIRST = 10_000
_ATTEMPTS = 500
# 127.0.0.1 and every address, each also as IPv6 has it.
_LOCAL = frozenset(
    {
        bytes([127, 0, 0, 1]),
        bytes(4),
        bytes(16),
        b"\0" * 10 + b"\xff\xff" + bytes([127, 0, 0, 1]),
        b"\0" * 10 + b"\xff\xff" + bytes(4),
    }
)
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

# Ports are the machine's, so what we hold is known once per process, whatever number of drivers and threads there is.
_held: set[int] = set()
_held_lock = threading.Lock()
# A fork waits for it, so that no child begins with a lock that nobody will release.
os.register_at_fork(before=_held_lock.acquire, after_in_parent=_held_lock.release, after_in_child=_held_lock.release)


def claim() -> int:
    """Choose a port of 127.0.0.1 that nobody uses and no other role of this process holds.

    It lies below the range from which the kernel gives ports to outgoing connections: in it, any player's connection could
    take the port between this choice and the role's `listen`.

    Raises:
        MachineFault: no port is free.
        OSError: there is no descriptor left to try with.
    """
    last = _ephemeral_start() - 1
    for _ in range(_ATTEMPTS):
        port = _FIRST + secrets.randbelow(last - _FIRST)
        with _held_lock:
            if port in _held or not _is_free(port):
                continue
            _held.add(port)
            return port
    raise MachineFault(
        "no free TCP port was found",
        evidence=f"{_ATTEMPTS} ports between {_FIRST} and {last} of {HOST} are in use",
        todo="end other servers of this machine, or run fewer episodes at a time",
    )


def claim_this(port: int) -> OSError | None:
    """Claim a port that a role insists on; what keeps it from listening there, or None when it is claimed."""
    with _held_lock:
        if port in _held:
            return OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        error = obstacle(port)
        if error is None:
            _held.add(port)
        return error


def obstacle(port: int) -> OSError | None:
    """What keeps a server from listening at that port of 127.0.0.1; None when nothing does."""
    with socket.socket() as probe:
        # Connections of a server of before that are in TIME_WAIT keep no server away that looks out for itself.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
    return None


def release(port: int) -> None:
    """Give a claimed port back."""
    with _held_lock:
        _held.discard(port)


def _is_free(port: int) -> bool:
    # Without SO_REUSEADDR: a role may not set it, and then fails on connections in TIME_WAIT as this does.
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def occupants(port: int, *, listening: bool = False) -> set[int]:
    """Inodes of the sockets with that local port on 127.0.0.1 or on every address.

    Args:
        port: the port.
        listening: only those in LISTEN; otherwise also connections, those in TIME_WAIT excepted.

    Raises:
        OSError: the kernel's tables cannot be read; nothing is known then.
    """
    states = 1 << socket_tables.LISTEN if listening else socket_tables.ANY_STATE & ~(1 << socket_tables.TIME_WAIT)
    return {entry.inode for entry in socket_tables.of_port(port, states) if entry.inode and entry.local in _LOCAL}


def sockets_of_group(group: int, mark: str) -> set[int]:
    """Inodes of the sockets held by a process group, its session, and whatever carries the mark.

    Raises:
        OSError: the list of processes cannot be read.
    """
    return sockets_of({*_members(group), *marked(mark)})


def _members(group: int) -> list[int]:
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # After the command in parentheses, which may contain anything: state, parent, group, session.
            field = (place / "stat").read_bytes().rpartition(b")")[2].split()
            if group in (int(field[2]), int(field[3])):
                found.append(int(place.name))
    return found


def sockets_of(pids: Iterable[int]) -> set[int]:
    """Inodes of the sockets held by these processes; without those of a process that is gone or not ours to look at."""
    found: set[int] = set()
    for pid in pids:
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    target = os.readlink(entry.path)  # noqa: PTH115 - thousands of them in every look
                    if target.startswith("socket:["):
                        found.add(int(target[8:-1]))
    return found


def _ephemeral_start() -> int:
    try:
        low = int(_RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        low = 32_768
    # A machine that gives out nearly everything leaves us the same range as everybody else.
    return low if low >= _FIRST + 2_000 else 60_000
