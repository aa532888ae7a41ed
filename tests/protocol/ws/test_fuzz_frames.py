"""The codec against two other implementations, on traffic nobody would write down: wsproto's and websockets' sans-I/O layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from unittest import mock

import msgspec
import websockets.frames
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.protocol import OPEN, Protocol, Side
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from coworld_protocol.ws import frames
from coworld_protocol.ws.deflate import Deflate, Deflater, Inflater
from coworld_protocol.ws.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    Decoder,
    encode,
    parse_close,
)

LIMIT = 1 << 20
Found = list[tuple[int, bytes]]

relaxed = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


class Message(msgspec.Struct, frozen=True):
    """One data message: where it is cut into fragments, and which control frames come before each."""

    text: bool
    payload: bytes
    cuts: tuple[int, ...]
    control: tuple[tuple[int, bytes] | None, ...]
    compressed: bool


controls = st.none() | st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))
payloads = (
    st.text(max_size=200).map(lambda text: (True, text.encode()))
    | st.binary(max_size=200).map(lambda data: (False, data))
    | st.tuples(st.booleans(), st.integers(0, 70_000).map(lambda size: b"ab" * (size // 2)))
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Any message, cut anywhere: into empty fragments and inside of characters too."""
    text, payload = draw(payloads)
    cuts = tuple(sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4))))
    control = tuple(draw(controls) for _ in range(len(cuts) + 1))
    return Message(text, payload, cuts, control, draw(st.booleans()))


closes = st.none() | st.tuples(
    st.sampled_from([1000, 1001, 1011, 3000, 4999]), st.text(max_size=30).filter(lambda text: len(text.encode()) < 124)
)


def wire(
    sent: Sequence[Message], close: tuple[int, str] | None, *, mask: bool, deflater: Deflater | None = None
) -> tuple[bytes, Found]:
    """The bytes of these messages by our encoder, and what has to be read out of them."""
    data, expected = bytearray(), []
    for message in sent:
        opcode = TEXT if message.text else BINARY
        rsv1 = message.compressed and deflater is not None
        payload = deflater.compress(message.payload) if deflater and rsv1 else message.payload
        edges = [0, *sorted(min(cut, len(payload)) for cut in message.cuts), len(payload)]
        for index, (start, end) in enumerate(itertools.pairwise(edges)):
            control = message.control[index]
            if control is not None:
                data += encode(*control, mask=mask)
                expected.append(control)
            last = index == len(edges) - 2
            data += encode(
                CONTINUATION if index else opcode, payload[start:end], mask=mask, fin=last, rsv1=rsv1 and not index
            )
        expected.append((opcode, message.payload))
    if close is not None:
        data += frames.encode_close(*close, mask=mask)
        expected.append((CLOSE, close[0].to_bytes(2, "big") + close[1].encode()))
    return bytes(data), expected


def chunks(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """`data` cut at these places, modulo its length."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def ours(parts: Sequence[bytes], *, masked: bool, inflate: Inflater | None = None) -> tuple[Found, Decoder]:
    """What our decoder finds."""
    decoder = Decoder(masked=masked, message_bytes=LIMIT, inflate=inflate)
    return [each for part in parts for each in decoder.receive(part)], decoder


class Wsproto:
    """wsproto's frame layer behind the face of our decoder; it knows no limit and compresses only between control frames."""

    def __init__(self, *, masked: bool) -> None:
        self._protocol = FrameProtocol(client=not masked, extensions=[])
        self._parts: list[bytes] = []
        self._control: list[bytes] = []
        self.found: Found = []
        self.code: int | None = None
        self.closed = False

    def receive(self, data: bytes) -> None:
        if self.code is not None or self.closed:
            return
        self._protocol.receive_bytes(data)
        try:
            for frame in self._protocol.received_frames():
                self._take(frame)
                if self.closed:
                    return
        except ParseFailed as failure:
            self.code = int(failure.code)

    def _take(self, frame) -> None:
        opcode = int(frame.opcode)
        if frame.opcode is Opcode.CLOSE:
            code, reason = frame.payload
            payload = b"" if code == NO_CODE else int(code).to_bytes(2, "big") + reason.encode()
            self.found.append((CLOSE, payload))
            self.closed = True
        elif frame.opcode in {Opcode.PING, Opcode.PONG}:
            self.found.append((opcode, bytes(frame.payload)))
        else:
            payload = frame.payload
            self._parts.append(payload.encode() if isinstance(payload, str) else bytes(payload))
            if frame.message_finished:
                self.found.append((opcode, b"".join(self._parts)))
                self._parts = []


def wsprotos(parts: Sequence[bytes], *, masked: bool) -> Wsproto:
    """What wsproto finds."""
    reader = Wsproto(masked=masked)
    for part in parts:
        reader.receive(part)
    return reader


def websocketses(parts: Sequence[bytes], *, masked: bool, agreed: Deflate | None = None) -> tuple[Found, Protocol]:
    """What websockets finds; its frames put together to messages, which that layer leaves to others."""
    reader = Protocol(Side.SERVER if masked else Side.CLIENT, state=OPEN, max_size=LIMIT)
    if agreed is not None:
        server = agreed.server_no_context_takeover, agreed.server_max_window_bits
        client = agreed.client_no_context_takeover, agreed.client_max_window_bits
        (remote_forgets, remote_bits), (local_forgets, local_bits) = (client, server) if masked else (server, client)
        reader.extensions = [PerMessageDeflate(remote_forgets, local_forgets, remote_bits, max(local_bits, 9))]
    found: Found = []
    opcode, message = 0, b""
    for part in parts:
        reader.receive_data(part)
        for frame in reader.events_received():
            assert isinstance(frame, websockets.frames.Frame)
            if frame.opcode >= CLOSE:
                found.append((int(frame.opcode), bytes(frame.data)))
                continue
            opcode = int(frame.opcode) or opcode
            message += bytes(frame.data)
            if frame.fin:
                found.append((opcode, message))
                message = b""
    return found, reader


@relaxed
@given(st.lists(messages(), max_size=5), closes, st.booleans(), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_three_implementations_read_the_same(
    sent: list[Message], close: tuple[int, str] | None, mask: bool, cuts: list[int]
) -> None:
    """Fragments, interleaved control frames, any split of the stream: what was sent is what all three read, in order."""
    data, expected = wire(sent, close, mask=mask)
    parts = chunks(data, cuts)
    found, decoder = ours(parts, masked=mask)
    assert found == expected
    assert decoder.violation is None
    assert decoder.closed is (close is not None)
    assert decoder.buffered == 0
    other = wsprotos(parts, masked=mask)
    assert (other.found, other.code) == (expected, None)
    assert websocketses(parts, masked=mask)[0] == expected


agreements = st.builds(
    Deflate,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=st.integers(9, 15),
    client_max_window_bits=st.integers(9, 15),
)


@relaxed
@given(
    st.lists(messages(), max_size=5), closes, st.booleans(), st.lists(st.integers(0, 1 << 20), max_size=12), agreements
)
def test_compressed_traffic_reads_the_same(
    sent: list[Message], close: tuple[int, str] | None, mask: bool, cuts: list[int], agreed: Deflate
) -> None:
    """The same with some messages compressed, for every agreement; wsproto is left out, it loses its place at control frames."""
    data, expected = wire(sent, close, mask=mask, deflater=agreed.deflater(server=not mask))
    parts = chunks(data, cuts)
    found, decoder = ours(parts, masked=mask, inflate=agreed.inflater(server=mask))
    assert found == expected
    assert (decoder.violation, decoder.buffered) == (None, 0)
    others, reader = websocketses(parts, masked=mask, agreed=agreed)
    assert reader.parser_exc is None
    assert others == expected


@relaxed
@given(st.lists(payloads, max_size=5), st.booleans(), st.lists(st.integers(0, 1 << 20), max_size=12), agreements)
def test_what_websockets_compresses_we_read(
    sent: list[tuple[bool, bytes]], masked: bool, cuts: list[int], agreed: Deflate
) -> None:
    """Their encoder and compressor, our decoder."""
    local = (agreed.client_no_context_takeover, agreed.client_max_window_bits)
    if not masked:
        local = (agreed.server_no_context_takeover, agreed.server_max_window_bits)
    writer = Protocol(Side.CLIENT if masked else Side.SERVER, state=OPEN, max_size=LIMIT)
    writer.extensions = [PerMessageDeflate(False, local[0], 15, local[1])]
    for text, payload in sent:
        writer.send_text(payload) if text else writer.send_binary(payload)
    found, decoder = ours(
        chunks(b"".join(writer.data_to_send()), cuts), masked=masked, inflate=agreed.inflater(server=masked)
    )
    assert found == [(TEXT if text else BINARY, payload) for text, payload in sent]
    assert decoder.violation is None


@relaxed
@given(
    st.sampled_from([CONTINUATION, TEXT, BINARY]) | st.just(PING),
    st.binary(max_size=300) | st.sampled_from([125, 126, 65535, 65536, 70_001]).map(bytes),
    st.binary(min_size=4, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_our_frames_are_theirs_byte_for_byte(opcode: int, payload: bytes, key: bytes, mask: bool, fin: bool) -> None:
    """Every frame, with the same mask, is what websockets serializes."""
    if opcode == PING:
        payload, fin = payload[:125], True
    theirs = websockets.frames.Frame(websockets.frames.Opcode(opcode), payload, fin)
    with (
        mock.patch("websockets.frames.secrets.token_bytes", return_value=key),
        mock.patch.object(frames, "new_mask", return_value=key),
    ):
        assert encode(opcode, payload, mask=mask, fin=fin) == theirs.serialize(mask=mask)


@relaxed
@given(
    st.sampled_from([1000, 1001, 1011, 1014, 3000, 4999]),
    st.text(max_size=30).filter(lambda text: len(text.encode()) < 124),
)
def test_our_close_frames_are_theirs_byte_for_byte(code: int, reason: str) -> None:
    """Code and reason, and back again by either."""
    theirs = websockets.frames.Close(code, reason)
    frame = frames.encode_close(code, reason)
    assert frame[2:] == theirs.serialize()
    assert parse_close(frame[2:]) == (code, reason)


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with a few bytes changed, cut out, doubled or put in; most often near the start of a frame."""
    mutant = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(mutant)))
        kind = draw(st.sampled_from(["flip", "set", "cut", "insert", "double"]))
        if kind == "flip" and at < len(mutant):
            mutant[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and at < len(mutant):
            mutant[at] = draw(st.sampled_from([0x00, 0x7E, 0x7F, 0x80, 0x81, 0x88, 0xC1, 0xFE, 0xFF]))
        elif kind == "cut":
            del mutant[at : at + draw(st.integers(1, 5))]
        elif kind == "insert":
            mutant[at:at] = draw(st.binary(min_size=1, max_size=6))
        elif kind == "double":
            mutant[at:at] = mutant[at : at + draw(st.integers(1, 20))]
    return bytes(mutant)


@st.composite
def mutants(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A damaged stream, and whether it was a client's."""
    mask = draw(st.booleans())
    small = messages().filter(lambda message: len(message.payload) < 2000)
    data, _ = wire(draw(st.lists(small, min_size=1, max_size=3)), draw(closes), mask=mask)
    return draw(mutations(data)), mask


# What wsproto judges otherwise, each for a reason:
#   1014 was registered after RFC 6455; wsproto has not heard of it.
#   It has no limit, so what we end with 1009 goes on there.
#   It looks at a frame's opcode against the message under way, and at the mask, only when payload has come; the filler brings some.
FILLER = bytes(300)


def agree(parts: Sequence[bytes], *, masked: bool) -> None:
    """Both decoders give out the same, and both fail by the same code or neither does."""
    found, decoder = ours(parts, masked=masked)
    other = wsprotos(parts, masked=masked)
    if decoder.violation is not None and decoder.violation.code == 1009:
        event("too big")
        assert found == other.found[: len(found)]
        return
    if any(opcode == CLOSE and payload[:2] == (1014).to_bytes(2, "big") for opcode, payload in found):
        event("close code 1014")
        return
    if decoder.violation is not None and other.code is None:
        event("found earlier by us")
        other.receive(FILLER)
        assert found == other.found[: len(found)]
        assert other.code == decoder.violation.code
        return
    event("read whole" if decoder.violation is None else f"violation {decoder.violation.code}")
    assert found == other.found
    assert decoder.closed is other.closed
    assert (decoder.violation.code if decoder.violation else None) == other.code


@settings(relaxed, max_examples=600)
@given(mutants(), st.lists(st.integers(0, 1 << 20), max_size=5))
def test_damaged_streams_get_the_same_verdict(mutant: tuple[bytes, bool], cuts: list[int]) -> None:
    """Changed bits, lengths and opcodes: the same messages first, then the same close code from wsproto and us."""
    data, masked = mutant
    agree(chunks(data, cuts), masked=masked)


@settings(relaxed, max_examples=400)
@given(st.binary(min_size=2, max_size=60), st.booleans(), st.lists(st.integers(0, 60), max_size=5))
@example(b"\x88\x02\x03\xf6", False, [])
def test_noise_gets_the_same_verdict(data: bytes, masked: bool, cuts: list[int]) -> None:
    """Streams that were never frames."""
    agree(chunks(data, cuts), masked=masked)


@relaxed
@given(mutants(), st.lists(st.integers(0, 1 << 20), max_size=8))
def test_a_verdict_does_not_depend_on_the_split(mutant: tuple[bytes, bool], cuts: list[int]) -> None:
    """However a stream is cut into reads: the same messages and the same violation, word for word."""
    data, masked = mutant
    whole, first = ours([data], masked=masked)
    for parts in (chunks(data, cuts), [data[at : at + 1] for at in range(len(data))]):
        found, decoder = ours(parts, masked=masked)
        assert found == whole
        assert str(decoder.violation) == str(first.violation)
        assert (decoder.closed, decoder.buffered) == (first.closed, first.buffered)


@relaxed
@given(st.data(), agreements, st.lists(st.integers(0, 1 << 20), max_size=5))
def test_damaged_compressed_streams_stay_bounded(data: st.DataObject, agreed: Deflate, cuts: list[int]) -> None:
    """Whatever is done to compressed traffic: no error but a violation, no message above the limit, no text that is none."""
    small = messages().filter(lambda message: len(message.payload) < 2000)
    stream, _ = wire(
        data.draw(st.lists(small, min_size=1, max_size=3)), None, mask=True, deflater=agreed.deflater(server=False)
    )
    limit = 1000
    decoder = Decoder(masked=True, message_bytes=limit, inflate=agreed.inflater(server=True))
    for part in chunks(data.draw(mutations(stream)), cuts):
        for opcode, payload in decoder.receive(part):
            assert len(payload) <= (limit if opcode < CLOSE else 125)
            if opcode == TEXT:
                payload.decode()
        assert decoder.buffered <= limit + 125 + 13
    assert decoder.violation is None or decoder.violation.code in {1002, 1007, 1009}
