"""Lines, however the bytes come; and a sender that does not wait for ever."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.control.lines import RECEIVE, Lines, LineTooLong, send

LIMIT = 8


class Pieces(trio.abc.ReceiveStream):
    """Gives these pieces, then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while self.pieces:
            piece = self.pieces.pop(0)
            if piece:
                return piece
        return b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def read_all(lines: Lines) -> list[bytes | None]:
    """All lines, None for one that was too long."""
    found: list[bytes | None] = []
    while True:
        try:
            line = await lines.next()
        except LineTooLong:
            found.append(None)
            continue
        if line is None:
            return found
        found.append(line)


@given(st.lists(st.text("ab\n", max_size=3 * LIMIT).map(str.encode)))
def test_lines_do_not_depend_on_how_they_arrive(pieces: list[bytes]) -> None:
    """Every complete line within the limit comes once, each longer one is reported once, and an unfinished last one is none."""
    complete = b"".join(pieces).split(b"\n")
    expected = [line if len(line) < LIMIT else None for line in complete[:-1]]
    found = trio.run(read_all, Lines(Pieces(list(pieces)), LIMIT))
    # A last line without an end is reported if it has become too long by then.
    assert found in (expected, [*expected, None])
    assert (len(found) > len(expected)) == (len(complete[-1]) >= LIMIT)


async def test_a_line_that_never_ends_takes_no_more_memory_than_the_limit() -> None:
    """It is reported at once, and skipped while it comes."""
    lines = Lines(Pieces([b"x" * RECEIVE] * 700 + [b"\nnext\n"]), LIMIT)
    with pytest.raises(LineTooLong):
        await lines.next()
    assert await lines.next() == b"next"
    assert await lines.next() is None
    assert await lines.next() is None


async def test_fill_waits_for_what_nobody_has_looked_at() -> None:
    """What is there already counts; the end does not."""
    lines = Lines(Pieces([b"one\ntwo\n", b"three"]), LIMIT)
    assert await lines.next() == b"one"
    assert await lines.fill()
    assert await lines.next() == b"two"
    assert await lines.fill()
    assert not await lines.fill() or await lines.next() is None


async def test_whoever_does_not_read_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """After the deadline, not later; a reader gets everything."""
    here, there = trio.testing.lockstep_stream_pair()
    with pytest.raises(trio.TooSlowError):
        await send(here, b"x", 5.0)
    assert trio.current_time() == pytest.approx(5.0, abs=0.1)
    here, there = trio.testing.memory_stream_pair()
    data = bytes(range(256)) * 1000
    await send(here, data, 5.0)
    await here.aclose()
    assert b"".join([piece async for piece in there]) == data
