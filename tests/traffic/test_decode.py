"""Frames out of bytes: unmasked, unpacked, torn anywhere, and hostile."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coworld_actors.traffic.decode import KEPT, Piece, StreamDecoder, agreed_inflaters
from coworld_protocol.ws.deflate import Deflate
from coworld_protocol.ws.frames import BINARY, CONTINUATION, PING, TEXT, encode, encode_close

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\n\r\n"


def read(stream: bytes, *, size: int = 1 << 30, answering: bool = True, deflate: Deflate | None = None) -> list[Piece]:
    decoder = StreamDecoder(answering=answering)
    if deflate is not None:
        decoder.inflater = deflate.inflater(server=not answering)
    stream = (ANSWER if answering else REQUEST) + stream
    found = [piece for place in range(0, len(stream), size) for piece in decoder.feed(stream[place : place + size])]
    assert found[0].kind == ("answer" if answering else "request")
    return found[1:]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from([TEXT, BINARY, PING]), st.binary(max_size=125)), max_size=6),
    st.booleans(),
    st.integers(1, 40),
)
def test_frames_come_out_as_they_went_in(frames: list[tuple[int, bytes]], mask: bool, size: int) -> None:
    """Kinds and payloads, unmasked, whatever the cuts."""
    stream = b"".join(encode(opcode, payload, mask=mask) for opcode, payload in frames)
    found = read(stream, size=size, answering=not mask)
    kinds = {TEXT: "text", BINARY: "binary", PING: "ping"}
    assert [(piece.kind, piece.payload, piece.size) for piece in found] == [
        (kinds[opcode], payload, len(payload)) for opcode, payload in frames
    ]


def test_fragments_and_what_comes_between_them() -> None:
    """Each frame by itself; the last one is final."""
    stream = encode(TEXT, b"a", fin=False) + encode(PING, b"p") + encode(CONTINUATION, b"b") + encode_close(1001, "bye")
    assert [(piece.kind, piece.payload, piece.final) for piece in read(stream)] == [
        ("text", b"a", False),
        ("ping", b"p", True),
        ("continuation", b"b", True),
        ("close", b"\x03\xe9bye", True),
    ]


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("answering", [True, False])
def test_compressed_messages_are_unpacked(takeover: bool, answering: bool) -> None:
    """With and without context takeover, in fragments too, and plain messages between them stay as they are."""
    agreed = Deflate(server_no_context_takeover=not takeover, client_no_context_takeover=not takeover)
    deflater = agreed.deflater(server=answering)
    packed = [deflater.compress(b"observation " * 20) for _ in range(3)]
    mask = not answering
    stream = encode(TEXT, packed[0], rsv1=True, mask=mask) + encode(TEXT, b"plain", mask=mask)
    stream += encode(TEXT, packed[1][:5], rsv1=True, fin=False, mask=mask) + encode(
        CONTINUATION, packed[1][5:], mask=mask
    )
    stream += encode(TEXT, packed[2], rsv1=True, mask=mask)
    found = read(stream, size=7, answering=answering, deflate=agreed)
    messages, message = list[bytes](), b""
    for piece in found:
        message += piece.payload
        if piece.final:
            messages.append(message)
            message = b""
    assert messages == [b"observation " * 20, b"plain", b"observation " * 20, b"observation " * 20]
    assert not any(piece.note for piece in found)
    assert [piece.packed for piece in found] == [True, False, True, True, True]


def test_a_compression_bomb_is_cut() -> None:
    """What unpacks to more than is kept is not unpacked, and later messages, which may refer to it, are not either."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(200 * KEPT)) + packer.flush(zlib.Z_SYNC_FLUSH)
    agreed = Deflate()
    stream = encode(BINARY, bomb[:-4], rsv1=True) + encode(TEXT, agreed.deflater(server=True).compress(b"x"), rsv1=True)
    first, second = read(stream, deflate=agreed)
    assert (first.payload, first.note) == (b"", "cannot be unpacked: message too big")
    assert "cannot be unpacked" in second.note


def test_damaged_and_unannounced_compression_is_said() -> None:
    """Nothing is made up: the bytes on the wire are shown where nothing says how they were packed."""
    frame = encode(TEXT, b"\xff\xff\xff", rsv1=True)
    assert [(piece.payload, piece.note) for piece in read(frame)] == [
        (b"\xff\xff\xff", "compressed, and it cannot be unpacked")
    ]
    assert "damaged" in read(frame, deflate=Deflate())[0].note


def test_a_large_frame_is_kept_in_part() -> None:
    """Its size is said, its beginning is there."""
    (piece,) = read(encode(BINARY, bytes(range(256)) * 8192), size=70_000)
    assert (piece.size, len(piece.payload)) == (256 * 8192, KEPT)
    assert str(KEPT) in piece.note


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans(), st.booleans())
def test_no_bytes_raise(parts: list[bytes], answering: bool, packed: bool) -> None:
    """Whatever a recording holds, pieces come out or nothing."""
    decoder = StreamDecoder(answering=answering)
    decoder.feed(ANSWER if answering else REQUEST)
    if packed:
        decoder.inflater = Deflate().inflater(server=False)
    for part in parts:
        assert all(isinstance(piece, Piece) for piece in decoder.feed(part))


def test_bytes_that_are_no_frame_end_the_reading() -> None:
    """Once, and in words."""
    found = read(encode(TEXT, b"x") + b"\x83\x00" + encode(TEXT, b"y"))
    assert [piece.kind for piece in found] == ["text", "unreadable"]


@pytest.mark.parametrize(
    ("value", "agreed"),
    [
        ("permessage-deflate", True),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=10", True),
        ("x-other", False),
        ("permessage-deflate; client_max_window_bits=99", False),
        ("=;,", False),
        ("", False),
    ],
)
def test_what_the_handshake_agreed_on(value: str, agreed: bool) -> None:
    """Both directions have their inflater, or neither has."""
    head = f"HTTP/1.1 101 x\r\nsec-websocket-EXTENSIONS : {value}\r\n\r\n".encode()
    assert [each is not None for each in agreed_inflaters(head)] == [agreed, agreed]
