"""A websocket client for looking at strangers' servers: every way in which a handshake can end is told apart.

The websocket itself is ours (`coworld_protocol.ws`). trio-websocket is not used here, for three reasons that were
measured with 0.12.2: a connection that closes during the handshake is reported only when its time-out has passed, a
refused one leaves its TCP socket open, and the body of a refusal is read without a limit.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NoReturn, final

import trio

from coworld_drivers.driver import Address
from coworld_protocol.ws import connecting, handshake
from coworld_protocol.ws.connection import Connection, ConnectionClosed
from coworld_protocol.ws.frames import ABNORMAL

__all__ = ["HandshakeFailed", "HandshakeRefused", "MessageTooLong", "ProbeSocket", "SocketClosed", "open_probe_socket"]

CLOSE_WAIT = 1.0
"""Seconds to wait for the answer to our close frame; the TCP connection is closed in any case."""

_TOO_BIG = 1009


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

    def __init__(self, connection: Connection, limit: int) -> None:
        self._connection = connection
        self._limit = limit

    async def receive(self) -> int:
        """The length of the next whole message in bytes; pings are answered on the way.

        Raises:
            MessageTooLong: it is longer than the limit.
            SocketClosed: there will be none.
        """
        try:
            return len(await self._connection.receive_bytes())
        except ConnectionClosed as closed:
            self._explain(closed)

    def _explain(self, closed: ConnectionClosed) -> NoReturn:
        if closed.code == _TOO_BIG and not closed.clean:
            raise MessageTooLong(f"a message of more than {self._limit} bytes") from closed
        raise SocketClosed("connection lost" if closed.code == ABNORMAL else f"close code {closed.code}") from closed


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
    try:
        with trio.fail_at(deadline):
            connection = await connecting.upgrade(
                stream,
                connecting.parse_url(f"ws://{address}{target}"),
                message_bytes=limit,
                close_seconds=CLOSE_WAIT,
            )
    except trio.TooSlowError:
        raise TimeoutError(f"no answer to the handshake within {timeout:g} s") from None
    except ConnectionResetError as error:
        raise HandshakeFailed("reset during the handshake") from error
    except handshake.HandshakeRefused as refused:
        raise HandshakeRefused(refused.status) from None
    except handshake.HandshakeFailed as failed:
        raise HandshakeFailed(failed.reason.rstrip(".")) from None
    async with connection:
        yield ProbeSocket(connection, limit)
