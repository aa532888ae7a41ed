"""`coworld_protocol.sdk.seats`: what a seat may send, over real sockets."""

from __future__ import annotations

import json

import pytest
import trio
from websockets.exceptions import ConnectionClosed

from coworld_protocol.sdk.seats import FLOOD_LIMIT, MALFORMED_LIMIT


async def read(socket, kind=None):
    with trio.fail_after(30):
        while True:
            message = json.loads(await socket.recv())
            if kind is None or message["type"] == kind:
                return message


async def close_code(socket):
    """Read until the game closes the socket; the code it closes with."""
    with pytest.raises(ConnectionClosed) as closed:
        await read(socket, "nothing has this type")
    return closed.value.rcvd.code


BROKEN = ["", "{", "[]", "null", '{"add": "x"}', '{"tick": 0}', b"\xff\xfe", "[" * 5000, '{"add": 1e999}']


async def test_malformed_messages_hurt_nobody(start_game, websocket):
    """What is no move is ignored; the sender may still move and the others notice nothing."""
    game = await start_game(2, max_ticks=1)
    async with (
        websocket(game.url(0)) as bad,
        websocket(game.url(1)) as good,
    ):
        for message in BROKEN:
            await bad.send(message)
        await bad.send('{"add": 3, "extra": []}')
        await good.send('{"add": 4}')
        assert (await read(good, "last"))["sums"] == [3, 4]
        assert (await read(bad, "last"))["sums"] == [3, 4]


async def test_too_many_malformed_messages_close_the_seat_with_1008(start_game, websocket):
    """After a hundred of them the socket is closed; the seat can be taken again."""
    game = await start_game(1)
    async with websocket(game.url(0)) as bad:
        for _ in range(MALFORMED_LIMIT):
            await bad.send("no")
        assert await close_code(bad) == 1008
    async with websocket(game.url(0)) as again:
        assert (await read(again))["type"] == "hello"


async def test_a_flood_closes_the_seat_with_1008(start_game, websocket):
    """Thousands of moves within one tick close their sender's socket and nobody else's."""
    game = await start_game(2)
    async with (
        websocket(game.url(0)) as flood,
        websocket(game.url(1)) as calm,
    ):
        await read(calm, "seen")

        async def pour() -> None:
            try:
                for _ in range(FLOOD_LIMIT * 200):
                    await flood.send('{"add": 1, "tick": 7}')
            except ConnectionClosed:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour)
            assert await close_code(flood) == 1008
            nursery.cancel_scope.cancel()
        with trio.fail_after(20):
            await (await calm.ping()).wait()


async def test_a_move_for_an_older_tick_is_ignored(start_game, websocket):
    """A move that names another tick than the current one does not count; one without a tick does."""
    game = await start_game(1, max_ticks=1)
    async with websocket(game.url(0)) as seat:
        await seat.send('{"add": 100, "tick": 3}')
        await seat.send('{"add": 10, "tick": -1}')
        await seat.send('{"add": 1, "tick": 0}')
        assert (await read(seat, "last"))["sums"] == [1]


async def test_the_newest_move_of_a_tick_counts(start_game, websocket):
    """A second move before the tick replaces the first."""
    game = await start_game(2, max_ticks=1)
    async with (
        websocket(game.url(0)) as one,
        websocket(game.url(1)) as two,
    ):
        await one.send('{"add": 1}')
        await one.send('{"add": 2}')
        # A pong comes after everything that was sent before the ping has been handled.
        await (await one.ping()).wait()
        await two.send('{"add": 0}')
        assert (await read(one, "last"))["sums"] == [2, 0]


async def test_the_newest_socket_of_a_seat_replaces_the_older(start_game, websocket):
    """A second connection with the same token takes over; the first is closed with 1008 and no longer heard."""
    game = await start_game(1, max_ticks=2)
    async with websocket(game.url(0)) as old:
        await read(old, "seen")
        async with websocket(game.url(0)) as new:
            await read(new, "seen")
            assert await close_code(old) == 1008
            await new.send('{"add": 1}')
            assert (await read(new, "seen"))["tick"] == 1
            await new.send('{"add": 1}')
            assert (await read(new, "last"))["sums"] == [2]
