"""The doors of the tap: one listening socket for each seat, and what to do when nobody else can be let in."""

from __future__ import annotations

import math
import select
import socket
from collections.abc import Callable, Iterator, Sequence

from coworld_actors.episode.tap_link import Door
from coworld_protocol.ws.listening import NO_ROOM

__all__ = ["MOST_CONNECTIONS", "Doorkeeper"]

MOST_CONNECTIONS = 256
"""Open connections of one seat; whoever comes then waits in the kernel's queue until one is closed."""

ACCEPTS = 32
"""Connections that are accepted at a door before everybody else has a turn."""

NO_ROOM_PAUSE = 0.1
"""Seconds for which nobody is let in after the machine had no room for another connection."""

NO_ROOM_TURNS = 50
"""So many such pauses in a row are a fault of the machine."""


class Doorkeeper:
    """Lets connections in while there is room; a door behind which there is none is not watched.

    Args:
        doors: one for each seat.
        epoll: in which they are watched.
        on_no_room: called once, when the machine has had no room for another connection for a while, with its words.

    Attributes:
        opens: when the doors that were shut for want of room are opened again; infinite when none is.
    """

    def __init__(self, doors: Sequence[Door], epoll: select.epoll, on_no_room: Callable[[str], None]) -> None:
        self._doors = {door.listener.fileno(): door for door in doors}
        self._epoll = epoll
        self._on_no_room = on_no_room
        self._shut: set[Door] = set()
        self._turns = 0
        self._spare: socket.socket | None = None
        self.opens = math.inf
        for fd in self._doors:
            epoll.register(fd, select.EPOLLIN)

    def get(self, fd: int) -> Door | None:
        """The door with this descriptor."""
        return self._doors.get(fd)

    def let_in(self, door: Door, now: float) -> Iterator[tuple[socket.socket, socket.socket]]:
        """Accept who waits at a door; each comes with a new socket for the connection to the game."""
        for _ in range(ACCEPTS):
            if door.open >= MOST_CONNECTIONS:
                self._shut_door(door)
                return
            try:
                # First ours, then the player's: who cannot be served waits in the queue and is not turned away.
                game = self._spare = self._spare or _new_socket()
                player, _ = door.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._no_room(error, now)
                    return
                # The player has gone while it waited.
                continue
            self._spare = None
            self._turns = 0
            yield player, game

    def reopen(self, now: float) -> None:
        """Watch the doors again behind which there is room."""
        if now >= self.opens:
            self.opens = math.inf
        if self.opens == math.inf:
            for door in [door for door in self._shut if door.open < MOST_CONNECTIONS]:
                self._shut.discard(door)
                self._epoll.modify(door.listener.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Close every door."""
        if self._spare is not None:
            self._spare.close()
        for door in self._doors.values():
            door.listener.close()

    def _shut_door(self, door: Door) -> None:
        if door not in self._shut:
            self._shut.add(door)
            self._epoll.modify(door.listener.fileno(), 0)

    def _no_room(self, error: OSError, now: float) -> None:
        self.opens = now + NO_ROOM_PAUSE
        self._turns += 1
        if self._turns == NO_ROOM_TURNS:
            self._on_no_room(error.strerror or str(error))
        for door in self._doors.values():
            self._shut_door(door)


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
