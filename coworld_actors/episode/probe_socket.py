"""A websocket client for looking at strangers' servers: every way in which a handshake can end is told apart.

trio-websocket is not used here, for three reasons that were measured with 0.12.2: a connection that closes during the handshake
is reported only when its time-out has passed, a refused one leaves its TCP socket open, and the body of a refusal is read
without a limit. wsproto, the protocol engine below it, does the framing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import final

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from coworld_drivers.driver import Address

__all__ = ["HandshakeFailed", "HandshakeRefused", "MessageTooLong", "ProbeSocket", "SocketClosed", "open_probe_socket"]

RECEIVE = 64 * 1024
HANDSHAKE_LIMIT = 64 * 1024
"""Bytes that a server may send before it has accepted or refused."""

CLOSE_WAIT = 1.0
"""Seconds to wait for the answer to our close frame; the TCP connection is closed in any case."""


class HandshakeRefused(Exception):
    """The server answered the upgrade with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status


class HandshakeFailed(Exception):
    """The upgrade ended without an answer that can be understood: closed, malformed, too long."""


class SocketClosed(Exception):
    """The server closed an open websocket, in order or not; the text says which."""


class MessageTooLong(SocketClosed):
    """A message went beyond the limit: there is one, but nobody will read it to its end."""


@final
class ProbeSocket:
    """An open websocket, for one reader. Made by `open_probe_socket`."""

    def __init__(self, stream: trio.SocketStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._events: Iterator[Event] = iter(())

    async def shake_hands(self, address: Address, target: str) -> None:
        """Do the opening handshake.

        Raises:
            HandshakeRefused: any other status than 101.
            HandshakeFailed: no answer that can be understood.
        """
        try:
            await self._stream.send_all(self._protocol.send(Request(host=str(address), target=target)))
            received = 0
            while True:
                data = await self._stream.receive_some(RECEIVE)
                received += len(data)
                if not data:
                    raise HandshakeFailed("closed during the handshake")
                self._protocol.receive_data(data)
                self._events = self._protocol.events()
                match next(self._events, None):
                    case AcceptConnection():
                        return
                    case RejectConnection(status_code=status):
                        raise HandshakeRefused(status)
                    case _ if received > HANDSHAKE_LIMIT:
                        raise HandshakeFailed(f"no end of the handshake within {HANDSHAKE_LIMIT} bytes")
                    case _:
                        continue
        except trio.BrokenResourceError as error:
            raise HandshakeFailed("reset during the handshake") from error
        except (RemoteProtocolError, LocalProtocolError) as error:
            raise HandshakeFailed(f"malformed answer: {error}") from error

    async def receive(self) -> int:
        """The length of the next whole message, in bytes or characters; pings are answered on the way.

        Raises:
            MessageTooLong: it is longer than the limit.
            SocketClosed: there will be none.
        """
        length = 0
        try:
            while True:
                for event in self._events:
                    match event:
                        case TextMessage() | BytesMessage():
                            length += len(event.data)
                            if length > self._limit:
                                raise MessageTooLong(f"a message of more than {self._limit} bytes")
                            if event.message_finished:
                                return length
                        case Ping():
                            await self._stream.send_all(self._protocol.send(event.response()))
                        case CloseConnection(code=code):
                            await self._stream.send_all(self._protocol.send(event.response()))
                            raise SocketClosed(f"close code {code}")
                        case _:
                            continue
                data = await self._stream.receive_some(RECEIVE)
                if not data:
                    raise SocketClosed("connection lost")
                self._protocol.receive_data(data)
                self._events = self._protocol.events()
        except trio.BrokenResourceError as error:
            raise SocketClosed("connection lost") from error
        except (RemoteProtocolError, LocalProtocolError) as error:
            raise SocketClosed(f"malformed frame: {error}") from error

    async def close(self) -> None:
        """Say goodbye if the other side still listens."""
        with trio.move_on_after(CLOSE_WAIT):
            try:
                await self._stream.send_all(self._protocol.send(CloseConnection(code=1000)))
                while True:
                    await self.receive()
            except (SocketClosed, LocalProtocolError, trio.BrokenResourceError):
                return


@asynccontextmanager
async def open_probe_socket(
    address: Address, target: str, *, timeout: float, limit: int
) -> AsyncGenerator[ProbeSocket]:
    """A connected websocket; the TCP connection is closed in every case.

    Args:
        address: the server's.
        target: path and query.
        timeout: seconds for connection and handshake.
        limit: bytes of one message.

    Raises:
        OSError: no TCP connection; also when it timed out.
        HandshakeRefused, HandshakeFailed: the upgrade did not succeed.
    """
    deadline = trio.current_time() + timeout
    try:
        with trio.fail_at(deadline):
            stream = await trio.open_tcp_stream(address.host, address.port)
    except trio.TooSlowError:
        raise TimeoutError(f"no connection within {timeout:g} s") from None
    async with stream:
        socket = ProbeSocket(stream, limit)
        try:
            with trio.fail_at(deadline):
                await socket.shake_hands(address, target)
        except trio.TooSlowError:
            raise TimeoutError(f"no answer to the handshake within {timeout:g} s") from None
        yield socket
        await socket.close()
