"""One connection of a pump, from its first request to its last byte.

asking    requests and answers in HTTP; the last may ask for a websocket
open      a websocket; messages go to the application's endpoint
parting   what is owed is flushed, then the last bytes are given time to arrive
gone      the descriptor is given back
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Final

from coworld_protocol.ws.deflate import choose
from coworld_protocol.ws.handshake import accept_response
from coworld_protocol.ws.http import Conversation, Upgraded
from coworld_protocol.ws.server_socket import ServerSocket, Tally
from coworld_protocol.ws.web import Application, Limits
from coworld_protocol.ws.wire import Wire

__all__ = ["Peer"]

_WRITABLE: Final = select.EPOLLOUT
_SMALL_READ: Final = 16 * 1024
# A buffer from 128 KiB on is mapped and unmapped by malloc for every read.
_LARGE_READ: Final = 64 * 1024
# A receiver makes progress when it has taken this much, or all there is.
_PROGRESS_BYTES: Final = 256 * 1024
# Requests that came together and are answered before others get their turn; about a millisecond's.
_ANSWERS: Final = 16


class Peer:
    """One connection.

    Args:
        wire: its bytes.
        application: answers requests and takes websockets.
        limits: what it may cost.
        tally: notes that the application has sent something.
        ended: told once that the websocket got its last message, with the close code.

    Attributes:
        wire: its bytes.
        socket: its websocket, once there is one.
        gone: whether it is of no more use.
    """

    __slots__ = (
        "_application",
        "_chunk",
        "_conversation",
        "_due",
        "_emptied",
        "_ended",
        "_heard",
        "_limits",
        "_parting",
        "_pinged",
        "_quiet",
        "_seen",
        "_stuck",
        "_take",
        "_tally",
        "gone",
        "socket",
        "wire",
    )

    def __init__(
        self,
        wire: Wire,
        application: Application,
        limits: Limits,
        tally: Tally,
        ended: Callable[[Peer, int], None],
    ) -> None:
        self.wire = wire
        self.socket: ServerSocket | None = None
        self.gone = False
        self._application = application
        self._limits = limits
        self._tally = tally
        self._ended = ended
        self._parting = False
        # Made with the first byte: a connection that stays silent costs little.
        self._conversation: Conversation | None = None
        self._take: Callable[[bytes], None] = self._take_request
        self._chunk = _SMALL_READ
        # Deadlines are the sweep's alone; all others only note what happened, for nobody else knows how late it is.
        self._heard = True
        self._quiet = 0.0  # since when nothing was heard
        self._pinged: float | None = None
        self._due: float | None = None  # None: the time for a request, or for parting, begins with the next sweep
        self._stuck: float | None = None  # since when what waits is not being taken
        self._seen = 0
        self._emptied = 0

    def serve(self, mask: int) -> None:
        """Do what the poll set says is possible."""
        wire = self.wire
        if mask & _WRITABLE:
            wire.flush()
            if not wire.waiting:
                self._go_on()
        if mask != _WRITABLE:
            try:
                data = wire.recv(self._chunk)
            except BlockingIOError:
                return
            except OSError:
                self.lose()
                return
            self._heard = True
            if len(data) == self._chunk:
                self._chunk = _LARGE_READ
            self._take(data)
        if not wire.open:
            self.lose()

    def lose(self) -> None:
        """Have done with the connection at once."""
        self.gone = True
        if self.socket is not None and not self.socket.over:
            self.socket.drop()

    def part(self) -> None:
        """Close so that the last bytes arrive: bytes left unread would turn the close into a reset that discards them."""
        if self.gone or self._parting:
            return
        self._parting = True
        self._take = self._take_nothing
        self._due = None
        self.wire.watch(reading=True)
        if not self.wire.waiting:
            self.wire.end_writing()

    def sweep(self, now: float, soon: float) -> None:
        """Look at the deadlines; called a few times per second, after everything that had arrived was read.

        Args:
            now: the time that peers have had, in seconds; it stands still while the server is too busy to read (`ws.pump`).
            soon: the latest that `now` can be in the next sweep. What has begun since the last sweep is counted from here, so
                that no deadline comes early.
        """
        if self._heard:
            self._heard = False
            self._quiet = soon
            self._pinged = None
        wire, socket = self.wire, self.socket
        if wire.waiting:
            # The time to answer begins when the peer has got what it is to answer.
            self._due = None
            self._check_progress(now, soon)
            return
        self._stuck = None
        if socket is not None and socket.open:
            self._due = None
            self._check_alive(socket, now, soon)
        elif self._due is None:
            asking = socket is None and not self._parting
            self._due = soon + (self._limits.header_seconds if asking else self._limits.close_seconds)
        elif now >= self._due:
            self.lose()

    def _check_progress(self, now: float, soon: float) -> None:
        wire = self.wire
        if self._stuck is None or wire.emptied != self._emptied or wire.taken - self._seen >= _PROGRESS_BYTES:
            self._stuck, self._emptied, self._seen = soon, wire.emptied, wire.taken
        elif now - self._stuck >= self._limits.outbox_seconds:
            self.lose()

    def _check_alive(self, socket: ServerSocket, now: float, soon: float) -> None:
        limits = self._limits
        if self._pinged is not None:
            if now - self._pinged >= limits.pong_seconds:
                self.lose()
        elif limits.ping_seconds and now - self._quiet >= limits.ping_seconds:
            self._pinged = soon
            socket.ping()

    def _go_on(self) -> None:
        """Everything has left the outbox."""
        if self._parting:
            self.wire.end_writing()
            self.wire.watch(reading=True)
        elif self.socket is None:
            self._answer()

    def _take_request(self, data: bytes) -> None:
        if self._conversation is None:
            if not data:
                self.lose()
                return
            self._conversation = Conversation(self._application, self._limits)
        self._conversation.receive(data)
        self._answer()

    def _answer(self) -> None:
        """Answer the requests that have arrived, each when the answer before it has left."""
        conversation, wire = self._conversation, self.wire
        if conversation is None or self._parting:
            return
        answered = 0
        while not wire.waiting and answered < _ANSWERS:
            heads = conversation.requests
            answer = conversation.step()
            if conversation.requests != heads or answer is not None:
                self._due = None
            if answer is None:
                break
            wire.write(answer)
            answered += 1
        if conversation.upgraded is not None:
            self._open(conversation.upgraded)
        elif conversation.over:
            self.part()
        else:
            # Requests behind an answer that nobody takes are not even read. Those that were read before wait until there is
            # room to write, which may be at once.
            more = answered == _ANSWERS
            wire.watch(reading=not wire.waiting and not more, writing=more)

    def _open(self, upgraded: Upgraded) -> None:
        upgrade = upgraded.upgrade
        agreed = choose(upgrade.deflate) if self._limits.deflate else None
        self.wire.write(accept_response(upgrade, deflate=agreed))
        inflate, deflate = (agreed.inflater(server=True), agreed.deflater(server=True)) if agreed else (None, None)
        self._conversation = None
        self.socket = socket = ServerSocket(
            self.wire, upgraded.endpoint, self._limits, self._socket_ended, self._tally, inflate, deflate
        )
        self._take = socket.take
        # The time for a request's head is over; that to answer a close frame begins with the sweep that finds one sent.
        self._due = None
        socket.endpoint.opened(socket)
        if upgraded.rest:
            socket.take(upgraded.rest)

    def _socket_ended(self, code: int) -> None:
        self._ended(self, code)

    def _take_nothing(self, data: bytes) -> None:
        if not data:
            if self.wire.waiting:
                # It sends no more, but may still take what it is owed.
                self.wire.watch(reading=False)
            else:
                self.gone = True
