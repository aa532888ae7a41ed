"""A player's end of a websocket; the only module of the SDK that knows how a player's bytes travel.

A task of its own reads, so pings are answered while the player thinks, as long as it awaits something. When more than a few
messages wait to be taken it stops reading, and the game's side feels it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from urllib.parse import urlsplit

import trio
import wsproto
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

__all__ = ["ClientSocket", "Rejected", "SocketClosed", "open_socket"]

_ABNORMAL = 1006
_QUEUE = 64
_RECEIVE_BYTES = 64 * 1024
_CLOSE_SECONDS = 2.0


class Rejected(Exception):
    """The server answered the handshake with another status than 101.

    Attributes:
        status: that status; 0 when the answer was no HTTP.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status


class SocketClosed(Exception):
    """The websocket is closed.

    Attributes:
        code: the peer's close code; 1006 when it sent none.
        reason: what it said about it.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"close code {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.reason = reason


class ClientSocket:
    """An open websocket; made by `open_socket`."""

    def __init__(self, stream: trio.abc.Stream, protocol: wsproto.WSConnection) -> None:
        self._stream = stream
        self._protocol = protocol
        self._sending = trio.Lock()
        self._messages: deque[str | bytes] = deque()
        self._parts: list[str | bytes | bytearray] = []
        self._arrived = trio.Event()
        self._taken = trio.Event()
        self._end: tuple[int, str] | None = None
        self._ended = trio.Event()

    async def receive(self) -> str | bytes:
        """The next message, oldest first; what came before the end is given out before `SocketClosed` is raised."""
        while not self._messages:
            if self._end is not None:
                raise SocketClosed(*self._end)
            self._arrived = trio.Event()
            await self._arrived.wait()
        self._taken.set()
        return self._messages.popleft()

    async def send(self, message: str | bytes) -> None:
        """Send one message.

        Raises:
            SocketClosed: the socket is closed already.
        """
        if self._end is not None or self._protocol.state is not ConnectionState.OPEN:
            raise SocketClosed(*(self._end or (_ABNORMAL, "")))
        event = TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message)
        await self._transmit(self._protocol.send(event))

    async def close(self, code: int = 1000) -> None:
        """Close with a handshake of at most two seconds; closing twice does nothing."""
        with trio.move_on_after(_CLOSE_SECONDS):
            if self._end is None and self._protocol.state is ConnectionState.OPEN:
                await self._transmit(self._protocol.send(CloseConnection(code=code)))
                while self._end is None:
                    self._messages.clear()
                    self._taken.set()
                    await self._ended.wait()
        await trio.aclose_forcefully(self._stream)

    async def _transmit(self, data: bytes) -> None:
        # A broken stream is the reader's to report: it knows whether the peer has said why.
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._sending:
                await self._stream.send_all(data)

    async def _read(self) -> None:
        try:
            while self._end is None:
                for event in self._protocol.events():
                    await self._handle(event)
                if self._end is None:
                    data = await self._stream.receive_some(_RECEIVE_BYTES)
                    if not data:
                        break
                    self._protocol.receive_data(bytes(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            # Whoever waits for a message or for the end is told, and the descriptor is given back even when the peer closed.
            self._end = self._end or (_ABNORMAL, "")
            self._arrived.set()
            self._ended.set()
            await trio.aclose_forcefully(self._stream)

    async def _handle(self, event: wsproto.events.Event) -> None:
        if isinstance(event, Message):
            self._parts.append(event.data)
            if event.message_finished:
                self._messages.append(_whole(self._parts))
                self._parts = []
                self._arrived.set()
                while len(self._messages) >= _QUEUE:
                    self._taken = trio.Event()
                    await self._taken.wait()
        elif isinstance(event, Ping):
            if self._protocol.state is ConnectionState.OPEN:
                await self._transmit(self._protocol.send(event.response()))
        elif isinstance(event, CloseConnection):
            if self._protocol.state is ConnectionState.REMOTE_CLOSING:
                await self._transmit(self._protocol.send(event.response()))
            elif self._protocol.state is ConnectionState.OPEN:
                await self._transmit(self._protocol.send(CloseConnection(code=event.code)))
            self._end = (int(event.code), event.reason or "")


async def open_socket(nursery: trio.Nursery, url: str) -> ClientSocket:
    """Connect to a `ws://` or `wss://` URL; the reading task lives in `nursery`.

    Raises:
        OSError: nobody listens there.
        Rejected: the server refused the upgrade, or what answered speaks no HTTP.
        ValueError: the URL is not a websocket's.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise ValueError(f"{parts.scheme}://{parts.hostname or ''} is not a websocket URL")
    stream: trio.abc.Stream
    if parts.scheme == "wss":
        stream = await trio.open_ssl_over_tcp_stream(parts.hostname, parts.port or 443, https_compatible=True)
    else:
        stream = await trio.open_tcp_stream(parts.hostname, parts.port or 80)
    protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        await stream.send_all(protocol.send(Request(host=parts.netloc.rpartition("@")[2], target=target)))
        await _await_acceptance(stream, protocol)
    except BaseException as error:
        # The descriptor must not outlive a handshake that failed or was cancelled.
        await trio.aclose_forcefully(stream)
        if isinstance(error, (trio.BrokenResourceError, RemoteProtocolError)):
            raise Rejected(0) from error
        raise
    socket = ClientSocket(stream, protocol)
    nursery.start_soon(socket._read)  # noqa: SLF001
    return socket


async def _await_acceptance(stream: trio.abc.Stream, protocol: wsproto.WSConnection) -> None:
    while True:
        data = await stream.receive_some(_RECEIVE_BYTES)
        if not data:
            raise Rejected(0)
        protocol.receive_data(bytes(data))
        # One event at a time: messages right behind the acceptance stay with the protocol for the reading task.
        event = next(iter(protocol.events()), None)
        if isinstance(event, AcceptConnection):
            return
        if isinstance(event, RejectConnection):
            raise Rejected(event.status_code)


def _whole(parts: list[str | bytes | bytearray]) -> str | bytes:
    if isinstance(parts[0], str):
        return parts[0] if len(parts) == 1 else "".join(part for part in parts if isinstance(part, str))
    return b"".join(part for part in parts if not isinstance(part, str))
