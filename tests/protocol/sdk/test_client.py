"""`coworld_protocol.sdk.client`: against a public server library."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing
from websockets.trio.server import serve

from coworld_protocol.sdk.client import Rejected, SocketClosed, open_socket


@pytest.fixture
async def serve_with(nursery):
    """Serve a handler with the `websockets` library; the URL to reach it."""

    async def start(handler, **options) -> str:
        go = partial(serve, handler, 0, host="127.0.0.1", compression=None, ping_interval=None, **options)
        server = await nursery.start(lambda *, task_status: go(task_status=task_status))
        return f"ws://127.0.0.1:{server.listeners[0].socket.getsockname()[1]}/"

    return start


async def test_text_and_binary_of_any_size(serve_with, nursery):
    """Messages of either kind and of many sizes come back as they were sent."""

    async def echo(socket) -> None:
        async for message in socket:
            await socket.send(message)

    with trio.fail_after(30):
        socket = await open_socket(nursery, await serve_with(echo, max_size=None))
        for message in ("", "grüße", b"\x00\xff", "x" * 70_000, b"y" * 1_000_000):
            await socket.send(message)
            assert await socket.receive() == message
        await socket.close()


async def test_fragments_are_joined(serve_with, nursery):
    """A message sent in fragments is received whole."""

    async def handler(socket) -> None:
        async def parts():
            for part in ("one ", "two ", "three"):
                yield part

        await socket.send(parts())
        await socket.wait_closed()

    with trio.fail_after(30):
        socket = await open_socket(nursery, await serve_with(handler))
        assert await socket.receive() == "one two three"
        await socket.close()


async def test_pings_are_answered_while_the_player_thinks(serve_with, nursery):
    """A pong comes although nobody is receiving."""
    answered = trio.Event()

    async def handler(socket) -> None:
        await (await socket.ping(b"still there?")).wait()
        answered.set()
        await socket.wait_closed()

    with trio.fail_after(30):
        socket = await open_socket(nursery, await serve_with(handler))
        await answered.wait()
        await socket.close()


async def test_what_came_before_the_end_is_given_out_first(serve_with, nursery):
    """Messages sent before the close are received, then the close code is raised, every time."""

    async def handler(socket) -> None:
        for number in range(3):
            await socket.send(str(number))
        await socket.aclose(4000, "enough")

    with trio.fail_after(30):
        socket = await open_socket(nursery, await serve_with(handler))
        assert [await socket.receive() for _ in range(3)] == ["0", "1", "2"]
        for _ in range(2):
            with pytest.raises(SocketClosed) as closed:
                await socket.receive()
            assert (closed.value.code, closed.value.reason) == (4000, "enough")
        with pytest.raises(SocketClosed):
            await socket.send("too late")
        await socket.close()


async def test_a_server_that_vanishes_is_1006(serve_with, nursery):
    """A connection that ends without a close frame raises with 1006."""

    async def handler(socket) -> None:
        await trio.aclose_forcefully(socket.stream)

    with trio.fail_after(30):
        socket = await open_socket(nursery, await serve_with(handler))
        with pytest.raises(SocketClosed) as closed:
            await socket.receive()
        assert closed.value.code == 1006


async def test_many_unread_messages_hold_the_server_back_and_none_is_lost(serve_with, nursery):
    """More messages than the queue holds arrive complete and in order once they are taken."""

    async def handler(socket) -> None:
        for number in range(500):
            await socket.send(str(number))
        await socket.wait_closed()

    with trio.fail_after(30):
        socket = await open_socket(nursery, await serve_with(handler))
        assert [await socket.receive() for _ in range(500)] == [str(number) for number in range(500)]
        await socket.close()


async def test_closing_with_unread_messages_ends(serve_with, nursery):
    """`close` does not hang when nobody takes what has come."""

    async def handler(socket) -> None:
        for number in range(500):
            await socket.send(str(number))
        await socket.wait_closed()

    with trio.fail_after(30):
        socket = await open_socket(nursery, await serve_with(handler))
        await trio.testing.wait_all_tasks_blocked(0.05)
        await socket.close()
        await socket.close()


async def test_a_refused_handshake_has_its_status(serve_with, nursery):
    """Another status than 101 is raised with its number."""
    url = await serve_with(lambda socket: None, process_request=lambda socket, request: socket.respond(403, "no"))
    with trio.fail_after(30), pytest.raises(Rejected) as rejected:
        await open_socket(nursery, url)
    assert rejected.value.status == 403


@pytest.mark.parametrize("answer", [b"", b"hello\r\n\r\n", b"SSH-2.0-x\r\n"])
async def test_a_stranger_on_the_port_is_a_rejection(nursery, answer):
    """What speaks no HTTP is told apart from a refused connection."""

    async def stranger(stream) -> None:
        await stream.receive_some()
        if answer:
            await stream.send_all(answer)

    listeners = await nursery.start(partial(trio.serve_tcp, stranger, 0, host="127.0.0.1"))
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(30), pytest.raises(Rejected) as rejected:
        await open_socket(nursery, f"ws://127.0.0.1:{port}/")
    assert rejected.value.status == 0


async def test_nobody_there_is_an_oserror(nursery):
    """A closed port raises what the system says."""
    with pytest.raises(OSError):
        await open_socket(nursery, "ws://127.0.0.1:9/")
