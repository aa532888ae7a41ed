"""`coworld_protocol.ws.outlet`: frames leave whole and in order, whoever sends them and however slowly they are
taken.
"""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from coworld_protocol.ws.frames import BINARY, CLOSE, PONG, encode
from coworld_protocol.ws.outlet import Outlet

SECONDS = 30
BIG = encode(BINARY, b"x" * 1_000_000)


@pytest.fixture
def ends():
    """An outlet and the socket at the other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield Outlet(ours, None), theirs


def take(sock: socket.socket) -> bytes:
    """What is there."""
    got = b""
    while True:
        try:
            data = sock.recv(1 << 20)
        except BlockingIOError:
            return got
        if not data:
            return got
        got += data


def test_what_fits_leaves_at_once(ends):
    """With room in the kernel nothing waits."""
    outlet, theirs = ends
    assert outlet.idle
    outlet.write(b"one")
    outlet.put(b"two")
    assert not outlet.waiting
    assert take(theirs) == b"onetwo"


def test_control_frames_stand_in_line_and_replace_their_kind(ends):
    """Behind a frame that is going out there is one pong at most, and the close frame comes last."""
    outlet, theirs = ends
    outlet.write(BIG)
    assert outlet.waiting
    assert not outlet.idle
    for payload in (b"1", b"2"):
        outlet.put(encode(PONG, payload))
    outlet.put(encode(CLOSE, b""))
    got = b""
    while outlet.waiting:
        got += take(theirs)
        outlet.push()
    assert got + take(theirs) == BIG + encode(PONG, b"2") + encode(CLOSE, b"")


async def test_flush_waits_and_can_be_stopped(ends):
    """It ends when everything has left, or when told to, and then the rest is still there."""
    outlet, theirs = ends
    with trio.fail_after(SECONDS):
        async with outlet.turn:
            outlet.write(BIG)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(outlet.flush)
                await trio.testing.wait_all_tasks_blocked()
                # Whoever holds the turn is the one who pushes on.
                outlet.push()
                outlet.stop()
            assert outlet.waiting
            got = b""
            async with trio.open_nursery() as nursery:
                nursery.start_soon(outlet.flush)
                while len(got) < len(BIG):
                    got += take(theirs)
                    await trio.lowlevel.checkpoint()
            assert got == BIG
            assert not outlet.waiting


@pytest.mark.parametrize("while_waiting", [False, True])
async def test_a_peer_that_is_gone_breaks_it(ends, while_waiting):
    """Nothing waits any more, and nothing raises."""
    outlet, theirs = ends
    with trio.fail_after(SECONDS):
        if while_waiting:
            async with outlet.turn:
                outlet.write(BIG)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(outlet.flush)
                    await trio.testing.wait_all_tasks_blocked()
                    theirs.close()
        else:
            theirs.close()
            outlet.write(b"x")
        assert outlet.broken
        assert not outlet.waiting
        outlet.put(b"y")
        outlet.push()
        assert not outlet.waiting
