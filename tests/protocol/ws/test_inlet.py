"""`coworld_protocol.ws.inlet`: one reader at a time, nothing lost, others woken."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from coworld_protocol.ws.inlet import Inlet
from coworld_protocol.ws.outlet import Outlet
from coworld_protocol.ws.spin import Spinner

SECONDS = 30


@pytest.fixture
def ends():
    """Makes an inlet: with what it took, and the socket at the other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def make(spinner: Spinner | None = None):
        taken: list[bytes] = []
        return Inlet(ours, None, spinner, Outlet(ours, None), taken.append), taken, theirs

    with ours, theirs:
        yield make


async def test_reading_takes_what_comes(ends):
    """Bytes are digested as they come, their end as none."""
    inlet, taken, theirs = ends()
    with trio.fail_after(SECONDS):
        theirs.send(b"one")
        await inlet.read()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inlet.read)
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"two")
        theirs.close()
        await inlet.read()
    assert taken == [b"one", b"two", b""]
    assert inlet.reads == 3


async def test_a_second_reader_waits_for_the_first(ends):
    """Both go on when something came."""
    inlet, taken, theirs = ends()
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inlet.read)
            nursery.start_soon(inlet.read)
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"x")
    assert taken == [b"x"]


async def test_a_second_reader_is_woken_when_the_first_gives_up(ends):
    """It can read then itself."""
    inlet, taken, theirs = ends()

    async def first(scope: trio.CancelScope) -> None:
        with scope:
            await inlet.read()

    async def second() -> None:
        while not taken:
            await inlet.read()

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(first, scope)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(second)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"x")
    assert taken == [b"x"]


async def test_draining_does_not_wait(ends):
    """It takes what is there, and nothing when there is nothing."""
    inlet, taken, theirs = ends()
    inlet.drain()
    assert taken == []
    theirs.send(b"x" * 70_000)
    inlet.drain()
    assert b"".join(taken) == b"x" * 70_000


@pytest.mark.parametrize("expecting", [False, True])
async def test_polling_only_while_an_answer_is_expected(ends, expecting, monkeypatch):
    """The spinner is asked and told when an answer is due, and left alone otherwise."""
    told = []
    spinner = Spinner("always")
    monkeypatch.setattr(Spinner, "tell", lambda _, waited, **how: told.append(how))
    inlet, taken, theirs = ends(spinner)
    theirs.send(b"x")
    inlet.look()
    inlet.expecting = expecting
    theirs.send(b"y")
    with trio.fail_after(SECONDS):
        await inlet.read()
    assert taken == [b"y"]
    assert len(told) == expecting
    assert all(how["polled"] for how in told)


async def test_a_checkpoint_is_owed_after_a_while(ends):
    """32 operations that did not wait are free; a real checkpoint begins the count anew."""
    inlet, _, _ = ends()
    await inlet.give_way()
    owed = 0
    while not inlet.owes_checkpoint():
        owed += 1
    assert owed <= 32
    with trio.CancelScope() as scope:
        scope.cancel()
        await inlet.give_way()
    assert scope.cancelled_caught
