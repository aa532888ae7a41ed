"""The relay over real sockets: the same bytes, the same ends, back-pressure, and peers that do whatever they like."""

from __future__ import annotations

import errno
import itertools
import os
import random
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

import psutil
import pytest
import trio

from coworld_actors.episode import tap_doors
from coworld_actors.episode.chaos import Direction, Fault, parse_chaos
from coworld_actors.episode.tap_link import Door
from coworld_actors.episode.tap_relay import BACKLOG, PIECE, Relay
from coworld_actors.traffic.latency import Series
from coworld_drivers.driver import Address
from coworld_protocol.ws.spin import Spinner
from tests.strangers import Handler, refused

HEAD = b"GET /player?slot=0 HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE = 60.0
"""Seconds that anything here may take on a busy machine."""


class Seen:
    """A watch that remembers."""

    def __init__(self) -> None:
        self.story: list[tuple[object, ...]] = []
        self.bytes: dict[tuple[str, int], bytes] = {}

    def opened(self, at: float, connection: int) -> None:
        self.story.append(("opened", connection))

    def to_player(self, at: float, data: bytes, connection: int) -> None:
        self._add("to_player", connection, data)

    def to_game(self, at: float, data: bytes, connection: int) -> None:
        self._add("to_game", connection, data)

    def closed(self, at: float, by: str, connection: int) -> None:
        self.story.append(("closed", connection, by))

    def _add(self, way: str, connection: int, data: bytes) -> None:
        self.bytes[way, connection] = self.bytes.get((way, connection), b"") + data
        if self.story[-1] != (way, connection):
            self.story.append((way, connection))


class Tapped:
    """A relay that runs, with doors for some seats."""

    def __init__(
        self, game: Address, nursery: trio.Nursery, *, seats: int = 1, chaos: str = "", spin: bool = False
    ) -> None:
        self.seen = [Seen() for _ in range(seats)]
        self.joined: list[int] = []
        self.faults: list[tuple[int, int, Direction, Fault, int, float]] = []
        self.no_room: list[str] = []
        self.cost = Series()
        self.doors: list[Door] = []
        self.streams: list[trio.SocketStream] = []
        for slot, seen in enumerate(self.seen):
            listener = socket.create_server(("127.0.0.1", 0), backlog=256)
            listener.setblocking(False)
            self.doors.append(Door(slot, listener, seen, parse_chaos(chaos) if chaos else None))
        self.relay = Relay(
            (game.host, game.port),
            self.doors,
            on_connected=self.joined.append,
            on_fault=lambda *told: self.faults.append(told),
            on_no_room=self.no_room.append,
            cost=self.cost,
            spinner=Spinner("always") if spin else None,
        )
        self.scope = trio.CancelScope()
        self.over = trio.Event()
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        with self.scope:
            await self.relay.run()
        self.over.set()

    async def dial(self, slot: int = 0) -> trio.SocketStream:
        """A connection to a door; closed when the test has ended, if not before."""
        self.streams.append(await trio.open_tcp_stream("127.0.0.1", self.doors[slot].port))
        return self.streams[-1]

    async def told(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            while not condition():
                await trio.sleep(0.005)


Tap = Callable[..., Awaitable[Tapped]]


@pytest.fixture
async def tapped(nursery: trio.Nursery, server) -> AsyncGenerator[Tap]:
    """Starts a relay before a game with this handler, or before an address."""
    started: list[Tapped] = []

    async def start(game: Handler | Address, **more: object) -> Tapped:
        address = game if isinstance(game, Address) else await server(game)
        started.append(Tapped(address, nursery, **more))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for each in started:
        each.scope.cancel()
        await each.over.wait()
        for stream in each.streams:
            await stream.aclose()


async def echo(stream: trio.SocketStream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)
    await stream.send_eof()


async def everything(stream: trio.SocketStream) -> bytes:
    with trio.fail_after(PATIENCE):
        return b"".join([piece async for piece in stream])


async def up_to_the_end(stream: trio.SocketStream) -> bytes:
    """What comes before the end, also when that is a reset."""
    got = b""
    with suppress(trio.BrokenResourceError), trio.fail_after(PATIENCE):
        while piece := await stream.receive_some():
            got += piece
    return got


async def is_reset(stream: trio.SocketStream) -> bool:
    """Whether the connection ends in a reset, and not in an end."""
    with trio.fail_after(PATIENCE):
        try:
            await stream.send_all(b"hello")
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            return True
    return False


def reset_on_close(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("spin", [False, True])
async def test_bytes_pass_unchanged_both_ways_however_they_are_sent(tapped: Tap, spin: bool) -> None:
    """From single bytes to megabytes; who watches sees exactly them."""
    made = await tapped(echo, spin=spin)
    sent = random.Random(1).randbytes(3_000_000)
    stream = await made.dial()

    async def send() -> None:
        for byte in sent[:300]:
            await stream.send_all(bytes([byte]))
        await stream.send_all(sent[300:])
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await everything(stream) == sent
    await made.told(lambda: made.seen[0].story[-1][0] == "closed")
    seen = made.seen[0]
    assert seen.story[0] == ("opened", 0)
    assert seen.story[-1] == ("closed", 0, "player")
    assert seen.bytes == {("to_game", 0): sent, ("to_player", 0): sent}
    assert made.joined == [0]
    assert made.cost.count > 0


async def test_a_half_close_is_passed_on_as_one(tapped: Tap) -> None:
    """Who has said all it had to say still hears the rest."""

    async def says_at_the_end(stream: trio.SocketStream) -> None:
        asked = b"".join([piece async for piece in stream])
        await stream.send_all(asked[::-1])

    made = await tapped(says_at_the_end)
    stream = await made.dial()
    await stream.send_all(b"question")
    await stream.send_eof()
    assert await everything(stream) == b"noitseuq"
    await made.told(lambda: made.seen[0].story[-1] == ("closed", 0, "player"))


async def test_the_games_end_reaches_the_player_first(tapped: Tap) -> None:
    """A game that closes is who closed, and its last words arrive."""

    async def leaves(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"bye")

    made = await tapped(leaves)
    stream = await made.dial()
    await stream.send_all(b"hello")
    assert await everything(stream) == b"bye"
    await stream.aclose()
    await made.told(lambda: made.seen[0].story[-1] == ("closed", 0, "game"))


async def test_a_reset_by_the_game_is_a_reset_for_the_player(tapped: Tap) -> None:
    """Behind everything that came before it."""

    async def resets(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"last words")
        reset_on_close(stream)

    made = await tapped(resets)
    stream = await made.dial()
    await stream.send_all(b"hello")
    got = await up_to_the_end(stream)
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"anybody there?")
    await made.told(lambda: made.seen[0].story[-1] == ("closed", 0, "game"))
    assert made.seen[0].bytes["to_player", 0] == got == b"last words"


async def test_a_reset_by_the_player_is_a_reset_for_the_game(tapped: Tap) -> None:
    """The game learns at once that it is alone."""
    ended: list[type[BaseException] | None] = []

    async def reads(stream: trio.SocketStream) -> None:
        try:
            while await stream.receive_some():
                pass
            ended.append(None)
        except trio.BrokenResourceError:
            ended.append(trio.BrokenResourceError)

    made = await tapped(reads)
    stream = await made.dial()
    await stream.send_all(b"hello")
    await made.told(lambda: ("to_game", 0) in made.seen[0].bytes)
    reset_on_close(stream)
    await stream.aclose()
    await made.told(lambda: bool(ended))
    assert ended == [trio.BrokenResourceError]
    await made.told(lambda: made.seen[0].story[-1] == ("closed", 0, "player"))


async def test_last_words_before_a_close_with_unread_bytes_arrive(tapped: Tap) -> None:
    """A game that says that it is over and exits does not read what is still on its way; its kernel resets, the words come first."""

    async def over(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        await stream.send_all(b"it is over")

    made = await tapped(over)
    for number in range(20):
        stream = await made.dial()
        await stream.send_all(b"much more than is read")
        assert await up_to_the_end(stream) == b"it is over", number
        await stream.aclose()


async def test_a_peer_that_does_not_read_holds_up_its_own_connection_only(tapped: Tap) -> None:
    """A bounded number of bytes is kept for it, and the others play on."""
    gate = trio.Event()

    async def deaf(stream: trio.SocketStream) -> None:
        first = await stream.receive_some(1)
        if first == b"x":
            await gate.wait()
        await stream.send_all(first)
        await echo(stream)

    made = await tapped(deaf, seats=2)
    stuck, fine = await made.dial(0), await made.dial(1)
    sent = 0
    with trio.move_on_after(PATIENCE) as patience:
        while True:
            with trio.move_on_after(1) as wait:
                await stuck.send_all(b"x" * PIECE)
            if wait.cancelled_caught:
                break
            sent += PIECE
    assert not patience.cancelled_caught
    assert sent > PIECE
    kept = [len(side.outbox) for side in made.relay._sides.values()]
    assert BACKLOG <= max(kept) < BACKLOG + PIECE
    await fine.send_all(b"hello")
    with trio.fail_after(PATIENCE):
        got = b""
        while len(got) < 5:
            got += await fine.receive_some()
    assert got == b"hello"
    gate.set()
    with trio.fail_after(PATIENCE):
        got_back = 0
        while got_back < sent:
            got_back += len(await stuck.receive_some())
    for stream in (stuck, fine):
        await stream.aclose()


async def test_what_is_kept_for_a_slow_player_outlives_the_game(tapped: Tap) -> None:
    """The player had nothing more to say, the game has said everything and is gone: the rest still arrives, and then the end."""
    over = trio.Event()
    sent = bytearray()

    async def says_it_all(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        while not max(len(side.outbox) for side in made.relay._sides.values()):
            await stream.send_all(random.Random(len(sent)).randbytes(PIECE))
            sent.extend(random.Random(len(sent)).randbytes(PIECE))
            await trio.sleep(0.001)
        await stream.aclose()
        over.set()

    made = await tapped(says_it_all)
    stream = await made.dial()
    await stream.send_all(b"everything, please")
    await stream.send_eof()
    with trio.fail_after(PATIENCE):
        await over.wait()
    await made.told(lambda: any(side.eof and side.name == "game" for side in made.relay._sides.values()))
    assert await everything(stream) == sent


async def test_a_player_that_never_reads_does_not_grow_our_memory(tapped: Tap) -> None:
    """A game that talks without end is stopped by the same back-pressure; its player's end frees both."""
    told: list[int] = []

    async def talks(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(bytes(PIECE))
                told.append(PIECE)

    made = await tapped(talks)
    stream = await made.dial()
    before = -1
    with trio.fail_after(PATIENCE):
        while before != len(told):
            before = len(told)
            await trio.sleep(0.5)
    assert max(len(side.outbox) for side in made.relay._sides.values()) < BACKLOG + PIECE
    await stream.aclose()
    await made.told(lambda: made.seen[0].story[-1][0] == "closed")
    assert not made.relay._sides


async def test_a_game_that_refuses_is_told_by_a_reset(tapped: Tap) -> None:
    """Nobody was connected, and the watch hears of nothing."""
    made = await tapped(refused())
    for _ in range(3):
        stream = await made.dial()
        assert await is_reset(stream)
        await stream.aclose()
    await made.told(lambda: made.doors[0].refused == 3)
    assert (made.joined, made.seen[0].story, made.doors[0].open) == ([], [], 0)


async def test_garbage_is_relayed_like_anything_else(tapped: Tap) -> None:
    """The tap has no opinion on what a player says."""
    made = await tapped(echo)
    garbage = random.Random(2).randbytes(5000) + b"\x00\xff\r\n\r\n" * 100
    stream = await made.dial()
    await stream.send_all(garbage)
    await stream.send_eof()
    assert await everything(stream) == garbage


async def test_a_hundred_connections_of_one_seat_are_a_hundred(tapped: Tap) -> None:
    """At once, each with its number, and nothing is left of them."""
    made = await tapped(echo)
    before = len(os.listdir("/proc/self/fd"))

    async def one(number: int) -> None:
        stream = await made.dial()
        async with stream:
            text = f"player {number}".encode()
            await stream.send_all(text)
            await stream.send_eof()
            assert await everything(stream) == text

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
    seen = made.seen[0]
    await made.told(lambda: sum(step[0] == "closed" for step in seen.story) == 100)
    assert sorted(step[1] for step in seen.story if step[0] == "opened") == list(range(100))
    assert len({seen.bytes["to_game", number] for number in range(100)}) == 100
    assert all(seen.bytes["to_game", number] == seen.bytes["to_player", number] for number in range(100))
    assert made.doors[0].open == 0
    # The relay keeps one socket ready for whoever comes next.
    await made.told(lambda: len(os.listdir("/proc/self/fd")) <= before + 1)


async def test_beyond_a_limit_connections_wait_in_the_queue(tapped: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are let in when another one has gone, and another seat does not notice."""
    monkeypatch.setattr(tap_doors, "MOST_CONNECTIONS", 2)
    made = await tapped(echo, seats=2)
    streams = [await made.dial() for _ in range(3)]
    for stream in streams:
        await stream.send_all(b"hello")
    for stream in streams[:2]:
        assert await stream.receive_some() == b"hello"
    other = await made.dial(1)
    await other.send_all(b"there")
    assert await other.receive_some() == b"there"
    assert made.doors[0].connections == 2
    await streams[0].aclose()
    with trio.fail_after(PATIENCE):
        assert await streams[2].receive_some() == b"hello"
    for stream in (*streams[1:], other):
        await stream.aclose()


async def test_without_descriptors_players_wait_and_nothing_spins(tapped: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are let in as soon as there is room; a shortage that lasts is told once, in the kernel's words."""
    short = tap_doors.NO_ROOM_TURNS + 3
    tried: list[float] = []

    def new() -> socket.socket:
        tried.append(trio.current_time())
        if len(tried) <= short:
            raise OSError(errno.EMFILE, "Too many open files")
        return socket.socket()

    monkeypatch.setattr(tap_doors, "_new_socket", new)
    monkeypatch.setattr(tap_doors, "NO_ROOM_PAUSE", 0.01)
    made = await tapped(echo)
    stream = await made.dial()
    await stream.send_all(b"hello")
    with trio.fail_after(PATIENCE):
        assert await stream.receive_some() == b"hello"
    assert made.no_room == ["Too many open files"]
    assert all(later - earlier >= 0.009 for earlier, later in itertools.pairwise(tried[: short + 1]))
    await stream.aclose()


async def test_a_player_that_gives_up_while_the_game_is_asked_leaves_nothing(tapped: Tap) -> None:
    """Connections that are reset at once, many times."""
    made = await tapped(echo)
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", made.doors[0].port)) as hasty:
            hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream = await made.dial()
    await stream.send_all(b"hello")
    with trio.fail_after(PATIENCE):
        assert await stream.receive_some() == b"hello"
    await made.told(lambda: made.doors[0].open == 1)
    await stream.aclose()


async def test_a_game_that_vanishes_takes_its_connections_along(tapped: Tap, nursery: trio.Nursery) -> None:
    """Every player notices: a process that is killed says nothing."""
    code = (
        "import socket, time\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "kept = [server.accept()[0] for _ in range(2)]\n"
        "[each.sendall(b'hello') for each in kept]\n"
        "time.sleep(1000)\n"
    )
    process = await trio.lowlevel.open_process(["python", "-c", code], stdout=-1)
    try:
        assert process.stdout is not None
        port = int(await process.stdout.receive_some())
        made = await tapped(Address(host="127.0.0.1", port=port))
        streams = [await made.dial() for _ in range(2)]
        with trio.fail_after(PATIENCE):
            for stream in streams:
                assert await stream.receive_some() == b"hello"
            # Unread bytes make the kernel reset instead of end.
            await streams[1].send_all(b"unread")
            await made.told(lambda: ("to_game", 1) in made.seen[0].bytes)
            process.kill()
            assert await streams[0].receive_some() == b""
            with suppress(trio.BrokenResourceError):
                assert await streams[1].receive_some() == b""
        for stream in streams:
            await stream.aclose()
        await made.told(lambda: sum(step[0] == "closed" for step in made.seen[0].story) == 2)
        assert {step[2] for step in made.seen[0].story if step[0] == "closed"} == {"game"}
    finally:
        process.kill()
        with trio.move_on_after(PATIENCE, shield=True):
            # Restores: no child and no pipe of the test is left.
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


async def test_cancelled_in_the_middle_it_leaves_no_socket(tapped: Tap) -> None:
    """Doors and connections are closed, and those who watch are told by whom."""
    mine = psutil.Process()
    before = mine.num_fds()
    made = await tapped(echo, seats=3)
    streams = [await made.dial(slot) for slot in range(3)]
    for stream in streams:
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
    made.scope.cancel()
    await made.over.wait()
    for stream, seen in zip(streams, made.seen, strict=True):
        with suppress(trio.BrokenResourceError):
            assert await stream.receive_some() == b""
        await stream.aclose()
        assert seen.story[-1] == ("closed", 0, "tap")
    with pytest.raises(OSError):
        await made.dial()
    # The server of the test has a listener of its own.
    await made.told(lambda: mine.num_fds() <= before + 1)


async def test_others_have_their_turn_while_it_is_busy(tapped: Tap) -> None:
    """A task that only wants to be scheduled is, however much there is to relay."""
    made = await tapped(echo, spin=True)
    stream = await made.dial()
    turns = 0
    done = False

    async def other() -> None:
        nonlocal turns
        while not done:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with trio.fail_after(PATIENCE):
            for _ in range(200):
                await stream.send_all(b"hello")
                await stream.receive_some()
        done = True
    assert turns > 200
    await stream.aclose()


def frames(count: int) -> list[bytes]:
    return [HEAD, *(bytes([0x82, 5]) + f"{number:05}".encode() for number in range(1, count + 1))]


async def dropped(tapped: Tap, pieces: list[bytes], chaos: str) -> tuple[bytes, list[object]]:
    """What arrives of these pieces, with pauses between them, and the faults that were told."""
    arrived = bytearray()
    ended = trio.Event()

    async def game(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for piece in stream:
                arrived.extend(piece)
        ended.set()

    made = await tapped(game, chaos=chaos)
    stream = await made.dial()
    with suppress(trio.BrokenResourceError):
        for piece in pieces:
            await stream.send_all(piece)
            await trio.lowlevel.checkpoint()
        await stream.send_eof()
    with trio.fail_after(PATIENCE):
        await ended.wait()
    await stream.aclose()
    return bytes(arrived), list(made.faults)


async def test_the_same_seed_drops_at_the_same_frame_however_the_bytes_come(tapped: Tap) -> None:
    """Frame by frame, byte by byte, or all at once: the game gets the same beginning."""
    spec = "drop=0.05 seed=11"
    chaos = parse_chaos(spec)
    at = next(n for n in range(1000) if chaos.trouble(0, 0, Direction.TO_GAME, n).end)
    assert 1 < at < 100, "choose a seed that drops soon, and not at once"
    sent = frames(100)
    whole = b"".join(sent)
    for pieces in (sent, [whole], [whole[i : i + 3] for i in range(0, len(whole), 3)]):
        arrived, faults = await dropped(tapped, pieces, spec)
        assert b"".join(sent[:at]).startswith(arrived)
        assert faults == [(0, 0, Direction.TO_GAME, Fault.DROP, at, 0.0)]


async def test_a_half_close_on_purpose_ends_one_direction(tapped: Tap) -> None:
    """The game sees the player's end and can still answer; what the player sends on goes nowhere."""
    spec = "halfclose=0.05 seed=11"
    chaos = parse_chaos(spec)
    at = next(n for n in range(1000) if chaos.trouble(0, 0, Direction.TO_GAME, n).end)
    got = bytearray()

    async def game(stream: trio.SocketStream) -> None:
        async for piece in stream:
            got.extend(piece)
        await stream.send_all(HEAD)

    made = await tapped(game, chaos=spec)
    stream = await made.dial()
    sent = frames(at + 5)
    await stream.send_all(b"".join(sent))
    assert await up_to_the_end(stream) == HEAD
    assert bytes(got) == b"".join(sent[:at])
    assert made.faults == [(0, 0, Direction.TO_GAME, Fault.HALF_CLOSE, at, 0.0)]
    await stream.aclose()
    await made.told(lambda: made.seen[0].story[-1] == ("closed", 0, "tap"))


async def test_delay_and_stalls_make_everything_later_and_change_nothing(tapped: Tap) -> None:
    """Two directions, so twice the delay; the bytes are the same, and half-closes pass."""
    made = await tapped(echo, chaos="delay=40ms jitter=20ms stall=0.2:50ms seed=2")
    stream = await made.dial()
    sent = b"".join(frames(20))
    began = trio.current_time()
    await stream.send_all(sent)
    await stream.send_eof()
    assert await everything(stream) == sent
    assert trio.current_time() - began >= 0.04
    assert {fault for _, _, _, fault, _, _ in made.faults} == {Fault.STALL}
    await stream.aclose()


async def test_much_data_passes_a_delayed_line(tapped: Tap) -> None:
    """What is held counts for the back-pressure, and is let out again."""
    made = await tapped(echo, chaos="delay=2ms")
    stream = await made.dial()
    sent = random.Random(3).randbytes(2_000_000)

    async def send() -> None:
        await stream.send_all(sent)
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await everything(stream) == sent
    await stream.aclose()
