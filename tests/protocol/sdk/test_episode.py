"""`coworld_protocol.sdk.episode`: the clock without a network; viewers and administrators, over real sockets."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from websockets.exceptions import ConnectionClosed

from coworld_protocol.sdk.episode import Episode


@pytest.fixture
def sit(websocket):
    """Take a seat, for `async with`."""
    return lambda game, slot: websocket(game.url(slot))


async def read(socket, kind=None):
    with trio.fail_after(30):
        while True:
            message = json.loads(await socket.recv())
            if kind is None or message["type"] == kind:
                return message


async def add(socket, number, **more):
    await socket.send(json.dumps({"add": number, **more}))


async def test_lockstep_waits_for_every_seat(start_game, sit):
    """No tick comes while one connected seat has not moved."""
    game = await start_game(2, max_ticks=2)
    async with sit(game, 0) as one, sit(game, 1) as two:
        assert (await read(one, "seen"))["tick"] == 0
        await read(two, "seen")
        await add(one, 5)
        with trio.move_on_after(0.3) as silence:
            await one.recv()
        assert silence.cancelled_caught
        await add(two, 7)
        assert await read(one, "seen") == {"type": "seen", "tick": 1, "sums": [5, 7]}
        assert await read(two, "seen") == {"type": "seen", "tick": 1, "sums": [5, 7]}


async def test_lockstep_goes_on_when_the_ticks_time_is_up(start_game, sit):
    """A seat that never moves costs the tick's time and no more."""
    game = await start_game(2, max_ticks=3, tick_timeout_seconds=0.2)
    async with sit(game, 0) as one, sit(game, 1):
        for _ in range(3):
            await read(one, "seen")
            await add(one, 1)
        assert (await read(one, "last"))["sums"] == [3, 0]


async def test_lockstep_does_not_wait_for_empty_seats(start_game, sit):
    """After the connect time the game starts without a seat, and no tick waits for it."""
    game = await start_game(2, max_ticks=2, player_connect_timeout_seconds=0.1)
    async with sit(game, 1) as two:
        await read(two, "hello")
        for _ in range(2):
            await read(two, "seen")
            await add(two, 1)
        assert (await read(two, "last"))["sums"] == [0, 2]


async def test_a_seat_that_left_for_good_is_not_waited_for(start_game, sit):
    """A seat that closed with 1000 has left; the others go on at once."""
    game = await start_game(2, max_ticks=2)
    async with sit(game, 0) as one:
        async with sit(game, 1) as two:
            await read(two, "seen")
        for _ in range(2):
            await read(one, "seen")
            await add(one, 1)
        assert (await read(one, "last"))["sums"] == [2, 0]


async def test_a_seat_that_was_cut_off_is_waited_for_and_finds_its_state(start_game, sit):
    """A broken connection does not lose the seat: the tick waits, and the same token goes on where it was."""
    game = await start_game(2, max_ticks=2)
    async with sit(game, 0) as one:
        async with sit(game, 1) as socket:
            await read(one, "seen")
            await read(socket, "seen")
            await add(one, 1)
            await add(socket, 2)
            await read(one, "seen")
            await trio.aclose_forcefully(socket.stream)
        await add(one, 1)
        with trio.move_on_after(0.3) as silence:
            await one.recv()
        assert silence.cancelled_caught
        async with sit(game, 1) as again:
            assert (await read(again))["type"] == "hello"
            assert await read(again) == {"type": "seen", "tick": 1, "sums": [1, 2]}
            await add(again, 2)
            assert (await read(again, "last"))["sums"] == [2, 4]


async def test_a_seat_that_stays_away_is_waited_for_only_so_long(start_game, sit):
    """When the grace is over the ticks no longer wait for a seat that was cut off."""
    game = await start_game(2, max_ticks=2, reconnect_grace_seconds=0.2)
    async with sit(game, 0) as one:
        async with sit(game, 1) as socket:
            await read(socket, "seen")
            await trio.aclose_forcefully(socket.stream)
        for _ in range(2):
            await read(one, "seen")
            await add(one, 1)
        assert (await read(one, "last"))["sums"] == [2, 0]


async def test_an_episode_with_nobody_ends(start_game):
    """A game that nobody comes to plays its ticks and writes its results."""
    game = await start_game(3, max_ticks=5, player_connect_timeout_seconds=0)
    with trio.fail_after(30):
        await game.ended.wait()
    assert game.results() == {"scores": [0, 0, 0]}


async def test_lockstep_keeps_to_its_highest_rate(start_game, sit):
    """With a tick rate a lockstep game is never faster than that."""
    game = await start_game(1, max_ticks=5, tick_rate=20)
    begin = trio.current_time()
    async with sit(game, 0) as one:
        for _ in range(5):
            await read(one, "seen")
            await add(one, 1)
        await read(one, "last")
    assert trio.current_time() - begin >= 0.25 - 0.01


async def test_real_time_does_not_wait(start_game, sit):
    """In real time ticks come at their rate although nobody moves, and moves count in the tick they fall into."""
    game = await start_game(2, max_ticks=6, mode="realtime", tick_rate=10)
    begin = trio.current_time()
    async with sit(game, 0) as one, sit(game, 1):
        seen = await read(one, "seen")
        await add(one, 9)
        ticks = [(await read(one))["tick"] for _ in range(5)]
        assert ticks == [seen["tick"] + step for step in range(1, 6)]
        assert (await read(one, "last"))["sums"] == [9, 0]
    assert trio.current_time() - begin >= 0.6 - 0.01


async def test_a_late_viewer_gets_the_state_at_once_and_then_every_tick(start_game, websocket, sit):
    """A viewer that comes in the middle can draw from its first message on."""
    game = await start_game(1, max_ticks=3)
    async with sit(game, 0) as one:
        for _ in range(2):
            await read(one, "seen")
            await add(one, 1)
        await read(one, "seen")
        async with websocket(game.url(route="global")) as viewer:
            assert await read(viewer) == {"type": "whole", "tick": 2, "sums": [2]}
            status = await read(viewer, "status")
            assert status["started"]
            assert status["connected"] == [True]
            await add(one, 1)
            assert await read(viewer, "step") == {"type": "step", "tick": 3, "moved": {"0": 1}}
            assert await read(viewer, "finished") == {"type": "finished", "results": {"scores": [3]}}
            with pytest.raises(ConnectionClosed) as closed:
                await read(viewer)
            assert closed.value.rcvd.code == 1000


async def test_a_viewer_sees_the_game_before_it_starts(start_game, websocket, sit):
    """While seats are empty `/global` already answers, pings included, and tells who has come."""
    game = await start_game(2)
    async with websocket(game.url(route="global")) as viewer:
        assert (await read(viewer))["tick"] == 0
        assert (await read(viewer, "status"))["started"] is False
        with trio.fail_after(20):
            await (await viewer.ping(b"coworld-certification-ping")).wait()
        await viewer.send("anything")
        async with sit(game, 1):
            assert (await read(viewer, "status"))["connected"] == [False, True]


async def test_an_administrator_pauses_resumes_and_sets_the_rate(start_game, websocket, sit):
    """With `admin` on, `/admin` halts and moves the clock; viewers are told."""
    game = await start_game(
        1, max_ticks=4, admin=True, mode="realtime", tick_rate=50, player_connect_timeout_seconds=60
    )
    async with websocket(game.url(route="admin")) as admin:
        assert (await read(admin))["paused"] is False
        await admin.send('{"command": "pause"}')
        assert (await read(admin, "status"))["paused"] is True
        async with sit(game, 0) as one:
            await read(one, "seen")
            with trio.move_on_after(0.3) as silence:
                await one.recv()
            assert silence.cancelled_caught
            await admin.send('{"command": "tick_rate", "tick_rate": 100}')
            while (await read(admin, "status"))["tick_rate"] != 100:
                pass
            await admin.send('{"command": "resume"}')
            assert (await read(one, "last"))["sums"] == [0]


async def test_a_bad_command_closes_only_its_sender(start_game, websocket, sit):
    """What is no command closes that socket with 1003."""
    game = await start_game(1, admin=True)
    async with websocket(game.url(route="admin")) as admin:
        await read(admin)
        await admin.send('{"command": "explode"}')
        with pytest.raises(ConnectionClosed) as closed:
            await read(admin)
        assert closed.value.rcvd.code == 1003
    async with sit(game, 0) as one:
        assert (await read(one))["type"] == "hello"


async def test_a_viewer_that_never_reads_does_not_stop_the_game(start_game, sit):
    """The episode ends although a viewer's socket is stuck."""
    game = await start_game(1, max_ticks=50)
    stuck = await trio.open_tcp_stream("127.0.0.1", game.port)
    head = (
        "GET /global HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    )
    await stuck.send_all(f"{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    async with sit(game, 0) as one:
        for _ in range(50):
            await read(one, "seen")
            await add(one, 1)
        assert (await read(one, "last"))["sums"] == [50]
    with trio.fail_after(30):
        await game.ended.wait()
    await stuck.aclose()


class Stage:
    """An episode whose transport is the test: it hands messages over and says when things have settled."""

    def __init__(self, config, rules, move_type, make_socket) -> None:
        self.episode = Episode(config, rules, move_type)
        self.rules = rules
        self.over = trio.Event()
        self.sockets = [make_socket() for _ in config.tokens]
        self.endpoints = [self.episode.seats.endpoint(slot) for slot in range(len(config.tokens))]

    async def play(self) -> None:
        await self.episode.play()
        self.over.set()

    def move(self, slot: int) -> None:
        self.endpoints[slot].received(b'{"add": 1}', True)

    def say(self, command: dict[str, object]) -> None:
        endpoint = self.episode.admins.endpoint()
        endpoint.opened(self.sockets[0])
        endpoint.received(json.dumps(command).encode(), True)
        endpoint.closed(1000)


@pytest.fixture
def stage(sum_rules, sum_types, held_socket, nursery):
    """Everybody sits, the first tick is waited for."""

    async def start(seats=2, **config):
        made = Stage(*sum_rules(seats, **{"max_ticks": 1000, **config}), sum_types[3], held_socket)
        nursery.start_soon(made.play)
        for slot, endpoint in enumerate(made.endpoints):
            endpoint.opened(made.sockets[slot])
        await trio.testing.wait_all_tasks_blocked()
        return made

    return start


async def test_the_last_move_makes_the_tick_by_a_plain_call(stage, autojump_clock):
    """When things have settled and everybody has moved the tick is made there and then, and one tick only."""
    playing = await stage(2)
    for tick in range(1, 50):
        playing.move(0)
        playing.episode.settled()
        assert playing.rules.tick == tick - 1
        playing.move(1)
        assert playing.rules.tick == tick - 1
        for _ in range(3):
            playing.episode.settled()
        assert playing.rules.tick == tick
        assert playing.sockets[1].messages()[-1] == {"type": "seen", "tick": tick, "sums": [tick, tick]}


async def test_the_deadline_is_counted_from_the_last_tick(stage, autojump_clock):
    """Ticks made by plain calls move the deadline, though the task that watches it has slept all the while."""
    playing = await stage(2, tick_timeout_seconds=10)
    for tick in range(1, 6):
        await trio.sleep(9)
        playing.move(0)
        playing.move(1)
        playing.episode.settled()
        assert playing.rules.tick == tick
    await trio.sleep(9.9)
    assert playing.rules.tick == 5
    await trio.sleep(0.2)
    assert playing.rules.tick == 6


async def test_the_end_by_a_plain_call_ends_the_play(stage, autojump_clock):
    """The last tick is over when things have settled; the task hears of it, and nobody is asked any more."""
    playing = await stage(1, max_ticks=3)
    for _ in range(3):
        await trio.sleep(1)
        playing.move(0)
        playing.episode.settled()
    playing.sockets[0].messages()
    playing.move(0)
    playing.episode.settled()
    with trio.fail_after(1):
        await playing.over.wait()
    assert playing.rules.tick == 3
    assert playing.episode.seconds == pytest.approx(3)
    assert playing.sockets[0].messages() == []


async def test_nothing_ticks_while_paused(stage, autojump_clock):
    """Neither moves nor time make a tick; after the pause the tick's time begins anew."""
    playing = await stage(1, tick_timeout_seconds=10)
    playing.say({"command": "pause"})
    playing.move(0)
    playing.episode.settled()
    await trio.sleep(100)
    assert playing.rules.tick == 0
    playing.say({"command": "resume"})
    await trio.testing.wait_all_tasks_blocked()
    assert playing.rules.tick == 1
    await trio.sleep(9.9)
    assert playing.rules.tick == 1
    await trio.sleep(0.2)
    assert playing.rules.tick == 2


async def test_a_rate_set_in_lockstep_holds_at_once_and_can_be_taken_back(stage, autojump_clock):
    """With a rate no plain call makes a tick before it is due; with 0 it does again."""
    playing = await stage(1, tick_timeout_seconds=1000)
    playing.say({"command": "tick_rate", "tick_rate": 0.5})
    for tick in range(1, 4):
        playing.move(0)
        playing.episode.settled()
        await trio.sleep(1.9)
        assert playing.rules.tick == tick - 1
        await trio.sleep(0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert playing.rules.tick == tick
    playing.say({"command": "tick_rate", "tick_rate": 0})
    for tick in range(4, 8):
        playing.move(0)
        playing.episode.settled()
        assert playing.rules.tick == tick


async def test_a_rate_set_in_real_time_holds_at_once(stage, autojump_clock):
    """A slow clock is not waited out when a faster one is set."""
    playing = await stage(1, mode="realtime", tick_rate=0.001)
    await trio.sleep(5)
    playing.say({"command": "tick_rate", "tick_rate": 1})
    await trio.sleep(10.5)
    assert 10 <= playing.rules.tick <= 11


async def test_real_time_does_not_drift_and_does_not_catch_up(stage, autojump_clock):
    """Ticks come at multiples of their time; after a pause they go on from there instead of in a burst."""
    playing = await stage(1, mode="realtime", tick_rate=10)
    await trio.sleep(10.05)
    assert playing.rules.tick == 100
    playing.say({"command": "pause"})
    await trio.sleep(50)
    assert playing.rules.tick == 100
    playing.say({"command": "resume"})
    await trio.sleep(1.05)
    assert 110 <= playing.rules.tick <= 112


async def test_a_seat_that_goes_lets_the_others_go_on(stage, autojump_clock):
    """When the only seat without a move says good-bye the tick comes; when it is cut off, after the grace."""
    playing = await stage(3, reconnect_grace_seconds=5, tick_timeout_seconds=100)
    playing.move(0)
    playing.move(1)
    playing.endpoints[2].closed(1000)
    await trio.testing.wait_all_tasks_blocked()
    assert playing.rules.tick == 1
    playing.move(0)
    playing.endpoints[1].closed(1006)
    playing.episode.settled()
    await trio.sleep(4.9)
    assert playing.rules.tick == 1
    await trio.sleep(0.2)
    assert playing.rules.tick == 2
    playing.move(0)
    playing.episode.settled()
    assert playing.rules.tick == 3


async def test_moves_before_the_start_make_no_tick(sum_rules, sum_types, held_socket, nursery, autojump_clock):
    """While a seat is empty and the connect time runs, a settled moment is no tick; the moves count in the first one."""
    playing = Stage(*sum_rules(2, player_connect_timeout_seconds=30), sum_types[3], held_socket)
    nursery.start_soon(playing.play)
    playing.endpoints[0].opened(playing.sockets[0])
    await trio.sleep(10)
    playing.move(0)
    playing.episode.settled()
    await trio.sleep(10)
    assert playing.rules.tick == 0
    playing.endpoints[1].opened(playing.sockets[1])
    await trio.sleep(1)
    playing.move(1)
    playing.episode.settled()
    assert playing.rules.sums == [1, 1]
