"""The relay of the tap: bytes between every player and the game, unchanged, all connections in one task.

One epoll set of our own holds all sockets. Each time something is ready everything is forwarded first; whoever watches gets a
copy afterwards, when nobody waits for it any more. Ends and resets are passed on as what they are. While one side does not read,
about `BACKLOG` bytes are kept for it and the other side is not read.
"""

from __future__ import annotations

import errno
import math
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import trio

from coworld_actors.episode.chaos import ChaosLine, Cut, Direction, Fault
from coworld_actors.episode.tap_doors import Doorkeeper
from coworld_actors.episode.tap_link import Door, Link, Side
from coworld_actors.traffic.latency import Series
from coworld_protocol.ws.spin import Spinner, spin
from coworld_protocol.ws.tuning import tune

__all__ = ["BACKLOG", "Relay"]

BACKLOG = 256 * 1024
"""Bytes kept for a side that does not read; from here on the other side is not read either."""

PIECE = 64 * 1024
"""Bytes read at a time; a buffer of twice the size is mapped instead of allocated, at several times the cost."""

EVENTS = 64
"""Ready sockets that are served before everybody else has a turn."""

LARGE = 16 * 1024
"""A larger piece is shown at once: memory that is held until the others are served is memory that is not in the cache."""

DRAIN = 1024 * 1024
"""Bytes that are still taken from a side whose connection has broken."""

_IN, _OUT, _ERR = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR
_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Stands between the doors and the game; runs once.

    Args:
        game: IPv4 address and port of the game.
        doors: one for each seat.
        on_connected: called with the seat of every connection that the game has taken.
        on_fault: called with every fault on purpose: seat, connection, direction, fault, frame, seconds.
        on_no_room: called once, when the machine has had no room for another connection for a while, with its words.
        cost: gets the seconds from each moment at which the relay saw that something was ready until it had been forwarded.
        spinner: whether to look for the next bytes for a moment before sleeping.
    """

    def __init__(
        self,
        game: tuple[str, int],
        doors: Sequence[Door],
        *,
        on_connected: Callable[[int], None],
        on_fault: Callable[[int, int, Direction, Fault, int, float], None],
        on_no_room: Callable[[str], None],
        cost: Series,
        spinner: Spinner | None = None,
    ) -> None:
        self._game = game
        self._on_connected = on_connected
        self._on_fault = on_fault
        self._spinner = spinner
        self._sides: dict[int, Side] = {}
        self._troubled: dict[Side, ChaosLine] = {}
        self._show: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._at = 0.0
        self._moved = False
        self._epoll = select.epoll()
        self._keeper = Doorkeeper(doors, self._epoll, on_no_room)
        self._cost = cost

    async def run(self) -> NoReturn:
        """Relay until cancelled; then every socket is closed, the doors' too."""
        try:
            while True:
                await self._turn()
        finally:
            self._close_all()

    async def _turn(self) -> None:
        """Wait until something is ready, forward all of it, then show it to those who watch."""
        events, spun = await self._wait()
        woke = time.perf_counter()
        self._at = trio.current_time()
        self._moved = False
        came: list[Door] = []
        sides = self._sides
        for fd, event in events:
            side = sides.get(fd)
            if side is None:
                door = self._keeper.get(fd)
                if door is not None:
                    came.append(door)
            elif not side.link.standing:
                self._connected(side.link, broken=side is side.link.player)
            else:
                if event & _OUT:
                    self._flush(side)
                if event & ~_OUT and side.link.open:
                    self._read(side, event)
        if self._troubled:
            self._release()
        if self._moved:
            self._cost.record(time.perf_counter() - woke)
        # After all others: a descriptor that was closed above comes back as a new connection's.
        for door in came:
            for player, game in self._keeper.let_in(door, self._at):
                self._splice(door, player, game)
        if self._keeper.opens <= self._at:
            self._keeper.reopen(self._at)
        self._show_all()
        if spun:
            # Nothing was waited for; everybody else has a turn all the same.
            await trio.lowlevel.checkpoint()

    def _show_all(self) -> None:
        for show, what in self._show:
            show(self._at, *what)
        self._show.clear()

    async def _wait(self) -> tuple[list[tuple[int, int]], bool]:
        """What is ready, and whether it was found without sleeping."""
        spinner = self._spinner if self._moved else None
        events: list[tuple[int, int]] | None = None
        caught = False
        began = budget = 0.0
        if spinner is not None:
            began = time.perf_counter()
            budget = spinner.budget()
            if budget:
                events, caught = spin(self._look, budget)
        if events is None:
            due = self._keeper.opens
            if self._troubled:
                due = min(due, *(line.due for line in self._troubled.values()))
            if due == math.inf:
                await trio.lowlevel.wait_readable(self._epoll)
            else:
                with trio.move_on_at(due):
                    await trio.lowlevel.wait_readable(self._epoll)
        if spinner is not None:
            spinner.tell(time.perf_counter() - began, polled=budget > 0, caught=caught)
        return (self._epoll.poll(0, EVENTS), False) if events is None else (events, True)

    def _look(self) -> list[tuple[int, int]] | None:
        return self._epoll.poll(0, EVENTS) or None

    def _read(self, side: Side, event: int) -> None:
        """Forward what one side has sent."""
        link, other = side.link, side.other
        if not side.mask & _IN:
            # Not read for now. An error is news; an end is either known or comes behind what is still to be read.
            if event & _ERR:
                self._break(side)
            else:
                self._wish(side, Side.UNWATCHED)
            return
        try:
            data = side.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._break(side)
            return
        if not data:
            self._end(side)
            return
        if side.line is not None:
            self._into_line(side, side.line, data)
            return
        self._show.append((side.show, (data, link.number)))
        self._moved = True
        if other.outbox:
            other.outbox += data
        else:
            try:
                sent = other.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._break(other)
                return
            if sent == len(data):
                if sent > LARGE:
                    self._show_all()
                return
            other.outbox += memoryview(data)[sent:]
        self._wishes(link)

    def _flush(self, side: Side) -> None:
        """Write what is kept for one side."""
        try:
            while side.outbox:
                del side.outbox[: side.send(side.outbox)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._break(side)
            return
        if side.other.ended and not side.outbox:
            self._shut(side)
        self._wishes(side.link)

    def _end(self, side: Side) -> None:
        """One side sends no more."""
        side.eof = True
        side.link.first = side.link.first or side.name
        if side.line is not None:
            side.line.end(self._at)
        else:
            side.ended = True
            if not side.other.outbox:
                self._shut(side.other)
        self._wishes(side.link)

    def _shut(self, side: Side) -> None:
        """Tell one side that nothing more comes; when both know, the link is over."""
        if side.shut:
            return
        side.shut = True
        try:
            side.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._break(side)
            return
        if side.other.shut:
            self._close(side.link)

    def _break(self, side: Side) -> None:
        """One side's connection is broken: the other gets what had come before, then a reset."""
        link, other = side.link, side.other
        if not link.open:
            return
        if link.standing and side.line is None:
            with suppress(OSError):
                taken = 0
                while not side.eof and taken < DRAIN and (data := side.recv(PIECE)):
                    taken += len(data)
                    other.outbox += data
                    self._show.append((side.show, (data, link.number)))
            with suppress(OSError):
                while other.outbox:
                    del other.outbox[: other.send(other.outbox)]
        link.first = link.first or side.name
        self._reset(link)

    def _reset(self, link: Link) -> None:
        for side in (link.player, link.game):
            with suppress(OSError):
                side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close(link)

    def _close(self, link: Link) -> None:
        link.open = False
        door = link.door
        for side in (link.player, link.game):
            self._wish(side, Side.UNWATCHED)
            self._sides.pop(side.fd, None)
            self._troubled.pop(side, None)
            side.sock.close()
        if link.standing:
            self._show.append((door.watch.closed, (link.first or "tap", link.number)))
        door.open -= 1
        self._keeper.reopen(self._at)

    def _wishes(self, link: Link) -> None:
        """Wait for what each side of an open link is waited for now."""
        if not link.open:
            return
        for side in (link.player, link.game):
            kept = len(side.other.outbox) + (side.line.held if side.line is not None else 0)
            wish = (0 if side.eof or kept >= BACKLOG else _IN) | (_OUT if side.outbox else 0)
            # A side that nothing is wanted of stays unwatched once it has nothing but its end to tell.
            if wish or side.mask != Side.UNWATCHED:
                self._wish(side, wish)

    def _wish(self, side: Side, mask: int) -> None:
        if mask == side.mask:
            return
        if mask == Side.UNWATCHED:
            self._epoll.unregister(side.fd)
        elif side.mask == Side.UNWATCHED:
            self._epoll.register(side.fd, mask)
        else:
            self._epoll.modify(side.fd, mask)
        side.mask = mask

    def _into_line(self, side: Side, line: ChaosLine, data: bytes) -> None:
        """What a side with trouble has sent: the player's is shown as it comes, the game's as it gets to the player."""
        if side is side.link.player and not side.ended:
            self._show.append((side.show, (data, side.link.number)))
        line.put(self._at, data)
        self._wishes(side.link)

    def _release(self) -> None:
        """Let out what the lines have held long enough."""
        for side, line in list(self._troubled.items()):
            link, other = side.link, side.other
            items = line.take(self._at)
            for item in items:
                if not link.open:
                    break
                if isinstance(item, bytes):
                    self._moved = True
                    if side is link.game:
                        self._show.append((side.show, (item, link.number)))
                    other.outbox += item
                elif item is Cut.DROP:
                    link.first = link.first or "tap"
                    self._reset(link)
                else:
                    side.ended = True
                    if item is Cut.HALF_CLOSE:
                        link.first = link.first or "tap"
            if items and link.open:
                self._flush(other)

    def _splice(self, door: Door, player: socket.socket, game: socket.socket) -> None:
        for sock in (player, game):
            sock.setblocking(False)
            tune(sock)
        link = Link(door, player, game)
        door.connections += 1
        door.open += 1
        if door.chaos is not None:
            for side, way in ((link.player, Direction.TO_GAME), (link.game, Direction.TO_PLAYER)):
                side.line = self._troubled[side] = self._line(door, link.number, way)
        self._sides.update({side.fd: side for side in (link.player, link.game)})
        self._wish(link.player, 0)
        self._wish(link.game, _OUT)
        if game.connect_ex(self._game) not in {0, errno.EINPROGRESS}:
            self._refused(link)

    def _line(self, door: Door, number: int, way: Direction) -> ChaosLine:
        assert door.chaos is not None

        def tell(fault: Fault, frame: int, seconds: float) -> None:
            self._on_fault(door.slot, number, way, fault, frame, seconds)

        return ChaosLine(door.chaos, door.slot, number, way, tell)

    def _connected(self, link: Link, *, broken: bool) -> None:
        """The game has taken a connection or refused it, or the player has not waited for that."""
        if not link.open:
            return
        if broken:
            self._reset(link)
            return
        if link.game.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._refused(link)
            return
        link.standing = True
        self._show.append((link.door.watch.opened, (link.number,)))
        self._on_connected(link.door.slot)
        self._wishes(link)

    def _refused(self, link: Link) -> None:
        link.door.refused += 1
        self._reset(link)

    def _close_all(self) -> None:
        self._at = trio.current_time()
        for side in list(self._sides.values()):
            if side.link.open:
                side.link.first = side.link.first or "tap"
                self._close(side.link)
        self._show_all()
        self._keeper.close()
        self._epoll.close()
