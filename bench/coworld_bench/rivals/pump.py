"""Ours: the pump, by its callbacks; a broadcast is one frame for all."""

from __future__ import annotations

from collections.abc import Callable

import trio

from coworld_bench.rivals.job import Job, Table, ready
from coworld_protocol.ws.frames import BINARY, TEXT, encode
from coworld_protocol.ws.pump import serve
from coworld_protocol.ws.web import Application, Endpoint, Limits, Request, Response, Socket

__all__ = ["echo", "ticks"]

_LIMITS = Limits(message_bytes=16 * 1024 * 1024, connections=2048)


class _Site:
    def __init__(self, endpoint: Callable[[], Endpoint]) -> None:
        self._endpoint = endpoint

    def respond(self, request: Request) -> Response | None:
        del request
        return None

    def upgrade(self, request: Request) -> Endpoint | Response:
        del request
        return self._endpoint()

    def settled(self) -> None:
        pass


class _Echo:
    _socket: Socket

    def opened(self, socket: Socket) -> None:
        self._socket = socket

    def received(self, payload: bytes, text: bool) -> None:
        self._socket.send_frame(encode(TEXT if text else BINARY, payload))

    def closed(self, code: int) -> None:
        pass


class _Seat:
    _socket: Socket

    def __init__(self, table: Table) -> None:
        self._table = table

    def opened(self, socket: Socket) -> None:
        self._socket = socket
        if self._table.sit(socket):
            self._tell()

    def received(self, payload: bytes, text: bool) -> None:
        del payload, text
        if self._table.answered():
            self._tell()

    def closed(self, code: int) -> None:
        del code
        self._table.leave(self._socket)

    def _tell(self) -> None:
        frame = encode(TEXT, self._table.observation())
        for socket in self._table.seats:
            socket.send_frame(frame)


def echo(job: Job) -> None:
    """Serve until killed."""
    del job
    trio.run(_serve, _Site(_Echo))


def ticks(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)
    trio.run(_serve, _Site(lambda: _Seat(table)))


async def _serve(site: Application) -> None:
    async with trio.open_nursery() as nursery:
        ready(await nursery.start(_listen, site))


async def _listen(site: Application, *, task_status: trio.TaskStatus[int]) -> None:
    await serve(site, host="127.0.0.1", port=0, limits=_LIMITS, task_status=task_status)
