"""Both servers of `coworld_protocol.ws` as echo servers, and peers that speak bytes to them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator

import trio

from coworld_protocol.ws.connection import Connection, ConnectionClosed
from coworld_protocol.ws.pump import serve
from coworld_protocol.ws.serving import serve_connections
from coworld_protocol.ws.web import Limits, Request, Response, Socket
from tests.broken_frames import MESSAGE_BYTES, frame

__all__ = [
    "APIS",
    "ASK",
    "PATIENCE",
    "UPGRADE",
    "Server",
    "assert_closed_with",
    "assert_still_serves",
    "behind_the_handshake",
    "exchange",
    "start",
]

APIS = ("pump", "connection")
PATIENCE = 60.0
"""Seconds after which a test gives up; nothing takes a tenth of it unless the machine is busy."""

ASK = (
    b"GET /echo HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)
UPGRADE = ASK + b"\r\n"


class Log:
    """What a server's application was asked for and told.

    Attributes:
        paths: of plain requests and of those for a websocket.
        messages: that arrived.
        codes: of websockets that have ended, as the pump tells them; the awaitable server tells one per handler that has ended.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.messages: list[bytes] = []
        self.codes: list[int] = []

    def respond(self, request: Request) -> Response | None:
        self.paths.append(request.path)
        return Response(body=b"hello\n") if request.path == "/page" else None


class Echo:
    """The pump's application and its endpoints: sends everything back."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.respond = log.respond

    def upgrade(self, request: Request) -> EchoSeat | Response:
        self.log.paths.append(request.path)
        return EchoSeat(self.log)

    def settled(self) -> None:
        pass


class EchoSeat:
    """One websocket that sends everything back."""

    socket: Socket

    def __init__(self, log: Log) -> None:
        self.log = log

    def opened(self, socket: Socket) -> None:
        self.socket = socket

    def received(self, payload: bytes, text: bool) -> None:
        self.log.messages.append(payload)
        self.socket.send(payload.decode() if text else payload)

    def closed(self, code: int) -> None:
        self.log.codes.append(code)


class Server:
    """One of the two servers, on a free port.

    Attributes:
        api: "pump" or "connection".
        log: what its application has seen.
    """

    def __init__(self, api: str) -> None:
        self.api = api
        self.log = Log()

    async def _handle(self, connection: Connection, request: Request) -> None:
        self.log.paths.append(request.path)
        try:
            while True:
                message = await connection.receive()
                self.log.messages.append(message.encode() if isinstance(message, str) else message)
                await connection.send(message)
        except ConnectionClosed as closed:
            self.log.codes.append(closed.code)

    @contextlib.asynccontextmanager
    async def running(self, **limits: float) -> AsyncIterator[int]:
        """The port, while it serves."""
        given = Limits(**{"message_bytes": MESSAGE_BYTES, "close_seconds": 1.0, **limits})  # type: ignore[arg-type]

        async def run(*, task_status: trio.TaskStatus[int]) -> None:
            at = {"host": "127.0.0.1", "port": 0, "limits": given, "task_status": task_status}
            if self.api == "pump":
                await serve(Echo(self.log), **at)
            else:
                await serve_connections(self._handle, respond=self.log.respond, **at)

        async with trio.open_nursery() as nursery:
            yield await nursery.start(run)
            nursery.cancel_scope.cancel()


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send the parts, each in a segment of its own, and read until the server closes; what it said."""
    said = bytearray()
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
            stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            async def read() -> None:
                # A reset after the last word is an end as good as another.
                with contextlib.suppress(trio.BrokenResourceError):
                    while part := await stream.receive_some():
                        said.extend(part)
                nursery.cancel_scope.cancel()

            nursery.start_soon(read)
            with contextlib.suppress(trio.BrokenResourceError):
                for part in parts:
                    await stream.send_all(part)
            await trio.sleep_forever()
    return bytes(said)


def behind_the_handshake(said: bytes) -> bytes:
    head, _, rest = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), said
    return rest


def assert_closed_with(rest: bytes, code: int) -> None:
    """The server's last and only words are one unmasked close frame."""
    assert rest[:1] == b"\x88", rest
    assert len(rest) == 2 + rest[1], rest
    assert int.from_bytes(rest[2:4], "big") == code, rest
    rest[4:].decode()


async def assert_still_serves(port: int) -> None:
    """A peer that behaves gets its echo and a clean close."""
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:

            async def read(ending: bytes) -> bytes:
                said = bytearray()
                while not said.endswith(ending):
                    part = await stream.receive_some()
                    assert part, said
                    said.extend(part)
                return bytes(said)

            await stream.send_all(UPGRADE + frame(0x81, b"still there?"))
            assert behind_the_handshake(await read(b"?")) == b"\x81\x0cstill there?"
            await stream.send_all(frame(0x88, b"\x03\xe8"))
            assert await read(b"\x03\xe8") == b"\x88\x02\x03\xe8"
            assert await stream.receive_some() == b""


def start(program: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
