from __future__ import annotations

import os
import tracemalloc
import zlib

import pytest

from coworld_protocol.ws.deflate import (
    EXTENSION,
    OFFER,
    Deflate,
    DeflateOffer,
    Deflater,
    Inflater,
    choose,
    read_answer,
    read_offer,
)
from coworld_protocol.ws.fields import read_extensions
from coworld_protocol.ws.violation import Violation

TAIL = b"\x00\x00\xff\xff"
HELLO = bytes.fromhex("f248cdc9c90700")  # RFC 7692, 7.2.3.1
MESSAGES = [b"hello" * 100, b"", b"", b"hello" * 100, os.urandom(3000), b"x", b"a" * 70_000, bytes(range(256)) * 9, b""]


def inflate(inflater: Inflater, payload: bytes, limit: int = 1 << 20) -> bytes:
    """One whole message."""
    found = inflater.feed(payload, limit)
    return found + inflater.finish(limit - len(found))


def verdict(inflater: Inflater, *parts: bytes, limit: int) -> int | bytes:
    """What parts of one message inflate to, or the close code they get."""
    found = b""
    try:
        for part in parts:
            found += inflater.feed(part, limit - len(found))
        return found + inflater.finish(limit - len(found))
    except Violation as violation:
        return violation.code


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("bits", range(8, 16))
def test_messages_come_back(bits: int, takeover: bool) -> None:
    """What we compress we inflate, for every window, with and without context takeover, whole and byte by byte."""
    deflater = Deflater(window_bits=bits, takeover=takeover)
    whole = Inflater(window_bits=bits, takeover=takeover)
    split = Inflater(window_bits=bits, takeover=takeover)
    for message in MESSAGES:
        packed = deflater.compress(message)
        assert inflate(whole, packed, len(message)) == message
        room, parts = len(message), []
        for index in range(len(packed)):
            parts.append(split.feed(packed[index : index + 1], room))
            room -= len(parts[-1])
        assert b"".join(parts) + split.finish(room) == message


@pytest.mark.parametrize("bits", range(8, 16))
def test_a_window_is_kept(bits: int) -> None:
    """A strict reader with exactly the agreed window understands us; 8 bits, which zlib cannot write, included."""
    deflater = Deflater(window_bits=bits, takeover=True)
    reader = zlib.decompressobj(-bits)
    noise = os.urandom(200)
    for message in (noise, b"b" * 300, noise, os.urandom(1 << bits), noise + b"c" * 70_000 + noise):
        assert reader.decompress(deflater.compress(message) + TAIL) == message


def test_eight_bits_are_kept_by_repeating_single_bytes_only() -> None:
    """No reference but to the byte before: inside of the window whatever zlib makes of 9 bits."""
    noise = os.urandom(100)
    eight, nine = Deflater(window_bits=8, takeover=True), Deflater(window_bits=9, takeover=True)
    assert len(nine.compress(noise * 2)) < 150
    assert len(eight.compress(noise * 2)) > 195
    assert len(eight.compress(b"a" * 1000)) < 30


def test_takeover_remembers_and_its_absence_forgets() -> None:
    """A repeated message is nearly free with takeover and costs the same again without."""
    message = os.urandom(1000)
    kept = Deflater(window_bits=15, takeover=True)
    assert len(kept.compress(message)) > 1000
    assert len(kept.compress(message)) < 30
    fresh = Deflater(window_bits=15, takeover=False)
    assert fresh.compress(message) == fresh.compress(message)
    second = Deflater(window_bits=15, takeover=False)
    assert second.compress(message) == fresh.compress(message)


def test_a_reference_to_a_forgotten_message_is_a_violation() -> None:
    """A peer that agreed to no context takeover and uses it all the same is caught."""
    message = os.urandom(1000)
    sender = Deflater(window_bits=15, takeover=True)
    inflater = Inflater(window_bits=15, takeover=False)
    assert inflate(inflater, sender.compress(message)) == message
    with pytest.raises(Violation) as caught:
        inflate(inflater, sender.compress(message))
    assert caught.value.code == 1007


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (HELLO, b"Hello"),
        (bytes.fromhex("f200110000"), b"Hello"),  # 7.2.3.2: by reference to the one before
        (bytes.fromhex("000500faff48656c6c6f00"), b"Hello"),  # 7.2.3.3: stored
        (bytes.fromhex("f348cdc9c9070000"), b"Hello"),  # 7.2.3.4: BFINAL
        (bytes.fromhex("f248050000 00ffff cac9c90700".replace(" ", "")), b"Hello"),  # 7.2.3.5: two blocks
        (b"\x00", b""),  # 7.2.3.6
    ],
)
def test_the_examples_of_the_standard(payload: bytes, expected: bytes) -> None:
    """RFC 7692, 7.2.3."""
    inflater = Inflater(window_bits=15, takeover=True)
    if payload == bytes.fromhex("f200110000"):
        assert inflate(inflater, HELLO) == b"Hello"
    assert inflate(inflater, payload) == expected
    assert inflate(inflater, HELLO) == b"Hello"


def test_a_final_block_ends_a_message_with_or_without_the_byte_behind_it() -> None:
    """A peer that ends its deflate stream with each message is understood, in one piece or in many; the next stream starts empty."""
    for payload in (bytes.fromhex("f348cdc9c90700"), bytes.fromhex("f348cdc9c9070000")):
        for size in (1, 3, 100):
            inflater = Inflater(window_bits=15, takeover=True)
            for _ in range(3):
                parts = [inflater.feed(payload[at : at + size], 5) for at in range(0, len(payload), size)]
                assert b"".join(parts) + inflater.finish(0) == b"Hello"


def test_streams_in_a_row_are_one_message() -> None:
    """Several ended deflate streams in one payload give their contents in order, as long as they are few."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    one = packer.compress(b"abc") + packer.flush()
    inflater = Inflater(window_bits=15, takeover=True)
    for _ in range(5):
        assert inflate(inflater, one * 40) == b"abc" * 40
    assert inflate(inflater, one * 20 + HELLO) == b"abc" * 20 + b"Hello"
    with pytest.raises(Violation) as caught:
        inflate(inflater, one * 20, 59)
    assert caught.value.code == 1009


def test_endless_ends_of_streams_are_refused() -> None:
    """A payload of nothing but ends would cost the square of its length; it is stopped after a few."""
    inflater = Inflater(window_bits=15, takeover=True)
    with pytest.raises(Violation) as caught:
        inflater.feed(b"\x03\x00" * 500_000, 100)
    assert caught.value.code == 1007


def test_a_compressed_message_without_any_byte_is_empty() -> None:
    """A zero-length payload, which no compressor writes, is an empty message and spoils nothing."""
    inflater = Inflater(window_bits=15, takeover=True)
    assert inflate(inflater, b"") == b""
    assert inflate(inflater, HELLO) == b"Hello"
    assert inflate(inflater, b"") == b""
    assert inflate(inflater, bytes.fromhex("f200110000")) == b"Hello"


@pytest.mark.parametrize("limit", [0, 1, 4, 5, 6])
def test_the_limit_is_exact(limit: int) -> None:
    """As many bytes as allowed come out, one more is a violation; over parts as well as in one."""
    inflater = Inflater(window_bits=15, takeover=True)
    if limit >= 5:
        assert inflate(inflater, HELLO, limit) == b"Hello"
        return
    with pytest.raises(Violation) as caught:
        inflate(inflater, HELLO, limit)
    assert caught.value.code == 1009


@pytest.mark.parametrize("cut", [0, 1, 500, 5_000])
def test_a_bomb_does_not_go_off(cut: int) -> None:
    """A gigabyte in a megabyte: memory stays with the limit, whatever the first part is."""
    limit = 64 * 1024
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    again = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    bomb = block + again * 1000
    inflater = Inflater(window_bits=15, takeover=True)
    tracemalloc.start()
    try:
        assert verdict(inflater, bomb[:cut], bomb[cut:], limit=limit) == 1009
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # What was held back of the input counts too: a part is not larger than what was received at once.
    assert peak < 2 * len(bomb) + 3 * limit + 200_000


def test_what_comes_out_in_the_tail_counts() -> None:
    """Bytes that only the end of a message brings out are held to the limit as well."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"q" * 300) + packer.flush(zlib.Z_SYNC_FLUSH)
    parts = packed[:-5], packed[-5:-4]
    assert verdict(Inflater(window_bits=15, takeover=True), *parts, limit=300) == b"q" * 300
    assert verdict(Inflater(window_bits=15, takeover=True), *parts, limit=299) == 1009


@pytest.mark.parametrize(
    "payload", [b"\xff\xff\xff", b"\x07", b"\x02\x08" * 40, b"Hello, world, this is no deflate stream"]
)
def test_garbage_is_a_violation(payload: bytes) -> None:
    """What is no deflate stream ends with 1007, at the latest when the message does or when the next one comes."""
    inflater = Inflater(window_bits=15, takeover=True)
    verdicts = [verdict(inflater, payload, limit=1 << 20) for _ in range(2)]
    assert 1007 in verdicts


@pytest.mark.parametrize(("agreed", "used", "between"), [(10, 15, 5000), (8, 15, 600), (12, 15, 20_000)])
def test_a_larger_window_than_agreed_is_a_violation(agreed: int, used: int, between: int) -> None:
    """A reference to earlier messages that are out of the agreed window is refused."""
    noise = os.urandom(200)
    sender = Deflater(window_bits=used, takeover=True)
    inflater = Inflater(window_bits=agreed, takeover=True)
    assert inflate(inflater, sender.compress(noise)) == noise
    inflate(inflater, sender.compress(os.urandom(between)))
    packed = sender.compress(noise)
    assert len(packed) < 100, "the reference was not made"
    assert verdict(inflater, packed, limit=1000) == 1007


def test_nine_bits_pass_where_eight_were_agreed() -> None:
    """A peer's zlib that takes 9 bits when it is asked for 8 is understood: it holds back 262 bytes of its window."""
    noise = os.urandom(100)
    sender = Deflater(window_bits=9, takeover=True)
    inflater = Inflater(window_bits=8, takeover=True)
    for message in (noise, os.urandom(130), noise):
        packed = sender.compress(message)
        assert inflate(inflater, packed) == message
    assert len(packed) < 50, "the reference was not made"


def test_every_endless_message_without_content_keeps_memory() -> None:
    """Empty stored blocks without end bring nothing out and hold nothing."""
    inflater = Inflater(window_bits=15, takeover=True)
    block = b"\x00\x00\x00\xff\xff" * 1000
    tracemalloc.start()
    try:
        for _ in range(300):
            assert inflater.feed(block, 10) == b""
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000


PARAMETERS = [
    ("", DeflateOffer()),
    ("; server_no_context_takeover", DeflateOffer(server_no_context_takeover=True)),
    ("; client_no_context_takeover", DeflateOffer(client_no_context_takeover=True)),
    (
        "; client_no_context_takeover; server_no_context_takeover",
        DeflateOffer(client_no_context_takeover=True, server_no_context_takeover=True),
    ),
    *[(f"; server_max_window_bits={bits}", DeflateOffer(server_max_window_bits=bits)) for bits in range(8, 16)],
    *[(f"; client_max_window_bits={bits}", DeflateOffer(client_max_window_bits=bits)) for bits in range(8, 16)],
    ("; client_max_window_bits", DeflateOffer(client_max_window_bits=15)),
    ('; server_max_window_bits="10"', DeflateOffer(server_max_window_bits=10)),
]


@pytest.mark.parametrize(("text", "expected"), PARAMETERS)
def test_offers_are_read(text: str, expected: DeflateOffer) -> None:
    """Every parameter of RFC 7692, 7.1, with every value it may have."""
    ((name, parameters),) = read_extensions(EXTENSION + text)
    assert name == EXTENSION
    assert read_offer(parameters) == expected


BAD = [
    "server_no_context_takeover=1",
    "client_no_context_takeover=true",
    "server_no_context_takeover; server_no_context_takeover",
    "client_max_window_bits; client_max_window_bits",
    "client_max_window_bits=10; client_max_window_bits=10",
    *[
        f"{side}_max_window_bits={value}"
        for side in ("server", "client")
        for value in ("7", "16", "08", "0", "-9", "9.0", "115", "x")
    ],
    "server_max_window_bits",
    "server_max_window_bits; client_no_context_takeover",
    "unknown",
    "mem_level=9",
    "Server_No_Context_Takeover",
]


@pytest.mark.parametrize("text", BAD)
def test_bad_offers_are_declined_and_bad_answers_fail(text: str) -> None:
    """Unknown, repeated and ill-valued parameters: a server declines (None), a client fails (ValueError)."""
    ((_, parameters),) = read_extensions(f"{EXTENSION}; {text}")
    assert read_offer(parameters) is None
    with pytest.raises(ValueError, match="permessage-deflate"):
        read_answer(parameters)


def test_an_answer_must_name_the_clients_window() -> None:
    """`client_max_window_bits` without a number is for offers only."""
    with pytest.raises(ValueError, match="8 to 15"):
        read_answer([("client_max_window_bits", None)])


@pytest.mark.parametrize("window_bits", [8, 9, 12, 15])
@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize(("text", "offer"), PARAMETERS)
def test_what_is_chosen_keeps_to_the_offer(text: str, offer: DeflateOffer, window_bits: int, takeover: bool) -> None:
    """The agreement never exceeds offer or own limits, asks nothing the client did not allow, and survives its own wire form."""
    agreed = choose([offer], window_bits=window_bits, takeover=takeover)
    assert agreed is not None
    assert agreed.server_no_context_takeover is (offer.server_no_context_takeover or not takeover)
    assert agreed.client_no_context_takeover is offer.client_no_context_takeover
    assert agreed.server_max_window_bits == min(offer.server_max_window_bits or 15, window_bits)
    if offer.client_max_window_bits is None:
        assert agreed.client_max_window_bits == 15
    else:
        assert agreed.client_max_window_bits == min(offer.client_max_window_bits, window_bits)
    answer = agreed.answer(server_bits=offer.server_max_window_bits is not None)
    assert ("server_max_window_bits" in answer) >= (offer.server_max_window_bits is not None)
    assert ("client_max_window_bits" in answer) <= (offer.client_max_window_bits is not None)
    ((_, parameters),) = read_extensions(answer)
    assert read_answer(parameters) == agreed


def test_the_first_offer_counts() -> None:
    """Offers come in order of preference; without one nothing is agreed."""
    first, second = DeflateOffer(server_max_window_bits=10), DeflateOffer()
    chosen = choose([first, second])
    assert chosen is not None
    assert chosen.server_max_window_bits == 10
    assert choose([]) is None


def test_our_own_offer_is_one() -> None:
    """What our clients send is accepted by what our servers read."""
    ((name, parameters),) = read_extensions(OFFER)
    assert name == EXTENSION
    assert read_offer(parameters) == DeflateOffer(client_max_window_bits=15)


@pytest.mark.parametrize("server_forgets", [False, True])
@pytest.mark.parametrize("client_forgets", [False, True])
@pytest.mark.parametrize(("server_bits", "client_bits"), [(8, 15), (15, 8), (9, 12), (12, 12), (15, 15)])
def test_both_ends_agree(server_forgets: bool, client_forgets: bool, server_bits: int, client_bits: int) -> None:
    """Streams made by the two ends of one agreement understand each other, each direction with its own parameters."""
    agreed = Deflate(
        server_no_context_takeover=server_forgets,
        client_no_context_takeover=client_forgets,
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
    )
    for server in (False, True):
        deflater, inflater = agreed.deflater(server=server), agreed.inflater(server=not server)
        for message in MESSAGES:
            assert inflate(inflater, deflater.compress(message)) == message
