"""The relays that `bench tap` compares, as processes: `python -m coworld_bench.relays tap|trio GAME_PORT`.

`tap` is the relay of `run --tap` with everything it looks at; `trio` passes raw bytes with two tasks per connection, as trio's
tutorial does.
"""

from __future__ import annotations

import socket
import sys
from functools import partial

import trio

from coworld_actors.episode.tap_link import Door
from coworld_actors.episode.tap_relay import Relay
from coworld_actors.traffic.latency import Series
from coworld_actors.traffic.watch import SeatTraffic
from coworld_bench.rivals.job import end_with_parent, ready
from coworld_protocol.ws.spin import make_spinner

__all__ = ["main"]

_RECEIVE_BYTES = 64 * 1024


def main(words: list[str]) -> None:
    """Relay until standard input ends."""
    kind, port = words
    end_with_parent()
    trio.run(_tap if kind == "tap" else _trio, int(port))


async def _tap(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    door = Door(0, listener, SeatTraffic(0))
    relay = Relay(
        ("127.0.0.1", port),
        [door],
        on_connected=_ignore,
        on_fault=_ignore,
        on_no_room=lambda text: print(text, file=sys.stderr),
        cost=Series(),
        spinner=make_spinner(),
    )
    ready(door.port)
    await relay.run()


def _ignore(*_: object) -> None:
    pass


async def _trio(port: int) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ready(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(partial(_pass_on, port), listeners)


async def _pass_on(port: int, player: trio.SocketStream) -> None:
    game = await trio.open_tcp_stream("127.0.0.1", port)
    async with game, trio.open_nursery() as nursery:
        nursery.start_soon(_copy, player, game)
        nursery.start_soon(_copy, game, player)


async def _copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
    try:
        while data := await source.receive_some(_RECEIVE_BYTES):
            await target.send_all(data)
        await target.send_eof()
    except trio.BrokenResourceError:
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
