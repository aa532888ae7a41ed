"""Ours: the awaitable connection, a handler task per connection."""

from __future__ import annotations

import trio

from coworld_bench.rivals.job import Job, Table, ready
from coworld_protocol.ws.connection import Connection, ConnectionClosed
from coworld_protocol.ws.serving import Handler, serve_connections
from coworld_protocol.ws.web import Limits, Request

__all__ = ["echo", "ticks"]

_LIMITS = Limits(message_bytes=16 * 1024 * 1024, connections=2048)


def echo(job: Job) -> None:
    """Serve until killed."""
    del job

    async def handle(connection: Connection, request: Request) -> None:
        del request
        try:
            while True:
                await connection.send(await connection.receive())
        except ConnectionClosed:
            pass

    trio.run(_serve, handle)


def ticks(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)

    async def tell() -> None:
        text = table.observation().decode()
        seat: Connection
        for seat in list(table.seats):
            await seat.send(text)

    async def handle(connection: Connection, request: Request) -> None:
        del request
        try:
            if table.sit(connection):
                await tell()
            while True:
                await connection.receive_bytes()
                if table.answered():
                    await tell()
        except ConnectionClosed:
            table.leave(connection)

    trio.run(_serve, handle)


async def _serve(handle: Handler) -> None:
    async with trio.open_nursery() as nursery:
        ready(await nursery.start(_listen, handle))


async def _listen(handle: Handler, *, task_status: trio.TaskStatus[int]) -> None:
    await serve_connections(handle, host="127.0.0.1", port=0, limits=_LIMITS, task_status=task_status)
