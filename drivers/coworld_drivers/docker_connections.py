"""Who is connected to a game in a container: the kernel's table of the game's own network, where the engine is on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from coworld_drivers.driver import Connections

__all__ = ["look", "visible"]

_ESTABLISHED = "01"
_LISTEN = "0A"


def visible(pid: int) -> bool:
    """Whether the process is on this machine, in a network of its own, and the table of that can be read.

    An engine in a virtual machine says numbers that are somebody else's here: mostly of processes in this machine's own network.
    """
    try:
        apart = os.stat(f"/proc/{pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
        with Path(f"/proc/{pid}/net/tcp").open("rb"):
            return pid > 0 and apart
    except OSError:
        return False


def look(pid: int, port: int, names: Mapping[str, str]) -> Connections:
    """Who is connected to `port` in the network of a process.

    Args:
        pid: of any process in the container.
        port: where its server listens.
        names: the roles by their IPv4 address there.

    Returns:
        What is seen; complete only when somebody listens there.
    """
    peers: set[str] = set()
    try:
        # The kernel takes 5 ms of a processor to write one such table, however few connections there are. Players come by IPv4, and
        # that goes to a server of IPv4 where there is one.
        listens = _look_into("tcp", pid, port, peers) or _look_into("tcp6", pid, port, peers)
    except OSError:
        return Connections(complete=False)
    return Connections(names=frozenset(names[peer] for peer in peers & names.keys()), complete=listens)


def _look_into(family: str, pid: int, port: int, peers: set[str]) -> bool:
    """Add the peers of a port's server; returns whether somebody listens there."""
    listens = False
    with Path(f"/proc/{pid}/net/{family}").open(encoding="ascii") as table:
        next(table, None)
        for line in table:
            _, local, remote, state, *_ = line.split()
            if int(local.rpartition(":")[2], 16) != port:
                continue
            listens |= state == _LISTEN
            if state == _ESTABLISHED:
                # An IPv4 address is the last word of an IPv6 one that stands for it; each word is in the machine's byte order.
                peers.add(socket.inet_ntoa(bytes.fromhex(remote.partition(":")[0][-8:])[::-1]))
    return listens
