"""`coworld_protocol.ws.connecting`: URLs, and every way in which a connection can fail to come about."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from coworld_protocol.errors import Refused
from coworld_protocol.ws.connecting import Destination, connect, parse_url
from coworld_protocol.ws.connection import Connection
from coworld_protocol.ws.handshake import HandshakeFailed, HandshakeRefused
from coworld_protocol.ws.serving import serve_connections

SECONDS = 30


async def echo(connection: Connection, _) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.fixture
async def listen(nursery):
    """Serve every TCP connection with a handler; the URL to reach it."""

    async def start(handler) -> str:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        return f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"

    return start


@pytest.mark.parametrize(
    ("url", "host", "port", "secure", "unix", "authority", "target"),
    [
        ("ws://example.org", "example.org", 80, False, "", "example.org", "/"),
        ("wss://example.org/a%20b?c=d", "example.org", 443, True, "", "example.org", "/a%20b?c=d"),
        ("ws://127.0.0.1:8080?x=1", "127.0.0.1", 8080, False, "", "127.0.0.1:8080", "/?x=1"),
        ("ws://[::1]:9/p", "::1", 9, False, "", "[::1]:9", "/p"),
        ("WS://Example.org/P", "example.org", 80, False, "", "Example.org", "/P"),
        ("ws+unix:///run/a.sock:/player?slot=0", "localhost", 0, False, "/run/a.sock", "localhost", "/player?slot=0"),
        ("ws+unix:///run/a%20b.sock", "localhost", 0, False, "/run/a b.sock", "localhost", "/"),
        ("ws+unix:///run/a.sock:?q=1", "localhost", 0, False, "/run/a.sock", "localhost", "/?q=1"),
    ],
)
def test_where_urls_lead(url, host, port, secure, unix, authority, target):
    """Host, port, path of a Unix socket, Host header and target of each kind of URL."""
    assert parse_url(url) == Destination(
        host=host, port=port, secure=secure, unix=unix, authority=authority, target=target
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "player",
        "http://127.0.0.1/",
        "ws:///player",
        "ws://127.0.0.1:port/",
        "ws://127.0.0.1:70000/",
        "ws://127.0.0.1:0/",
        "ws://user:secret@127.0.0.1/",
        "ws://127.0.0.1/#there",
        "ws://127.0.0.1/#",
        "ws://127.0.0.1/a b",
        "ws://127.0.0.1/a\r\nHost: other",
        "ws://127.0.0.1/ä",
        "ws+unix://host/run/a.sock:/",
        "ws+unix:run/a.sock:/",
        "ws://[::1/",
    ],
)
async def test_a_url_that_leads_nowhere_is_a_value_error(url):
    """It is refused before anything is opened, in words that do not give away a token."""
    with pytest.raises(ValueError) as refused:
        await connect(url)
    assert "secret" not in str(refused.value)


async def test_nobody_there_is_an_oserror(tmp_path):
    """A closed port and a Unix socket that is not there raise what the system says."""
    with pytest.raises(OSError):
        await connect("ws://127.0.0.1:9/")
    with pytest.raises(OSError):
        await connect(f"ws+unix://{tmp_path}/none.sock:/")
    with pytest.raises(OSError):
        await connect("ws://127.0.0.1:9/", unix=str(tmp_path / "none.sock"))


@pytest.mark.parametrize("status", [200, 302, 403, 404, 500])
async def test_another_status_is_a_refusal(listen, status):
    """The status and the start of the body are at hand."""

    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(f"HTTP/1.1 {status} X\r\nContent-Length: 4\r\n\r\nno!\n".encode())

    with trio.fail_after(SECONDS), pytest.raises(HandshakeRefused) as refused:
        await connect(await listen(refuse))
    assert (refused.value.status, refused.value.excerpt) == (status, "no!")


async def test_a_refusal_whose_body_never_ends_is_a_refusal(listen):
    """Its status is enough, after a moment."""

    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 403 X\r\nContent-Length: 4000\r\n\r\nno")
        await trio.sleep_forever()

    with trio.fail_after(SECONDS), pytest.raises(HandshakeRefused):
        await connect(await listen(refuse))


@pytest.mark.parametrize("answer", [b"", b"hello\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 101 X\r\n\r\n"])
async def test_what_speaks_no_websocket_is_told_apart(listen, answer):
    """Silence, another protocol and a bad acceptance fail the handshake."""

    async def stranger(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if answer:
            await stream.send_all(answer)

    with trio.fail_after(SECONDS), pytest.raises(HandshakeFailed):
        await connect(await listen(stranger))


async def test_a_reset_is_an_oserror(listen):
    """A connection that breaks in the handshake raises what one that breaks later would, as an error of the system."""

    async def reset(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await trio.aclose_forcefully(stream)

    with trio.fail_after(SECONDS), pytest.raises(OSError):
        await connect(await listen(reset))


async def test_giving_up_leaves_no_socket(listen):
    """A handshake that is cancelled closes its connection."""
    closed = trio.Event()

    async def silent(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        assert not await stream.receive_some()
        closed.set()

    url = await listen(silent)
    with trio.fail_after(SECONDS):
        with trio.move_on_after(0.1) as scope:
            await connect(url)
        assert scope.cancelled_caught
        await closed.wait()


async def test_the_request_says_what_the_caller_asked_for(listen):
    """Headers, subprotocols, compression, host and target are in the request."""
    heads = []

    async def record(stream: trio.SocketStream) -> None:
        heads.append(bytes(await stream.receive_some()))

    url = await listen(record)
    with trio.fail_after(SECONDS), pytest.raises(HandshakeFailed):
        await connect(f"{url}a?b=c", headers=[("X-Mine", "yes")], subprotocols=["v2", "v1"], deflate=True)
    head = heads[0].decode()
    assert head.startswith("GET /a?b=c HTTP/1.1\r\n")
    for line in (
        "X-Mine: yes",
        "Sec-WebSocket-Protocol: v2, v1",
        f"Host: {url[5:-1]}",
        "Sec-WebSocket-Extensions: perm",
    ):
        assert f"\r\n{line}" in head


@pytest.mark.parametrize("way", ["url", "argument"])
async def test_over_a_unix_socket(nursery, tmp_path, way):
    """A Unix socket is named by the URL, or takes the place of its host and port."""
    path = f"{tmp_path}/g.sock"
    await nursery.start(partial(serve_connections, echo, host="127.0.0.1", port=0, unix=path))
    with trio.fail_after(SECONDS):
        url, unix = (f"ws+unix://{path}:/x", None) if way == "url" else ("ws://127.0.0.1:9/x", path)
        async with await connect(url, unix=unix) as connection:
            await connection.send("hello")
            assert await connection.receive() == "hello"


async def test_pings_need_a_nursery(nursery):
    """Without one they are refused; with one they keep the connection alive in the background."""
    port = await nursery.start(partial(serve_connections, echo, host="127.0.0.1", port=0))
    url = f"ws://127.0.0.1:{port}/"
    with pytest.raises(ValueError, match="nursery"):
        await connect(url, ping_seconds=1)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as inner:
            async with await connect(url, nursery=inner, ping_seconds=0.01, pong_seconds=SECONDS) as connection:
                await connection.send("x")
                assert await connection.receive() == "x"


async def test_the_switch_for_polling_is_read_when_polling_is_allowed(monkeypatch):
    """An unknown value is refused before anything is opened."""
    monkeypatch.setenv("COWORLD_ACTORS_SPIN", "maybe")
    with pytest.raises(Refused, match="COWORLD_ACTORS_SPIN"):
        await connect("ws://127.0.0.1:9/", spin=True)
