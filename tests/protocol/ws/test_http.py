"""`coworld_protocol.ws.http`: requests in, whole answers out; nothing that a client sends raises."""

from __future__ import annotations

from http.client import HTTPResponse
from io import BytesIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coworld_protocol.ws.http import Conversation
from coworld_protocol.ws.web import Limits, Response
from tests.pump_peers import Recorder, upgrade_request

LIMITS = Limits(header_bytes=2000, body_bytes=100)


class Answer:
    """One answer, read by the standard library's client."""

    def __init__(self, data: BytesIO, method: str) -> None:
        response = HTTPResponse(_Once(data), method=method)  # type: ignore[arg-type]
        response.begin()
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()


class _Once:
    def __init__(self, data: BytesIO) -> None:
        self._data = data

    def makefile(self, *_: object) -> BytesIO:
        return _Lasting(self._data.read())


class _Lasting(BytesIO):
    def close(self) -> None:
        pass


def talk(site: Recorder, *parts: bytes) -> tuple[Conversation, list[bytes]]:
    """Hand the parts over one after the other; the answers."""
    conversation = Conversation(site, LIMITS)
    answers = []
    for part in parts:
        conversation.receive(part)
        while (answer := conversation.step()) is not None:
            answers.append(answer)
    return conversation, answers


def ask(request: str, *headers: str, body: bytes = b"") -> tuple[Answer, Conversation]:
    data = "\r\n".join([f"{request} HTTP/1.1", "Host: here", *headers, "", ""]).encode() + body
    conversation, (answer,) = talk(Recorder(), data)
    return Answer(BytesIO(answer), request.split(maxsplit=1)[0]), conversation


def test_a_page_is_kept_open_and_never_stored():
    """An answer has its type and length, must not be cached or guessed at, and leaves the connection open."""
    answer, conversation = ask("GET /")
    assert (answer.status, answer.body) == (200, b"hello\n")
    assert answer.headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": "6",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    assert not conversation.over


def test_head_tells_the_length_without_the_body():
    """HEAD is GET without a body."""
    answer, conversation = ask("HEAD /")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "6", b"")
    assert not conversation.over


@pytest.mark.parametrize("behind", [b"nonsense\r\n\r\n", b"GET /nowhere HTTP/1.1\r\nHost: here\r\n\r\n"])
def test_a_refusal_behind_a_head_has_its_body(behind):
    """What HEAD leaves out is left out of its own answer only, also when no request can be made out behind it."""
    conversation, (_, answer) = talk(Recorder(), b"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n" + behind)
    read = Answer(BytesIO(answer), "GET")
    assert read.status in {400, 404}
    assert len(read.body) == int(read.headers["content-length"]) > 0
    assert conversation.over


@pytest.mark.parametrize(
    ("request_line", "headers", "body", "status"),
    [
        ("GET /nowhere", (), b"", 404),
        ("PUT /", ("Content-Length: 3",), b"abc", 405),
        ("PUT /nowhere", ("Transfer-Encoding: chunked",), b"3\r\nabc\r\n0\r\n\r\n", 404),
        ("OPTIONS *", (), b"", 404),
        ("CONNECT here:443", (), b"", 404),
        ("GET //[", (), b"", 400),
        ("GET /?a=%ff", (), b"", 400),
        ("PUT /", ("Content-Length: 101",), b"x" * 101, 413),
        ("PUT /", ("Transfer-Encoding: chunked",), b"65\r\n" + b"x" * 101, 413),
        ("PUT /", ("Transfer-Encoding: chunked",), b"no length\r\n", 400),
        ("PUT /", ("Content-Length: -1",), b"", 400),
        ("PUT /", ("Content-Length: 1", "Content-Length: 2"), b"", 400),
        ("GET /", ("Host: there",), b"", 400),
        ("GET /", ("X: " + "x" * 1985,), b"", 431),
        ("GET /?" + "x" * 1990, (), b"", 431),
        ("GET /", ("Upgrade: websocket", "Connection: Upgrade", "Transfer-Encoding: chunked"), b"no length\r\n", 400),
    ],
)
def test_a_bad_request_has_its_status_and_is_the_last(request_line, headers, body, status):
    """An error is answered with a body that says so, `Connection: close`, and nothing behind it is looked at."""
    answer, conversation = ask(request_line, *headers, body=body)
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.body.endswith(b".\n")
    assert conversation.over
    conversation.receive(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert conversation.step() is None


def test_an_application_may_name_options_of_the_connection():
    """They and `close` share one line: some clients look at the first only."""
    site = Recorder()
    upgrade = Response(
        status=426, body=b"A websocket.\n", headers=(("Upgrade", "websocket"), ("Connection", "Upgrade"))
    )
    site.respond = lambda _: upgrade
    _, (answer,) = talk(site, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert answer.lower().count(b"\r\nconnection:") == 1
    assert Answer(BytesIO(answer), "GET").headers["connection"] == "Upgrade, close"


def test_another_protocol_is_not_taken_up():
    """An offer to go on in HTTP/2 is ignored, and the connection is kept."""
    answer, conversation = ask("GET /", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAA")
    assert answer.status == 200
    assert not conversation.over
    assert conversation.upgraded is None


@pytest.mark.parametrize(
    "request_bytes", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"]
)
def test_a_connection_that_is_not_to_be_kept_is_not(request_bytes):
    """HTTP/1.0 and `Connection: close` get their answer, and it says that it is the last."""
    conversation, (answer,) = talk(Recorder(), request_bytes * 2)
    assert Answer(BytesIO(answer), "GET").headers["connection"] == "close"
    assert conversation.over
    assert conversation.answers == 1


def test_the_end_without_a_request_is_no_error():
    """A client that has what it wanted goes without a word."""
    conversation, answers = talk(Recorder(), b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", b"")
    assert len(answers) == 1
    assert conversation.over


@pytest.mark.parametrize("status", [200, 204, 299, 304, 404, 499, 599])
def test_an_application_may_answer_with_any_status(status):
    """Also those that have no name, and those that have no body."""
    site = Recorder()
    site.respond = lambda request: Response(status=status, headers=(("X-Mine", "1"),))
    conversation, (answer,) = talk(site, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    read = Answer(BytesIO(answer), "GET")
    assert (read.status, read.headers["x-mine"]) == (status, "1")
    assert conversation.over is (status >= 400)


def test_a_request_for_a_websocket_ends_the_conversation():
    """What comes behind it is handed over untouched, and no answer is made here."""
    site = Recorder()
    conversation, answers = talk(site, upgrade_request() + b"\x81\x80", b"not looked at")
    assert answers == []
    assert conversation.upgraded is not None
    assert conversation.upgraded.endpoint is site.seats[0]
    assert conversation.upgraded.rest == b"\x81\x80"


def test_an_application_may_refuse_a_websocket():
    """Its answer is sent in place of an acceptance, and the connection ends."""
    site = Recorder()
    site.upgrade = lambda request: Response(status=403, body=b"not you")
    conversation, (answer,) = talk(site, upgrade_request())
    assert (Answer(BytesIO(answer), "GET").status, conversation.over, conversation.upgraded) == (403, True, None)


SEEDS = [
    b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" * 2,
    b"HEAD /x?a=%20&b HTTP/1.1\r\nHost: here\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"CONNECT a:1 HTTP/1.1\r\nHost: here\r\n\r\n",
    upgrade_request("AAAAAAAAAAAAAAAAAAAAAA==") + b"\x81\x80\0\0\0\0",
    upgrade_request("AAAAAAAAAAAAAAAAAAAAAA==", deflate=True).replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"),
]
EDITS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 3), st.binary(max_size=4)), max_size=6)


@settings(max_examples=400, deadline=None)
@given(seed=st.sampled_from(SEEDS), edits=EDITS, cuts=st.lists(st.integers(0, 500), max_size=4), end=st.booleans())
@example(seed=SEEDS[1], edits=[(90, 0, b"\0")], cuts=[], end=True)
def test_nothing_a_client_sends_raises(seed, edits, cuts, end):
    """Requests with bytes changed, removed and put in, cut anywhere: answers are whole, and the same however they were cut."""
    data = bytearray(seed)
    for at, removed, added in edits:
        data[at : at + removed] = added
    places = sorted({min(cut, len(data)) for cut in cuts})
    parts = [bytes(data[a:b]) for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    parts = [part for part in parts if part] + ([b""] if end else [])
    whole = ([bytes(data)] if data else []) + ([b""] if end else [])
    (one, answers), (other, expected) = talk(Recorder(), *parts), talk(Recorder(), *whole)
    assert answers == expected
    assert one.over == other.over
    assert (one.upgraded is None) == (other.upgraded is None)
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 ")
        assert b"\r\n\r\n" in answer
