"""`coworld_protocol.ws.wire`: what one connection writes, in order, whatever the kernel takes."""

from __future__ import annotations

import itertools
import os
import select
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_protocol.ws.wire import Wire

IN, OUT = select.EPOLLIN, select.EPOLLOUT


class Kernel:
    """A socket that takes what its appetite says: so many bytes per call, none (it would block), or an error (None)."""

    def __init__(self, appetite: Iterator[int | None]) -> None:
        self.appetite = appetite
        self.taken = bytearray()
        self.calls = 0
        self.closings = 0

    def fileno(self) -> int:
        return -1 if self.closings else 7

    def recv(self, size: int) -> bytes:
        raise BlockingIOError

    def send(self, data: bytes | memoryview) -> int:
        self.calls += 1
        size = next(self.appetite)
        if size is None:
            raise ConnectionResetError
        if not size and len(data):
            raise BlockingIOError
        size = min(size, len(data))
        self.taken += data[:size]
        return size

    def shutdown(self, how: int) -> None:
        raise OSError

    def close(self) -> None:
        self.closings += 1


class Set:
    """What a poll set was last told."""

    def __init__(self) -> None:
        self.mask = IN
        self.gone = False

    def modify(self, fd: int, eventmask: int) -> None:
        assert eventmask != self.mask, "a system call that changes nothing"
        self.mask = eventmask

    def unregister(self, fd: int) -> None:
        self.gone = True


def wired(appetite: Iterator[int | None]) -> tuple[Wire, Kernel, Set]:
    kernel, poll = Kernel(appetite), Set()
    return Wire(kernel, poll), kernel, poll  # type: ignore[arg-type]


# Small pieces are joined and large ones cut at 256 KiB: sizes on both sides of that.
SIZES = st.one_of(st.integers(0, 300), st.integers(100_000, 700_000))
APPETITES = st.one_of(st.just(0), st.integers(1, 400), st.integers(1, 900_000))


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.one_of(SIZES, st.none()), max_size=40), appetite=st.lists(APPETITES, min_size=1, max_size=30))
def test_bytes_leave_in_order_and_what_waits_is_exact(steps, appetite):
    """Whatever is written and however little the kernel takes at a time: order, count and interest in room are right."""
    wire, kernel, poll = wired(itertools.cycle([*appetite, 5000]))
    written = bytearray()
    spared = 0
    for number, size in enumerate(steps):
        before = len(kernel.taken)
        if size is None:
            wire.flush()
            spared = max(spared - (len(kernel.taken) - before), 0)
        else:
            data = bytes([number % 251]) * size
            empty = not wire.waiting
            written += data
            everything = wire.write(data)
            if empty:
                spared = len(data) - (len(kernel.taken) - before)
            assert everything == (not wire.waiting)
        assert kernel.taken == written[: len(kernel.taken)]
        assert wire.waiting == len(written) - len(kernel.taken)
        assert wire.spared == spared <= wire.waiting
        assert poll.mask == (IN | OUT if wire.waiting else IN)
    while wire.waiting:
        wire.flush()
    assert kernel.taken == written
    assert poll.mask == IN


def test_a_frame_for_many_is_not_copied():
    """What one receiver has not taken of a shared frame waits as the shared object."""
    frame = b"x" * 100_000
    wires = [wired(iter([0, 10]))[0] for _ in range(3)]
    for wire in wires:
        wire.write(frame)
        wire.flush()
    assert all(wire._outbox[0] is frame and wire.waiting == 99_990 for wire in wires)


def test_small_pieces_leave_together():
    """A hundred messages that have waited cost one system call, not a hundred."""
    wire, kernel, _ = wired(itertools.chain([0], itertools.repeat(1 << 20)))
    for number in range(100):
        wire.write(bytes([number]) * 50)
    assert kernel.calls == 1
    wire.flush()
    assert kernel.calls == 2
    assert not wire.waiting


def test_being_emptied_is_counted():
    """A receiver that took everything is told from one that took a little, however much came after."""
    wire, _, _ = wired(iter([0, 5, 100, 0, 0]))
    wire.write(b"x" * 50)
    wire.flush()
    assert (wire.emptied, wire.taken) == (0, 5)
    wire.flush()
    wire.write(b"y")
    wire.flush()
    assert (wire.emptied, wire.taken, wire.waiting) == (1, 50, 1)


@pytest.mark.parametrize("late", [False, True], ids=["at-once", "from-the-outbox"])
def test_a_peer_that_is_gone_is_noted_and_nothing_raised(late):
    """A reset ends the wire, whether it comes with the first write or while something waits."""
    wire, _, _ = wired(iter([0, None] if late else [None, None]))
    assert not wire.write(b"abc")
    if late:
        assert wire.open
        wire.flush()
    assert not wire.open
    assert not wire.write(b"def")


def test_reading_can_be_paused_while_something_waits():
    """Interest in bytes to read and in room to write do not disturb each other."""
    wire, _, poll = wired(iter([0, 100]))
    wire.watch(reading=False)
    wire.write(b"abc")
    assert poll.mask == OUT
    wire.flush()
    assert poll.mask == 0
    wire.watch(reading=False, writing=True)
    assert poll.mask == OUT
    wire.watch(reading=True)
    assert poll.mask == IN


def test_closing_twice_closes_once():
    """The descriptor is given back once; afterwards writes go nowhere."""
    wire, kernel, poll = wired(itertools.chain([0], itertools.repeat(None)))
    wire.write(b"abc")
    wire.close()
    wire.close()
    assert kernel.closings == 1
    assert poll.gone
    assert (wire.open, wire.waiting, wire.spared) == (False, 0, 0)
    assert not wire.write(b"def")
    wire.watch(reading=False)
    assert poll.mask == IN | OUT


def test_the_end_of_writing_may_come_too_late():
    """A peer that was faster than our goodbye is no error."""
    wire, _, _ = wired(iter([]))
    wire.end_writing()
    assert not wire.open


def test_a_closed_wire_is_not_polled_though_a_copy_lives():
    """Where a forked child holds a copy of the descriptor, the peer learns of the end and the poll set forgets it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs, select.epoll() as poll:
        poll.register(ours.fileno(), IN)
        copy = os.dup(ours.fileno())
        try:
            Wire(ours, poll).close()
            assert theirs.recv(1) == b""
            assert poll.poll(0) == []
        finally:
            os.close(copy)


def test_a_large_frame_passes_a_real_socket():
    """Megabytes go through a kernel's buffer in as many turns as it takes."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    frame = os.urandom(3_000_000)
    with theirs, select.epoll() as poll:
        poll.register(ours.fileno(), IN)
        wire = Wire(ours, poll)
        assert not wire.write(frame)
        wire.write(b"end")
        got = bytearray()
        while len(got) < len(frame) + 3:
            got += theirs.recv(1 << 20)
            if poll.poll(0):
                wire.flush()
        assert got == frame + b"end"
        assert poll.poll(0) == []
        wire.close()
