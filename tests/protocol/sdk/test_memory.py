"""Games and players that meet in memory: what they see of each other is what a socket shows."""

from __future__ import annotations

import contextvars
import json
from pathlib import Path
from typing import Any

import pytest
import trio

from coworld_protocol.sdk.environment import ENVIRONMENT
from coworld_protocol.sdk.memory import (
    HOST,
    RESIDENCE,
    House,
    MemoryLink,
    Residence,
    connect_in_memory,
    serve_in_memory,
)
from coworld_protocol.sdk.turns import Turns
from coworld_protocol.ws.connection import ConnectionClosed
from coworld_protocol.ws.frames import BINARY, TEXT, encode
from coworld_protocol.ws.handshake import HandshakeRefused
from coworld_protocol.ws.web import Endpoint, Limits, Request, Response, Socket

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Room:
    """An application that notes everything; what a player says beginning with `!` makes it do something."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.heard: list[bytes] = []
        self.ends: list[int] = []
        self.within: set[str] = set()
        self.settles = 0
        self.requests: list[Request] = []

    def respond(self, request: Request) -> Response | None:
        raise AssertionError("nobody asks for pages in memory")

    def upgrade(self, request: Request) -> Endpoint | Response:
        self.requests.append(request)
        return Response(status=403, body=b"no\n") if request.query.get("token") == "wrong" else _Guest(self)

    def settled(self) -> None:
        self.settles += 1


class _Guest:
    def __init__(self, room: Room) -> None:
        self.room = room

    def opened(self, socket: Socket) -> None:
        self.socket = socket
        self.room.sockets.append(socket)

    def received(self, payload: bytes, text: bool) -> None:
        self.room.within.add(WHO.get())
        self.room.heard.append(payload)
        if payload == b"!raise":
            raise RuntimeError("a rule broke")
        if payload == b"!close":
            self.socket.close(4001, "enough")

    def closed(self, code: int) -> None:
        self.room.ends.append(code)


class Hall:
    """A room that is served, and ways into it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.room = Room()
        self.joined: list[str] = []
        self.house = House(Turns(), joined=self.joined.append)
        self.scope = trio.CancelScope()
        self.failures: list[BaseException] = []

    async def open(self, port: int = 1, **limits: Any) -> None:
        await self.nursery.start(self._serve, port, Limits(**limits))

    async def _serve(self, port: int, limits: Limits, *, task_status: trio.TaskStatus[int]) -> None:
        WHO.set("game")
        with self.scope:
            try:
                await serve_in_memory(self.room, self.house, port=port, limits=limits, task_status=task_status)
            except Exception as error:
                self.failures.append(error)

    def enter(self, query: str = "slot=0&token=t", port: int = 1, name: str = "player-0") -> MemoryLink:
        return self.house.connect(f"ws://{HOST}:{port}/player?{query}", name)


@pytest.fixture
async def hall():
    """A hall with its doors open."""
    async with trio.open_nursery() as nursery:
        made = Hall(nursery)
        await made.open()
        yield made
        made.scope.cancel()


async def closed(link: MemoryLink) -> tuple[int, str, bool]:
    """How a connection ended, after everything that came before."""
    try:
        while True:
            await link.receive_bytes()
    except ConnectionClosed as end:
        return end.code, end.reason, end.clean


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300000])
async def test_payloads_arrive_as_they_were_sent(hall, size):
    """Frames of every length of head, texts and bytes, in order."""
    link = hall.enter()
    payload = b"x" * size
    hall.room.sockets[0].send_frame(encode(TEXT, payload))
    hall.room.sockets[0].send_frame(encode(BINARY, payload + b"b"))
    hall.room.sockets[0].send("word")
    hall.room.sockets[0].send(b"bytes")
    assert hall.room.sockets[0].buffered == 2 * size + 10
    assert [await link.receive_bytes() for _ in range(4)] == [payload, payload + b"b", b"word", b"bytes"]
    assert hall.room.sockets[0].buffered == 0
    await link.send_text(b"answer")
    assert hall.room.heard == [b"answer"]


async def test_a_player_is_heard_in_the_games_context_and_at_once(hall):
    """What the game's code reads of its surroundings is its own, and things settle after each message."""
    link = hall.enter("slot=3&token=a%20b")
    WHO.set("player")
    before = hall.room.settles
    await link.send_text(b"1")
    await link.send_text(b"2")
    assert hall.room.within == {"game"}
    assert hall.room.settles == before + 2
    assert hall.room.requests[0].path == "/player"
    assert hall.room.requests[0].query == {"slot": "3", "token": "a b"}
    assert hall.joined == ["player-0"]


async def test_a_wrong_token_is_refused_as_over_http(hall):
    """The status and the text are the game's; nobody has joined."""
    with pytest.raises(HandshakeRefused) as caught:
        hall.enter("slot=0&token=wrong")
    assert (caught.value.status, caught.value.excerpt) == (403, "no")
    assert hall.joined == []


async def test_where_nobody_serves_nobody_answers(hall):
    """A port without a game, and a game that has gone."""
    with pytest.raises(ConnectionRefusedError):
        hall.enter(port=2)
    hall.scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(ConnectionRefusedError):
        hall.enter()


async def test_a_full_game_takes_nobody_in():
    """As many connections as the limit says, until one ends."""
    async with trio.open_nursery() as nursery:
        hall = Hall(nursery)
        await hall.open(connections=2)
        first, _ = hall.enter(), hall.enter()
        with pytest.raises(ConnectionRefusedError):
            hall.enter()
        await first.close()
        hall.enter()
        hall.scope.cancel()


async def test_the_games_close_comes_behind_what_was_sent_before(hall):
    """Code and reason arrive, the application hears of the end once, and nothing can be sent any more."""
    link = hall.enter()
    socket = hall.room.sockets[0]
    socket.send("last words")
    socket.close(4001, "enough")
    socket.close(1000, "again")
    socket.send("too late")
    assert not socket.open
    assert await link.receive_bytes() == b"last words"
    assert await closed(link) == (4001, "enough", True)
    with pytest.raises(ConnectionClosed):
        await link.send_text(b"more")
    await link.close()
    await trio.testing.wait_all_tasks_blocked()
    assert hall.room.ends == [4001]
    assert hall.room.heard == []


async def test_a_close_in_answer_to_a_message_is_told_before_things_settle(hall):
    """The end is told outside of the call that made it, in the same breath."""
    link = hall.enter()
    await link.send_text(b"!close")
    assert hall.room.ends == [4001]
    assert await closed(link) == (4001, "enough", True)


async def test_the_players_close_is_heard_at_once(hall):
    """With the player's code; what it did not receive is lost."""
    link = hall.enter()
    hall.room.sockets[0].send("unread")
    await link.close(4002)
    assert hall.room.ends == [4002]
    assert not hall.room.sockets[0].open
    assert await closed(link) == (4002, "", True)


async def test_a_role_that_is_killed_says_no_good_bye(hall):
    """Both sides see a connection that broke; other roles keep theirs."""
    mine, other = hall.enter(name="player-0"), hall.enter(name="player-1")
    hall.house.cut("player-0")
    hall.house.cut("player-0")
    assert hall.room.ends == [1006]
    assert await closed(mine) == (1006, "", False)
    await other.send_text(b"still here")
    assert hall.room.heard == [b"still here"]


async def test_what_the_application_raises_ends_the_game_and_not_the_player(hall):
    """The player who struck the fault goes on until it sees that the connection broke."""
    link = hall.enter()
    await link.send_text(b"!raise")
    await link.send_text(b"unheard")
    assert await closed(link) == (1006, "", False)
    assert [str(error) for error in hall.failures] == ["a rule broke"]
    assert hall.room.heard == [b"!raise"]
    assert hall.room.ends == [1006]


async def test_a_game_that_ends_cuts_off_whoever_is_there(hall):
    """What it had said before is still received; the application is told of every end."""
    links = [hall.enter() for _ in range(3)]
    for socket in hall.room.sockets:
        socket.send("before the end")
    hall.scope.cancel()
    for link in links:
        assert await link.receive_bytes() == b"before the end"
        assert await closed(link) == (1006, "", False)
    assert hall.room.ends == [1006] * 3


async def test_a_message_that_is_too_long_closes_with_1009(hall):
    """The limit is the server's."""
    link = hall.enter()
    await link.send_text(b"x" * (Limits().message_bytes + 1))
    assert await closed(link) == (1009, "message too big", True)
    await trio.testing.wait_all_tasks_blocked()
    assert hall.room.ends == [1006]
    assert hall.room.heard == []


async def test_a_player_that_does_not_read_is_dropped_and_slows_nobody():
    """By bytes; one message longer than the limit may pass when nothing else waits."""
    async with trio.open_nursery() as nursery:
        hall = Hall(nursery)
        await hall.open(outbox_bytes=1000)
        slow, quick = hall.enter(), hall.enter()
        for socket in hall.room.sockets:
            socket.send(b"x" * 5000)
        assert len(await quick.receive_bytes()) == 5000
        for socket in hall.room.sockets:
            socket.send(b"y")
        assert await quick.receive_bytes() == b"y"
        assert [socket.open for socket in hall.room.sockets] == [False, True]
        assert await closed(slow) == (1006, "", False)
        await trio.testing.wait_all_tasks_blocked()
        assert hall.room.ends == [1006]
        hall.scope.cancel()


async def test_a_player_that_takes_nothing_for_too_long_is_dropped():
    """By time, looked at when the next message is sent; one that reads now and then stays."""
    async with trio.open_nursery() as nursery:
        hall = Hall(nursery)
        await hall.open(outbox_seconds=0.05)
        slow, quick = hall.enter(), hall.enter()
        for _ in range(2):
            for socket in hall.room.sockets:
                socket.send("tick")
            await quick.receive_bytes()
            await trio.sleep(0.1)
        for socket in hall.room.sockets:
            socket.send("tick")
        assert [socket.open for socket in hall.room.sockets] == [False, True]
        assert await closed(slow) == (1006, "", False)
        hall.scope.cancel()


async def test_a_receiver_that_is_cancelled_loses_nothing(hall):
    """The next one gets what came."""
    link = hall.enter()
    with trio.move_on_after(0.01):
        await link.receive_bytes()
    hall.room.sockets[0].send("later")
    assert await link.receive_bytes() == b"later"


async def test_whoever_receives_without_end_gives_way(hall):
    """A player whose inbox is never empty lets other tasks run."""
    link = hall.enter()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        started = trio.current_time()
        while trio.current_time() - started < 0.2:
            hall.room.sockets[0].send("x")
            await link.receive_bytes()
        nursery.cancel_scope.cancel()
    assert turns > 5


async def test_whoever_sends_without_end_gives_way(hall):
    """A player that only ever sends lets other tasks run, and can be cancelled."""
    link = hall.enter()
    ran = False

    async def other() -> None:
        nonlocal ran
        ran = True
        scope.cancel()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(100_000):
                await link.send_text(b"again")
    assert ran
    assert len(hall.room.heard) < 100_000


async def test_urls_of_other_hosts_are_not_of_memory(hall):
    """Nor is any URL, for somebody who lives in no house."""
    assert connect_in_memory(f"ws://{HOST}:1/player") is None
    RESIDENCE.set(Residence(hall.house, "player-7"))
    assert connect_in_memory("ws://127.0.0.1:1/player") is None
    assert connect_in_memory(f"ws://{HOST}:1/player") is not None
    assert hall.joined == ["player-7"]


async def test_two_games_cannot_have_one_port(hall):
    """The second is refused, and the first stays."""
    with pytest.raises(OSError, match="at port 1"):
        await serve_in_memory(Room(), hall.house, port=1)
    assert not hall.enter().closed


async def test_a_whole_game_of_the_sdk_plays_in_memory(tmp_path: Path, sum_server) -> None:
    """The server finds its house by its address, needs no pages, and writes what it writes anywhere."""
    house = House(Turns())
    (tmp_path / "config").write_text(json.dumps({"tokens": ["a"], "max_ticks": 3}))

    async def game() -> None:
        RESIDENCE.set(Residence(house, "game"))
        ENVIRONMENT.set(
            {
                "COGAME_HOST": HOST,
                "COGAME_PORT": "1",
                "COGAME_CONFIG_URI": str(tmp_path / "config"),
                "COGAME_RESULTS_URI": str(tmp_path / "results"),
            }
        )
        await sum_server.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(game)
        link: MemoryLink | None = None
        with trio.fail_after(30):
            while link is None:
                await trio.sleep(0.01)
                try:
                    link = house.connect(f"ws://{HOST}:1/player?slot=0&token=a", "player-0")
                except ConnectionRefusedError:
                    continue
        kinds: list[str] = []
        while not link.closed or link.buffered:
            message = json.loads(await link.receive_bytes())
            kinds.append(message["type"])
            if message["type"] == "seen":
                await link.send_text(json.dumps({"add": 2, "tick": message["tick"]}).encode())
    assert kinds == ["hello", "seen", "seen", "seen", "last"]
    assert json.loads((tmp_path / "results").read_text()) == {"scores": [6]}
