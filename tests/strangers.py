"""Servers that answer a websocket handshake in every way there is: each a handler for one raw TCP connection."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

import psutil
import trio

from coworld_drivers.driver import Address

Handler = Callable[[trio.SocketStream], Awaitable[None]]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(kind: int, payload: bytes = b"", *, last: bool = True) -> bytes:
    """One frame as a server sends it."""
    head = bytes([kind | (0x80 if last else 0)])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + bytes([127]) + struct.pack(">Q", len(payload)) + payload


async def request(stream: trio.SocketStream) -> bytes:
    """Read a request to the end of its head."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        if not more:
            break
        data += more
    return data


async def accept(stream: trio.SocketStream) -> None:
    """Read a handshake and accept it as the protocol wants it."""
    head = await request(stream)
    key = next(line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    proof = base64.b64encode(hashlib.sha1(key + GUID).digest())
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )


def says(text: str | bytes) -> Handler:
    """Reads the request, sends this, closes."""

    async def handle(stream: trio.SocketStream) -> None:
        await request(stream)
        await stream.send_all(text.encode() if isinstance(text, str) else text)

    return handle


def status(code: int, more: str = "") -> Handler:
    """Answers with a status and an empty body."""
    return says(f"HTTP/1.1 {code} Status\r\n{more}Content-Length: 0\r\n\r\n")


def endless(head: str, block: bytes) -> Handler:
    """Sends this, then the block for as long as somebody listens."""

    async def handle(stream: trio.SocketStream) -> None:
        await request(stream)
        await stream.send_all(head.encode())
        while True:
            await stream.send_all(block)

    return handle


def accepts(*frames: bytes, stays: bool = True) -> Handler:
    """Accepts the handshake, sends these, and stays silent until the other side leaves, or leaves at once."""

    async def handle(stream: trio.SocketStream) -> None:
        await accept(stream)
        for data in frames:
            await stream.send_all(data)
        while stays and await stream.receive_some():
            pass

    return handle


async def closes(stream: trio.SocketStream) -> None:
    """Closes without an answer."""
    await request(stream)


async def resets(stream: trio.SocketStream) -> None:
    """Resets the connection without an answer."""
    await request(stream)
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def silent(stream: trio.SocketStream) -> None:
    """Reads and never answers."""
    while await stream.receive_some():
        pass


async def serve(handler: Handler, nursery: trio.Nursery) -> Address:
    """Serve on a port of this machine until the nursery is cancelled."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await handler(stream)

    listeners: list[trio.SocketListener] = await nursery.start(_serve_tcp, handle)
    return Address(host="127.0.0.1", port=listeners[0].socket.getsockname()[1])


async def _serve_tcp(handle: Handler, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
    await trio.serve_tcp(handle, 0, host="127.0.0.1", task_status=task_status)


def open_connections(address: Address) -> int:
    """How many sockets of this process are connected to the address."""
    return sum(bool(c.raddr) and c.raddr[1] == address.port for c in psutil.Process().net_connections(kind="tcp"))


def refused() -> Address:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return Address(host="127.0.0.1", port=server.getsockname()[1])
