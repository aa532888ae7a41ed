"""The probe's socket against raw servers: every end of a handshake and of a message is told apart, and no socket is left."""

from __future__ import annotations

import pytest
import trio

from coworld_actors.episode.probe_socket import (
    CLOSE_WAIT,
    HandshakeFailed,
    HandshakeRefused,
    MessageTooLong,
    SocketClosed,
    open_probe_socket,
)
from coworld_drivers.driver import Address
from tests import strangers
from tests.strangers import BINARY, CLOSE, CONTINUED, PING, TEXT, accepts, frame

LIMIT = 1024 * 1024


async def lengths(address: Address, count: int) -> list[int]:
    async with open_probe_socket(address, "/global", timeout=20, limit=LIMIT) as socket:
        return [await socket.receive() for _ in range(count)]


@pytest.mark.parametrize("code", [200, 302, 401, 403, 404, 426, 500, 503])
async def test_a_refusal_carries_its_status(server, code: int) -> None:
    """Any status but 101 is a refusal with that status."""
    address = await server(strangers.status(code))
    with pytest.raises(HandshakeRefused) as caught:
        await lengths(address, 1)
    assert caught.value.status == code
    assert strangers.open_connections(address) == 0


async def test_a_refusal_with_an_endless_body_is_not_read_to_its_end(server) -> None:
    """The status is enough; the body could be anything."""
    address = await server(strangers.endless("HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65536))
    with pytest.raises(HandshakeRefused), trio.fail_after(30):
        await lengths(address, 1)
    assert strangers.open_connections(address) == 0


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (strangers.closes, "closed the connection instead of answering"),
        (strangers.resets, "reset during the handshake"),
        (strangers.says("welcome to the dungeon\r\n\r\n"), "does not speak HTTP"),
        (strangers.says(b"\x00\xff\x00\xff\r\n\r\n"), "does not speak HTTP"),
        (strangers.says("HTTP/1.1 101 Switching Protocols\r\n\r\n"), "does not upgrade to websocket"),
        (
            strangers.endless("HTTP/1.1 101 Switching Protocols\r\n", b"X-More: of the same\r\n" * 64),
            "too long",
        ),
        (strangers.endless("HTTP/1.1 101 ", b"x" * 65536), "too long"),
    ],
    ids=["closes", "resets", "text", "binary", "no-proof", "endless-header", "endless-line"],
)
async def test_an_answer_that_cannot_be_understood_is_no_refusal(server, handler, words: str) -> None:
    """Closed, reset, malformed and endless answers fail the handshake, and no socket stays behind."""
    address = await server(handler)
    with pytest.raises(HandshakeFailed, match=words), trio.fail_after(30):
        await lengths(address, 1)
    assert strangers.open_connections(address) == 0


async def test_a_refused_port_is_an_error_of_the_system() -> None:
    """Where nobody listens there is no handshake that could fail."""
    with pytest.raises(OSError, match="attempts to connect"):
        await lengths(strangers.refused(), 1)


async def test_no_answer_at_all_is_a_timeout(server) -> None:
    """A server that reads and says nothing is given up on, and its socket is closed."""
    address = await server(strangers.silent)
    with pytest.raises(TimeoutError, match=r"no answer to the handshake within 0\.3 s"):
        async with open_probe_socket(address, "/", timeout=0.3, limit=LIMIT):
            raise AssertionError("it cannot be open")
    assert strangers.open_connections(address) == 0


async def test_being_cancelled_in_the_handshake_leaves_no_socket(server) -> None:
    """Whoever gives up on a probe need not clean up after it."""
    address = await server(strangers.silent)
    with trio.move_on_after(0.2) as scope:
        await lengths(address, 1)
    assert scope.cancelled_caught
    assert strangers.open_connections(address) == 0


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([frame(TEXT, b"hello")], [5]),
        ([frame(BINARY, b"12345678")], [8]),
        ([frame(TEXT)], [0]),
        ([frame(PING, b"there?"), frame(TEXT, b"abc")], [3]),
        ([frame(TEXT, b"ab", last=False), frame(PING), frame(CONTINUED, b"cd")], [4]),
        ([frame(TEXT, b"ab") + frame(TEXT, b"c")], [2, 1]),
        ([frame(BINARY, b"x" * LIMIT)], [LIMIT]),
    ],
    ids=["text", "bytes", "empty", "ping-first", "fragments", "two-at-once", "largest"],
)
async def test_messages_are_measured_whole(server, frames: list[bytes], expected: list[int]) -> None:
    """Pings do not count, fragments count together, and two messages in one packet are two."""
    address = await server(accepts(*frames))
    assert await lengths(address, len(expected)) == expected
    assert strangers.open_connections(address) == 0


async def test_a_message_in_the_packet_of_the_handshake_is_not_lost(server) -> None:
    """A server may send its first frame together with its acceptance."""

    async def handler(stream: trio.SocketStream) -> None:
        stream.socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_CORK, 1)
        await strangers.accept(stream)
        await stream.send_all(frame(TEXT, b"quick"))
        stream.socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_CORK, 0)
        await strangers.silent(stream)

    assert await lengths(await server(handler), 1) == [5]


async def test_a_ping_is_answered_with_what_it_carried(server) -> None:
    """A server that drops silent viewers keeps us."""
    heard = bytearray()
    enough = trio.Event()

    async def handler(stream: trio.SocketStream) -> None:
        await strangers.accept(stream)
        await stream.send_all(frame(PING, b"1234"))
        while len(heard) < 10:
            heard.extend(await stream.receive_some())
        enough.set()
        await stream.send_all(frame(TEXT, b"x"))

    assert await lengths(await server(handler), 1) == [1]
    await enough.wait()
    assert heard[0] == 0x80 | strangers.PONG
    assert bytes(heard[6 + n] ^ heard[2 + n] for n in range(4)) == b"1234"


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        (accepts(stays=False), SocketClosed, "connection lost"),
        (accepts(frame(CLOSE, b"\x0f\xa1bye")), SocketClosed, "close code 4001"),
        (accepts(frame(TEXT, b"half", last=False), stays=False), SocketClosed, "connection lost"),
        (accepts(bytes([0x83, 0])), SocketClosed, "close code 1002"),
        (accepts(frame(TEXT, b"\xff\xfe")), SocketClosed, "close code 1007"),
        (accepts(frame(BINARY, b"x" * (LIMIT + 1))), MessageTooLong, f"more than {LIMIT} bytes"),
        (accepts(*[frame(BINARY if n == 0 else CONTINUED, b"x" * 65536, last=False) for n in range(17)]), MessageTooLong, f"more than {LIMIT} bytes"),
    ],
    ids=["lost", "close-code", "lost-in-message", "unknown-opcode", "no-utf8", "huge", "huge-in-fragments"],
)  # fmt: skip
async def test_an_open_socket_that_ends_says_how(server, handler, kind: type[SocketClosed], words: str) -> None:
    """Lost, closed with a code, broken by an invalid frame, or more than we read."""
    address = await server(handler)
    with pytest.raises(SocketClosed, match=words) as caught, trio.fail_after(30):
        await lengths(address, 1)
    assert type(caught.value) is kind
    assert strangers.open_connections(address) == 0


async def test_a_server_that_ignores_our_goodbye_holds_us_up_for_a_moment_only(server) -> None:
    """Closing waits for the answer at most `CLOSE_WAIT`, then the connection is closed anyway."""
    address = await server(accepts())
    with trio.fail_after(CLOSE_WAIT + 20):
        async with open_probe_socket(address, "/", timeout=20, limit=LIMIT):
            assert strangers.open_connections(address) == 1
    assert strangers.open_connections(address) == 0
