"""What belongs to one process and is not passed on by `os.fork`.

A forked child (multiprocessing, a data loader's worker, a pre-forking server) has copies of its parent's objects: of drivers,
of runtimes, of pipes to the janitor. Through them it could kill the parent's roles, speak to the parent's janitor, or wait for
an event loop whose thread it does not have. So everything that acts on the outside asks its `Owner` first.

No protection exists for a child that was forked inside of a running event loop and goes on to run that loop: the two share one
epoll set, whoever they are. Such a child has to leave by `os._exit` or `exec`, as those of multiprocessing do.
"""

from __future__ import annotations

import os

from coworld_protocol.errors import Refused

__all__ = ["ForkedProcess", "Owner"]


class ForkedProcess(Refused):
    """A forked child used what is its parent's; nothing was done."""


class Owner:
    """The process that makes this; to be kept by what belongs to it.

    Args:
        what: what it is, as a noun without article: `runtime`, `process driver`.

    Attributes:
        pid: that process.
    """

    __slots__ = ("_what", "pid")

    def __init__(self, what: str) -> None:
        self._what = what
        self.pid = os.getpid()

    @property
    def here(self) -> bool:
        """Whether the calling process is the one."""
        return os.getpid() == self.pid

    def require(self) -> None:
        """Return if the calling process is the one.

        Raises:
            ForkedProcess: it is not.
        """
        if not self.here:
            raise ForkedProcess(
                f"this {self._what} belongs to process {self.pid} and does not survive a fork",
                evidence=f"it was used in process {os.getpid()}",
                todo=f"make a {self._what} in the child, or use the 'spawn' start method of multiprocessing",
            )
