from __future__ import annotations

import base64
from collections.abc import Iterable

import pytest

from coworld_protocol.ws.deflate import Deflate, DeflateOffer, choose
from coworld_protocol.ws.handshake import (
    Accepted,
    ClientHandshake,
    HandshakeFailed,
    HandshakeRefused,
    Upgrade,
    UpgradeRefused,
    accept_key,
    accept_response,
    check_upgrade,
    client_request,
    new_key,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
GOOD = {
    "Host": "game",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
MESSAGE = b"\x81\x02hi"


def head(*more: tuple[str, str], without: str = "", **changed: str) -> list[tuple[bytes, bytes]]:
    """A good request's headers with some changed, added or left out."""
    fields = {name: value for name, value in GOOD.items() if name != without}
    fields |= {name.replace("_", "-"): value for name, value in changed.items()}
    return [(name.encode(), value.encode("latin-1")) for name, value in (*fields.items(), *more)]


def refusal(headers: list[tuple[bytes, bytes]], method: bytes = b"GET", http_version: bytes = b"1.1") -> UpgradeRefused:
    """How these are refused."""
    with pytest.raises(UpgradeRefused) as caught:
        check_upgrade(method, headers, http_version=http_version)
    return caught.value


def answer(*more: str, status: str = "101 Switching Protocols", without: str = "") -> bytes:
    """A server's head that accepts the sample key, with headers added or left out."""
    lines = [
        f"HTTP/1.1 {status}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {ACCEPT}",
        *more,
    ]
    return ("\r\n".join(line for line in lines if not without or not line.startswith(without)) + "\r\n\r\n").encode(
        "latin-1"
    )


def accepted(data: bytes, **options) -> Accepted:
    """What a client makes of an answer that arrives at once."""
    found = ClientHandshake(KEY, **options).receive(data)
    assert found is not None
    return found


def failure(data: bytes, **options) -> str:
    """Why a client gives up on an answer that arrives at once."""
    with pytest.raises(HandshakeFailed) as caught:
        ClientHandshake(KEY, **options).receive(data)
    assert caught.value.reason.endswith(".")
    return caught.value.reason


def test_the_key_of_the_standard_is_answered() -> None:
    """RFC 6455, 1.3."""
    assert accept_key(KEY) == ACCEPT


def test_keys_are_fresh() -> None:
    """A key is 16 bytes in base64, another one each time."""
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}


def test_a_good_request_passes() -> None:
    """A browser's request, whatever the case of names and values and however many tokens Connection has."""
    assert check_upgrade(b"GET", head()) == Upgrade(key=KEY)
    assert check_upgrade(b"GET", head(Upgrade="WebSocket", Connection="keep-alive, UPGRADE")) == Upgrade(key=KEY)
    lowered = [(name.lower(), value) for name, value in head(("Content-Length", "0"), ("Origin", "http://x"))]
    assert check_upgrade(b"GET", lowered) == Upgrade(key=KEY)


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"OPTIONS", b"get"])
def test_other_methods_are_405(method: bytes) -> None:
    """Only GET opens a websocket, and the answer says so."""
    refused = refusal(head(), method)
    assert refused.status == 405
    assert ("Allow", "GET") in refused.headers


@pytest.mark.parametrize(
    "headers", [head(without="Upgrade"), head(Upgrade="h2c"), head(Upgrade="websockets"), head(Upgrade="")]
)
def test_a_request_without_upgrade_is_426(headers: list[tuple[bytes, bytes]]) -> None:
    """An ordinary GET on a websocket's address is told what to ask for."""
    refused = refusal(headers)
    assert refused.status == 426
    assert {("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")} == set(
        refused.headers
    )


@pytest.mark.parametrize("version", ["8", "0", "14", "013", "13, 8", "", "x"])
def test_other_versions_are_426(version: str) -> None:
    """RFC 6455, 4.4: the answer names the version that is spoken."""
    refused = refusal(head(Sec_WebSocket_Version=version))
    assert refused.status == 426
    assert ("Sec-WebSocket-Version", "13") in refused.headers


def test_no_version_and_two_versions_are_426() -> None:
    """The version stands there once."""
    assert refusal(head(without="Sec-WebSocket-Version")).status == 426
    assert refusal(head(("Sec-WebSocket-Version", "13"))).status == 426


@pytest.mark.parametrize(
    "key",
    [
        "",
        "AAAA",
        KEY[:-1],
        KEY + "=",
        KEY[:-2],
        "!" * 24,
        "é" * 24,
        "A" * 24,
        base64.b64encode(bytes(15)).decode(),
        base64.b64encode(bytes(17)).decode(),
        "A" * 21 + "===",
        "A" * 10 + "\t" + "A" * 11 + "==",
    ],
)
def test_a_bad_key_is_400(key: str) -> None:
    """A key that is not 16 bytes in base64."""
    assert refusal(head(Sec_WebSocket_Key=key)).status == 400


BROKEN = {
    "no key": head(without="Sec-WebSocket-Key"),
    "two keys": head(("Sec-WebSocket-Key", KEY)),
    "no connection": head(without="Connection"),
    "connection says otherwise": head(Connection="keep-alive"),
    "connection contains the word only": head(Connection="upgraded, x-upgrade"),
    "no host": head(without="Host"),
    "two hosts": head(("Host", "other")),
    "a body": head(("Content-Length", "5")),
    "two lengths": head(("Content-Length", "0"), ("Content-Length", "7")),
    "an odd length": head(("Content-Length", "+0")),
    "a chunked body": head(("Transfer-Encoding", "chunked")),
    "subprotocols that are no tokens": head(("Sec-WebSocket-Protocol", "a b")),
    "an empty subprotocol": head(("Sec-WebSocket-Protocol", "")),
    "a subprotocol twice": head(("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "a")),
    "extensions without grammar": head(("Sec-WebSocket-Extensions", "a;;b")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_request_is_400(name: str) -> None:
    """Every rule of RFC 6455, 4.2.1 has its refusal."""
    assert refusal(BROKEN[name]).status == 400


def test_http_1_0_is_400() -> None:
    """RFC 6455, 4.2.1: HTTP/1.1 or higher."""
    assert refusal(head(), http_version=b"1.0").status == 400


def test_a_refusal_quotes_nothing() -> None:
    """What a stranger sent does not come back in the body of the answer."""
    for headers in (
        head(Sec_WebSocket_Version="<b>"),
        head(Upgrade="<b>"),
        head(Sec_WebSocket_Key="<b>"),
        head(("Sec-WebSocket-Protocol", "<b>")),
    ):
        assert "<" not in refusal(headers).text


def test_subprotocols_come_in_order() -> None:
    """Several headers are one list."""
    headers = head(("Sec-WebSocket-Protocol", "b, a"), ("Sec-WebSocket-Protocol", "c"))
    assert check_upgrade(b"GET", headers).subprotocols == ("b", "a", "c")


def test_offers_of_compression_come_in_order_without_the_declined() -> None:
    """Unknown extensions and bad offers are left out, the others keep their order over several headers."""
    headers = head(
        (
            "Sec-WebSocket-Extensions",
            "x-other; a=1, permessage-deflate; server_max_window_bits=99, permessage-deflate; server_max_window_bits=9",
        ),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, permessage-deflate; what"),
    )
    assert check_upgrade(b"GET", headers).deflate == (
        DeflateOffer(server_max_window_bits=9),
        DeflateOffer(client_max_window_bits=15),
    )


def test_what_accepts_is_exact() -> None:
    """The smallest answer, byte for byte, and the largest."""
    assert accept_response(Upgrade(key=KEY)) == answer()
    upgrade = Upgrade(key=KEY, subprotocols=("a", "b"), deflate=(DeflateOffer(server_max_window_bits=15),))
    full = accept_response(upgrade, deflate=Deflate(), subprotocol="b", headers=[("X-Made-By", "us")])
    assert full == answer(
        "Sec-WebSocket-Protocol: b",
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=15",
        "X-Made-By: us",
    )


def test_nothing_is_accepted_that_was_not_offered() -> None:
    """A subprotocol or compression out of the blue is our own mistake."""
    with pytest.raises(ValueError, match="subprotocol"):
        accept_response(Upgrade(key=KEY, subprotocols=("a",)), subprotocol="b")
    with pytest.raises(ValueError, match="permessage-deflate"):
        accept_response(Upgrade(key=KEY), deflate=Deflate())


@pytest.mark.parametrize(
    "header",
    [
        ("X", "a\r\nY: b"),
        ("X\r\nY", "a"),
        ("X Y", "a"),
        ("", "a"),
        ("X", "a\0"),
        ("X", "ł"),
        ("Upgrade", "h2c"),
        ("content-LENGTH", "5"),
        ("Sec-WebSocket-Key", "x"),
    ],
)
def test_headers_cannot_be_smuggled(header: tuple[str, str]) -> None:
    """Line ends, control characters and the handshake's own names are refused in further headers, on both sides."""
    with pytest.raises(ValueError, match=r"header|handshake"):
        accept_response(Upgrade(key=KEY), headers=[header])
    with pytest.raises(ValueError, match=r"header|handshake"):
        client_request("game", "/", KEY, headers=[header])


def test_a_request_is_exact() -> None:
    """What a client sends, byte for byte."""
    assert client_request(
        "game:8080", "/player?slot=0", KEY, headers=[("Origin", "http://x")], subprotocols=["a", "b"], deflate=True
    ) == (
        b"GET /player?slot=0 HTTP/1.1\r\nHost: game:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, b\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nOrigin: http://x\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("host", "target", "subprotocols"),
    [
        ("game", "", ()),
        ("game", "player", ()),
        ("game", "/a b", ()),
        ("game", "/a#b", ()),
        ("game", "/é", ()),
        ("game", "/\r\nX: y", ()),
        ("", "/", ()),
        ("a b", "/", ()),
        ("gäme", "/", ()),
        ("game\r\nX: y", "/", ()),
        ("game", "/", ("a", "a")),
        ("game", "/", ("a b",)),
        ("game", "/", ("",)),
    ],
)
def test_what_cannot_stand_in_a_request_is_refused(host: str, target: str, subprotocols: tuple[str, ...]) -> None:
    """Targets, hosts and subprotocols are checked before they are sent."""
    with pytest.raises(ValueError, match=r"target|host|Subprotocols"):
        client_request(host, target, KEY, subprotocols=subprotocols)


def test_an_answer_is_accepted_whole() -> None:
    """Headers in any case and order; what is behind the head is handed on."""
    found = accepted(answer("X-Made-By: them").replace(b"websocket", b"WebSocket", 1) + MESSAGE)
    assert (found.subprotocol, found.deflate, found.rest) == (None, None, MESSAGE)
    assert (b"x-made-by", b"them") in found.headers


def test_an_answer_may_come_byte_by_byte() -> None:
    """Nothing is decided before the head is there, and not a byte behind it is taken."""
    handshake = ClientHandshake(KEY)
    data = answer()
    for index in range(len(data) - 1):
        assert handshake.receive(data[index : index + 1]) is None
    found = handshake.receive(data[-1:] + MESSAGE)
    assert found is not None
    assert found.rest == MESSAGE


def test_interim_answers_are_passed_over() -> None:
    """100 and 103 before the answer are HTTP as usual."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert accepted(interim + answer() + MESSAGE).rest == MESSAGE


@pytest.mark.parametrize(
    "data",
    [
        answer(without="Upgrade"),
        answer(without="Upgrade").replace(b"\r\n\r\n", b"\r\nUpgrade: h2c\r\n\r\n"),
        answer("Upgrade: h2c"),
        answer(without="Connection"),
        answer(without="Connection").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        answer(without="Sec"),
        answer().replace(ACCEPT.encode(), accept_key(new_key()).encode()),
        answer().replace(ACCEPT.encode(), ACCEPT.lower().encode()),
        answer(f"Sec-WebSocket-Accept: {ACCEPT}"),
        answer().replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"hello, who is there?\r\n\r\n",
        b"\0\1\2\3\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nno header\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_the_rules_fails(data: bytes) -> None:
    """RFC 6455, 4.1: every check of the client, and what is no HTTP at all."""
    failure(data)


def test_an_answer_to_another_key_fails() -> None:
    """A cache that answers an earlier handshake is found out."""
    with pytest.raises(HandshakeFailed, match="does not answer our key"):
        ClientHandshake(new_key()).receive(answer())


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 101 Swit", answer()[:-2]])
def test_a_server_that_hangs_up_fails(data: bytes) -> None:
    """The end of the stream before the end of the head."""
    handshake = ClientHandshake(KEY)
    if data:
        assert handshake.receive(data) is None
    with pytest.raises(HandshakeFailed):
        handshake.receive(b"")


def test_a_chosen_subprotocol_has_to_be_offered() -> None:
    """One of ours, once, and exactly."""
    assert accepted(answer("Sec-WebSocket-Protocol: b"), subprotocols=("a", "b")).subprotocol == "b"
    for value in ("c", "B", "a, b", ""):
        assert "subprotocol" in failure(answer(f"Sec-WebSocket-Protocol: {value}"), subprotocols=("a", "b"))
    assert "subprotocol" in failure(
        answer("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: a"), subprotocols=("a",)
    )
    assert "subprotocol" in failure(answer("Sec-WebSocket-Protocol: a"))


@pytest.mark.parametrize(
    ("value", "agreed"),
    [
        ("permessage-deflate", Deflate()),
        ("permessage-deflate; server_no_context_takeover", Deflate(server_no_context_takeover=True)),
        ("permessage-deflate; client_no_context_takeover", Deflate(client_no_context_takeover=True)),
        ("permessage-deflate; server_max_window_bits=9", Deflate(server_max_window_bits=9)),
        ("permessage-deflate; client_max_window_bits=8", Deflate(client_max_window_bits=8)),
        (
            'permessage-deflate; client_max_window_bits="10"; server_max_window_bits=15; client_no_context_takeover; server_no_context_takeover',
            Deflate(client_max_window_bits=10, client_no_context_takeover=True, server_no_context_takeover=True),
        ),
        ("", None),
    ],
)
def test_an_agreed_compression_is_read(value: str, agreed: Deflate | None) -> None:
    """Whatever of RFC 7692 a server may answer to our offer."""
    assert accepted(answer(f"Sec-WebSocket-Extensions: {value}"), deflate=True).deflate == agreed


@pytest.mark.parametrize(
    "value",
    [
        "x-other",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate, x-other",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        "permessage-deflate; what",
        "permessage-deflate;",
        "permessage-deflate server_no_context_takeover",
    ],
)
def test_an_unrequested_or_bad_extension_fails(value: str) -> None:
    """RFC 6455, 4.1 and RFC 7692, 7.1."""
    assert "xtension" in failure(answer(f"Sec-WebSocket-Extensions: {value}"), deflate=True)


def test_compression_that_was_not_offered_fails() -> None:
    """Without an offer every extension is unrequested."""
    assert "not offered" in failure(answer("Sec-WebSocket-Extensions: permessage-deflate"))


@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nNo \x1b[1mway",
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nNo \x1b\r\n6\r\n[1mway\r\n0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\nUpgrade: websocket\r\n\r\nNo \x1b[1mway",
    ],
)
def test_a_refusal_has_status_and_a_printable_excerpt(data: bytes, size: int) -> None:
    """However it is framed and however it arrives."""
    handshake = ClientHandshake(KEY)
    with pytest.raises(HandshakeRefused) as caught:
        _feed(handshake, data, size)
    assert caught.value.status == 403
    assert caught.value.excerpt == "No \\u001b[1mway"
    assert "403" in str(caught.value)


def test_a_refusal_that_ends_with_the_connection() -> None:
    """Without a length the body ends with the stream, and so does one that was cut short."""
    for head_bytes in (b"HTTP/1.0 404 Not Found\r\n\r\n", b"HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\n"):
        handshake = ClientHandshake(KEY)
        assert handshake.receive(head_bytes + b"nothing here") is None
        assert handshake.refusal is not None
        assert handshake.refusal.status == 404
        with pytest.raises(HandshakeRefused) as caught:
            handshake.receive(b"")
        assert caught.value.excerpt == "nothing here"


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "401 Unauthorized", "503 Service Unavailable"])
def test_every_other_status_is_a_refusal(status: str) -> None:
    """Nothing is followed, authenticated or tried again at this level; the headers are there for who wants to."""
    with pytest.raises(HandshakeRefused) as caught:
        ClientHandshake(KEY).receive(f"HTTP/1.1 {status}\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".encode())
    assert caught.value.status == int(status[:3])
    assert (b"location", b"/x") in caught.value.headers
    assert str(caught.value).endswith(f"{status[:3]}.")


def test_only_an_excerpt_of_a_body_is_waited_for() -> None:
    """An endless body ends the handshake after 512 bytes of it."""
    handshake = ClientHandshake(KEY)
    assert handshake.receive(b"HTTP/1.1 500 Oops\r\n\r\n") is None
    for _ in range(5):
        assert handshake.receive(b"x" * 100) is None
    with pytest.raises(HandshakeRefused) as caught:
        handshake.receive(b"x" * 1_000_000)
    assert caught.value.excerpt == "x" * 512


@pytest.mark.parametrize("chunk", [1000, 64 * 1024, 1_000_000])
@pytest.mark.parametrize(
    "endless",
    [b"A: b\r\n" * 1000, b"A" * 6000, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 200],
    ids=["headers", "line", "interim"],
)
def test_a_head_without_end_fails(endless: bytes, chunk: int) -> None:
    """Headers, one line or interim answers without end stop at 64 KiB, and no more than one read beyond is taken."""
    start = b"" if endless.startswith(b"HTTP") else b"HTTP/1.1 101 Switching Protocols\r\n"
    data = start + endless * (2_000_000 // len(endless))
    handshake = ClientHandshake(KEY)
    arriving = iter(range(0, len(data), chunk))
    with pytest.raises(HandshakeFailed, match="too long"):
        _feed(handshake, data, chunk, arriving)
    assert next(arriving) <= 64 * 1024 + 2 * chunk if chunk < 1_000_000 else next(arriving) == chunk


@pytest.mark.parametrize("status", ["101 Switching Protocols", "403 Forbidden"])
def test_a_long_head_that_arrives_at_once_fails_too(status: str) -> None:
    """The limit counts the head, not what happens to wait; the frames behind it may be longer."""
    padding = "X-Padding: " + "a" * 900
    data = answer(padding, status=status)
    with pytest.raises(HandshakeFailed, match="too long"):
        ClientHandshake(KEY, head_bytes=1000).receive(data)
    assert accepted(answer() + bytes(100_000), head_bytes=1000).rest == bytes(100_000)


@pytest.mark.parametrize("window_bits", [8, 12, 15])
@pytest.mark.parametrize("takeover", [False, True])
def test_both_ends_agree(window_bits: int, takeover: bool) -> None:
    """Our client against our server: request, answer, and the same parameters on both ends."""
    key = new_key()
    request = client_request("game", "/x?y=1", key, subprotocols=["a", "b"], deflate=True)
    first, *lines = request.decode().rstrip().split("\r\n")
    assert first == "GET /x?y=1 HTTP/1.1"
    upgrade = check_upgrade(b"GET", [tuple(part.encode() for part in line.split(": ", 1)) for line in lines])
    agreed = choose(upgrade.deflate, window_bits=window_bits, takeover=takeover)
    response = accept_response(upgrade, deflate=agreed, subprotocol="b")
    found = ClientHandshake(key, subprotocols=["a", "b"], deflate=True).receive(response + MESSAGE)
    assert found is not None
    assert (found.subprotocol, found.deflate, found.rest) == ("b", agreed, MESSAGE)


def _feed(handshake: ClientHandshake, data: bytes, size: int, positions: Iterable[int] | None = None) -> None:
    for at in range(0, len(data), size) if positions is None else positions:
        handshake.receive(data[at : at + size])
