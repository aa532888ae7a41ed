"""Opening a websocket: where a URL leads, and the way there."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import msgspec
import trio

from coworld_protocol.ws.connection import CLOSE_SECONDS, MESSAGE_BYTES, Connection
from coworld_protocol.ws.handshake import Accepted, ClientHandshake, client_request, new_key
from coworld_protocol.ws.spin import Spinner, make_spinner
from coworld_protocol.ws.tls import Tls
from coworld_protocol.ws.tuning import tune

__all__ = ["Destination", "connect", "parse_url", "upgrade"]

_RECEIVE_BYTES = 16 * 1024
_EXCERPT_SECONDS = 0.5
_PORTS = {"ws": 80, "wss": 443}


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where a URL leads.

    Attributes:
        host: name or address; "localhost" for a Unix socket.
        port: 1..65535; 0 for a Unix socket.
        secure: whether TLS is spoken.
        unix: path of a Unix socket, or "".
        authority: value of the Host header.
        target: path and query, as they go into the request.
    """

    host: str
    port: int
    secure: bool
    unix: str
    authority: str
    target: str


def parse_url(url: str) -> Destination:
    """Where a websocket's URL leads: `ws://host:port/path?query`, `wss://...` or `ws+unix:///path.sock:/path?query`.

    Raises:
        ValueError: it is none of those; the text does not quote it, for it may hold a token.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a websocket URL is printable ASCII without blanks: percent-encode what is not")
    parts = urlsplit(url)
    if parts.fragment or "#" in url:
        raise ValueError("a websocket URL has no #fragment")
    query = f"?{parts.query}" if parts.query else ""
    if parts.scheme == "ws+unix":
        path, _, target = parts.path.partition(":")
        if parts.netloc or not path.startswith("/"):
            raise ValueError("a ws+unix URL reads ws+unix:///path/of/the.sock:/target")
        if not target.startswith("/"):
            target = f"/{target}"
        return Destination(
            host="localhost", port=0, secure=False, unix=unquote(path), authority="localhost", target=target + query
        )
    default = _PORTS.get(parts.scheme)
    if default is None or not parts.hostname:
        raise ValueError(
            f"{f'{parts.scheme}://' if parts.scheme else 'a text without ://'} is not a websocket URL: "
            "it starts with ws:// or wss:// and a host"
        )
    if "@" in parts.netloc:
        raise ValueError("a websocket URL has no user name or password")
    # `port` raises ValueError itself for anything but a number up to 65535.
    port = default if parts.port is None else parts.port
    if port == 0:
        raise ValueError("port 0 cannot be connected to")
    return Destination(
        host=parts.hostname,
        port=port,
        secure=parts.scheme == "wss",
        unix="",
        authority=parts.netloc,
        target=(parts.path or "/") + query,
    )


async def connect(
    url: str,
    *,
    unix: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    deflate: bool = False,
    message_bytes: int = MESSAGE_BYTES,
    close_seconds: float = CLOSE_SECONDS,
    spin: bool | None = False,
    ssl_context: ssl.SSLContext | None = None,
    nursery: trio.Nursery | None = None,
    ping_seconds: float = 0.0,
    pong_seconds: float = 20.0,
) -> Connection:
    """Open a websocket. There is no deadline of its own: use `trio.fail_after`.

    Args:
        url: what `parse_url` takes.
        unix: path of a Unix socket to connect to in place of the URL's host and port.
        headers: further headers of the request.
        subprotocols: to offer, in order of preference.
        deflate: offer permessage-deflate.
        message_bytes: longest message to accept, after inflation.
        close_seconds: time for closing, in all.
        spin: False never polls in place of sleeping; None and True leave that to the environment and to measurement
            (`ws.spin`).
        ssl_context: for `wss://`; None: the system's certificates.
        nursery: runs `Connection.attend` with the next two; None: pings are answered only while somebody receives.
        ping_seconds: send a ping this often; 0: never.
        pong_seconds: a peer that sends nothing at all for so long after a ping is gone.

    Raises:
        OSError: nobody listens there, or it broke off; `ssl.SSLError` is one, too.
        HandshakeRefused: the server answered with another HTTP status than 101.
        HandshakeFailed: what answered is no websocket server.
        ValueError: the URL or a header cannot be used, or pings are asked for without a nursery.
        Refused: the environment's switch for polling has an unknown value.
    """
    if ping_seconds and nursery is None:
        raise ValueError("pings are sent by a background task: give a nursery")
    destination = parse_url(url)
    spinner = None if spin is False else make_spinner(spin)
    unix = unix or destination.unix
    if unix:
        stream = await trio.open_unix_socket(unix)
    else:
        stream = await trio.open_tcp_stream(destination.host, destination.port)
    connection = await upgrade(
        stream,
        destination,
        headers=headers,
        subprotocols=subprotocols,
        deflate=deflate,
        message_bytes=message_bytes,
        close_seconds=close_seconds,
        spinner=spinner,
        ssl_context=ssl_context,
    )
    if nursery is not None:
        nursery.start_soon(_attend, connection, ping_seconds, pong_seconds)
    return connection


async def upgrade(
    stream: trio.SocketStream,
    destination: Destination,
    *,
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    deflate: bool = False,
    message_bytes: int = MESSAGE_BYTES,
    close_seconds: float = CLOSE_SECONDS,
    spinner: Spinner | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> Connection:
    """Make a websocket of a stream that was just connected; `connect` has the rest of the parameters.

    Args:
        stream: is used up; closed when this fails or is cancelled.
        destination: what to ask for.
        headers: further headers of the request.
        subprotocols: to offer, in order of preference.
        deflate: offer permessage-deflate.
        message_bytes: longest message to accept, after inflation.
        close_seconds: time for closing, in all.
        spinner: when to poll in place of sleeping; None: never.
        ssl_context: for a secure destination; None: the system's certificates.

    Raises:
        OSError: it broke off; `ssl.SSLError` is one, too.
        HandshakeRefused: the server answered with another HTTP status than 101.
        HandshakeFailed: what answered is no websocket server.
        ValueError: a header cannot be used.
    """
    try:
        key = new_key()
        request = client_request(
            destination.authority, destination.target, key, headers=headers, subprotocols=subprotocols, deflate=deflate
        )
        tls = None
        if destination.secure:
            tls = Tls(ssl_context or ssl.create_default_context(), destination.host)
            await tls.shake_hands(stream)
        accepted = await _shake_hands(
            stream, tls, request, ClientHandshake(key, subprotocols=subprotocols, deflate=deflate)
        )
    except BaseException as error:
        # The descriptor must not outlive a handshake that failed or was cancelled.
        stream.socket.close()
        if isinstance(error, trio.BrokenResourceError):
            raise ConnectionResetError("The connection broke during the websocket handshake.") from error
        raise
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    tune(sock)
    return Connection(
        sock,
        client=True,
        message_bytes=message_bytes,
        deflate=accepted.deflate,
        subprotocol=accepted.subprotocol,
        rest=accepted.rest,
        spinner=spinner,
        tls=tls,
        close_seconds=close_seconds,
    )


async def _attend(connection: Connection, ping_seconds: float, pong_seconds: float) -> None:
    await connection.attend(ping_seconds=ping_seconds, pong_seconds=pong_seconds)


async def _shake_hands(
    stream: trio.SocketStream, tls: Tls | None, request: bytes, handshake: ClientHandshake
) -> Accepted:
    await stream.send_all(request if tls is None else tls.encrypt(request))
    accepted = None
    # A refusal's status is known before its text is there, which may never end.
    with trio.CancelScope() as patience:
        while accepted is None:
            data: bytes | None = bytes(await stream.receive_some(_RECEIVE_BYTES))
            if tls is not None:
                data = tls.decrypt(data or b"")
            if data is not None:
                accepted = handshake.receive(data)
                if handshake.refusal is not None:
                    patience.deadline = min(patience.deadline, trio.current_time() + _EXCERPT_SECONDS)
    if accepted is None:
        assert handshake.refusal is not None
        raise handshake.refusal
    return accepted
