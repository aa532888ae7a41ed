"""The echo server alone, spoken to by another library."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from coworld_bench.echo import EchoApi, serve_echo

APIS = pytest.mark.parametrize("api", ["pump", "connection"])


@APIS
@pytest.mark.parametrize("deflate", [False, True])
async def test_text_comes_back_as_text_and_binary_as_binary(api: EchoApi, deflate: bool) -> None:
    """Kind and content of a message stay what they were, compressed or not."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve_echo, api, host="127.0.0.1", port=0, deflate=deflate))
            async with connect(f"ws://127.0.0.1:{port}/", max_size=None) as socket:
                assert bool(socket.protocol.extensions) is deflate
                for message in ("", "häh?", "x" * 70_000, b"", b"\xff\x00" * 40_000):
                    await socket.send(message)
                    assert await socket.recv() == message
            nursery.cancel_scope.cancel()


@APIS
async def test_a_longer_message_than_allowed_is_refused(api: EchoApi) -> None:
    """The limit that the caller sets is the one that holds."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve_echo, api, host="127.0.0.1", port=0, message_bytes=1000))
            async with connect(f"ws://127.0.0.1:{port}/", compression=None) as socket:
                await socket.send("x" * 1000)
                assert len(await socket.recv()) == 1000
                await socket.send("x" * 1001)
                with pytest.raises(ConnectionClosed) as caught:
                    await socket.recv()
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1009
            nursery.cancel_scope.cancel()
