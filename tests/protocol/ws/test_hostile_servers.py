"""What a server that breaks the protocol gets from the client of `coworld_protocol.ws`."""

from __future__ import annotations

import contextlib
import re

import pytest
import trio

from coworld_protocol.ws.connecting import connect
from coworld_protocol.ws.connection import ConnectionClosed
from coworld_protocol.ws.handshake import accept_key
from tests.broken_frames import BROKEN, MESSAGE_BYTES, frame, unmasked

PATIENCE = 60.0
FROM_SERVERS = {name: case for name, case in BROKEN.items() if not name.startswith("unmasked")}


@pytest.mark.parametrize("name", [*FROM_SERVERS, "masked"])
async def test_a_server_that_breaks_the_protocol_is_told_and_left(name):
    """Our client tells a broken frame's server the same codes, in one masked close frame, and raises them."""
    data, code = FROM_SERVERS.get(name, (frame(0x81, b"hi"), 1002))
    listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener[0].socket.getsockname()[1]
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
    said = bytearray()

    async def misbehave() -> None:
        async with listener[0], await listener[0].accept() as stream:
            while b"\r\n\r\n" not in said:
                said.extend(await stream.receive_some())
            key = re.search(rb"Sec-WebSocket-Key: (\S+)", bytes(said), re.IGNORECASE)
            assert key is not None
            said.clear()
            broken = data if name == "masked" else unmasked(data)
            await stream.send_all(answer % accept_key(key[1].decode()).encode() + broken + frame(0x89, mask=None))
            with contextlib.suppress(trio.BrokenResourceError):
                while part := await stream.receive_some():
                    said.extend(part)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(misbehave)
            async with await connect(f"ws://127.0.0.1:{port}/", message_bytes=MESSAGE_BYTES) as connection:
                with pytest.raises(ConnectionClosed) as caught:
                    await connection.receive()
    assert caught.value.code == code
    assert not caught.value.clean
    assert said[0] == 0x88
    assert said[1] & 0x80
    assert len(said) == 6 + (said[1] & 0x7F)
    assert bytes(byte ^ said[2 + at % 4] for at, byte in enumerate(said[6:8])) == code.to_bytes(2, "big")
