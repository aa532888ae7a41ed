"""Who is connected to a port of this machine: connections from the kernel's tables, their owners from one walk over /proc."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping

from coworld_drivers import socket_tables
from coworld_drivers.driver import Connections
from coworld_drivers.janitor import MARK
from coworld_drivers.ports import sockets_of

__all__ = ["clients", "look"]


def clients(port: int) -> set[int]:
    """Inodes of the sockets that are connected to that port, on the connecting side.

    Raises:
        OSError: the kernel's tables cannot be read.
    """
    # An inode of 0 is a socket that nobody holds.
    return {entry.inode for entry in socket_tables.connected_to(port) if entry.inode}


def look(port: int, groups: Mapping[int, str], mark: str, marks: Mapping[str, str]) -> Connections:
    """Who is connected to the port: a role by its process group, its session or its mark, or this process itself.

    Never raises `OSError`: what cannot be read, for want of a descriptor or of a right, leaves the look incomplete.

    Args:
        port: the port.
        groups: leader of a role's group and session to the role's name, for roles that run.
        mark: what is common to all marks.
        marks: the rest of a role's mark to the role's name, for every role that was ever started.
    """
    try:
        wanted = clients(port)
        names = set(_owners(wanted, groups, mark, marks)) if wanted else set[str]()
    except OSError:
        return Connections(complete=False)
    return Connections(names=frozenset(names), complete=not wanted)


def _owners(wanted: set[int], groups: Mapping[int, str], mark: str, marks: Mapping[str, str]) -> Iterator[str]:
    """The names of those who hold wanted sockets, each of which is removed from `wanted`."""
    wanted -= sockets_of([os.getpid()])
    # Nearly always it is the role's first process.
    for leader, role in groups.items():
        if not wanted:
            return
        if held := wanted & sockets_of([leader]):
            wanted -= held
            yield role
    others: list[int] = []
    for pid in _processes() if wanted else ():
        if not wanted:
            return
        name = _by_group(pid, groups)
        if name is None:
            others.append(pid)
        elif held := wanted & sockets_of([pid]):
            wanted -= held
            yield name
    # Environments are read only for what the groups have not explained: that costs more than all the rest.
    prefix = f"{MARK}={mark}".encode()
    for pid in others:
        if not wanted:
            return
        name = _by_mark(pid, prefix, marks)
        if name is not None and (held := wanted & sockets_of([pid])):
            wanted -= held
            yield name


def _processes() -> list[int]:
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def _by_group(pid: int, groups: Mapping[int, str]) -> str | None:
    # After the command in parentheses, which may contain anything: state, parent, group, session.
    field = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split(maxsplit=4)
    if len(field) < 4:
        return None
    return groups.get(int(field[2])) or groups.get(int(field[3]))


def _by_mark(pid: int, prefix: bytes, marks: Mapping[str, str]) -> str | None:
    for variable in _read(f"/proc/{pid}/environ").split(b"\0"):
        if variable.startswith(prefix):
            number = variable.removeprefix(prefix).partition(b".")[0]
            return marks.get(number.decode(errors="replace"))
    return None


def _read(path: str) -> bytes:
    """A file of a process; nothing when it is gone or not ours to read."""
    try:
        with io.FileIO(path) as file:
            return file.read()
    except OSError:
        return b""
