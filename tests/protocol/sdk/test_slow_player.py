"""P18: a player that does not read can slow its game down to the move deadline, no further, and costs a bounded piece of memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from coworld_protocol.sdk.player import connect_player
from coworld_protocol.ws.web import Limits
from coworld_protocol.ws.wire import Wire
from tests.counting import Last, Say, Seen, counting_server

PADDING = 100_000
OUTBOX = 1_000_000
TICKS = 150


@pytest.fixture
def waiting(monkeypatch) -> list[int]:
    """Bytes that wait for one receiver, after each message that was written to it."""
    seen: list[int] = []
    write = Wire.write

    def watched(wire, data):
        write(wire, data)
        seen.append(wire.waiting)

    monkeypatch.setattr(Wire, "write", watched)
    return seen


@pytest.fixture
def start(tmp_path, nursery) -> Callable:
    """Start a game of counting with two seats; returns its port and its end."""

    async def start(**config) -> tuple[int, trio.Event]:
        limits = Limits(outbox_bytes=OUTBOX, outbox_seconds=300, close_seconds=1, ping_seconds=0)
        server = counting_server(tmp_path / "pages", limits)
        values = {
            "tokens": ["t-0", "t-1"],
            "ticks": TICKS,
            "padding": PADDING,
            "reconnect_grace_seconds": 0.2,
            **config,
        }
        (tmp_path / "config.json").write_text(json.dumps(values))
        environ = {
            "COGAME_HOST": "127.0.0.1",
            "COGAME_PORT": "0",
            "COGAME_CONFIG_URI": f"file://{tmp_path}/config.json",
            "COGAME_RESULTS_URI": f"file://{tmp_path}/results.json",
        }
        over = trio.Event()

        async def run(*, task_status) -> None:
            await server.run(environ, task_status=task_status)
            over.set()

        return await nursery.start(run), over

    return start


@asynccontextmanager
async def deaf(port: int):
    """A player in seat 1 that takes its seat and never reads again; yields what sends frames with a payload."""
    raw = trio.socket.socket()
    raw.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    await raw.connect(("127.0.0.1", port))
    async with trio.SocketStream(raw) as stream:
        head = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        await stream.send_all(f"GET /player?slot=1&token=t-1 HTTP/1.1\r\n{head}\r\n{key}\r\n\r\n".encode())

        async def send(opcode: int, payload: bytes, times: int = 1) -> None:
            assert len(payload) < 126
            await stream.send_all((bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload) * times)

        yield send


async def play_the_good_seat(port: int) -> list[float]:
    """Play seat 0 at once whenever asked; the time of each observation."""
    times: list[float] = []
    async with connect_player(Seen, final=Last, url=f"ws://127.0.0.1:{port}/player?slot=0&token=t-0") as player:
        async for seen in player:
            times.append(trio.current_time())
            await player.send(Say(number=1, tick=seen.tick))
        assert player.final is not None
        assert player.final.scores[0] == TICKS
    return times


async def test_a_silent_player_costs_a_move_deadline_per_tick_until_it_is_dropped(start, waiting):
    """It is cut off by the outbox's limit, long before the game is over; from then on nobody waits for it."""
    deadline = 0.05
    port, over = await start(tick_timeout_seconds=deadline)
    began = trio.current_time()
    with trio.fail_after(120):
        async with deaf(port):
            times = await play_the_good_seat(port)
        await over.wait()
    # Waiting longer than the deadline for a seat, in even one tick of five, would show; a busy machine's delays do not.
    assert times[-1] - began < TICKS * deadline * 1.5 + 10
    assert len(times) == TICKS
    # It was dropped: the fastest ticks are those that wait for nobody.
    pauses = sorted(late - early for early, late in itertools.pairwise(times))
    assert pauses[0] < deadline / 2
    assert OUTBOX - 2 * PADDING < max(waiting) <= OUTBOX + 2 * PADDING


async def test_a_player_that_moves_and_never_reads_slows_nobody(start, waiting):
    """Its moves count until it is dropped; no tick waits for it but for the one grace of a lost connection."""
    port, over = await start(tick_timeout_seconds=30)
    with trio.fail_after(120):
        async with deaf(port) as send, trio.open_nursery() as nursery:

            async def move() -> None:
                try:
                    while True:
                        await send(1, msgspec.json.encode(Say(number=5)))
                        await trio.sleep(0.002)
                except trio.BrokenResourceError:
                    return

            nursery.start_soon(move)
            times = await play_the_good_seat(port)
            nursery.cancel_scope.cancel()
        await over.wait()
    # One tick that waited for its deadline would have taken 30 seconds.
    assert max(late - early for early, late in itertools.pairwise(times)) < 10
    assert max(waiting) <= OUTBOX + 2 * PADDING


async def test_a_player_that_pings_and_never_reads_is_dropped(start, waiting):
    """What the server owes it for pings counts like any other bytes that wait for it."""
    port, _ = await start(player_connect_timeout_seconds=60)
    payload = b"x" * 125
    sent = 0
    with trio.fail_after(120):
        async with deaf(port) as send:

            async def ping_for_ever() -> None:
                nonlocal sent
                while True:
                    await send(9, payload, times=100)
                    sent += 100

            # The server answers every ping it reads, so this ends when the kernel's buffers and its own outbox are full.
            with pytest.raises(trio.BrokenResourceError):
                await ping_for_ever()
    assert sent * len(payload) > OUTBOX
    # What is left of the one observation comes on top: a message that finds the outbox empty may be larger than the limit.
    assert OUTBOX < max(waiting) <= OUTBOX + PADDING + 300
