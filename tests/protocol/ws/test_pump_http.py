"""Pages on both servers of `coworld_protocol.ws`, asked for by the standard library's and by httpx's clients, and by hand."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import trio

from coworld_protocol.ws.connection import Connection
from coworld_protocol.ws.pump import serve
from coworld_protocol.ws.serving import serve_connections
from coworld_protocol.ws.web import Endpoint, Limits, Request, Response

PATIENCE = 60.0
LARGE = bytes(range(256)) * 8192


class Pages:
    """An application of pages; it takes no websocket."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []

    def respond(self, request: Request) -> Response | None:
        self.requests.append((request.method, request.path))
        if request.path == "/large":
            return Response(body=LARGE, content_type="application/octet-stream")
        if request.path == "/gone":
            return Response(status=410, body=b"was here\n")
        if request.path in {"/page", "/other"}:
            return Response(body=f"{request.path} {request.query.get('q', '')}\n".encode(), headers=[("X-Page", "yes")])
        return None

    def upgrade(self, request: Request) -> Endpoint | Response:
        return Response(status=403, body=b"no websockets here\n")

    def settled(self) -> None:
        pass


async def refuse_nothing(connection: Connection, request: Request) -> None:
    await connection.close()


Start = Callable[..., contextlib.AbstractAsyncContextManager[int]]


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture(params=["pump", "connection"])
def start(request: pytest.FixtureRequest, pages: Pages) -> Start:
    @contextlib.asynccontextmanager
    async def running(**limits: float) -> AsyncIterator[int]:
        async def run(*, task_status: trio.TaskStatus[int]) -> None:
            at = {"host": "127.0.0.1", "port": 0, "limits": Limits(**limits), "task_status": task_status}  # type: ignore[arg-type]
            if request.param == "pump":
                await serve(pages, **at)
            else:
                await serve_connections(refuse_nothing, respond=pages.respond, **at)

        async with trio.open_nursery() as nursery:
            yield await nursery.start(run)
            nursery.cancel_scope.cancel()

    return running


class Answer:
    """A whole answer, as the standard library reads it: it raises where length and body do not agree."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        answer = connection.getresponse()
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()
        self.last = answer.will_close


def ask(port: int, *requests: tuple[str, str, dict[str, str], bytes]) -> list[Answer]:
    """Requests on one connection, each after the answer to the one before."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.connect()
    sock = connection.sock
    answers = []
    try:
        for method, path, headers, body in requests:
            connection.request(method, path, body or None, headers)
            answers.append(Answer(connection))
            # The library would open another one without a word.
            assert connection.sock in {sock, None}
    finally:
        connection.close()
    return answers


async def asked(port: int, *requests: tuple[str, str, dict[str, str], bytes]) -> list[Answer]:
    return await trio.to_thread.run_sync(ask, port, *requests)


def get(path: str, method: str = "GET", body: bytes = b"", **headers: str) -> tuple[str, str, dict[str, str], bytes]:
    return method, path, {name.replace("_", "-"): value for name, value in headers.items()}, body


async def exchange(port: int, data: bytes) -> bytes:
    """Send bytes and read until the server closes."""
    said = b""
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(data)
            while part := await stream.receive_some():
                said += part
    return said


async def test_one_connection_serves_many_requests(start, pages):
    """Connections are kept: GET, HEAD and a request with a body, one after the other, each with its length and type."""
    async with start() as port:
        first, head, posted, large = await asked(
            port, get("/page?q=a%20b"), get("/page", "HEAD"), get("/other", body=b"ignored"), get("/large")
        )
    assert first.status == 200
    assert first.body == b"/page a b\n"
    assert first.headers["content-length"] == "10"
    assert first.headers["content-type"] == "text/plain; charset=utf-8"
    assert first.headers["x-page"] == "yes"
    assert not first.last
    assert head.status == 200
    assert head.body == b""
    assert head.headers["content-length"] == "7"
    assert posted.body == b"/other \n"
    assert large.body == LARGE
    assert pages.requests == [("GET", "/page"), ("HEAD", "/page"), ("GET", "/other"), ("GET", "/large")]


@pytest.mark.parametrize(
    ("request_", "status", "headers"),
    [
        (get("/nowhere"), 404, {}),
        (get("/gone"), 410, {}),
        (get("/nowhere", "HEAD"), 404, {}),
        (get("/nowhere", "POST"), 404, {}),
        (get("/page", "POST", b"x"), 405, {"allow": "GET, HEAD"}),
        (get("/page", "DELETE"), 405, {"allow": "GET, HEAD"}),
        (get("/page", "OPTIONS"), 405, {"allow": "GET, HEAD"}),
        (get("/page", body=bytes(1001)), 413, {}),
        (get("/page", body=b"x" * 9, Expect="100-continue"), 413, {}),
        (get("/page", X_Long="x" * 20_000), 431, {}),
        (get("/page?" + "a=1&" * 100), 400, {}),
        (get("/page?q=%ff"), 400, {}),
        (get("/ws", Upgrade="websocket", Connection="Upgrade"), 426, {"sec-websocket-version": "13"}),
        (get("/ws", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="8"), 426, {"sec-websocket-version": "13"}),
        (get("/ws", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="13"), 400, {}),
        (get("/ws", "POST", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="13"), 405, {"allow": "GET"}),
    ],
    ids=lambda value: f"{value[0]}-{value[1][:8]}" if isinstance(value, tuple) else "",
)  # fmt: skip
async def test_an_error_has_its_status_and_is_the_last_answer(start, request_, status, headers):
    """Whatever is wrong is answered with a whole answer in text, and the connection is closed."""
    async with start(body_bytes=1000) as port:
        (answer,) = await asked(port, request_)
    assert answer.status == status
    # A token of a list: a 426 has to say `Connection: Upgrade` as well.
    assert "close" in answer.headers["connection"].split(", ")
    assert headers.items() <= answer.headers.items()
    if request_[0] == "HEAD":
        assert int(answer.headers["content-length"]) > 0
    else:
        assert len(answer.body) == int(answer.headers["content-length"]) > 0


async def test_requests_sent_at_once_are_answered_in_order(start, pages):
    """Twenty requests in one segment get twenty answers in their order; the last one's wish to close is granted."""
    requests = [f"GET /page?q={number} HTTP/1.1\r\nHost: here\r\n\r\n".encode() for number in range(20)]
    async with start() as port:
        said = await exchange(
            port, b"".join(requests) + b"HEAD /page HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
        )
    answers = said.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [
        *(f"/page {number}\n".encode() for number in range(20)),
        b"",
    ]
    assert len(pages.requests) == 21


async def test_the_oldest_http_gets_its_page_and_the_end(start):
    """A request in HTTP/1.0 needs no Host; it is answered and the connection closed."""
    async with start() as port:
        said = await exchange(port, b"GET /page HTTP/1.0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(b"\r\n\r\n/page \n")


async def test_a_whole_address_as_target_is_its_path(start, pages):
    """A target that names scheme and host, as proxies send it, asks for its path."""
    async with start() as port:
        said = await exchange(port, b"GET http://here/page?q=1 HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    assert said.endswith(b"\r\n\r\n/page 1\n")
    assert pages.requests == [("GET", "/page")]


async def test_who_sends_no_more_still_gets_its_answer(start):
    """A client that half-closes behind its request is answered."""
    with trio.fail_after(PATIENCE):
        async with start() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n")
            await stream.send_eof()
            said = b""
            while part := await stream.receive_some():
                said += part
    assert said.endswith(LARGE)


async def test_many_clients_at_once_are_served(start):
    """A pool of connections of httpx's of connections gets every page it asks for, large ones among them."""
    async with start() as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
        answers: dict[int, httpx.Response] = {}

        async def fetch(number: int) -> None:
            answers[number] = await client.get("/large" if number % 5 == 0 else f"/page?q={number}")

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(fetch, number)
    for number, answer in answers.items():
        assert answer.content == (LARGE if number % 5 == 0 else f"/page {number}\n".encode())
    assert len(answers) == 50


async def test_an_idle_connection_is_closed_in_the_end(start):
    """A kept connection on which nothing is asked any more is closed after `header_seconds`, without a word."""
    async with start(header_seconds=0.3) as port:
        said = await exchange(port, b"GET /page HTTP/1.1\r\nHost: here\r\n\r\n")
    assert said.count(b"HTTP/1.1 ") == 1
