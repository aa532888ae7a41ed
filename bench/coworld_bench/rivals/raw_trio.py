"""trio's SocketStream without any framing: what a trio program pays before it has said a word of websocket."""

from __future__ import annotations

import trio

from coworld_bench.rivals.job import Job, ready

__all__ = ["echo"]

_RECEIVE_BYTES = 64 * 1024


def echo(job: Job) -> None:
    """Serve until killed."""
    del job
    trio.run(_serve)


async def _serve() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ready(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(_handle, listeners)


async def _handle(stream: trio.SocketStream) -> None:
    try:
        while data := await stream.receive_some(_RECEIVE_BYTES):
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass
