"""picows: Cython callbacks on asyncio or uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_connect,
    ws_create_server,
)

from coworld_bench.rivals.job import Job, Table, answer, ready, run_asyncio

__all__ = ["echo", "game", "player", "ticks"]


class _Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class _Seat(WSListener):
    def __init__(self, table: Table) -> None:
        self._table = table

    def on_ws_connected(self, transport: WSTransport) -> None:
        if self._table.sit(transport):
            self._tell(self._table.observation())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif self._table.answered():
            self._tell(self._table.observation())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._table.leave(transport)

    def _tell(self, message: bytes) -> None:
        for seat in list(self._table.seats):
            seat.send(WSMsgType.TEXT, message)


class _GameSeat(_Seat):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        message = self._table.moved(frame.get_payload_as_bytes())
        if message is not None:
            self._tell(message)


class _Player(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        move = answer(frame.get_payload_as_bytes())
        if move is None:
            transport.disconnect()
        else:
            transport.send(WSMsgType.TEXT, move)


def echo(job: Job) -> None:
    """Serve until killed."""
    run_asyncio(_serve(_Echo), job)


def ticks(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)
    run_asyncio(_serve(lambda: _Seat(table)), job)


def game(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)
    run_asyncio(_serve(lambda: _GameSeat(table)), job)


def player(job: Job) -> None:
    """Play until the game is over."""

    async def play() -> None:
        transport, _ = await ws_connect(_Player, job.url)
        await transport.wait_disconnected()

    run_asyncio(play(), job)


async def _serve(listener: Callable[[], WSListener]) -> None:
    def accept(_: WSUpgradeRequest) -> WSListener:
        return listener()

    server = await ws_create_server(accept, "127.0.0.1", 0, backlog=1024)
    ready(server.sockets[0].getsockname()[1])
    await asyncio.Future()
