"""websockets on asyncio: a handler per connection, its own `broadcast`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from coworld_bench.rivals.job import Job, Table, answer, listen, ready, run_asyncio

__all__ = ["echo", "game", "player", "ticks"]


def echo(job: Job) -> None:
    """Serve until killed."""

    async def handle(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    run_asyncio(_serve(handle), job)


def ticks(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)

    async def handle(socket: ServerConnection) -> None:
        if table.sit(socket):
            broadcast(table.seats, table.observation().decode())
        try:
            async for _ in socket:
                if table.answered():
                    broadcast(table.seats, table.observation().decode())
        except ConnectionClosed:
            pass
        table.leave(socket)

    run_asyncio(_serve(handle), job)


def game(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)

    async def handle(socket: ServerConnection) -> None:
        if table.sit(socket):
            broadcast(table.seats, table.observation().decode())
        async for text in socket:
            message = table.moved(text)
            if message is not None:
                broadcast(table.seats, message.decode())

    run_asyncio(_serve(handle), job)


def player(job: Job) -> None:
    """Play until the game is over."""

    async def play() -> None:
        async with connect(job.url, compression=None, ping_interval=None, max_size=None, proxy=None) as socket:
            async for text in socket:
                move = answer(text)
                if move is None:
                    break
                await socket.send(move, text=True)

    run_asyncio(play(), job)


async def _serve(handle: Callable[[ServerConnection], Awaitable[None]]) -> None:
    listener = listen()
    async with serve(handle, sock=listener, compression=None, ping_interval=None, max_size=None):
        ready(listener.getsockname()[1])
        await asyncio.Future()
