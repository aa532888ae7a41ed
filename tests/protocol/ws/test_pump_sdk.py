"""`coworld_protocol.ws.pump` as a game needs it: real sockets against a small application."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import trio
import trio_websocket
import wsproto
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    TextMessage,
)
from wsproto.events import Request as UpgradeRequest

from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.ws.frames import TEXT, encode
from coworld_protocol.ws.pump import serve
from coworld_protocol.ws.web import Endpoint, Limits, Request, Response, Socket


class Echo:
    """An endpoint that sends everything back and remembers what happened."""

    def __init__(self) -> None:
        self.socket: Socket | None = None
        self.messages: list[str | bytes] = []
        self.codes: list[int] = []
        self.ready = trio.Event()
        self.gone = trio.Event()

    def opened(self, socket: Socket) -> None:
        self.socket = socket
        self.ready.set()

    def received(self, payload: bytes, text: bool) -> None:
        message = payload.decode() if text else payload
        self.messages.append(message)
        assert self.socket is not None
        self.socket.send(message)

    def closed(self, code: int) -> None:
        self.codes.append(code)
        self.gone.set()


class Site:
    """A page at `/page`, an echo socket at `/echo`, refusals everywhere else."""

    def __init__(self) -> None:
        self.endpoints: list[Echo] = []
        self.queries: list[dict[str, str]] = []
        self.settlings = 0

    def respond(self, request: Request) -> Response | None:
        self.queries.append(dict(request.query))
        return Response(body=b"<p>hi", content_type="text/html") if request.path == "/page" else None

    def upgrade(self, request: Request) -> Endpoint | Response:
        if request.path != "/echo":
            return Response(status=403, body=b"no")
        self.endpoints.append(Echo())
        return self.endpoints[-1]

    def settled(self) -> None:
        self.settlings += 1


class Client:
    """A websocket client that sends what it is told, right or wrong."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)

    async def open(self, target: str = "/echo") -> wsproto.events.Event:
        await self.stream.send_all(self.protocol.send(UpgradeRequest(host="here", target=target)))
        return await self.event()

    async def event(self) -> wsproto.events.Event:
        with trio.fail_after(20):
            while True:
                for event in self.protocol.events():
                    return event
                self.protocol.receive_data(await self.stream.receive_some(65536) or None)

    async def close_code(self) -> int:
        while True:
            event = await self.event()
            if isinstance(event, CloseConnection):
                return int(event.code)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def start(site: Site, nursery: trio.Nursery) -> Callable[..., object]:
    async def start(**limits: float) -> int:
        def go(*, task_status: trio.TaskStatus[int]) -> object:
            return serve(site, host="127.0.0.1", port=0, limits=Limits(**limits), task_status=task_status)

        return await nursery.start(go)

    return start


async def exchange(port: int, data: bytes) -> bytes:
    """Send bytes, half-close nothing, read until the server closes."""
    with trio.fail_after(20):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(data)
            answer = b""
            while part := await stream.receive_some():
                answer += part
            return answer


def last(request: str, *headers: str) -> bytes:
    return "\r\n".join([f"{request} HTTP/1.1", "Host: here", "Connection: close", *headers, "", ""]).encode()


async def test_a_page_has_its_type_and_length(start):
    """GET answers with body, Content-Type and Content-Length."""
    answer = await exchange(await start(), last("GET /page"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-type: text/html" in head.lower()
    assert b"content-length: 5" in head.lower()
    assert body == b"<p>hi"


async def test_head_has_the_headers_and_no_body(start):
    """HEAD answers like GET without a body."""
    answer = await exchange(await start(), last("HEAD /page"))
    assert b"content-length: 5" in answer.lower()
    assert answer.endswith(b"\r\n\r\n")


async def test_a_connection_serves_many_requests(start):
    """Two requests sent at once on one connection are answered one after the other."""
    answer = await exchange(await start(), b"GET /page HTTP/1.1\r\nHost: here\r\n\r\n" + last("GET /page"))
    assert answer.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (last("GET /nowhere"), 404),
        (last("POST /page", "Content-Length: 2") + b"ab", 405),
        (b"what is this\r\n\r\n", 400),
        (last("GET /page?" + "&".join("a=1" for _ in range(100))), 400),
        (last("POST /page", "Content-Length: 100000"), 413),
        (last("POST /page", "Expect: 100-continue", "Content-Length: 10"), 413),
        (last("GET /page", "X-Long: " + "x" * 400_000), 431),
        (last("GET /echo", "Upgrade: websocket", "Connection: Upgrade"), 426),
        (last("GET /echo", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 8"), 426),
        (last("POST /echo", "Upgrade: websocket", "Connection: Upgrade", "Content-Length: 0"), 405),
    ],
)
async def test_bad_requests_get_their_status(start, request_bytes, status):
    """Each kind of bad request is answered with its own status, and the connection ends."""
    port = await start()
    body = b"x" * 100000 if status == 413 and b"Expect" not in request_bytes else b""
    answer = await exchange(port, request_bytes + body)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


async def test_405_names_the_methods_allowed(start):
    """A known path asked with another method says which methods it takes."""
    assert b"allow: get, head" in (await exchange(await start(), last("DELETE /page"))).lower()


async def test_the_query_is_decoded(start, site):
    """The application sees decoded query items; of repeated keys the last."""
    await exchange(await start(), last("GET /page?a=%20x&b=&a=y"))
    assert site.queries == [{"a": "y", "b": ""}]


async def test_a_head_that_never_ends_is_cut_off(start):
    """A client that sends half a request is closed when its time is up."""
    assert await exchange(await start(header_seconds=0.2), b"GET /page HTTP/1.1\r\nHo") == b""


async def test_connections_beyond_the_limit_wait_their_turn(start):
    """Beyond the limit nobody is served until a connection has ended; then whoever waited is."""
    port = await start(connections=1)
    answers = []

    async def ask() -> None:
        answers.append(await exchange(port, last("GET /page")))

    async with trio.open_nursery() as nursery:
        async with await trio.open_tcp_stream("127.0.0.1", port) as first:
            for _ in range(3):
                await first.send_all(b"GET /page HTTP/1.1\r\nHost: here\r\n\r\n")
                assert (await first.receive_some()).startswith(b"HTTP/1.1 200")
                nursery.start_soon(ask)
            assert answers == []
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 3


async def test_a_taken_port_is_a_sentence(start, site):
    """Listening where somebody else listens fails with the address in the message."""
    port = await start()
    with pytest.raises(PreconditionMissing, match=str(port)):
        await serve(site, host="127.0.0.1", port=port)


async def opened(site: Site, number: int = 0) -> Socket:
    """The server's side of a socket; it opens a moment after the client has its answer."""
    with trio.fail_after(20):
        await site.endpoints[number].ready.wait()
    socket = site.endpoints[number].socket
    assert socket is not None
    return socket


async def connect(port: int) -> Client:
    client = Client(await trio.open_tcp_stream("127.0.0.1", port))
    assert isinstance(await client.open(), AcceptConnection)
    return client


async def test_text_and_binary_come_back(start):
    """Messages of either kind arrive whole and in order."""
    client = await connect(await start())
    for data in ("grüße", b"\x00\xff", "x" * 60000):
        event = TextMessage(data) if isinstance(data, str) else BytesMessage(data)
        await client.stream.send_all(client.protocol.send(event))
        back = []
        while not back or not back[-1].message_finished:
            back.append(await client.event())
        assert data == (("" if isinstance(data, str) else b"").join(part.data for part in back))
    await client.stream.aclose()


async def test_a_message_may_come_in_fragments_with_a_ping_between(start, site):
    """Fragments are joined; a ping among them is answered with its payload."""
    client = await connect(await start())
    send = client.protocol.send
    await client.stream.send_all(send(TextMessage("one ", message_finished=False)) + send(Ping(b"between")))
    event = await client.event()
    assert isinstance(event, Pong)
    assert event.payload == b"between"
    await client.stream.send_all(send(TextMessage("two")))
    assert (await client.event()).data == "one two"
    assert site.endpoints[0].messages == ["one two"]
    await client.stream.aclose()


async def test_bytes_behind_the_handshake_are_not_lost(start):
    """A frame in the same segment as the upgrade request is received."""
    stream = await trio.open_tcp_stream("127.0.0.1", await start())
    client = Client(stream)
    handshake = client.protocol.send(UpgradeRequest(host="here", target="/echo"))
    early = bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi"
    await stream.send_all(handshake + early)
    assert isinstance(await client.event(), AcceptConnection)
    assert (await client.event()).data == "hi"
    await stream.aclose()


async def test_a_refused_upgrade_is_an_http_status(start, site):
    """The application's refusal is sent instead of accepting."""
    async with await trio.open_tcp_stream("127.0.0.1", await start()) as stream:
        event = await Client(stream).open("/private")
        assert isinstance(event, RejectConnection)
        assert event.status_code == 403
    assert site.endpoints == []


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (bytes([0x81, 0x02]) + b"hi", 1002),
        (bytes([0xF1, 0x82, 0, 0, 0, 0]) + b"hi", 1002),
        (bytes([0x83, 0x80, 0, 0, 0, 0]), 1002),
        (bytes([0x81, 0x82, 0, 0, 0, 0]) + b"\xff\xff", 1007),
        (bytes([0x82, 0xFF, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]) + b"x" * 70000, 1009),
    ],
    ids=["unmasked", "reserved-bits", "unknown-opcode", "bad-utf8", "too-big"],
)
async def test_broken_frames_close_with_their_code(start, site, frame, code):
    """A frame that breaks the protocol closes this socket with the right code."""
    client = await connect(await start())
    await client.stream.send_all(frame)
    assert await client.close_code() == code
    await client.stream.aclose()
    with trio.fail_after(20):
        await site.endpoints[0].gone.wait()
    assert site.endpoints[0].messages == []


async def test_the_peers_close_is_answered_and_told_once(start, site):
    """A close frame is echoed, and the endpoint learns its code once."""
    client = await connect(await start())
    await client.stream.send_all(client.protocol.send(CloseConnection(code=4001, reason="bye")))
    assert await client.close_code() == 4001
    await client.stream.aclose()
    with trio.fail_after(20):
        await site.endpoints[0].gone.wait()
    assert site.endpoints[0].codes == [4001]


async def test_our_close_comes_after_what_was_sent(start, site):
    """Everything sent before `close` arrives before the close frame."""
    client = await connect(await start())
    socket = await opened(site)
    socket.send("last words")
    socket.close(1000, "over")
    assert not socket.open
    socket.send("too late")
    assert (await client.event()).data == "last words"
    event = await client.event()
    assert isinstance(event, CloseConnection)
    assert (event.code, event.reason) == (1000, "over")
    await client.stream.send_all(client.protocol.send(event.response()))
    with trio.fail_after(20):
        await site.endpoints[0].gone.wait()
    assert site.endpoints[0].codes == [1000]
    await client.stream.aclose()


async def test_a_peer_that_never_answers_a_close_is_dropped(start, site):
    """The close handshake has a deadline."""
    client = await connect(await start(close_seconds=0.2))
    (await opened(site)).close()
    with trio.fail_after(20):
        await site.endpoints[0].gone.wait()
    assert site.endpoints[0].codes == [1006]
    await client.stream.aclose()


async def test_a_peer_that_vanishes_is_1006(start, site):
    """A connection that ends without a close frame is told as 1006."""
    client = await connect(await start())
    await client.stream.aclose()
    with trio.fail_after(20):
        await site.endpoints[0].gone.wait()
    assert site.endpoints[0].codes == [1006]


async def test_a_slow_receiver_is_dropped_and_hurts_nobody(start, site):
    """Who does not read is cut off once too much waits for it; others go on receiving."""
    port = await start(outbox_bytes=1_000_000)
    slow, good = await connect(port), await connect(port)
    sockets = [await opened(site, 0), await opened(site, 1)]
    seen = 0
    for number in itertools.count():
        for socket in sockets:
            socket.send(f"{number:06}" + "x" * 100_000)
        wanted = 0
        while wanted < 100_006:
            wanted += len((await good.event()).data)
        seen += 1
        if site.endpoints[0].gone.is_set():
            break
        assert number < 1000
    assert site.endpoints[0].codes == [1006]
    assert site.endpoints[1].codes == []
    assert seen > 5
    await slow.stream.aclose()
    await good.stream.aclose()


async def test_one_message_may_be_larger_than_the_outbox(start, site):
    """A single large message, as a replay is, passes when nothing else waits."""
    port = await start(outbox_bytes=1000)
    async with trio_websocket.open_websocket_url(f"ws://127.0.0.1:{port}/echo", max_message_size=10_000_000) as client:
        (await opened(site)).send("y" * 5_000_000)
        with trio.fail_after(20):
            assert len(await client.get_message()) == 5_000_000


async def test_a_public_client_can_ping_and_close(start):
    """trio-websocket's own handshake, ping and close work against it."""
    port = await start()
    with trio.fail_after(20):
        async with trio_websocket.open_websocket_url(f"ws://127.0.0.1:{port}/echo") as client:
            await client.ping(b"coworld-certification-ping")
            await client.send_message("hi")
            assert await client.get_message() == "hi"
        assert client.closed.code == 1000


async def test_things_settle_after_every_message_that_had_arrived(start, site):
    """Messages that came in one segment are all handed over before the application hears that things have settled."""
    client = await connect(await start())
    await opened(site)
    told: list[int] = []
    settled = site.settled
    site.settled = lambda: told.append(len(site.endpoints[0].messages)) or settled()
    frame = bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi"
    await client.stream.send_all(frame * 20)
    for _ in range(20):
        assert (await client.event()).data == "hi"
    assert set(told) <= {0, 20}
    await client.stream.aclose()


async def test_one_frame_goes_to_many(start, site):
    """The same encoded frame reaches every receiver it is given to."""
    port = await start()
    clients = [await connect(port) for _ in range(3)]
    frame = encode(TEXT, b"for all of you" * 10)
    for number in range(3):
        (await opened(site, number)).send_frame(frame)
    for client in clients:
        assert (await client.event()).data == "for all of you" * 10
        await client.stream.aclose()
