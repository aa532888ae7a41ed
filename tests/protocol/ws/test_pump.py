"""`coworld_protocol.ws.pump`: many connections in one task, with real sockets; none of them can hurt the others or the server.

Ends are in `test_pump_ends`, turns and deadlines in `test_pump_turns`, pages and single websockets in `test_pump_sdk` and
`test_pump_http`, deadlines with a clock of their own in `test_peer`.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import trio

from coworld_protocol.errors import PreconditionMissing, Refused
from coworld_protocol.ws.frames import BINARY, encode
from coworld_protocol.ws.pump import serve
from coworld_protocol.ws.web import Response
from tests.pump_peers import (
    PATIENCE,
    SEGMENT,
    Client,
    Recorder,
    descriptors,
    echo,
    overwhelm,
    served,
    upgrade_request,
)


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
                # Not by trio, whose own poll set is the parent's, too.
                os.close(client.stream.socket.fileno())
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
