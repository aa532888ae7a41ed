from __future__ import annotations

import time
import tracemalloc

import pytest

from coworld_protocol.ws.deflate import Deflater, Inflater
from coworld_protocol.ws.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    Decoder,
    Violation,
    encode,
    encode_close,
    parse_close,
    payload_of,
)
from coworld_protocol.ws.masking import xor_mask

KEY = b"\x37\xfa\x21\x3d"
LIMIT = 1 << 20
Found = list[tuple[int, bytes]]


def raw(first: int, payload: bytes = b"", *, mask: bool = True, wide: int = 0, length: int | None = None) -> bytes:
    """A frame as bad as wanted: any first byte, `wide` bytes of length, and any length said."""
    said = len(payload) if length is None else length
    wide = wide or (0 if said < 126 else 2 if said < 65536 else 8)
    second = {0: said, 2: 126, 8: 127}[wide] | (0x80 if mask else 0)
    head = bytes((first, second)) + (said.to_bytes(wide, "big") if wide else b"")
    return head + KEY + xor_mask(payload, KEY) if mask else head + payload


def read(
    data: bytes, *, masked: bool = True, limit: int = LIMIT, size: int | None = None, inflate: Inflater | None = None
) -> tuple[Found, Decoder]:
    """What a decoder makes of `data`, in chunks of `size`."""
    decoder = Decoder(masked=masked, message_bytes=limit, inflate=inflate)
    step = size or len(data) or 1
    found = [each for at in range(0, len(data), step) for each in decoder.receive(data[at : at + step])]
    return found, decoder


def code(decoder: Decoder) -> int | None:
    """The close code of the violation, if there was one."""
    return None if decoder.violation is None else decoder.violation.code


EXAMPLES = [  # RFC 6455, 5.7
    ("810548656c6c6f", False, [(TEXT, b"Hello")]),
    ("818537fa213d7f9f4d5158", True, [(TEXT, b"Hello")]),
    ("010348656c80026c6f", False, [(TEXT, b"Hello")]),
    ("890548656c6c6f", False, [(PING, b"Hello")]),
    ("8a8537fa213d7f9f4d5158", True, [(PONG, b"Hello")]),
]


@pytest.mark.parametrize(("data", "masked", "expected"), EXAMPLES)
def test_the_examples_of_the_standard(data: str, masked: bool, expected: Found) -> None:
    """RFC 6455, 5.7."""
    found, decoder = read(bytes.fromhex(data), masked=masked)
    assert found == expected
    assert decoder.violation is None
    assert decoder.buffered == 0


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("length", [0, 1, 124, 125, 126, 127, 128, 255, 256, 65534, 65535, 65536, 65537, 200_000])
@pytest.mark.parametrize("size", [None, 7, 1000, 65536])
def test_every_length_comes_back(opcode: int, mask: bool, length: int, size: int | None) -> None:
    """What `encode` writes `Decoder` reads, at the edges of the three ways to write a length, whole and in pieces."""
    payload = b"x" * length
    found, decoder = read(encode(opcode, payload, mask=mask) * 2, masked=mask, size=size)
    assert found == [(opcode, payload)] * 2
    assert (decoder.violation, decoder.buffered) == (None, 0)


def test_frames_are_written_as_the_standard_says() -> None:
    """Heads of every kind, byte for byte."""
    assert encode(TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert encode(BINARY, bytes(256))[:4] == bytes.fromhex("827e0100")
    assert encode(BINARY, bytes(65536))[:10] == bytes.fromhex("827f0000000000010000")
    assert encode(TEXT, b"Hel", fin=False) == bytes.fromhex("010348656c")
    assert encode(CONTINUATION, b"lo") == bytes.fromhex("80026c6f")
    assert encode(TEXT, b"a", rsv1=True) == bytes.fromhex("c10161")
    assert encode(PING, b"") == bytes.fromhex("8900")
    masked = encode(PONG, b"Hello", mask=True)
    assert (masked[:2], xor_mask(masked[6:], masked[2:6])) == (b"\x8a\x85", b"Hello")


CONTROL = [raw(0x89, b"ping"), raw(0x8A, b""), raw(0x8A, b"x" * 125)]


@pytest.mark.parametrize("size", [None, 1, 2, 3, 5])
def test_control_frames_come_between_fragments(size: int | None) -> None:
    """Pings and pongs inside of a fragmented message are given out at once, the message when it is whole."""
    data = (
        raw(0x01, b"one ")
        + CONTROL[0]
        + raw(0x00, b"two ")
        + CONTROL[1]
        + raw(0x00)
        + CONTROL[2]
        + raw(0x80, b"three")
        + raw(0x82, b"next")
    )
    found, decoder = read(data, size=size)
    assert found == [(PING, b"ping"), (PONG, b""), (PONG, b"x" * 125), (TEXT, b"one two three"), (BINARY, b"next")]
    assert (decoder.violation, decoder.buffered) == (None, 0)


VIOLATIONS: dict[str, tuple[bytes, int]] = {
    "unmasked": (raw(0x81, b"Hello", mask=False), 1002),
    "unmasked and empty": (raw(0x81, mask=False), 1002),
    "unmasked ping": (raw(0x89, mask=False), 1002),
    **{f"reserved bits {bits:#x}": (raw(0x81 | bits, b"a"), 1002) for bits in range(0x10, 0x80, 0x10)},
    **{f"reserved bits {bits:#x} on a ping": (raw(0x89 | bits), 1002) for bits in (0x10, 0x20, 0x40)},
    "reserved bit on a continuation": (raw(0x01, b"a") + raw(0xC0, b"b"), 1002),
    **{f"opcode {opcode:#x}": (raw(0x80 | opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"opcode {opcode:#x} in a message": (raw(0x01, b"a") + raw(0x80 | opcode), 1002) for opcode in (3, 7)},
    **{f"fragmented control {opcode:#x}": (raw(opcode, b"a"), 1002) for opcode in (CLOSE, PING, PONG)},
    **{f"control {opcode:#x} of 126 bytes": (raw(0x80 | opcode, bytes(126)), 1002) for opcode in (CLOSE, PING, PONG)},
    "control with a 64-bit length": (raw(0x89, bytes(70_000)), 1002),
    "16-bit length for 125 bytes": (raw(0x82, bytes(125), wide=2), 1002),
    "16-bit length for nothing": (raw(0x82, wide=2), 1002),
    "64-bit length for 125 bytes": (raw(0x82, bytes(125), wide=8), 1002),
    "64-bit length for 65535 bytes": (raw(0x82, bytes(65535), wide=8), 1002),
    "64-bit length with the high bit": (raw(0x82, b"", wide=8, length=1 << 63), 1002),
    "64-bit length with every bit": (raw(0x82, b"", wide=8, length=(1 << 64) - 1), 1002),
    "continuation of nothing": (raw(0x80, b"a"), 1002),
    "continuation of nothing, unfinished": (raw(0x00, b"a"), 1002),
    "continuation of what has ended": (raw(0x01, b"a") + raw(0x80, b"b") + raw(0x80, b"c"), 1002),
    "text inside of a text": (raw(0x01, b"a") + raw(0x81, b"b"), 1002),
    "binary inside of a text": (raw(0x01, b"a") + raw(0x02, b"b"), 1002),
    "text inside of a message behind a ping": (raw(0x02, b"a") + raw(0x89) + raw(0x81, b"b"), 1002),
    "close payload of one byte": (raw(0x88, b"\x03"), 1002),
    **{
        f"close code {number}": (raw(0x88, number.to_bytes(2, "big")), 1002)
        for number in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "close reason that is no UTF-8": (raw(0x88, b"\x03\xe8\xff"), 1007),
    "close reason cut short": (raw(0x88, b"\x03\xe8\xe2\x82"), 1007),
    "text that is no UTF-8": (raw(0x81, b"\xff"), 1007),
    "text with a surrogate": (raw(0x81, b"\xed\xa0\x80"), 1007),
    "text beyond U+10FFFF": (raw(0x81, b"\xf4\x90\x80\x80"), 1007),
    "text in overlong form": (raw(0x81, b"\xc0\xaf"), 1007),
    "text that ends inside of a character": (raw(0x81, "€".encode()[:2]), 1007),
    "fragments that end inside of a character": (raw(0x01, "€".encode()[:1]) + raw(0x80, "€".encode()[1:2]), 1007),
    "fragments that end on nothing inside of a character": (raw(0x01, b"\xe2") + raw(0x80), 1007),
    "a message above the limit": (raw(0x82, bytes(LIMIT + 1)), 1009),
    "a frame that promises more than the limit": (raw(0x82, b"", length=1 << 40), 1009),
    "the largest frame there is": (raw(0x82, b"", length=(1 << 63) - 1), 1009),
    "fragments above the limit": (raw(0x02, bytes(LIMIT)) + raw(0x80, b"x"), 1009),
}


@pytest.mark.parametrize("size", [None, 1, 3, 4096])
@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_has_its_code(name: str, size: int | None) -> None:
    """Every broken rule is found, whole or in pieces; what came before is given out and what comes after is ignored."""
    data, expected = VIOLATIONS[name]
    if size == 1 and len(data) > 200_000:
        size = 1000
    found, decoder = read(raw(0x81, b"before") + data + raw(0x81, b"after"), size=size)
    assert code(decoder) == expected
    assert found[0] == (TEXT, b"before")
    assert (TEXT, b"after") not in found
    assert decoder.receive(raw(0x81, b"after")) == []
    assert decoder.violation is not None
    assert decoder.violation.reason
    assert len(decoder.violation.reason) < 60


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_in_a_read_of_its_own_has_its_code(name: str) -> None:
    """A read that holds one bad frame and nothing else, which is where the shortest way through the decoder begins."""
    data, expected = VIOLATIONS[name]
    decoder = Decoder(masked=True, message_bytes=LIMIT)
    assert decoder.receive(raw(0x81, b"before")) == [(TEXT, b"before")]
    for frame in _frames(data):
        assert decoder.violation is None
        assert all(opcode >= CLOSE for opcode, _ in decoder.receive(frame)) or "what has ended" in name
    assert code(decoder) == expected
    assert decoder.receive(raw(0x81, b"after")) == []


def _frames(data: bytes) -> list[bytes]:
    """Cut at the frames' borders; only the last may be longer or shorter than it says."""
    found = []
    while len(data) > 8 and data[1] & 0x80 and data[1] & 0x7F < 126 and len(data) > (size := 6 + (data[1] & 0x7F)):
        found.append(data[:size])
        data = data[size:]
    return [*found, data]


def test_what_follows_is_never_taken_for_a_frame_of_its_own() -> None:
    """Reads that look like one whole frame, but go on with a head, with a payload or with a message."""
    lookalike = raw(0x82, b"x")
    decoder = Decoder(masked=True, message_bytes=LIMIT)
    head = b"\x82"
    rest = b"\x82\x81abcde"
    assert len(rest) == len(lookalike)
    assert decoder.receive(head) == []
    assert decoder.receive(rest) == [(BINARY, xor_mask(b"de", b"\x81abc"))]
    assert decoder.receive(raw(0x82, bytes(len(lookalike)))[:6]) == []
    assert decoder.receive(xor_mask(lookalike, KEY)) == [(BINARY, lookalike)]
    outer = raw(0x82, xor_mask(lookalike, KEY))
    assert decoder.receive(outer[:6]) == []
    assert decoder.receive(outer[6:]) == [(BINARY, xor_mask(lookalike, KEY))]
    ping = raw(0x89, xor_mask(lookalike, KEY))
    assert decoder.receive(ping[:6]) == []
    assert decoder.receive(ping[6:]) == [(PING, xor_mask(lookalike, KEY))]
    assert decoder.receive(lookalike) == [(BINARY, b"x")]
    assert decoder.receive(raw(0x02, b"a")) == []
    assert decoder.receive(lookalike) == []
    assert code(decoder) == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, PING, CLOSE])
def test_a_client_takes_no_masked_frames(opcode: int) -> None:
    """RFC 6455, 5.1: a server never masks."""
    for payload in (b"", b"\x03\xe8"):
        found, decoder = read(raw(0x80 | opcode, payload), masked=False)
        assert (found, code(decoder)) == ([], 1002)


@pytest.mark.parametrize(
    ("data", "needed"),
    [
        (raw(0x81, b"Hello", mask=False), 2),
        (raw(0x83, b"Hello"), 2),
        (raw(0x91, b"Hello"), 2),
        (raw(0x89, bytes(126)), 2),
        (raw(0x09, b"x"), 2),
        (raw(0x80, b"x"), 2),
        (raw(0x81, b"ok \xff" + b"x" * 100), 10),
        (raw(0x81, b"\xed\xa0" + b"x" * 1000), 10),
        (raw(0x81, b"\xf4\x90" + b"x" * 100), 8),
        (raw(0x81, b"\xe0\x80" + b"x" * 100), 8),
        (raw(0x81, b"\xc1" + b"x" * 100), 7),
        (raw(0x81, b"\xf5" + b"x" * 100), 7),
        (raw(0x81, b"\x80" + b"x" * 100), 7),
        (raw(0x01, b"\xe2\x82") + raw(0x00, b"") + raw(0x80, b"\x28" + b"x" * 100), 8 + 6 + 7),
        (raw(0x82, b"", length=LIMIT + 1), 10),
        (raw(0x82, bytes(125), wide=2), 4),
        (raw(0x82, bytes(125), wide=8), 10),
        (raw(0x02, b"", length=1 << 63), 10),
        (raw(0x02, bytes(100)) + raw(0x80, b"", length=LIMIT), 106 + 14),
    ],
)
def test_a_violation_is_found_with_the_byte_that_proves_it(data: bytes, needed: int) -> None:
    """Byte by byte: nothing is said before, and nothing more is waited for."""
    decoder = Decoder(masked=True, message_bytes=LIMIT)
    for index in range(needed):
        assert decoder.violation is None, index
        decoder.receive(data[index : index + 1])
    assert decoder.violation is not None


def test_every_broken_character_is_found_where_it_breaks() -> None:
    """All pairs of bytes behind every lead byte, fed one by one: the verdict is that of a decoder which sees them at once, and it comes
    with the first byte that cannot be continued.
    """
    for lead in range(0xC0, 0x100):
        for second in range(0x70, 0x100, 3):
            payload = bytes((lead, second))
            possible = any(_is_text(payload + rest) for rest in (b"", b"\x80", b"\x80\x80", b"\xbf\xbf"))
            _, decoder = read(raw(0x01, payload), size=1)
            assert (decoder.violation is None) is possible, payload
            _, whole = read(raw(0x01, payload))
            assert code(whole) == code(decoder)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


TEXTS = ["κόσμε", "€uro 😀", "\U0010ffff\ud7ff\ue000￿", "\0", "a" * 300 + "é"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_may_be_cut_anywhere(text: str) -> None:
    """Characters split over frames and chunks are put together again."""
    payload = text.encode()
    for cut in range(len(payload) + 1):
        data = raw(0x01, payload[:cut]) + raw(0x00) + raw(0x80, payload[cut:])
        for size in (None, 1):
            found, decoder = read(data * 2, size=size)
            assert found == [(TEXT, payload)] * 2
            assert decoder.violation is None


def test_binary_is_not_held_to_utf8() -> None:
    """Any bytes at all, whole and fragmented."""
    payload = bytes(range(256))
    found, decoder = read(raw(0x82, payload) + raw(0x02, payload) + raw(0x80, payload))
    assert found == [(BINARY, payload), (BINARY, payload * 2)]
    assert decoder.violation is None


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize(
    "number", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
def test_good_close_codes_pass(number: int, size: int | None) -> None:
    """Everything that may be on the wire; what comes behind the close frame is not looked at."""
    payload = number.to_bytes(2, "big") + "tschüss".encode()
    found, decoder = read(raw(0x01, b"unfinished") + raw(0x88, payload) + b"\xff" * 100, size=size)
    assert found == [(CLOSE, payload)]
    assert decoder.closed
    assert decoder.violation is None
    assert parse_close(payload) == (number, "tschüss")
    assert decoder.receive(raw(0x81, b"late")) == []


def test_an_empty_close_has_no_code() -> None:
    """1005 stands for it, in both directions."""
    found, decoder = read(raw(0x88))
    assert found == [(CLOSE, b"")]
    assert decoder.closed
    assert parse_close(b"") == (NO_CODE, "")
    assert encode_close(NO_CODE, "dropped") == b"\x88\x00"


def test_a_long_reason_is_cut_between_characters() -> None:
    """A close frame holds 125 bytes; half a character is left out, and what cannot be encoded is replaced."""
    frame = encode_close(1000, "é" * 100)
    assert frame == raw(0x88, b"\x03\xe8" + "é".encode() * 61, mask=False)
    assert parse_close(frame[2:]) == (1000, "é" * 61)
    assert parse_close(encode_close(4000, "\ud800")[2:]) == (4000, "?")
    masked = encode_close(1001, "bye", mask=True)
    assert read(masked)[0] == [(CLOSE, b"\x03\xe9bye")]


def test_the_limit_is_exact() -> None:
    """A message of just that length passes, in one frame, in fragments and in pieces; control frames do not count."""
    for data in (
        raw(0x82, bytes(1000)),
        raw(0x02, bytes(999)) + raw(0x89, bytes(125)) + raw(0x80, b"\0"),
        raw(0x02) + raw(0x00, bytes(1000)) + raw(0x80),
    ):
        for size in (None, 1, 100):
            found, decoder = read(data * 2, limit=1000, size=size)
            assert [each for each in found if each[0] == BINARY] == [(BINARY, bytes(1000))] * 2
            assert decoder.violation is None
    found, decoder = read(raw(0x89, b"ping") + raw(0x82), limit=0)
    assert found == [(PING, b"ping"), (BINARY, b"")]
    assert code(read(raw(0x82, b"x"), limit=0)[1]) == 1009


def test_what_is_held_is_counted() -> None:
    """`buffered` is what an incomplete message or head costs, and never more than the limit and a control frame."""
    decoder = Decoder(masked=True, message_bytes=1000)
    decoder.receive(raw(0x01, b"x" * 600))
    assert decoder.buffered == 600
    decoder.receive(raw(0x89, b"p" * 100)[:60])
    assert decoder.buffered == 654
    decoder.receive(raw(0x89, b"p" * 100)[60:] + b"\x80")
    assert decoder.buffered == 601
    decoder.receive(raw(0x80, b"y" * 400)[1:])
    assert decoder.buffered == 0
    decoder.receive(raw(0x02, b"z" * 900) + raw(0x00, b"z" * 200))
    assert (code(decoder), decoder.buffered) == (1009, 0)


def test_empty_fragments_without_end_cost_nothing() -> None:
    """A message that never ends and never grows: each fragment is looked at once and none is kept."""
    decoder = Decoder(masked=True, message_bytes=1000)
    decoder.receive(raw(0x01))
    endless = raw(0x00) * 10_000
    tracemalloc.start()
    try:
        for _ in range(5):
            assert decoder.receive(endless) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (decoder.buffered, decoder.violation) == (0, None)
    assert peak < 50_000
    assert decoder.receive(raw(0x80)) == [(TEXT, b"")]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_single_bytes_are_not_a_squares_work(opcode: int) -> None:
    """A frame eight times as long, byte by byte, takes about eight times as long: far from the 64 times of copying all each time."""

    def seconds(length: int) -> float:
        frame = encode(opcode, bytes(length), mask=True)
        chunks = [frame[at : at + 1] for at in range(len(frame))]
        best = float("inf")
        for _ in range(3):
            decoder = Decoder(masked=True, message_bytes=LIMIT)
            start = time.process_time()
            found = [each for chunk in chunks for each in decoder.receive(chunk)]
            best = min(best, time.process_time() - start)
            assert found == [(opcode, bytes(length))]
        return best

    assert seconds(64 * 1024) < 24 * seconds(8 * 1024)


def test_fragments_of_one_byte_are_not_a_squares_work() -> None:
    """The same for a message in ever so many frames."""

    def seconds(count: int) -> float:
        data = raw(0x01, b"x") + raw(0x00, b"x") * (count - 2) + raw(0x80, b"x")
        best = float("inf")
        for _ in range(3):
            decoder = Decoder(masked=True, message_bytes=LIMIT)
            start = time.process_time()
            found = decoder.receive(data)
            best = min(best, time.process_time() - start)
            assert found == [(TEXT, b"x" * count)]
        return best

    assert seconds(64 * 1024) < 24 * seconds(8 * 1024)


COMPRESSED = Deflater(window_bits=15, takeover=False).compress


def inflater() -> Inflater:
    """Of a peer without context takeover."""
    return Inflater(window_bits=15, takeover=False)


@pytest.mark.parametrize("size", [None, 1, 5])
def test_compressed_messages_are_inflated(size: int | None) -> None:
    """Whole, in fragments with a ping between, and next to messages that are not compressed."""
    packed = COMPRESSED("wörld ".encode() * 50)
    data = (
        raw(0xC1, packed)
        + raw(0x41, packed[:3])
        + raw(0x89, b"p")
        + raw(0x00, packed[3:9])
        + raw(0x00)
        + raw(0x80, packed[9:])
        + raw(0x81, "plain ü".encode())
        + raw(0xC2, b"\x00")
        + raw(0x02, b"\xff")
        + raw(0x80, b"\xff")
    )
    found, decoder = read(data, size=size, inflate=inflater())
    text = (TEXT, "wörld ".encode() * 50)
    assert found == [text, (PING, b"p"), text, (TEXT, "plain ü".encode()), (BINARY, b""), (BINARY, b"\xff\xff")]
    assert (decoder.violation, decoder.buffered) == (None, 0)


TOO_BIG = COMPRESSED(bytes(LIMIT + 1))
COMPRESSED_VIOLATIONS = {
    "not negotiated": (raw(0xC1, COMPRESSED(b"a")), 1002, None),
    "on a ping": (raw(0xC9), 1002, inflater),
    "on a continuation": (raw(0x41, COMPRESSED(b"a")) + raw(0xC0), 1002, inflater),
    "other bits": (raw(0xE1, COMPRESSED(b"a")), 1002, inflater),
    "garbage": (raw(0xC1, b"\xff\xff\xff"), 1007, inflater),
    "no UTF-8 inside": (raw(0xC1, COMPRESSED(b"ok \xff")), 1007, inflater),
    "half a character inside": (raw(0xC1, COMPRESSED(b"ok \xe2")), 1007, inflater),
    "too big": (raw(0xC2, TOO_BIG), 1009, inflater),
    "too big over fragments": (raw(0x42, TOO_BIG[:-1]) + raw(0x00) + raw(0x80, TOO_BIG[-1:]), 1009, inflater),
    "a bomb": (raw(0xC2, COMPRESSED(bytes(200 * LIMIT))), 1009, inflater),
}


@pytest.mark.parametrize("size", [None, 1, 1000])
@pytest.mark.parametrize("name", COMPRESSED_VIOLATIONS)
def test_a_compressed_violation_has_its_code(name: str, size: int | None) -> None:
    """RSV1 where it must not be, damaged data, and what is too big or no text once it is unpacked."""
    data, expected, make = COMPRESSED_VIOLATIONS[name]
    if size == 1 and len(data) > 100_000:
        size = 1000
    found, decoder = read(
        raw(0x81, b"before") + data + raw(0x81, b"after"), size=size, inflate=make() if make else None
    )
    assert (found, code(decoder)) == ([(TEXT, b"before")], expected)


def test_what_cannot_be_compressed_may_be_longer_on_the_wire() -> None:
    """The limit counts what comes out: a message of just that length passes although its frame is longer."""
    packed = b"\x00\xe8\x03\x17\xfc" + bytes(range(250)) * 4 + b"\x00"
    assert len(packed) > 1000
    for size in (None, 1, 100):
        found, decoder = read(
            raw(0xC2, packed) + raw(0x42, packed[:10]) + raw(0x80, packed[10:]),
            limit=1000,
            size=size,
            inflate=inflater(),
        )
        assert found == [(BINARY, bytes(range(250)) * 4)] * 2
        assert decoder.violation is None


def test_the_limit_holds_behind_a_compressed_message() -> None:
    """Only a compressed message's own frames may be longer than the limit."""
    for head in (raw(0xC2, COMPRESSED(b"a")), raw(0x42, COMPRESSED(b"a")) + raw(0x80)):
        found, decoder = read(head + raw(0x82, bytes(1001)), limit=1000, inflate=inflater())
        assert (found, code(decoder)) == ([(BINARY, b"a")], 1009)


def test_a_violation_is_the_same_wherever_it_is_imported_from() -> None:
    """Codec and deflate raise one type."""
    from coworld_protocol.ws import violation

    assert Violation is violation.Violation


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_the_payload_of_an_unmasked_frame_is_cut_out(size: int) -> None:
    """Whatever its length takes in the head."""
    payload = bytes(size)
    assert payload_of(encode(TEXT, payload)) == payload
    assert payload_of(encode(BINARY, payload)) == payload
