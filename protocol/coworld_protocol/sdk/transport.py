"""HTTP pages and websockets on one port; the only module of the SDK that knows how bytes travel.

The interface is `sdk.web`, and it is narrow on purpose: the application answers requests with values, decides about upgrades
before they are accepted, and gets plain calls from an open socket. Nothing in it awaits, so another transport can take this
one's place without the game noticing.

HTTP is parsed by h11, websocket frames by wsproto, bytes move over trio streams.
"""

from __future__ import annotations

import socket as stdlib_socket
from collections import deque
from collections.abc import Sequence
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import parse_qsl, urlsplit

import h11
import trio
import wsproto
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Message, Ping, TextMessage
from wsproto.utilities import RemoteProtocolError

from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.sdk.web import Application, Endpoint, Limits, Request, Response

__all__ = ["serve"]

_WRITE_CHUNK = 256 * 1024
_ABNORMAL = 1006
_TOO_BIG = 1009


class _Socket:
    """One open websocket; the application sees it as a `Socket`."""

    def __init__(
        self, stream: trio.SocketStream, protocol: wsproto.WSConnection, endpoint: Endpoint, limits: Limits
    ) -> None:
        self._stream = stream
        self._protocol = protocol
        self._endpoint = endpoint
        self._limits = limits
        self._outbox: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._spared_bytes = 0
        self._wake = trio.Event()
        self._finishing = False
        self._everything = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._parts: list[str | bytes | bytearray] = []
        self._parts_bytes = 0
        self._code = _ABNORMAL

    @property
    def open(self) -> bool:
        return self._protocol.state is ConnectionState.OPEN and not self._everything.cancel_called

    def send(self, message: str | bytes) -> None:
        if not self.open:
            return
        self._put(self._protocol.send(_message(message)))

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self.open:
            self._put(self._protocol.send(CloseConnection(code=code, reason=reason)))
            self._reading.deadline = trio.current_time() + self._limits.close_seconds

    def _put(self, data: bytes) -> None:
        """Queue bytes, whoever they are owed to: the application's messages, answers to pings, close frames."""
        if not self._waiting_bytes:
            # One message larger than the limit may pass when nothing else waits: a replay is a single message.
            self._spared_bytes = len(data)
        self._outbox.append(data)
        self._waiting_bytes += len(data)
        self._wake.set()
        if self._waiting_bytes - self._spared_bytes > self._limits.outbox_bytes:
            self._everything.cancel()

    async def run(self, first: bytes) -> None:
        """Serve the socket until it is gone; `first` is what the peer sent right behind its handshake."""
        try:
            with self._everything:
                self._endpoint.opened(self)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    with self._reading:
                        await self._read(first)
                    self._finishing = True
                    self._wake.set()
                with trio.move_on_after(self._limits.close_seconds):
                    await _hang_up(self._stream)
        finally:
            # `closed` is promised once per socket, however it ended.
            self._everything.cancel()
            self._endpoint.closed(self._code)

    async def _read(self, data: bytes) -> None:
        try:
            while True:
                if data:
                    self._protocol.receive_data(data)
                    if not self._digest():
                        return
                data = await self._stream.receive_some(16 * 1024)
                if not data:
                    return
        except trio.BrokenResourceError:
            self._everything.cancel()

    def _digest(self) -> bool:
        """Handle what the last bytes completed; False when there is nothing left to wait for."""
        for event in self._protocol.events():
            if isinstance(event, Message):
                if not self._take(event.data, finished=event.message_finished):
                    return False
            elif isinstance(event, Ping):
                if self._protocol.state is ConnectionState.OPEN:
                    self._put(self._protocol.send(event.response()))
            elif isinstance(event, CloseConnection):
                if self._protocol.state is ConnectionState.REMOTE_CLOSING:
                    self._code = event.code
                    self._put(self._protocol.send(event.response()))
                elif self._protocol.state is ConnectionState.OPEN:
                    self._put(self._protocol.send(CloseConnection(code=event.code)))
                else:
                    self._code = event.code
                return False
        return True

    def _take(self, data: str | bytes | bytearray, *, finished: bool) -> bool:
        if self._protocol.state is not ConnectionState.OPEN:
            return True
        self._parts_bytes += len(data)
        if self._parts_bytes > self._limits.message_bytes:
            self._put(self._protocol.send(CloseConnection(code=_TOO_BIG, reason="message too big")))
            return False
        # Fragments without content count nothing towards the limit, so they are not kept either.
        if data or not self._parts:
            self._parts.append(data)
        if finished:
            whole = self._parts[0] if len(self._parts) == 1 else _join(self._parts)
            self._parts = []
            self._parts_bytes = 0
            self._endpoint.received(whole if isinstance(whole, str) else bytes(whole))
        return True

    async def _write(self) -> None:
        try:
            while True:
                if not self._outbox:
                    if self._finishing:
                        return
                    self._wake = trio.Event()
                    await self._wake.wait()
                    continue
                data = memoryview(b"".join(self._outbox))
                self._outbox.clear()
                for start in range(0, len(data), _WRITE_CHUNK):
                    part = data[start : start + _WRITE_CHUNK]
                    with trio.fail_after(self._limits.send_seconds):
                        await self._stream.send_all(part)
                    self._waiting_bytes -= len(part)
        except (trio.BrokenResourceError, trio.TooSlowError):
            self._everything.cancel()


def _message(data: str | bytes) -> TextMessage | BytesMessage:
    return TextMessage(data=data) if isinstance(data, str) else BytesMessage(data=data)


def _join(parts: Sequence[str | bytes | bytearray]) -> str | bytes:
    if isinstance(parts[0], str):
        return "".join(part for part in parts if isinstance(part, str))
    return b"".join(part for part in parts if not isinstance(part, str))


async def _hang_up(stream: trio.SocketStream) -> None:
    """Close so that the last bytes arrive: bytes left unread would turn the close into a reset that discards them."""
    try:
        await stream.send_eof()
        while await stream.receive_some(64 * 1024):
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


class _Connection:
    """One TCP connection: any number of HTTP requests, then perhaps one websocket."""

    def __init__(self, stream: trio.SocketStream, application: Application, limits: Limits) -> None:
        self._stream = stream
        self._application = application
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._method = b"GET"

    async def run(self) -> None:
        try:
            while await self._one_request():
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            await self._answer(_plain(error.error_status_hint, "The request is not valid HTTP."))
            await _hang_up(self._stream)
        except (trio.BrokenResourceError, trio.TooSlowError):
            pass

    async def _one_request(self) -> bool:
        """Serve one request; True when another may follow on this connection."""
        with trio.fail_after(self._limits.header_seconds):
            event = await self._next_event()
        if not isinstance(event, h11.Request):
            return False
        self._method = event.method
        try:
            request = _request(event)
        except ValueError:
            return await self._refuse(_plain(400, "The request target cannot be parsed."))
        if any(name == b"upgrade" and value.lower() == b"websocket" for name, value in event.headers):
            return await self._upgrade(event, request)
        if not await self._swallow_body():
            return await self._refuse(_plain(413, f"A request body may have {self._limits.body_bytes} bytes."))
        response = self._application.respond(request)
        if response is None:
            response = _plain(404, f"There is no {request.path} here.")
        elif request.method not in {"GET", "HEAD"}:
            response = _plain(405, f"{request.path} takes GET and HEAD.", ("Allow", "GET, HEAD"))
        await self._answer(response)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _refuse(self, response: Response) -> bool:
        await self._answer(response)
        with trio.move_on_after(self._limits.close_seconds):
            await _hang_up(self._stream)
        return False

    async def _swallow_body(self) -> bool:
        """Read the body away; False when it is too long or the client waits to be asked for it."""
        if self._http.they_are_waiting_for_100_continue:
            return False
        size = 0
        with trio.fail_after(self._limits.header_seconds):
            while True:
                event = await self._next_event()
                if isinstance(event, h11.Data):
                    size += len(event.data)
                    if size > self._limits.body_bytes:
                        return False
                else:
                    return True

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some(16 * 1024))
            else:
                assert not isinstance(event, type) or event is h11.PAUSED
                return event

    async def _answer(self, response: Response) -> None:
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *response.headers,
        ]
        if response.status >= 400:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(response.status).phrase
        data = (
            self._http.send(h11.Response(status_code=response.status, headers=headers, reason=reason.encode())) or b""
        )
        if self._method != b"HEAD":
            data += self._http.send(h11.Data(data=response.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        with trio.fail_after(self._limits.send_seconds):
            await self._stream.send_all(data)

    async def _upgrade(self, event: h11.Request, request: Request) -> bool:
        protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        try:
            protocol.initiate_upgrade_connection(list(event.headers), event.target)
        except (RemoteProtocolError, h11.LocalProtocolError) as error:
            version = dict(event.headers).get(b"sec-websocket-version", b"13")
            if version != b"13":
                text = "This server speaks websocket version 13."
                return await self._refuse(_plain(426, text, ("Sec-WebSocket-Version", "13")))
            return await self._refuse(_plain(400, f"The websocket handshake is not valid: {error}."))
        verdict = self._application.upgrade(request)
        if isinstance(verdict, Response):
            return await self._refuse(verdict)
        with trio.fail_after(self._limits.send_seconds):
            await self._stream.send_all(protocol.send(AcceptConnection()))
        # `next_event` moves h11 to where it hands over the bytes behind the request.
        self._http.next_event()
        await _Socket(self._stream, protocol, verdict, self._limits).run(self._http.trailing_data[0])
        return False


def _request(event: h11.Request) -> Request:
    parts = urlsplit(event.target.decode("ascii"))
    query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=64, errors="strict"))
    return Request(method=event.method.decode("ascii"), path=parts.path, query=query)


def _plain(status: int, text: str, *headers: tuple[str, str]) -> Response:
    return Response(status=status, body=f"{text}\n".encode(), headers=headers)


async def serve(
    application: Application,
    *,
    host: str,
    port: int,
    limits: Limits | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; start it with `nursery.start`, which returns the port that was bound.

    Args:
        application: answers requests and takes websockets.
        host: address to listen on.
        port: 0 picks a free one.
        limits: what one connection may cost.
        task_status: told the bound port once connections are accepted.

    Raises:
        PreconditionMissing: the address cannot be bound.
    """
    bounds = limits or Limits()
    count = 0

    async def connection(stream: trio.SocketStream) -> None:
        nonlocal count
        if count >= bounds.connections:
            await trio.aclose_forcefully(stream)
            return
        count += 1
        try:
            # A peer that vanishes without a word is noticed by the kernel; players that think for long are left in peace.
            stream.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE, 1)
            await _Connection(stream, application, bounds).run()
        finally:
            # The descriptor is given back even when the server is being cancelled; closing a socket does not block.
            count -= 1
            await trio.aclose_forcefully(stream)

    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=1024)
    except OSError as error:
        raise PreconditionMissing(
            f"The server cannot listen on {host}:{port}.",
            evidence=str(error),
            todo="choose another port with COGAME_PORT, or end the program that holds it",
        ) from error
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(connection, listeners)
