"""The opening handshake against websockets' sans-I/O layer, both ways, and against noise."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHeaderFormat
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.headers import parse_extension
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from coworld_protocol.ws.deflate import choose
from coworld_protocol.ws.fields import read_extensions
from coworld_protocol.ws.handshake import (
    Accepted,
    ClientHandshake,
    HandshakeFailed,
    HandshakeRefused,
    Upgrade,
    UpgradeRefused,
    accept_response,
    check_upgrade,
    client_request,
    new_key,
)

relaxed = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
subprotocols = st.lists(st.text("abcXYZ0.-", min_size=1, max_size=6), unique=True, max_size=3)
bits = st.none() | st.integers(8, 15)


def upgraded(data: bytes) -> Upgrade:
    """What our server makes of these bytes, by way of h11."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(data)
    request = http.next_event()
    assert isinstance(request, h11.Request)
    return check_upgrade(request.method, request.headers, http_version=request.http_version)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at these places."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@relaxed
@given(subprotocols, st.booleans(), st.lists(st.integers(0, 1 << 10), max_size=5), st.binary(max_size=20))
def test_their_server_takes_our_client(names: list[str], deflate: bool, cuts: list[int], rest: bytes) -> None:
    """Request, answer and agreement; the answer may come in pieces with frames behind it."""
    server = ServerProtocol(subprotocols=names or None, extensions=[ServerPerMessageDeflateFactory()])
    key = new_key()
    server.receive_data(client_request("game:80", "/x?y=1", key, subprotocols=names, deflate=deflate))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    assert server.state is OPEN
    ours = ClientHandshake(key, subprotocols=names, deflate=deflate)
    found: Accepted | None = None
    tail = b""
    for piece in pieces(b"".join(server.data_to_send()) + rest, cuts):
        if found is None:
            found = ours.receive(piece) if piece else None
        else:
            tail += piece
    assert found is not None
    assert found.rest + tail == rest
    assert found.subprotocol == server.subprotocol
    assert (found.deflate is not None) is bool(server.extensions) is deflate


@relaxed
@given(subprotocols, bits, bits | st.just(True), st.booleans(), st.booleans(), st.integers(8, 15), st.booleans())
def test_their_client_takes_our_server(
    names: list[str],
    server_bits: int | None,
    client_bits: int | bool | None,
    server_forgets: bool,
    client_forgets: bool,
    window_bits: int,
    takeover: bool,
) -> None:
    """Whatever their client offers of permessage-deflate: it accepts our answer, and both understood the same."""
    if client_bits == 8:
        client_bits = 9  # their compressor cannot
    factory = ClientPerMessageDeflateFactory(server_forgets, client_forgets, server_bits, client_bits)
    client = ClientProtocol(parse_uri("ws://game/x"), subprotocols=names or None, extensions=[factory])
    client.send_request(client.connect())
    upgrade = upgraded(b"".join(client.data_to_send()))
    assert upgrade.subprotocols == tuple(names)
    agreed = choose(upgrade.deflate, window_bits=max(window_bits, 9), takeover=takeover)
    assert agreed is not None
    client.receive_data(accept_response(upgrade, deflate=agreed, subprotocol=names[-1] if names else None))
    client.events_received()
    assert client.handshake_exc is None
    assert client.state is OPEN
    (theirs,) = client.extensions
    assert theirs.remote_no_context_takeover is agreed.server_no_context_takeover
    assert theirs.local_no_context_takeover is agreed.client_no_context_takeover or client_forgets
    assert theirs.remote_max_window_bits == agreed.server_max_window_bits
    assert theirs.local_max_window_bits <= agreed.client_max_window_bits
    assert client.subprotocol == (names[-1] if names else None)


@settings(relaxed, max_examples=500)
@given(
    st.lists(
        st.sampled_from(
            ["permessage-deflate", "server_max_window_bits", "x", "=", "10", ";", ",", " ", "\t", '"', "(", "é"]
        ),
        max_size=12,
    ).map(lambda parts: "".join(parts).strip(" \t"))
)
def test_extension_headers_are_read_as_theirs_are(value: str) -> None:
    """The same names and parameters, and the same refusals; an empty header is nothing to us and an error to them."""
    try:
        expected = [
            (str(name), [(str(key), each) for key, each in parameters]) for name, parameters in parse_extension(value)
        ]
    except InvalidHeaderFormat:
        if value.strip(" \t,"):
            with pytest.raises(ValueError, match="malformed"):
                read_extensions(value)
        return
    assert read_extensions(value) == expected


@settings(relaxed, max_examples=300)
@given(st.data(), st.lists(st.integers(0, 1 << 10), max_size=4))
def test_a_damaged_answer_never_surprises(data: st.DataObject, cuts: list[int]) -> None:
    """Changed bytes in a server's answer: accepted, refused, failed or unfinished, and the same in pieces as at once."""
    key = new_key()
    upgrade = upgraded(client_request("game", "/", key, subprotocols=["a"], deflate=True))
    good = accept_response(upgrade, deflate=choose(upgrade.deflate), subprotocol="a") + b"\x81\x00"
    mutant = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        mutant[data.draw(st.integers(0, len(mutant) - 1))] = data.draw(st.integers(0, 255))
    verdicts = [_verdict(key, [bytes(mutant), b""]), _verdict(key, [*pieces(bytes(mutant), cuts), b""])]
    assert verdicts[0] == verdicts[1]


@relaxed
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_noise_is_never_accepted(noise: bytes, cuts: list[int]) -> None:
    """What was never HTTP ends as a failure or a refusal."""
    assert _verdict(new_key(), [*pieces(noise, cuts), b""]) is not None


@relaxed
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"Upgrade",
                    b"Connection",
                    b"Host",
                    b"Sec-WebSocket-Key",
                    b"Sec-WebSocket-Version",
                    b"Sec-WebSocket-Extensions",
                    b"X",
                ]
            ),
            st.binary(max_size=30),
        )
    )
)
def test_strange_requests_are_refused_in_words(headers: list[tuple[bytes, bytes]]) -> None:
    """Any headers at all: a refusal with a status, or an upgrade; never another error."""
    with contextlib.suppress(UpgradeRefused):
        check_upgrade(b"GET", headers)


def _verdict(key: str, parts: list[bytes]) -> object:
    handshake = ClientHandshake(key, subprotocols=["a"], deflate=True)
    tail = b""
    found: Accepted | None = None
    try:
        for index, part in enumerate(parts):
            if found is not None:
                tail += part
            elif part or index == len(parts) - 1:
                found = handshake.receive(part)
    except HandshakeRefused as refused:
        return refused.status, refused.excerpt
    except HandshakeFailed:
        return "failed"
    return None if found is None else (found.subprotocol, found.deflate, found.rest + tail, found.headers)
