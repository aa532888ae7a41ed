"""Pages and websockets of a whole game on one port: one task, one epoll set, many connections per wake-up.

What costs in a websocket server is a task switch and a checkpoint per message, so there are none: whenever a socket is readable
the pump reads once, hands every whole message to the application by a plain call, and what the application sends goes to the
kernel in the same call. When every ready socket had its turn the application is told that things have `settled`. trio gets
control when nothing is ready, and at least once per millisecond of work.

What a peer may cost is bounded by `ws.web.Limits`. Its deadlines are looked at a few times per second, always after everything
that had arrived was read, and by a clock that goes on by at most one period from one look to the next: a program that was busy
for a minute does not blame its peers for their silence.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections import deque
from typing import Final, NoReturn

import trio

from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.ws.listening import NO_ROOM, listen_tcp, listen_unix
from coworld_protocol.ws.peer import Peer
from coworld_protocol.ws.server_socket import Tally
from coworld_protocol.ws.spin import NAP_SECONDS, Spinner, make_spinner, spin
from coworld_protocol.ws.tuning import tune
from coworld_protocol.ws.web import Application, Limits
from coworld_protocol.ws.wire import Wire

__all__ = ["serve"]

_EVENTS: Final = 256
_ACCEPTS: Final = 64
_clock = time.perf_counter
_SHARE_SECONDS: Final = 1e-3
"""Work after which other tasks get their turn."""
_SWEEP_SHARE: Final = 4
"""Sweeps per shortest deadline."""


class _Pump:
    def __init__(
        self, application: Application, limits: Limits, listeners: list[socket.socket], spinner: Spinner
    ) -> None:
        self._application = application
        self._limits = limits
        self._spinner = spinner
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._epoll = select.epoll()
        self._peers: dict[int, Peer] = {}
        self._tally = Tally()
        self._ended: deque[tuple[Peer, int]] = deque()
        # Wakes the pump when something ends outside of its own calls.
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._asleep = False
        self._accepting = False
        self._turn = 0.0  # when other tasks had theirs
        shortest = min(limits.header_seconds, limits.outbox_seconds, limits.close_seconds)
        if limits.ping_seconds:
            shortest = min(shortest, limits.ping_seconds, limits.pong_seconds)
        self._period = min(max(shortest / _SWEEP_SHARE, 0.01), 1.0)
        self._batches_to_sweep: int | None = None  # None: no sweep is due
        self._swept = _clock()
        self._patience = 0.0  # the time that peers have had

    async def run(self, task_status: trio.TaskStatus[int]) -> NoReturn:
        """Serve until cancelled."""
        try:
            self._accept_again()
            task_status.started(next(iter(self._listeners.values())).getsockname()[1])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._call_for_sweeps)
                await self._work()
        finally:
            self._close()

    def _close(self) -> None:
        """Give every descriptor back; the application is told of every end, as promised. Nothing here blocks."""
        self._asleep = False
        for peer in list(self._peers.values()):
            peer.lose()
        errors: list[Exception] = []
        while self._ended:
            try:
                self._tell_ended()
            except Exception as error:  # noqa: BLE001 - the others are told all the same
                errors.append(error)
        for peer in self._peers.values():
            peer.wire.close()
        self._epoll.close()
        os.close(self._bell)
        if errors:
            raise ExceptionGroup("The application failed when it was told of the end of its websockets.", errors)

    async def _work(self) -> NoReturn:
        poll, peers, tally, settled, clock = (
            self._epoll.poll,
            self._peers,
            self._tally,
            self._application.settled,
            _clock,
        )
        self._turn = clock()
        while True:
            events = poll(0, _EVENTS) or await self._wait()
            # What is read from here on had arrived by now.
            now = clock()
            if now - self._turn > _SHARE_SECONDS:
                await trio.lowlevel.checkpoint()
                self._turn = clock()
            tally.spoke = strangers = False
            for fd, mask in events:
                peer = peers.get(fd)
                if peer is None:
                    strangers = True
                    continue
                peer.serve(mask)
                if peer.gone:
                    self._forget(peer)
            if strangers:
                # Last, because a new connection may get the descriptor of one that has just gone.
                self._serve_strangers({fd for fd, _ in events})
            if self._batches_to_sweep is not None:
                # The kernel goes round: after that many batches everybody who was ready had a turn.
                self._batches_to_sweep -= 1
                if len(events) < _EVENTS or self._batches_to_sweep < 0:
                    self._sweep(now)
            if self._ended:
                self._tell_ended()
            settled()
            while self._ended:
                self._tell_ended()
                settled()

    def _tell_ended(self) -> None:
        """Tell the application which websockets have ended."""
        while self._ended:
            peer, code = self._ended.popleft()
            assert peer.socket is not None
            peer.socket.endpoint.closed(code)
            if not peer.socket.broken:
                peer.part()
            elif self._peers.get(peer.wire.fd) is peer:
                self._forget(peer)

    async def _wait(self) -> list[tuple[int, int]]:
        """Wait until something is ready: by looking again and again while an answer is expected and that pays, else asleep."""
        expecting = self._tally.spoke
        budget = self._spinner.budget() if expecting else 0.0
        started = _clock()
        events: list[tuple[int, int]] | None = None
        caught = False
        if budget:
            events, caught = spin(self._look, budget)
        if events is None and expecting and self._spinner.naps:
            events = self._epoll.poll(NAP_SECONDS, _EVENTS) or None
        if events is None:
            self._asleep = True
            try:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            finally:
                self._asleep = False
            self._turn = _clock()
            events = self._epoll.poll(0, _EVENTS)
        if expecting:
            self._spinner.tell(_clock() - started, polled=budget > 0, caught=caught)
        return events

    def _look(self) -> list[tuple[int, int]] | None:
        return self._epoll.poll(0, _EVENTS) or None

    def _serve_strangers(self, ready: set[int]) -> None:
        """What is ready and no peer: the bell and the listeners."""
        if self._bell in ready:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._bell)
        for fd in ready & self._listeners.keys():
            self._accept(self._listeners[fd])

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            if len(self._peers) >= self._limits.connections:
                self._accept_no_more()
                return
            try:
                sock, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_ROOM:
                    # Tried again with the next sweep, or when a connection ends.
                    self._accept_no_more()
                    return
                continue  # that one was gone before it was taken
            try:
                sock.setblocking(False)
                tune(sock)
                self._epoll.register(sock.fileno(), select.EPOLLIN)
            except OSError:  # the kernel has no room to watch one more
                sock.close()
                self._accept_no_more()
                return
            wire = Wire(sock, self._epoll)
            self._peers[wire.fd] = Peer(wire, self._application, self._limits, self._tally, self._note_end)

    def _accept_no_more(self) -> None:
        if self._accepting:
            self._accepting = False
            for fd in self._listeners:
                self._epoll.unregister(fd)

    def _accept_again(self) -> None:
        if not self._accepting and len(self._peers) < self._limits.connections:
            self._accepting = True
            for fd in self._listeners:
                self._epoll.register(fd, select.EPOLLIN)

    def _forget(self, peer: Peer) -> None:
        del self._peers[peer.wire.fd]
        peer.wire.close()
        self._accept_again()

    def _note_end(self, peer: Peer, code: int) -> None:
        """A websocket has got its last message; the application hears of it when it is in no call of ours."""
        self._ended.append((peer, code))
        if self._asleep:
            os.eventfd_write(self._bell, 1)

    async def _call_for_sweeps(self) -> NoReturn:
        while True:
            await trio.sleep(self._period)
            if self._batches_to_sweep is None:
                self._batches_to_sweep = len(self._peers) // _EVENTS + 1
            os.eventfd_write(self._bell, 1)

    def _sweep(self, now: float) -> None:
        self._batches_to_sweep = None
        self._patience += min(now - self._swept, self._period)
        self._swept = now
        for peer in list(self._peers.values()):
            peer.sweep(self._patience, self._patience + self._period)
            if peer.gone:
                self._forget(peer)
        self._accept_again()


async def serve(
    application: Application,
    *,
    host: str,
    port: int,
    limits: Limits | None = None,
    unix: str | None = None,
    spin: bool | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; start it with `nursery.start`, which returns the port that was bound.

    Args:
        application: answers requests and takes websockets.
        host: address to listen on.
        port: 0 picks a free one.
        limits: what one connection may cost.
        unix: path of a Unix socket to listen on as well; made new, taken away at the end.
        spin: False never polls in place of sleeping; None and True leave that to the environment and to measurement (`ws.spin`).
        task_status: told the bound port once connections are accepted.

    Raises:
        ExceptionGroup: the application raised; every websocket has ended and been told so, and every descriptor is given back.
        PreconditionMissing: an address cannot be bound, or the system has no epoll.
        Refused: the environment's switch for polling has an unknown value.
    """
    if not hasattr(select, "epoll"):
        raise PreconditionMissing("This system has no epoll.", todo="serve games on Linux; players run anywhere")
    spinner = make_spinner(spin)
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in await listen_tcp(host, port)]
        if unix is not None:
            listeners.append(stack.enter_context(listen_unix(unix)))
        pump = _Pump(application, limits or Limits(), listeners, spinner)
        await pump.run(task_status)
