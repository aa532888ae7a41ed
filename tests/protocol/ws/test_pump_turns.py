"""Whose turn it is: peers that stay silent, servers that were busy, other tasks under load, sweeps between full batches."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest
import trio

from coworld_protocol.ws import pump
from coworld_protocol.ws.frames import PING, PONG, TEXT, encode
from tests.pump_peers import (
    PATIENCE,
    Recorder,
    Seat,
    echo,
    served,
    upgrade_request,
)


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
