"""websockets on trio, which it has since version 17: a handler task per connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection, serve

from coworld_bench.rivals.job import Job, Table, ready

__all__ = ["echo", "ticks"]


def echo(job: Job) -> None:
    """Serve until killed."""
    del job

    async def handle(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    trio.run(_serve, handle)


def ticks(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)

    async def tell() -> None:
        text = table.observation().decode()
        seat: ServerConnection
        for seat in list(table.seats):
            await seat.send(text)

    async def handle(socket: ServerConnection) -> None:
        try:
            if table.sit(socket):
                await tell()
            async for _ in socket:
                if table.answered():
                    await tell()
        except ConnectionClosed:
            pass
        table.leave(socket)

    trio.run(_serve, handle)


async def _serve(handle: Callable[[ServerConnection], Awaitable[None]]) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ready(listeners[0].socket.getsockname()[1])
    await serve(handle, listeners=listeners, compression=None, ping_interval=None, max_size=None)
