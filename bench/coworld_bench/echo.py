"""The transport's echo server alone, for load generators and conformance suites from outside: `coworld-actors bench echo`."""

from __future__ import annotations

from typing import Literal, NoReturn

import trio

from coworld_protocol.ws.connection import Connection
from coworld_protocol.ws.pump import serve
from coworld_protocol.ws.serving import serve_connections
from coworld_protocol.ws.web import Endpoint, Limits, Request, Response, Socket

__all__ = ["MESSAGE_BYTES", "EchoApi", "serve_echo"]

EchoApi = Literal["pump", "connection"]

MESSAGE_BYTES = 64 * 1024 * 1024
"""Longest message unless the caller says otherwise: conformance suites send 16 MiB in one."""


async def serve_echo(
    api: EchoApi,
    *,
    host: str,
    port: int,
    message_bytes: int = MESSAGE_BYTES,
    deflate: bool = False,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Send every message back, text as text and binary as binary, until cancelled.

    Args:
        api: which side of the transport serves.
        host: address to listen on.
        port: 0 picks a free one.
        message_bytes: longest message to accept; twice as many may wait for a slow reader.
        deflate: agree to compression.
        task_status: told the bound port.

    Raises:
        PreconditionMissing: the address cannot be bound, or the system has no epoll.
    """
    limits = Limits(message_bytes=message_bytes, outbox_bytes=2 * message_bytes, deflate=deflate)
    if api == "pump":
        await serve(_Site(), host=host, port=port, limits=limits, task_status=task_status)
    await serve_connections(_echo, host=host, port=port, limits=limits, task_status=task_status)


async def _echo(connection: Connection, request: Request) -> None:
    del request
    async for message in connection:
        await connection.send(message)


class _Site:
    def respond(self, request: Request) -> Response | None:
        del request
        return Response(body=b"This is a websocket echo server.\n")

    def upgrade(self, request: Request) -> Endpoint | Response:
        del request
        return _Echo()

    def settled(self) -> None:
        pass


class _Echo:
    _socket: Socket

    def opened(self, socket: Socket) -> None:
        self._socket = socket

    def received(self, payload: bytes, text: bool) -> None:
        self._socket.send(payload.decode() if text else payload)

    def closed(self, code: int) -> None:
        pass
