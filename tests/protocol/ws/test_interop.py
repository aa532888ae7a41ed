"""Our connection and server against `websockets`, `trio-websocket` and `aiohttp`, in both roles."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import aiohttp.web
import pytest
import trio
import trio_websocket
import websockets.asyncio.client
import websockets.asyncio.server
import websockets.exceptions
import websockets.trio.client
import websockets.trio.server

from coworld_protocol.ws.connecting import connect
from coworld_protocol.ws.connection import Connection, ConnectionClosed
from coworld_protocol.ws.serving import serve_connections
from coworld_protocol.ws.web import Limits, Request

SECONDS = 60
MESSAGES = ["", "grüße", b"", b"\x00\xff", "x" * 125, b"y" * 126, "z" * 65_535, b"w" * 65_536, "v" * 2_000_000]
CLOSE = "please close"


class Thread:
    """Runs a server of asyncio's in a thread of its own."""

    def __init__(self, run: Callable[[Callable[[int], None], asyncio.Event], Awaitable[None]]) -> None:
        self._run = run
        self._port = 0
        self._bound = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        def bound(port: int) -> None:
            self._port = port
            self._bound.set()

        await self._run(bound, self._stop)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[str]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, asyncio.run, self._main())
            await trio.to_thread.run_sync(self._bound.wait)
            assert self._loop is not None
            assert self._stop is not None
            try:
                yield f"ws://127.0.0.1:{self._port}/"
            finally:
                self._loop.call_soon_threadsafe(self._stop.set)


@asynccontextmanager
async def websockets_asyncio_server(compression: str | None = None) -> AsyncGenerator[str]:
    """Echoes; closes with 4005 when asked to."""

    async def handle(socket) -> None:
        async for message in socket:
            if message == CLOSE:
                await socket.close(4005, "asked to")
            await socket.send(message)

    async def run(bound, stop) -> None:
        serve = websockets.asyncio.server.serve
        async with serve(handle, "127.0.0.1", 0, compression=compression, max_size=None) as server:
            bound(server.sockets[0].getsockname()[1])
            await stop.wait()

    async with Thread(run).serving() as url:
        yield url


@asynccontextmanager
async def websockets_trio_server() -> AsyncGenerator[str]:
    """Echoes in two fragments; closes with 4005 when asked to."""

    async def halves(message):
        yield message[: len(message) // 2]
        yield message[len(message) // 2 :]

    async def handle(socket) -> None:
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            while (message := await socket.recv()) != CLOSE:
                await socket.send(halves(message))
            await socket.aclose(4005, "asked to")

    async with trio.open_nursery() as nursery:
        serve = partial(websockets.trio.server.serve, handle, 0, host="127.0.0.1", compression=None, max_size=None)
        server = await nursery.start(lambda *, task_status: serve(task_status=task_status))
        yield f"ws://127.0.0.1:{server.listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def trio_websocket_server() -> AsyncGenerator[str]:
    """Echoes; closes with 4005 when asked to."""

    async def handle(request: trio_websocket.WebSocketRequest) -> None:
        socket = await request.accept()
        try:
            while True:
                message = await socket.get_message()
                if message == CLOSE:
                    await socket.aclose(4005, "asked to")
                await socket.send_message(message)
        except trio_websocket.ConnectionClosed:
            return

    async with trio.open_nursery() as nursery:
        serve = partial(trio_websocket.serve_websocket, handle, "127.0.0.1", 0, None, max_message_size=1 << 24)
        server = await nursery.start(serve)
        yield f"ws://127.0.0.1:{server.port}/"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def aiohttp_server(compress: bool = False) -> AsyncGenerator[str]:
    """Echoes; closes with 4005 when asked to."""

    async def handle(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        socket = aiohttp.web.WebSocketResponse(max_msg_size=0, compress=compress)
        await socket.prepare(request)
        async for message in socket:
            if message.data == CLOSE:
                await socket.close(code=4005, message=b"asked to")
            elif message.type == aiohttp.WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
        return socket

    async def run(bound, stop) -> None:
        application = aiohttp.web.Application()
        application.router.add_get("/", handle)
        runner = aiohttp.web.AppRunner(application)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        bound(runner.addresses[0][1])
        await stop.wait()
        await runner.cleanup()

    async with Thread(run).serving() as url:
        yield url


SERVERS = [websockets_asyncio_server, websockets_trio_server, trio_websocket_server, aiohttp_server]


@pytest.mark.parametrize("server", SERVERS)
async def test_messages_to_their_server_and_back(server):
    """Messages of either kind and any size come back as they were; a ping is answered; our close code is echoed."""
    with trio.fail_after(SECONDS):
        async with server() as url:
            async with await connect(url) as connection:
                for message in MESSAGES:
                    await connection.send(message)
                    assert await connection.receive() == message
                await connection.ping(b"there?")
                await connection.close(4003, "done")
            # aiohttp answers every close frame with 1000.
            assert connection.code == (1000 if server is aiohttp_server else 4003)


@pytest.mark.parametrize("server", SERVERS)
async def test_their_server_closes(server):
    """Their close code and reason arrive."""
    with trio.fail_after(SECONDS):
        async with server() as url, await connect(url) as connection:
            await connection.send(CLOSE)
            with pytest.raises(ConnectionClosed) as closed:
                await connection.receive()
            assert (closed.value.code, closed.value.reason, closed.value.clean) == (4005, "asked to", True)


@pytest.mark.parametrize(
    "server",
    [partial(websockets_asyncio_server, "deflate"), partial(aiohttp_server, True)],
    ids=["websockets", "aiohttp"],
)
async def test_compressed_messages_to_their_server_and_back(server):
    """With permessage-deflate agreed to, messages come back as they were, later ones referring to earlier ones."""
    with trio.fail_after(SECONDS):
        async with server() as url, await connect(url, deflate=True) as connection:
            assert connection._deflater is not None
            for message in [*MESSAGES, "again " * 100, "again " * 100]:
                await connection.send(message)
                assert await connection.receive() == message


async def echo(connection: Connection, request: Request) -> None:
    """Echo; close with 4005 when asked to."""
    async for message in connection:
        if message == CLOSE:
            await connection.close(4005, "asked to")
        else:
            await connection.send(message)


@pytest.fixture
async def ours(nursery):
    """The URL of an echo server of ours, with compression for those who ask for it; and the codes of its connections' ends."""
    codes: list[int | None] = []

    async def handle(connection: Connection, request: Request) -> None:
        try:
            await echo(connection, request)
        finally:
            codes.append(connection.code)

    limits = Limits(message_bytes=1 << 24, deflate=True)
    serve = partial(serve_connections, handle, host="127.0.0.1", port=0, limits=limits)
    return f"ws://127.0.0.1:{await nursery.start(serve)}/", codes


async def run_in_asyncio(main: Callable[[], Awaitable[object]]) -> None:
    """Run a client of asyncio's in a thread."""

    async def run() -> None:
        await main()

    await trio.to_thread.run_sync(asyncio.run, run())


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_the_asyncio_client_of_websockets(ours, compression):
    """Messages, fragments, ping and both ways of closing, with and without compression."""
    url, codes = ours

    async def main() -> None:
        async with websockets.asyncio.client.connect(url, compression=compression, max_size=None, proxy=None) as socket:
            assert ("permessage-deflate" in socket.response.headers.get("Sec-WebSocket-Extensions", "")) == bool(
                compression
            )
            for message in MESSAGES:
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send(["one ", "two ", "three"])
            assert await socket.recv() == "one two three"
            await (await socket.ping(b"there?"))
            await socket.send(CLOSE)
            with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4005, "asked to")
        async with websockets.asyncio.client.connect(url, compression=compression, proxy=None) as socket:
            await socket.close(4003)

    with trio.fail_after(SECONDS):
        await run_in_asyncio(main)
        while len(codes) < 2:
            await trio.sleep(0.01)
    assert codes == [4005, 4003]


@pytest.mark.parametrize("compress", [0, 15])
async def test_the_client_of_aiohttp(ours, compress):
    """Messages, ping and both ways of closing, with and without compression."""
    url, codes = ours

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(url, compress=compress, max_msg_size=0) as socket:
                assert bool(socket.compress) == bool(compress)
                for message in MESSAGES:
                    if isinstance(message, str):
                        await socket.send_str(message)
                        assert await socket.receive_str() == message
                    else:
                        await socket.send_bytes(message)
                        assert await socket.receive_bytes() == message
                await socket.ping(b"there?")
                await socket.send_str(CLOSE)
                end = await socket.receive()
                assert (end.type, end.data, end.extra) == (aiohttp.WSMsgType.CLOSE, 4005, "asked to")
            async with session.ws_connect(url) as socket:
                await socket.close(code=4003)

    with trio.fail_after(SECONDS):
        await run_in_asyncio(main)
        while len(codes) < 2:
            await trio.sleep(0.01)
    # aiohttp answers every close frame with 1000.
    assert codes == [1000, 4003]


async def test_the_client_of_trio_websocket(ours):
    """Messages, ping and both ways of closing."""
    url, codes = ours
    with trio.fail_after(SECONDS):
        async with trio_websocket.open_websocket_url(url, max_message_size=1 << 24) as socket:
            for message in MESSAGES:
                await socket.send_message(message)
                assert await socket.get_message() == message
            await socket.ping(b"there?")
            await socket.send_message(CLOSE)
            with pytest.raises(trio_websocket.ConnectionClosed) as closed:
                await socket.get_message()
            assert (closed.value.reason.code, closed.value.reason.reason) == (4005, "asked to")
            # It leaves its TCP socket open when the server closes first.
            await trio.aclose_forcefully(socket._stream)
        async with trio_websocket.open_websocket_url(url) as socket:
            await socket.aclose(4003)
        while len(codes) < 2:
            await trio.sleep(0.01)
    assert codes == [4005, 4003]


async def test_the_trio_client_of_websockets(ours):
    """Messages, fragments, ping and both ways of closing."""
    url, codes = ours
    with trio.fail_after(SECONDS):
        async with websockets.trio.client.connect(url, compression=None, max_size=None, proxy=None) as socket:
            for message in MESSAGES:
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping(b"there?")).wait()
            await socket.send(CLOSE)
            with pytest.raises(websockets.exceptions.ConnectionClosedError):
                await socket.recv()
        async with websockets.trio.client.connect(url, compression=None, proxy=None) as socket:
            await socket.aclose(4003)
        while len(codes) < 2:
            await trio.sleep(0.01)
    assert codes == [4005, 4003]
