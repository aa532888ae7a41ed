"""What broken frames, bombs and peers that stand still get from both servers of `coworld_protocol.ws`.

Peers here speak bytes on real sockets and read until the server closes; nothing of ours stands between.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import zlib

import pytest
import trio

from tests.broken_frames import BROKEN, MESSAGE_BYTES, frame
from tests.echo_servers import (
    APIS,
    ASK,
    PATIENCE,
    UPGRADE,
    Server,
    assert_closed_with,
    assert_still_serves,
    behind_the_handshake,
    exchange,
    start,
)

DEFLATED = ASK + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"


@pytest.fixture(params=APIS)
def server(request: pytest.FixtureRequest) -> Server:
    return Server(request.param)


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_frame_gets_its_code_and_nothing_else(server, name):
    """One close frame with the right code, then the end: no echo, no pong for what stands behind the broken frame."""
    data, code = BROKEN[name]
    async with server.running() as port:
        said = await exchange(port, UPGRADE, data + frame(0x89, b"and a ping") + frame(0x81, b"and a message"))
        assert_closed_with(behind_the_handshake(said), code)
        await assert_still_serves(port)
    assert server.log.messages == [b"still there?"]


SHORT = [name for name, (data, _) in BROKEN.items() if len(data) < 1000]


@pytest.mark.parametrize("name", SHORT)
async def test_a_broken_frame_may_come_in_single_bytes(server, name):
    """The same code when every byte, from the request's first, is a segment of its own."""
    data, code = BROKEN[name]
    async with server.running() as port:
        said = await exchange(port, *(bytes([byte]) for byte in UPGRADE + data))
        assert_closed_with(behind_the_handshake(said), code)
    assert server.log.messages == []


async def test_a_writer_of_single_bytes_is_served(server):
    """Fragments with a ping among them, byte by byte, are one message and one pong."""
    data = (
        frame(0x01, "grü".encode()[:3])
        + frame(0x89, b"!")
        + frame(0x80, "grüße".encode()[3:])
        + frame(0x88, b"\x0f\xa0")
    )
    async with server.running() as port:
        said = await exchange(port, *(bytes([byte]) for byte in UPGRADE + data))
    text = "grüße".encode()
    assert behind_the_handshake(said) == b"\x8a\x01!" + bytes([0x81, len(text)]) + text + b"\x88\x02\x0f\xa0"
    assert server.log.messages == [text]


def bomb(size: int) -> bytes:
    """`size` zeros, compressed as one message's payload."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(bytes(size)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def in_fragments(payload: bytes, size: int) -> bytes:
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    last = len(parts) - 1
    return b"".join(
        frame((0x80 if number == last else 0) | (0x42 if number == 0 else 0), part) for number, part in enumerate(parts)
    )


BOMB = bomb(50_000_000)
BOMBS = {
    "in-one-frame": (frame(0xC2, BOMB), 1009),
    "in-fragments": (in_fragments(BOMB, 1000), 1009),
    "one-byte-too-many": (frame(0xC2, bomb(MESSAGE_BYTES + 1)), 1009),
    "garbage": (frame(0xC2, b"\xff" * 40), 1007),
    "unpacks-to-bad-text": (frame(0xC1, zlib.compress(b"\xff\xfe", wbits=-15)), 1007),
    "of-ended-streams": (frame(0xC2, b"\x03\x00" * 20_000), 1007),
    "rsv1-on-a-continuation": (frame(0x42, b"\x00") + frame(0xC0, b"\x00"), 1002),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_compression_bomb_is_defused(server, name):
    """What unpacks to more than a message may have, or to nonsense, gets its code; the largest that may be passes."""
    data, code = BOMBS[name]
    async with server.running(deflate=True) as port:
        said = await exchange(port, DEFLATED, data)
        assert b"permessage-deflate" in said
        assert_closed_with(behind_the_handshake(said), code)
        assert server.log.messages == []
        await exchange(port, DEFLATED, frame(0xC2, bomb(MESSAGE_BYTES)), frame(0x88))
    assert server.log.messages == [bytes(MESSAGE_BYTES)]


FROZEN = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.sendall(bytes.fromhex(sys.argv[2]))
print(sock.recv(4096)[:12].decode(), flush=True)
sock.recv(4096)
"""


async def test_a_peer_that_vanishes_without_a_word_is_noticed(server):
    """A process that stands still, whose kernel goes on to acknowledge everything, does not answer a ping and is dropped with 1006."""
    async with server.running(ping_seconds=0.5, pong_seconds=0.5) as port:
        program = [sys.executable, "-c", FROZEN, str(port), (UPGRADE + frame(0x81, b"hello")).hex()]
        process = start(program)
        try:
            assert process.stdout is not None
            assert await trio.to_thread.run_sync(process.stdout.readline) == b"HTTP/1.1 101\n"
            process.send_signal(signal.SIGSTOP)
            with trio.fail_after(PATIENCE):
                while not server.log.codes:
                    await trio.sleep(0.02)
            assert server.log.codes == [1006]
            await assert_still_serves(port)
        finally:
            process.kill()
            process.communicate()


async def trickle(stream: trio.SocketStream) -> None:
    """Send pings until the server's end is gone and the kernel refuses."""
    while True:
        await stream.send_all(frame(0x89))
        await trio.sleep(0.02)


async def test_a_peer_that_never_answers_a_close_frame_is_dropped(server):
    """After a violation the server closes in its own time, though the peer neither closes nor reads on."""
    async with server.running(close_seconds=0.3) as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(UPGRADE + frame(0x83))
            with trio.fail_after(PATIENCE), pytest.raises(trio.BrokenResourceError):
                await trickle(stream)


async def test_pings_that_are_never_read_are_bounded(server):
    """A peer that pings and reads nothing is held back or dropped; others are served."""
    async with server.running(outbox_bytes=256 * 1024, outbox_seconds=1.0, ping_seconds=0) as port:
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect(("127.0.0.1", port))
        async with trio.SocketStream(sock) as stream:
            await stream.send_all(UPGRADE)
            pings = frame(0x89, b"x" * 125) * 500
            with contextlib.suppress(trio.BrokenResourceError), trio.move_on_after(3):
                while True:
                    await stream.send_all(pings)
            await assert_still_serves(port)
