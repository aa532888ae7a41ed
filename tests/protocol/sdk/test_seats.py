"""`coworld_protocol.sdk.seats`: who is waited for, without a network; what a seat may send, over real sockets."""

from __future__ import annotations

import json

import pytest
import trio
from websockets.exceptions import ConnectionClosed

from coworld_protocol.sdk.seats import FLOOD_LIMIT, MALFORMED_LIMIT, Seats, text_frame


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


class Table:
    """Seats with a clock that stands still unless it is moved."""

    def __init__(self, move_type, seats: int = 2) -> None:
        self.now = 100.0
        self.changes = 0
        self.seats = Seats(
            [f"token-{slot}" for slot in range(seats)],
            move_type,
            greet=lambda slot: [text_frame({"hello": slot})],
            changed=self.change,
            clock=lambda: self.now,
        )

    def change(self) -> None:
        self.changes += 1

    def sit(self, socket, slot: int = 0):
        endpoint = self.seats.endpoint(slot)
        endpoint.opened(socket)
        return endpoint


@pytest.fixture
def table(sum_types) -> Table:
    """Two seats, nobody there."""
    return Table(sum_types[3])


def test_a_seat_is_waited_for_until_it_has_moved(table, held_socket):
    """Who sits down is waited for, once per tick; who is not there is not."""
    seats = table.seats
    assert (seats.waiting, seats.empty, seats.full) == (False, True, False)
    one = table.sit(held_socket())
    assert (seats.waiting, seats.empty, seats.full, seats.connected) == (True, False, False, [True, False])
    one.received(b'{"add": 4}', True)
    assert not seats.waiting
    assert {slot: move.add for slot, move in seats.take_moves().items()} == {0: 4}
    assert seats.missing == {0}
    assert seats.take_moves() == {}


def test_a_seat_that_was_cut_off_is_waited_for_until_its_grace_is_over(table, held_socket):
    """A good-bye is final, a broken connection is not, and the time when waiting ends is told."""
    seats = table.seats
    one, two = table.sit(held_socket(), 0), table.sit(held_socket(), 1)
    one.closed(1000)
    two.closed(1006)
    assert (seats.waiting, seats.missing) == (True, set())
    assert seats.forget(2.0) == 102.0
    table.now = 101.9
    assert seats.forget(2.0) == 102.0
    table.now = 102.0
    assert seats.forget(2.0) == float("inf")
    assert not seats.waiting
    assert table.changes == 4


def test_who_comes_back_is_no_longer_missed(table, held_socket):
    """A new connection ends the grace of the old one; a move that had come before still counts."""
    one = table.sit(held_socket())
    one.received(b'{"add": 1}', True)
    one.closed(1006)
    table.sit(held_socket())
    assert not table.seats.waiting
    assert table.seats.forget(2.0) == float("inf")


def test_one_object_is_encoded_once_and_its_frame_is_shared(table, held_socket):
    """Seats that are told the same object get the very same bytes; another object is another frame."""
    sockets = [held_socket(), held_socket()]
    for slot, socket in enumerate(sockets):
        table.sit(socket, slot)
        socket.frames.clear()
    same = {"to": "all"}
    table.seats.tell(lambda slot: same)
    assert sockets[0].frames[0] is sockets[1].frames[0]
    table.seats.tell(lambda slot: {"to": slot})
    assert [socket.messages() for socket in sockets] == [[same, {"to": 0}], [same, {"to": 1}]]


def test_an_object_that_was_changed_is_encoded_anew(table, held_socket):
    """Only within one round: rules may give the same object again after changing it."""
    socket = held_socket()
    table.sit(socket)
    socket.frames.clear()
    state = {"tick": 0}
    for tick in range(3):
        state["tick"] = tick
        table.seats.tell(lambda slot: state)
    assert socket.messages() == [{"tick": 0}, {"tick": 1}, {"tick": 2}]


def test_a_flood_is_too_much_within_one_tick_and_one_second(table, held_socket):
    """Many messages over many ticks, or over a long time, are no flood."""
    socket = held_socket()
    seat = table.sit(socket)
    for _ in range(4 * FLOOD_LIMIT):
        seat.received(b'{"add": 1}', True)
        table.now += 0.002
    for _ in range(4 * FLOOD_LIMIT):
        seat.received(b'{"add": 1}', True)
        table.seats.tick += 1
    assert socket.closes == []
    for _ in range(2 * FLOOD_LIMIT + 2):
        seat.received(b'{"add": 1}', True)
    assert socket.closes[0] == (1008, "too many messages")


def test_only_the_newest_connection_speaks_and_leaves(table, held_socket):
    """What comes from a connection that was replaced changes nothing, not even when it ends."""
    old_socket, new_socket = held_socket(), held_socket()
    old = table.sit(old_socket)
    table.sit(new_socket)
    assert [code for code, _ in old_socket.closes] == [1008]
    old.received(b'{"add": 1}', True)
    old.closed(1006)
    assert table.seats.connected == [True, False]
    assert table.seats.missing == {0}
    assert new_socket.closes == []


def test_late_and_malformed_messages_are_counted(table, held_socket):
    """Per seat; neither counts as a move."""
    seat = table.sit(held_socket())
    table.seats.tick = 7
    for message in (b'{"add": 1, "tick": 6}', b'{"add": 1, "tick": 8}', b"{", b"\xff"):
        seat.received(message, True)
    assert (table.seats.late, table.seats.malformed) == ([2, 0], [2, 0])
    assert table.seats.waiting
    seat.received(b'{"add": 1, "tick": 7}', True)
    assert not table.seats.waiting
