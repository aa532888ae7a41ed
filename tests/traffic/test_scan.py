"""Frames are followed however they are cut, and nothing that comes instead of frames does harm."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coworld_actors.traffic.scan import HEAD_LIMIT, FrameScanner
from coworld_protocol.ws.frames import BINARY, CONTINUATION, PING, PONG, TEXT, encode, encode_close

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
REQUEST = b"GET /player?slot=0&token=x HTTP/1.1\r\nHost: game\r\n\r\n"

PAYLOADS = st.one_of(st.binary(max_size=40), st.sampled_from([bytes(125), bytes(126), bytes(65_535), bytes(65_536)]))
MESSAGES = st.lists(st.tuples(st.sampled_from([TEXT, BINARY, PING, PONG]), PAYLOADS, st.integers(1, 3)), max_size=8)


def fed(*parts: bytes, answering: bool = True) -> FrameScanner:
    scanner = FrameScanner(answering=answering)
    for part in parts:
        scanner.feed(part)
    return scanner


def wire(opcode: int, payload: bytes, frames: int, *, mask: bool) -> bytes:
    """A message in so many frames, with a ping between them."""
    if opcode in {PING, PONG}:
        return encode(opcode, payload[:125], mask=mask)
    cut = len(payload) // frames
    pieces = [payload[place * cut : (place + 1) * cut] for place in range(frames - 1)] + [payload[(frames - 1) * cut :]]
    found = b""
    for place, piece in enumerate(pieces):
        found += encode(opcode if not place else CONTINUATION, piece, mask=mask, fin=place == frames - 1)
        found += encode(PING, b"", mask=mask) if place < frames - 1 else b""
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MESSAGES, st.booleans(), st.randoms(use_true_random=False))
def test_messages_are_counted_however_their_bytes_are_cut(
    messages: list[tuple[int, bytes, int]], to_game: bool, source: random.Random
) -> None:
    """A message begins with its first byte and ends with its last, at whatever place the stream is torn."""
    parts = [wire(opcode, payload, frames, mask=to_game) for opcode, payload, frames in messages]
    data_messages = [place for place, (opcode, _, _) in enumerate(messages) if opcode in {TEXT, BINARY}]
    starts = [sum(map(len, parts[:place])) for place in data_messages]
    ends = [start + len(parts[place]) for start, place in zip(starts, data_messages, strict=True)]
    stream = b"".join(parts)
    scanner = fed(REQUEST if to_game else ANSWER, answering=not to_game)
    position = 0
    while position < len(stream):
        size = source.choice([1, 2, 3, 7, 100, 70_000])
        scanner.feed(stream[position : position + size])
        position = min(position + size, len(stream))
        assert scanner.begun == sum(start < position for start in starts)
        assert scanner.ended == sum(end <= position for end in ends)
    controls = sum(frames - 1 if opcode in {TEXT, BINARY} else 1 for opcode, _, frames in messages)
    assert (scanner.control, scanner.blind) == (controls, "")
    assert scanner.size == len(stream) + len(REQUEST if to_game else ANSWER)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=300), max_size=40), st.booleans(), st.booleans())
def test_no_bytes_do_harm(parts: list[bytes], answering: bool, upgraded: bool) -> None:
    """Nothing is raised, everything is counted, and what is kept stays small."""
    head = ANSWER if answering else REQUEST
    scanner = fed(*([head] if upgraded else []), *parts, answering=answering)
    assert scanner.size == sum(map(len, parts)) + (len(head) if upgraded else 0)
    assert held(scanner) < HEAD_LIMIT


def held(scanner: FrameScanner) -> int:
    return sum(sys.getsizeof(getattr(scanner, name)) for name in ("_head", "_header", "_control"))


@pytest.mark.parametrize("answering", [False, True])
def test_a_head_that_does_not_end_is_given_up(answering: bool) -> None:
    """After 64 KiB the connection is only counted, and nothing of the head is kept."""
    scanner = fed(*[b"x" * 1000] * 200, answering=answering)
    assert scanner.blind == "its handshake does not end"
    assert scanner.size == 200_000
    assert held(scanner) < 1000


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_frames_right_behind_the_handshake_are_seen(size: int) -> None:
    """Head and first message may come in the same bytes, or torn anywhere; interim answers come before the one that counts."""
    stream = b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER + encode(TEXT, b"welcome")
    scanner = fed(*[stream[place : place + size] for place in range(0, len(stream), size)])
    assert (scanner.status, scanner.ended) == (101, 1)


def test_an_answer_that_declines_is_no_websocket() -> None:
    """Behind another status than 101 nothing is taken for frames."""
    scanner = fed(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n\x81\x00")
    assert (scanner.status, scanner.ended, scanner.blind) == (403, 0, "it is no websocket")


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4321, "you are out: \N{WAVING HAND SIGN}"), (1005, "")])
def test_a_close_frame_tells_its_code(mask: bool, code: int, reason: str) -> None:
    """The code and the text are read, unmasked, also in torn bytes; what follows is not."""
    stream = encode_close(code, reason, mask=mask)
    scanner = fed(ANSWER, *[stream[place : place + 1] for place in range(len(stream))], encode(TEXT, b"late"))
    assert (scanner.close_code, scanner.close_reason, scanner.control, scanner.begun) == (code, reason, 1, 0)


@pytest.mark.parametrize(
    "frame",
    [b"\x83\x00", b"\x8b\x00", b"\xb1\x00", b"\x88\x7e\x00\x7e", b"\x89\xff" + bytes(12), b"\x82\x7f" + b"\xff" * 8],
    ids=["opcode 3", "opcode 11", "reserved bits", "close of 126", "ping of 64 bits", "length of 64 bits"],
)
def test_what_is_no_frame_ends_the_following(frame: bytes) -> None:
    """From there on bytes are only counted: who knows where the next frame begins."""
    scanner = fed(ANSWER, encode(TEXT, b"x"), frame, encode(TEXT, b"y"))
    assert (scanner.ended, scanner.blind) == (1, "its bytes are not websocket frames")


def test_a_length_that_is_a_lie_costs_nothing() -> None:
    """A frame that claims 2^62 bytes is one that does not end; nothing of it is kept."""
    scanner = fed(ANSWER, b"\x82\x7f\x40" + bytes(7), *[bytes(60_000)] * 50)
    assert (scanner.begun, scanner.ended, scanner.blind) == (1, 0, "")
    assert held(scanner) < 1000
