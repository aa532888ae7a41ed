"""`coworld_protocol.ws.serving`: our own clients, raw ones, and what a bad request gets."""

from __future__ import annotations

import contextlib
from functools import partial

import pytest
import trio
import trio.testing

from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.ws.connecting import connect
from coworld_protocol.ws.connection import Connection, ConnectionClosed
from coworld_protocol.ws.serving import serve_connections
from coworld_protocol.ws.web import Limits, Request, Response

SECONDS = 60
HEAD = (
    "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def echo(connection: Connection, _: Request) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.fixture
async def start(nursery):
    """Start a server; its port."""

    async def start(handler=echo, **options) -> int:
        return await nursery.start(partial(serve_connections, handler, host="127.0.0.1", port=0, **options))

    return start


async def ask(port: int, text: str) -> str:
    """Send raw bytes and read to the end."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(text.encode())
        return b"".join([bytes(data) async for data in stream]).decode()


async def test_many_connections_at_once(start):
    """Each of a hundred connections gets its own messages back, in order, and a clean end."""
    port = await start()

    async def talk(number: int) -> None:
        async with await connect(f"ws://127.0.0.1:{port}/") as connection:
            for turn in range(20):
                await connection.send(f"{number} {turn}")
                assert await connection.receive() == f"{number} {turn}"
                if turn == 10:
                    await trio.lowlevel.checkpoint()
        assert connection.code == 1000

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(talk, number)


async def test_the_handler_gets_the_request(start):
    """Path and query are the client's; returning closes with 1000."""
    seen = []

    async def handler(connection: Connection, request: Request) -> None:
        seen.append((request.path, request.query))
        await connection.send("bye")

    with trio.fail_after(SECONDS):
        async with await connect(f"ws://127.0.0.1:{await start(handler)}/seat?slot=3&token=x") as connection:
            assert [message async for message in connection] == ["bye"]
    assert seen == [("/seat", {"slot": "3", "token": "x"})]


async def test_large_messages_while_many_wait(start):
    """Messages larger than a read arrive whole, with more than a few connections open."""
    port = await start(limits=Limits(message_bytes=10_000_000))
    with trio.fail_after(SECONDS):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(8):
                connection = await stack.enter_async_context(await connect(f"ws://127.0.0.1:{port}/"))
                for size in (1, 65536, 131_072 - 14, 3_000_000):
                    await connection.send(b"x" * size)
                    assert len(await connection.receive_bytes()) == size


async def test_ends_are_noticed_while_many_wait(start):
    """Peers that say goodbye, vanish, or are cut off behind their last message are all noticed."""
    ends: list[int | None] = []

    async def handler(connection: Connection, _: Request) -> None:
        try:
            while True:
                await connection.receive()
        except ConnectionClosed as closed:
            ends.append(closed.code)

    port = await start(handler)
    with trio.fail_after(SECONDS):
        connections = [await connect(f"ws://127.0.0.1:{port}/") for _ in range(12)]
        await trio.testing.wait_all_tasks_blocked()
        for connection in connections[:6]:
            await connection.send("last")
            connection.abort()
        for connection in connections[6:]:
            await connection.send("last")
            await connection.close(4000)
        while len(ends) < 12:
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert sorted(ends) == [1006] * 6 + [4000] * 6


async def test_a_message_too_long_is_1009(start):
    """The limit of the server's is told by its close code."""
    port = await start(limits=Limits(message_bytes=100))
    with trio.fail_after(SECONDS):
        async with await connect(f"ws://127.0.0.1:{port}/") as connection:
            await connection.send("x" * 101)
            with pytest.raises(ConnectionClosed) as closed:
                await connection.receive()
            assert closed.value.code == 1009


async def test_pages_and_refusals(start):
    """Beside websockets there are pages if the author has some, and clear answers to anything else."""
    port = await start(respond=lambda request: Response(body=b"page\n") if request.path == "/page" else None)
    with trio.fail_after(SECONDS):
        assert (await ask(port, "GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).endswith(
            "\r\n\r\npage\n"
        )
        assert (await ask(port, "GET /none HTTP/1.1\r\nHost: x\r\n\r\n")).startswith("HTTP/1.1 404 ")
        assert (await ask(port, "nonsense\r\n\r\n")).startswith("HTTP/1.1 400 ")
        assert (await ask(port, "GET / HTTP/1.1\r\n" + HEAD.replace("13", "8"))).startswith("HTTP/1.1 426 ")
        async with await connect(f"ws://127.0.0.1:{port}/page") as connection:
            await connection.send("x")
            assert await connection.receive() == "x"


async def test_a_request_that_never_ends_is_given_up(start):
    """A head that does not arrive in time ends the connection."""
    port = await start(limits=Limits(header_seconds=0.1))
    with trio.fail_after(SECONDS):
        assert await ask(port, "GET / HTTP/1.1\r\nHost: ") == ""


async def test_connections_beyond_the_limit_wait(start):
    """A further connection is served when one ends."""
    port = await start(limits=Limits(connections=1))
    with trio.fail_after(SECONDS):
        async with await connect(f"ws://127.0.0.1:{port}/") as first, trio.open_nursery() as nursery:
            got = []

            async def second() -> None:
                async with await connect(f"ws://127.0.0.1:{port}/") as connection:
                    await connection.send("second")
                    got.append(await connection.receive())

            nursery.start_soon(second)
            await first.send("first")
            assert await first.receive() == "first"
            assert not got
            await first.close()
        assert got == ["second"]


async def test_a_silent_client_is_pinged_and_dropped():
    """One that does not answer in time is gone."""
    gone = trio.Event()

    async def handler(connection: Connection, _: Request) -> None:
        with pytest.raises(ConnectionClosed, match="no answer to a ping"):
            await connection.receive()
        gone.set()

    limits = Limits(ping_seconds=0.05, pong_seconds=0.2)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve_connections, handler, host="127.0.0.1", port=0, limits=limits))
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(("GET / HTTP/1.1\r\n" + HEAD).encode())
                await gone.wait()
            nursery.cancel_scope.cancel()


async def test_a_handlers_bug_is_told_to_both_sides():
    """The peer gets 1011, the server ends with the exception."""

    async def handler(connection: Connection, _: Request) -> None:
        raise LookupError("mine")

    with trio.fail_after(SECONDS), pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve_connections, handler, host="127.0.0.1", port=0))
            async with await connect(f"ws://127.0.0.1:{port}/") as connection:
                with pytest.raises(ConnectionClosed) as closed:
                    await connection.receive()
                assert closed.value.code == 1011
                await trio.sleep_forever()


async def test_a_port_in_use_is_a_sentence(start):
    """What cannot be bound is said with the next step."""
    port = await start()
    with pytest.raises(PreconditionMissing, match=f"cannot listen on 127.0.0.1:{port}"):
        await serve_connections(echo, host="127.0.0.1", port=port)
