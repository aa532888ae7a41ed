"""The receiving half of a connection: bytes off a non-blocking socket, for one reader at a time."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from coworld_protocol.ws.outlet import Outlet
from coworld_protocol.ws.spin import NAP_SECONDS, Spinner, spin

if TYPE_CHECKING:
    from coworld_protocol.ws.hub import Place
    from coworld_protocol.ws.tls import Tls

__all__ = ["Inlet"]

# Twice as much is slower: from 128 KiB on every buffer is a memory mapping of its own, which costs 12 us.
_RECEIVE_BYTES: Final = 64 * 1024
_FREE_OPERATIONS: Final = 32
_FREE_SECONDS: Final = 1e-3
# What could not go out is tried again this often while nothing comes in.
_RETRY_SECONDS: Final = 0.05

_clock = time.perf_counter


class Inlet:
    """What comes in on a non-blocking socket.

    Args:
        sock: connected and non-blocking; not closed here.
        tls: the encryption, if any.
        spinner: when to poll before sleeping while an answer is expected; None: never.
        outlet: pushed on now and then while nothing comes in.
        take: digests what came; b"" says that nothing more will.
        place: where to wait together with other sockets; None: by itself.

    Attributes:
        expecting: whether an answer is expected.
        reading: whether a task is reading.
        reads: how often something came.
        parked: tasks that wait for another one's reading; further reasons to wait there are the connection's.
    """

    __slots__ = (
        "_drained",
        "_free",
        "_nap_poll",
        "_outlet",
        "_ready",
        "_recv",
        "_sock",
        "_spinner",
        "_take",
        "_tls",
        "_turn",
        "expecting",
        "parked",
        "reading",
        "reads",
    )

    def __init__(
        self,
        sock: socket.socket,
        tls: Tls | None,
        spinner: Spinner | None,
        outlet: Outlet,
        take: Callable[[bytes], None],
        place: Place | None = None,
    ) -> None:
        self._sock = sock
        self._recv = sock.recv
        self._tls = tls
        self._spinner = spinner
        self._outlet = outlet
        self._take = take
        self._ready = partial(trio.lowlevel.wait_readable, sock) if place is None else place.wait
        self._nap_poll: select.poll | None = None
        self._drained = False
        self._free = _FREE_OPERATIONS
        self._turn = _clock()
        self.expecting = False
        self.reading = False
        self.reads = 0
        self.parked = trio.lowlevel.ParkingLot()

    def owes_checkpoint(self) -> bool:
        """Count one operation that did not wait; whether others have not had their turn for too long."""
        self._free -= 1
        return self._free < 0 or _clock() - self._turn > _FREE_SECONDS

    async def give_way(self) -> None:
        """Let others have their turn."""
        await trio.lowlevel.checkpoint()
        self._free = _FREE_OPERATIONS
        self._turn = _clock()

    async def read(self) -> None:
        """Read once and digest what came; or, while another task reads, wait until it has.

        Returns also when the socket was closed meanwhile, which whoever closed it has noted.
        """
        if self.reading:
            await self.parked.park()
            return
        self.reading = True
        try:
            # After a short read the kernel has nothing unless the peer was quick: waiting finds that out, too, and is
            # a checkpoint.
            data = None if self._drained else self.look()
            if data is None:
                data = (
                    await self._wait()
                    if self._spinner is None or not self.expecting
                    else await self._spin(self._spinner)
                )
            self.reads += 1
            self._take(data)
        except trio.ClosedResourceError:
            return
        finally:
            self.reading = False
            if self.parked:
                self.parked.unpark_all()

    def drain(self) -> None:
        """Digest what has come already, without waiting; a task that is reading goes on to wait for more."""
        while data := self.look():
            self.reads += 1
            self._take(data)

    def look(self) -> bytes | None:
        """What the kernel has; None: nothing yet, b"": nothing ever."""
        try:
            data = self._recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        self._drained = len(data) < _RECEIVE_BYTES
        return data if self._tls is None else self._tls.decrypt(data)

    async def discard(self) -> None:
        """Throw away what comes until the peer closes.

        Raises:
            OSError: the connection broke.
            trio.ClosedResourceError: the socket was closed meanwhile.
            trio.BusyResourceError: another task is waiting for it.
        """
        while True:
            try:
                if not self._recv(_RECEIVE_BYTES):
                    return
            except BlockingIOError:
                await self._ready()

    async def _wait(self) -> bytes:
        while True:
            if self._outlet.waiting:
                with trio.move_on_after(_RETRY_SECONDS):
                    await self._ready()
                self._outlet.push()
            else:
                await self._ready()
            self._free = _FREE_OPERATIONS
            self._turn = _clock()
            data = self.look()
            if data is not None:
                return data

    def _nap(self) -> bytes | None:
        if self._nap_poll is None:
            self._nap_poll = select.poll()
            self._nap_poll.register(self._sock, select.POLLIN)
        return self.look() if self._nap_poll.poll(NAP_SECONDS * 1000) else None

    async def _spin(self, spinner: Spinner) -> bytes:
        if self.owes_checkpoint():
            await self.give_way()
        started = _clock()
        budget = spinner.budget()
        data, caught = spin(self.look, budget) if budget else (None, False)
        if data is None and spinner.naps:
            data = self._nap()
        if data is None:
            data = await self._wait()
        spinner.tell(_clock() - started, polled=budget > 0, caught=caught)
        return data
