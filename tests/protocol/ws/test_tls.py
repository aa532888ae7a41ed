"""`coworld_protocol.ws.tls`: an encrypted connection against a server of somebody else's making."""

from __future__ import annotations

import ssl
import subprocess
from functools import partial

import pytest
import trio
from websockets.trio.server import serve

from coworld_protocol.ws.connecting import connect
from coworld_protocol.ws.connection import ConnectionClosed

SECONDS = 30


@pytest.fixture(scope="module")
def contexts(tmp_path_factory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server that is 127.0.0.1 and of a client that trusts it."""
    place = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", place / "key", "-out", place / "crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(place / "crt", place / "key")
    return server, ssl.create_default_context(cafile=str(place / "crt"))


@pytest.fixture
async def start(nursery, contexts):
    """Serve a handler over TLS; the URL to reach it."""

    async def start(handler) -> str:
        go = partial(serve, handler, 0, host="127.0.0.1", ssl=contexts[0], compression=None, max_size=None)
        server = await nursery.start(lambda *, task_status: go(task_status=task_status))
        return f"wss://127.0.0.1:{server.listeners[0].socket.getsockname()[1]}/"

    return start


async def echo(socket) -> None:
    async for message in socket:
        await socket.send(message)


async def test_messages_of_any_size_both_ways(start, contexts):
    """Small and large messages come back, many at once as well, and the end is a clean one."""
    with trio.fail_after(SECONDS):
        async with await connect(await start(echo), ssl_context=contexts[1]) as connection:
            for message in ("", "grüße", b"\x00\xff", "x" * 70_000):
                await connection.send(message)
                assert await connection.receive() == message
            async with trio.open_nursery() as nursery:
                messages = [bytes([n]) * 300_000 for n in range(10)]
                for message in messages:
                    nursery.start_soon(connection.send, message)
                assert sorted([await connection.receive() for _ in messages]) == messages
            assert await connection.ping() > 0
        assert connection.code == 1000


async def test_the_close_code_arrives(start):
    """What the server says at the end is told."""

    async def leave(socket) -> None:
        await socket.aclose(4002, "enough")

    with trio.fail_after(SECONDS):
        url = await start(leave)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with await connect(url, ssl_context=context) as connection:
            with pytest.raises(ConnectionClosed, match="4002: enough"):
                await connection.receive()


async def test_a_stranger_is_not_trusted(start):
    """A certificate that nobody vouches for ends the handshake."""
    with trio.fail_after(SECONDS), pytest.raises(ssl.SSLCertVerificationError):
        await connect(await start(echo))


async def test_a_server_without_tls_is_an_oserror(nursery):
    """Something else on the port, or an end in mid-handshake, is an error of the system."""

    async def stranger(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def leaver(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    for handler in (stranger, leaver):
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        with trio.fail_after(SECONDS), pytest.raises(OSError):
            await connect(f"wss://127.0.0.1:{listeners[0].socket.getsockname()[1]}/")


async def test_a_server_that_vanishes_is_1006(start, contexts):
    """An end without a close frame and without TLS's own goodbye is no clean one."""

    async def vanish(socket) -> None:
        await socket.send("last")
        await trio.aclose_forcefully(socket.stream)

    with trio.fail_after(SECONDS):
        async with await connect(await start(vanish), ssl_context=contexts[1]) as connection:
            assert await connection.receive() == "last"
            with pytest.raises(ConnectionClosed) as closed:
                await connection.receive()
            assert closed.value.code == 1006
