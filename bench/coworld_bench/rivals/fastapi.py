"""FastAPI on uvicorn: as it comes, with the protocol that was its default until lately, and on uvloop, which is its fastest."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Awaitable, Callable

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from uvicorn.config import UvicornDeprecationWarning

from coworld_bench.rivals.job import Job, Table, listen, ready

__all__ = ["echo", "game", "serve_application", "ticks"]


def echo(job: Job) -> None:
    """Serve until killed."""

    async def handle(socket: WebSocket) -> None:
        while True:
            await socket.send_text(await socket.receive_text())

    _serve(handle, job)


def ticks(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)

    async def handle(socket: WebSocket) -> None:
        try:
            if table.sit(socket):
                await _tell(table, table.observation())
            while True:
                await socket.receive_text()
                if table.answered():
                    await _tell(table, table.observation())
        finally:
            table.leave(socket)

    _serve(handle, job)


def game(job: Job) -> None:
    """Serve until killed."""
    table = Table(job)

    async def handle(socket: WebSocket) -> None:
        if table.sit(socket):
            await _tell(table, table.observation())
        while not table.done:
            message = table.moved(await socket.receive_text())
            if message is not None:
                await _tell(table, message)

    _serve(handle, job)


async def _tell(table: Table, message: bytes) -> None:
    text = message.decode()
    seat: WebSocket
    for seat in list(table.seats):
        await seat.send_text(text)


def _serve(handle: Callable[[WebSocket], Awaitable[None]], job: Job) -> None:
    application = FastAPI()

    @application.websocket("/")
    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        # RuntimeError is what Starlette raises for a send to a peer that has gone.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await handle(socket)

    serve_application(application, uvloop=job.uvloop, legacy=job.legacy)


def serve_application(application: FastAPI, *, uvloop: bool = False, legacy: bool = False) -> None:
    """Serve until killed, on a free port that is told."""
    # `websockets` still exists beside `websockets-sansio`, and says that it will not for long.
    warnings.filterwarnings("ignore", category=UvicornDeprecationWarning)
    config = uvicorn.Config(
        application,
        loop="uvloop" if uvloop else "asyncio",
        ws="websockets" if legacy else "websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_max_size=64 * 1024 * 1024,
        log_level="critical",
        access_log=False,
        lifespan="off",
    )
    listener = listen()
    ready(listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])
