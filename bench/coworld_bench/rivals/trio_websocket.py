"""trio-websocket: a handler task per connection."""

from __future__ import annotations

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, open_websocket_url, serve_websocket

from coworld_bench.rivals.job import Job, Table, answer, ready

__all__ = ["echo", "game", "player", "ticks"]


def echo(job: Job) -> None:
    """Serve until killed."""
    del job

    async def handle(request: WebSocketRequest) -> None:
        socket = await request.accept()
        try:
            while True:
                await socket.send_message(await socket.get_message())
        except ConnectionClosed:
            pass

    trio.run(_serve, handle)


def ticks(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)

    async def handle(request: WebSocketRequest) -> None:
        socket = await request.accept()
        try:
            if table.sit(socket):
                await _tell(table, table.observation())
            while True:
                await socket.get_message()
                if table.answered():
                    await _tell(table, table.observation())
        except ConnectionClosed:
            table.leave(socket)

    trio.run(_serve, handle)


def game(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)

    async def handle(request: WebSocketRequest) -> None:
        socket = await request.accept()
        try:
            if table.sit(socket):
                await _tell(table, table.observation())
            while not table.done:
                message = table.moved(await socket.get_message())
                if message is not None:
                    await _tell(table, message)
        except ConnectionClosed:
            table.leave(socket)

    trio.run(_serve, handle)


def player(job: Job) -> None:
    """Play until the game is over."""

    async def play() -> None:
        async with open_websocket_url(job.url) as socket:
            move = answer(await socket.get_message())
            while move is not None:
                await socket.send_message(move.decode())
                move = answer(await socket.get_message())

    trio.run(play)


async def _tell(table: Table, message: bytes) -> None:
    text = message.decode()
    seat: WebSocketConnection
    for seat in list(table.seats):
        await seat.send_message(text)


async def _serve(handle: object) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, handle, "127.0.0.1", 0, None)
        ready(server.port)
