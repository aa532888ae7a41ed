"""`coworld_protocol.ws.pump`: many connections in one task, with real sockets; none of them can hurt the others or the server.

Pages and single websockets are played in `test_pump_sdk` and `test_pump_http`, deadlines with a clock of their own in `test_peer`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import trio

from coworld_protocol.errors import PreconditionMissing, Refused
from coworld_protocol.ws import pump
from coworld_protocol.ws.frames import BINARY, PING, PONG, TEXT, encode
from coworld_protocol.ws.pump import serve
from coworld_protocol.ws.web import Response
from tests.pump_peers import PATIENCE, Client, Recorder, Seat, served, upgrade_request

SEGMENT = 4096
"""A receive buffer so small that a client that does not read is noticed after some hundred kilobytes."""


def descriptors() -> set[tuple[str, str]]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add((entry.name, str(entry.readlink())))
    return found


def reset(client: Client) -> None:
    """Go away with a reset instead of a goodbye."""
    client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.stream.socket.close()


def overwhelm(seat: Seat) -> None:
    """Send until the receiver is given up."""
    assert seat.socket is not None
    while seat.socket.open:
        seat.socket.send(b"x" * 50_000)


def echo(seat: Seat, payload: bytes) -> None:
    assert seat.socket is not None
    seat.socket.send(payload.decode())


# Broadcast and back-pressure


async def test_a_tick_reaches_everybody_but_who_does_not_read():
    """Receivers that read get every tick, whole and in order; one that does not is dropped, once, and slows nobody."""
    site = Recorder()
    async with served(site, outbox_bytes=300_000) as door:
        await door.connect(receive_bytes=SEGMENT)
        good = [await door.connect() for _ in range(8)]
        await site.until(lambda: len(site.seats) == 9)
        ticks = 0
        while not site.seats[0].codes:
            frame = encode(BINARY, ticks.to_bytes(4, "big") + b"x" * 50_000)
            for seat in site.seats:
                seat.socket.send_frame(frame)
            for client in good:
                assert int.from_bytes((await client.message())[:4], "big") == ticks
            ticks += 1
            assert ticks < 2000
        assert ticks > 3
        assert [seat.codes for seat in site.seats] == [[1006], *[[]] * 8]


async def test_a_receiver_is_dropped_by_age_too():
    """A little that nobody takes for long enough ends the connection, though the limit in bytes is far away."""
    site = Recorder()
    async with served(site, outbox_seconds=0.3, ping_seconds=0) as door:
        await door.connect(receive_bytes=SEGMENT)
        await site.until(lambda: site.seats and site.seats[0].socket)
        seat = site.seats[0]
        while not seat.socket.buffered:
            seat.socket.send(b"x" * 10_000)
        assert seat.codes == []
        await site.until(lambda: seat.codes)
        assert seat.codes == [1006]
        assert seat.socket.buffered == 0


async def test_a_large_message_passes_whole_beside_others():
    """Megabytes beyond the outbox arrive at who takes them slowly, while another gets its answers."""
    site = Recorder()
    site.on_message = echo
    async with served(site, outbox_bytes=1000) as door:
        slow, quick = await door.connect(receive_bytes=SEGMENT), await door.connect()
        await site.until(lambda: len(site.seats) == 2)
        replay = os.urandom(1 << 20) * 8
        site.seats[0].socket.send(replay)
        for number in range(100):
            await quick.send(str(number).encode())
            assert await quick.message() == str(number).encode()
        assert site.seats[0].socket.buffered > len(replay) // 2
        assert await slow.message() == replay
        site.seats[0].socket.send("after")
        assert await slow.message() == b"after"


async def test_a_broadcast_from_another_task_drops_without_calling_back():
    """The drop happens inside of the application's loop, in another task: `closed` comes later, from the pump, once."""
    site = Recorder()
    async with served(site, outbox_bytes=100_000) as door:
        [await door.connect(receive_bytes=SEGMENT) for _ in range(3)]
        await site.until(lambda: len(site.seats) == 3)
        with site.told():
            # Any call of the pump's would be noticed as coming from inside of this one.
            while any(seat.socket.open for seat in site.seats):
                for seat in site.seats:
                    seat.socket.send(b"x" * 50_000)
        assert [seat.codes for seat in site.seats] == [[], [], []]
        await site.until(lambda: all(seat.codes for seat in site.seats))
        assert [seat.codes for seat in site.seats] == [[1006]] * 3
        settlings = site.settlings
        await door.connect()
        await site.until(lambda: len(site.seats) == 4)
        assert site.settlings > settlings


# Every end is told once


@pytest.mark.parametrize(
    ("ending", "code"),
    [("close", 4001), ("eof", 1006), ("reset", 1006), ("violation", 1006), ("ours", 3000), ("drop", 1006)],
)
async def test_every_end_is_told_once_and_things_settle_after_it(ending, code):
    """However a websocket ends, `closed` comes once, outside of any other call, then `settled`; no message comes after it."""
    site = Recorder()
    order = []
    site.on_close = lambda seat: order.append("closed")
    site.on_settled = lambda: order.append("settled") if order else None
    async with served(site, outbox_bytes=100_000) as door:
        client = await door.connect(receive_bytes=SEGMENT)
        await site.until(lambda: site.seats and site.seats[0].socket)
        (seat,) = site.seats
        if ending == "close":
            await client.send_close(4001)
            await client.send(b"behind the close frame")
            assert await client.close_code() == 4001
            assert await client.event() is None
        elif ending == "eof":
            await client.stream.send_eof()
        elif ending == "reset":
            reset(client)
        elif ending == "violation":
            await client.stream.send_all(encode(TEXT, b"not masked") + encode(TEXT, b"masked", mask=True))
            assert await client.close_code() == 1002
        elif ending == "ours":
            seat.socket.close(3000)
            assert await client.close_code() == 3000
            await client.send(b"behind our close frame")
            await client.send_close(3000)
        else:
            site.on_message = lambda seat, _: overwhelm(seat)
            await client.send(b"go")
            await client.send(b"more")
        await site.until(lambda: order[:2] == ["closed", "settled"])
        other = await door.connect()
        await other.send(b"x")
        await site.until(lambda: len(site.seats) == 2 and site.seats[1].messages)
        assert seat.codes == [code]
        assert "behind" not in str(seat.notes)
    assert order.count("closed") == 2


async def test_cancelling_tells_everybody_and_gives_everything_back():
    """Whatever state a connection is in, the end of the server ends it; no descriptor is left, nor the Unix socket."""
    site = Recorder()
    before = descriptors()
    async with served(site, connections=6) as door:
        listening = len(descriptors())
        silent, half = await door.dial(), await door.dial()
        await half.send_all(b"GET / HT")
        for _ in range(3):
            await door.connect()
        await site.until(lambda: len([seat for seat in site.seats if seat.socket]) == 3)
        site.seats[1].socket.close(4000)
        site.seats[2].socket.send(b"x" * 3_000_000)
        assert len(descriptors()) >= listening + 10
        await door.stop()
        assert [seat.codes for seat in site.seats] == [[1006]] * 3
        assert not any(seat.socket.open for seat in site.seats)
        site.seats[0].socket.send("into the void")
        site.seats[0].socket.close()
        assert await silent.receive_some() == b""
    assert descriptors() - before == set()


@pytest.mark.parametrize("where", ["on_open", "on_message", "on_close", "on_settled", "respond"])
async def test_a_defect_of_the_application_ends_the_server(where):
    """An exception in any call comes out of `serve`; every other websocket's end is told, and nothing is left open."""
    site = Recorder()
    before = descriptors()

    def fail(*_):
        raise ArithmeticError(where)

    with pytest.raises(BaseExceptionGroup) as caught, trio.fail_after(PATIENCE):  # noqa: PT012
        async with served(site) as door:
            await door.connect()
            await site.until(lambda: site.seats and site.seats[0].socket)
            setattr(site, where, fail)
            client = Client(await door.dial())
            with contextlib.suppress(trio.BrokenResourceError, AssertionError):
                await client.stream.send_all(
                    b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" if where == "respond" else upgrade_request()
                )
                await client.send(b"x")
                await client.send_close()
            await trio.sleep_forever()
    assert caught.group_contains(ArithmeticError, match=where)
    for seat in site.seats:
        assert len(seat.codes) == 1
    assert descriptors() - before == set()


async def test_a_defect_in_the_last_call_is_not_swallowed():
    """Everybody is told of the end though each is a failure; then the failures come out, and nothing is left open."""
    site = Recorder()
    before = descriptors()
    site.on_close = lambda seat: 1 // 0
    clients = []
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012
        async with served(site) as door:
            clients += [await door.connect() for _ in range(3)]
            await site.until(lambda: len([seat for seat in site.seats if seat.socket]) == 3)
    assert caught.group_contains(ZeroDivisionError)
    assert [seat.codes for seat in site.seats] == [[1006]] * 3
    assert descriptors() - before == set()


# Calls from inside of calls


async def test_a_message_may_close_and_drop_any_socket():
    """What one seat says may end all others in the middle of a batch, and itself; each hears of its end once."""
    site = Recorder()

    def end_all(seat: Seat, payload: bytes) -> None:
        for number, each in enumerate(site.seats):
            if number % 2:
                each.socket.close(4000)
            else:
                overwhelm(each)

    async with served(site, outbox_bytes=1000) as door:
        clients = [await door.connect(receive_bytes=SEGMENT) for _ in range(6)]
        await site.until(lambda: len([seat for seat in site.seats if seat.socket]) == 6)
        site.on_message = end_all
        for client in clients:
            # Not a checkpoint between them: the pump finds them ready together.
            client.stream.socket._sock.send(encode(TEXT, b"go", mask=True))
        await site.until(lambda: all(seat.codes for seat in site.seats[::2]))
        for client in clients[1::2]:
            assert await client.close_code() == 4000
            await client.send_close(4000)
        await site.until(lambda: all(seat.codes for seat in site.seats))
        assert [seat.codes for seat in site.seats] == [[1006], [4000]] * 3
        assert sum(len(seat.messages) for seat in site.seats) == 1


async def test_an_end_may_end_others_and_open_descriptors_at_once():
    """`closed` may close the next seat, and open a file that gets a descriptor just given back; then newcomers are served."""
    site = Recorder()
    files = []

    def pass_on(seat: Seat) -> None:
        files.append(os.open("/dev/null", os.O_RDONLY))
        for each in site.seats:
            if each.socket.open:
                overwhelm(each)
                break

    site.on_close = pass_on
    async with served(site, outbox_bytes=1000) as door:
        for generation in range(3):
            clients = [await door.connect(receive_bytes=SEGMENT) for _ in range(5)]
            await site.until(lambda: len([s for s in site.seats if s.socket]) == 5 * (generation + 1))  # noqa: B023
            reset(clients[0])
            await site.until(lambda: all(seat.codes for seat in site.seats))
        assert [seat.codes for seat in site.seats] == [[1006]] * 15
        for file in files:
            os.fstat(file)
            os.close(file)


async def test_an_end_brought_about_by_settling_is_told_before_the_next_message():
    """A step of the game drops a receiver: the application hears of it at once, not behind what arrives next."""
    site = Recorder()
    order = []
    site.on_close = lambda seat: order.append("closed")
    site.on_message = lambda seat, payload: order.append("message")
    async with served(site, outbox_bytes=1000) as door:
        await door.connect(receive_bytes=SEGMENT)
        other = await door.connect()
        await site.until(lambda: len([seat for seat in site.seats if seat.socket]) == 2)

        def step() -> None:
            if site.seats[0].socket.open:
                overwhelm(site.seats[0])
                other.stream.socket._sock.send(encode(TEXT, b"move", mask=True))

        site.on_settled = step
        await site.until(lambda: len(order) == 2)
        assert order == ["closed", "message"]


async def test_a_descriptor_may_be_used_again_within_a_moment():
    """Connections that come and go get each other's descriptors; nobody hears what was meant for another."""
    site = Recorder()
    site.on_message = echo
    async with served(site) as door:
        stay = await door.connect()
        for number in range(60):
            client = await door.connect(behind=encode(TEXT, b"early", mask=True))
            await client.send(str(number).encode())
            assert await client.message() == b"early"
            assert await client.message() == str(number).encode()
            if number % 3 == 0:
                reset(client)
            elif number % 3 == 1:
                await client.send_close()
            await client.stream.aclose()
        await stay.send(b"still here")
        assert await stay.message() == b"still here"
        await stay.stream.aclose()
        await site.until(lambda: all(len(seat.codes) == 1 for seat in site.seats))
        assert [len(seat.messages) for seat in site.seats] == [1, *[2] * 60]


# Liveness


async def test_who_answers_pings_is_kept_and_who_does_not_is_dropped():
    """Two silent peers: the one that returns pongs stays, the other is gone after its time."""
    site = Recorder()
    async with served(site, ping_seconds=0.2, pong_seconds=0.4) as door:
        dead, alive = await door.connect(), await door.connect()
        for _ in range(8):
            assert await alive.event() == (PING, b"")
            await alive.send(b"", PONG)
        await site.until(lambda: site.seats[0].codes)
        assert await alive.event() == (PING, b"")
        assert [seat.codes for seat in site.seats] == [[1006], []]
        assert await dead.rest() == [(PING, b"")]


@pytest.mark.parametrize("where", ["the application", "another task"])
async def test_a_server_that_was_busy_does_not_blame_its_peers(where):
    """After a ping nothing is read for longer than `pong_seconds`; a peer that then answers soon had its time, and is kept."""
    site = Recorder()
    site.on_message = lambda seat, payload: time.sleep(float(payload))
    async with served(site, ping_seconds=0.5, pong_seconds=1.0) as door:
        quiet, speaker = await door.connect(), await door.connect()
        for _ in range(2):
            assert await quiet.event() == (PING, b"")
            if where == "another task":
                time.sleep(2.0)  # noqa: ASYNC251 - the point
            else:
                settlings = site.settlings
                await speaker.send(b"2.0")
                await site.until(lambda: site.settlings > settlings + 1)  # noqa: B023
            # The peer's own time, short of any deadline, in which the server sweeps.
            await trio.sleep(0.3)
            await quiet.send(b"", PONG)
            await speaker.send(b"0")
        settlings = site.settlings
        await site.until(lambda: site.settlings > settlings + 3)
        assert site.seats[0].codes == []


async def test_a_close_after_a_long_step_leaves_the_peer_its_time():
    """A game that computes for longer than `close_seconds` and closes at once still waits for the peer's answer."""
    site = Recorder()

    def work_and_close(seat: Seat, payload: bytes) -> None:
        time.sleep(1.5)
        seat.socket.close(4000)

    site.on_message = work_and_close
    async with served(site, close_seconds=1.0) as door:
        client = await door.connect()
        await client.send(b"last move")
        assert await client.close_code() == 4000
        await client.send_close(4000)
        await site.until(lambda: site.seats[0].codes)
        assert site.seats[0].codes == [4000]


# Sharing the thread


@pytest.mark.parametrize("switch", ["0", "1", "auto"])
async def test_other_tasks_get_their_turn_under_load(switch, monkeypatch):
    """Two peers that always have an answer under way leave other tasks their share and can be cancelled, polling or not."""
    monkeypatch.setenv("COWORLD_ACTORS_SPIN", switch)
    site = Recorder()
    site.on_message = echo
    stop = False

    def play(port: int) -> None:
        """In a thread, so that answers and questions never wait for this one."""
        frame = encode(TEXT, b"move", mask=True)
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(upgrade_request() + frame)
            sock.settimeout(PATIENCE)
            data = b""
            while b"\r\n\r\n" not in data:
                data += sock.recv(4096)
            while not stop:
                sock.sendall(frame)
                sock.recv(4096)

    turns = 0
    async with served(site, spin=None) as door:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, play, door.port)
            nursery.start_soon(trio.to_thread.run_sync, play, door.port)
            await site.until(lambda: sum(len(seat.messages) for seat in site.seats) > 1000)
            while turns < 200:
                await trio.lowlevel.checkpoint()
                turns += 1
            await trio.sleep(0.01)
            stop = True
        await site.until(lambda: [len(seat.codes) for seat in site.seats] == [1, 1])


async def test_polling_never_starves_other_tasks(monkeypatch):
    """Even if every wait is polled and every answer caught, other tasks get a turn per millisecond."""
    monkeypatch.setenv("COWORLD_ACTORS_SPIN", "1")
    monkeypatch.setattr(pump, "spin", lambda attempt, budget: (catch(attempt), True))
    site = Recorder()
    site.on_message = echo
    waits = 0
    waits_without_a_turn = 0
    frame = encode(TEXT, b"move", mask=True)

    def catch(attempt):
        """The peer answers while the pump looks."""
        nonlocal waits, waits_without_a_turn
        waits += 1
        waits_without_a_turn += 1
        if waits_without_a_turn > 100_000:
            return None
        peer.recv(65536)
        peer.sendall(frame)
        while (found := attempt()) is None:
            pass
        return found

    async with served(site, spin=None) as door:
        peer = (await door.connect()).stream.socket._sock
        peer.sendall(frame)
        # From here on a pump that is never given back its turn would keep it until the count above.
        await site.until(lambda: site.seats[0].messages)
        for _ in range(50):
            assert waits_without_a_turn <= 100_000
            waits_without_a_turn = 0
            await trio.lowlevel.checkpoint()
        assert waits > 50


async def test_sweeps_are_not_put_off_by_full_batches(monkeypatch):
    """When every look finds as many ready sockets as it asks for, deadlines are looked at all the same."""
    monkeypatch.setattr(pump, "_EVENTS", 2)
    site = Recorder()
    frame = encode(TEXT, b"chatter", mask=True)
    async with served(site, header_seconds=0.2) as door:
        chatterers = [(await door.connect()).stream.socket._sock for _ in range(6)]
        silent = await door.dial()

        def chatter() -> None:
            for sock in chatterers:
                with contextlib.suppress(BlockingIOError):
                    sock.send(frame)

        site.on_settled = chatter
        chatter()
        with trio.fail_after(PATIENCE):
            assert await silent.receive_some() == b""
        site.on_settled = lambda: None
        assert all(seat.messages for seat in site.seats)


# Accepting


async def test_when_one_goes_the_next_is_served():
    """Connections beyond the limit wait in the kernel; each end lets one in, websockets and silent ones alike."""
    site = Recorder()
    async with served(site, connections=2, header_seconds=0.5) as door:
        await door.connect()
        silent = await door.dial()
        waiting = [Client(await door.dial()) for _ in range(3)]
        done = []

        async def come(client: Client) -> None:
            await client.upgrade()
            await client.send_close(4000)
            assert await client.close_code() == 4000
            await client.stream.aclose()
            done.append(client)

        async with trio.open_nursery() as nursery:
            for client in waiting:
                nursery.start_soon(come, client)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert len(site.seats) == 1
            with trio.fail_after(PATIENCE):
                assert await silent.receive_some() == b""
        assert len(done) == 3
        assert [seat.codes for seat in site.seats] == [[], [4000], [4000], [4000]]


EXHAUSTED = """
import resource, socket, sys
import trio
sys.path.insert(0, {root!r})
from tests.pump_peers import Recorder, served

async def main():
    site = Recorder()
    site.on_message = lambda seat, payload: seat.socket.send(payload.decode())
    async with served(site, header_seconds=600, close_seconds=0.2) as door:
        first = await door.connect()
        used = len(__import__("os").listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, used + 20))
        crowd = []
        try:
            while True:
                crowd.append(socket.create_connection(("127.0.0.1", door.port)))
        except OSError:
            pass
        # Both ends live here, so that some wait in the kernel for a descriptor that is not there.
        for number in range(20):
            await first.send(str(number).encode())
            assert await first.message() == str(number).encode()
            await trio.sleep(0.02)
        for sock in crowd:
            sock.close()
        late = await door.connect()
        await late.send(b"late")
        assert await late.message() == b"late"
    print("served", len(crowd) > 5)

trio.run(main)
"""


def test_without_descriptors_it_goes_on_with_those_it_has():
    """A process that has run out of descriptors serves who is connected, and newcomers when some have gone."""
    root = str(Path(__file__).parents[3])
    program = textwrap.dedent(EXHAUSTED).format(root=root)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE * 2, check=False
    )
    assert (done.returncode, done.stdout) == (0, "served True\n"), done.stderr


async def test_a_forked_child_keeps_nobody_busy():
    """A child that holds copies of the descriptors keeps no connection half-alive, and the pump asleep when there is nothing."""
    site = Recorder()
    async with served(site, header_seconds=600, close_seconds=600) as door:
        polite, dropped = await door.connect(), await door.connect(receive_bytes=SEGMENT)
        await site.until(lambda: len([seat for seat in site.seats if seat.socket]) == 2)
        ready, hold = os.pipe()
        child = os.fork()
        if not child:
            os.close(hold)
            for client in (polite, dropped):
                client.stream.socket.close()
            os.read(ready, 1)
            os._exit(0)
        os.close(ready)
        try:
            await polite.send_close(4000)
            assert await polite.close_code() == 4000
            assert await polite.event() is None
            await polite.stream.aclose()
            overwhelm(site.seats[1])
            await dropped.rest()
            await site.until(lambda: all(seat.codes for seat in site.seats))
            settlings = site.settlings
            await trio.sleep(1.0)
            # A second holds one sweep; a descriptor that is reported over and over would make it thousands of batches.
            assert site.settlings - settlings < 100
        finally:
            os.close(hold)
            os.waitpid(child, 0)  # noqa: ASYNC222 - it has nothing left to do but to end


# Where it listens


async def test_it_listens_on_a_unix_socket_as_well(tmp_path, monkeypatch):
    """Both doors lead to the same application; the path is there while it serves, and gone afterwards."""
    monkeypatch.chdir(tmp_path)
    site = Recorder()
    site.on_message = echo
    before = descriptors()
    async with served(site, unix="game.sock") as door:
        inside = Client(await door.dial(unix="game.sock"))
        await inside.upgrade()
        for client in (inside, await door.connect()):
            await client.send(b"hello")
            assert await client.message() == b"hello"
            await client.stream.aclose()
        await site.until(lambda: [seat.codes for seat in site.seats] == [[1006], [1006]])
    assert not Path("game.sock").exists()  # noqa: ASYNC240
    assert descriptors() - before == set()


async def test_a_path_in_use_leaves_nothing_open(tmp_path, monkeypatch):
    """A server that cannot have its Unix socket gives its port back and says why."""
    monkeypatch.chdir(tmp_path)
    Path("game.sock").write_text("a file")  # noqa: ASYNC240
    before = descriptors()
    with pytest.raises(PreconditionMissing, match=r"game\.sock"):
        await serve(Recorder(), host="127.0.0.1", port=0, unix="game.sock")
    assert descriptors() - before == set()


async def test_a_system_without_epoll_is_told_so(monkeypatch):
    """Where there is no epoll the sentence says so instead of an attribute that is missing."""
    monkeypatch.delattr(select, "epoll")
    with pytest.raises(PreconditionMissing, match="epoll"):
        await serve(Recorder(), host="127.0.0.1", port=0)


async def test_an_unknown_switch_is_refused(monkeypatch):
    """The environment's switch for polling is checked before anything is opened."""
    monkeypatch.setenv("COWORLD_ACTORS_SPIN", "sometimes")
    with pytest.raises(Refused, match="sometimes"):
        await serve(Recorder(), host="127.0.0.1", port=0)


# Compression, pages


async def test_compression_is_agreed_to_only_when_switched_on():
    """A peer that offers it gets it if the limits say so; messages come through either way."""
    text = "all the same " * 1000
    for deflate in (True, False):
        site = Recorder()
        site.on_message = echo
        async with served(site, deflate=deflate) as door:
            client = Client(await door.dial())
            if deflate:
                await client.upgrade(deflate=True)
                sent = client.stream.socket.getpeername()
                assert sent[1] == door.port
            else:
                await client.stream.send_all(upgrade_request(deflate=True))
                answer = bytes(await client.stream.receive_some(65536))
                assert b"101 " in answer
                assert b"sec-websocket-extensions" not in answer.lower()
            await client.send(text.encode())
            assert await client.message() == text.encode()


async def test_a_bomb_is_defused():
    """A small frame that inflates beyond the limit is closed with 1009 and never delivered."""
    from coworld_protocol.ws.deflate import Deflate

    bomb = Deflate().deflater(server=False).compress(b"\0" * 20_000_000)
    site = Recorder()
    async with served(site, deflate=True, message_bytes=100_000) as door:
        client = await door.connect(deflate=True)
        await client.stream.send_all(encode(BINARY, bomb, mask=True, rsv1=True))
        assert len(bomb) < 100_000
        assert await client.close_code() == 1009
        await site.until(lambda: site.seats[0].codes)
        assert site.seats[0].notes == [("opened", None), ("closed", 1006)]


async def test_answers_nobody_takes_cost_one_at_a_time():
    """A client that asks for megabytes again and again and does not read holds one answer, and is dropped by age."""
    site = Recorder()
    asked = 0
    respond = site.respond

    def count(request):
        nonlocal asked
        asked += 1
        return respond(request)

    site.respond = count  # type: ignore[method-assign]
    site.pages["/big"] = b"b" * 20_000_000
    async with served(site, outbox_seconds=0.5) as door:
        stream = await door.dial()
        with trio.fail_after(PATIENCE), contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"GET /big HTTP/1.1\r\nHost: here\r\n\r\n" * 10)
        assert asked == 1


async def test_pages_are_served_between_ticks():
    """A page is answered while websockets are busy, from the same port."""
    site = Recorder()
    site.on_message = echo
    site.respond = lambda request: Response(body=b"p" * 100_000)  # type: ignore[method-assign]
    async with served(site) as door, trio.open_nursery() as nursery:
        client = await door.connect()

        async def play() -> None:
            while True:
                await client.send(b"x")
                await client.message()

        nursery.start_soon(play)
        async with await door.dial() as stream:
            for _ in range(20):
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
                got = 0
                with trio.fail_after(PATIENCE):
                    while got < 100_000:
                        got += len(await stream.receive_some())
        nursery.cancel_scope.cancel()
