"""`coworld_protocol.ws.hub`: edges that are waited for, that came early, and that say the peer is gone."""

from __future__ import annotations

import contextlib
import socket

import pytest
import trio
import trio.testing

from coworld_protocol.ws.hub import Hub, Place

SECONDS = 30


@pytest.fixture(params=[1, 20], ids=["few", "many"])
async def watched(request, nursery):
    """A place, its socket and the other end, among few or many others."""
    hub = Hub()
    nursery.start_soon(hub.run)
    with contextlib.ExitStack() as stack:
        pairs = [[stack.enter_context(sock) for sock in socket.socketpair()] for _ in range(request.param)]
        places = []
        for ours, _ in pairs:
            ours.setblocking(False)
            places.append(hub.add(ours))
        yield places[0], *pairs[0]
        for place in places:
            place.close()
    nursery.cancel_scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    hub.close()


async def read(place: Place, sock: socket.socket) -> bytes:
    while True:
        try:
            return sock.recv(100)
        except BlockingIOError:
            await place.wait()


async def test_a_waiting_task_is_woken(watched):
    """What comes while a task waits wakes it, again and again."""
    place, ours, theirs = watched
    with trio.fail_after(SECONDS):
        for number in range(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(place.wait)
                await trio.testing.wait_all_tasks_blocked()
                theirs.send(bytes([number]))
            assert ours.recv(100) == bytes([number])


async def test_what_came_before_anybody_waited_is_not_missed(watched):
    """An edge is kept until somebody waits; one that is spent makes nobody believe in more."""
    place, ours, theirs = watched
    with trio.fail_after(SECONDS):
        for _ in range(3):
            theirs.send(b"x")
            await trio.testing.wait_all_tasks_blocked()
            assert await read(place, ours) == b"x"
        with trio.move_on_after(0.05) as scope:
            await read(place, ours)
        assert scope.cancelled_caught
        theirs.send(b"y")
        assert await read(place, ours) == b"y"


@pytest.mark.parametrize("last", [b"", b"last"])
async def test_an_end_that_comes_with_the_last_bytes_is_seen(watched, last):
    """A single edge for bytes and end behind them is enough for both."""
    place, ours, theirs = watched
    with trio.fail_after(SECONDS):
        with trio.move_on_after(0.01):
            await read(place, ours)
        theirs.send(last)
        theirs.close()
        got = b""
        while data := await read(place, ours):
            got += data
        assert got == last
        await place.wait()


async def test_a_cancelled_wait_leaves_the_place_free(watched):
    """After giving up one can wait again."""
    place, ours, theirs = watched
    with trio.fail_after(SECONDS):
        for _ in range(3):
            with trio.move_on_after(0.01):
                await place.wait()
        theirs.send(b"x")
        assert await read(place, ours) == b"x"


async def test_one_task_waits_at_a_time(watched):
    """A second one is refused."""
    place, _, _ = watched
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.wait)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await place.wait()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("count", [1, 20])
async def test_closing_wakes_who_waits(nursery, count):
    """It gets what trio says of a closed socket."""
    hub = Hub()
    nursery.start_soon(hub.run)
    with contextlib.ExitStack() as stack, trio.fail_after(SECONDS):
        pairs = [[stack.enter_context(sock) for sock in socket.socketpair()] for _ in range(count)]
        places = [hub.add(ours) for ours, _ in pairs]

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await places[0].wait()

        async with trio.open_nursery() as inner:
            inner.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            places[0].close()
        assert len(hub) == count - 1
        for place in places[1:]:
            place.close()
