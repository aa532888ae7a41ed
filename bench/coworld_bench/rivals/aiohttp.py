"""aiohttp's server: a handler per connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from coworld_bench.rivals.job import Job, Table, listen, ready, run_asyncio

__all__ = ["echo", "ticks"]

Handler = Callable[[web.WebSocketResponse], Awaitable[None]]


def echo(job: Job) -> None:
    """Serve until killed."""

    async def handle(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)

    run_asyncio(_serve(handle), job)


def ticks(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)

    async def tell() -> None:
        text = table.observation().decode()
        seat: web.WebSocketResponse
        for seat in list(table.seats):
            await seat.send_str(text)

    async def handle(socket: web.WebSocketResponse) -> None:
        try:
            if table.sit(socket):
                await tell()
            async for _ in socket:
                if table.answered():
                    await tell()
        except ConnectionError:
            pass
        table.leave(socket)

    run_asyncio(_serve(handle), job)


async def _serve(handle: Handler) -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False, max_msg_size=0)
        await socket.prepare(request)
        await handle(socket)
        return socket

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    listener = listen()
    await web.SockSite(runner, listener, backlog=1024).start()
    ready(listener.getsockname()[1])
    await asyncio.Future()
