"""What the relay of the tap keeps: a door for each seat, a link for each connection, and the two sides of a link."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from coworld_actors.episode.chaos import Chaos, ChaosLine

__all__ = ["Door", "Link", "Side", "Watch"]


class Watch(Protocol):
    """Who is shown the traffic of a seat. `at` is seconds on trio's clock, `connection` counts from 0; nothing may be raised."""

    def opened(self, at: float, connection: int) -> None:
        """A connection to the game stands."""
        ...

    def to_player(self, at: float, data: bytes, connection: int) -> None:
        """Bytes of the game's went to the player."""
        ...

    def to_game(self, at: float, data: bytes, connection: int) -> None:
        """Bytes of the player's came for the game."""
        ...

    def closed(self, at: float, by: str, connection: int) -> None:
        """It is over; `by` is `player`, `game` or `tap`: who ended it first."""
        ...


class Door:
    """Where one seat's player comes in.

    Args:
        slot: the seat.
        listener: a listening, non-blocking socket; the relay closes it.
        watch: who is shown what passes.
        chaos: the trouble on this seat's connections.

    Attributes:
        port: of the listener.
        connections: how many were accepted so far.
        refused: how many of them the game did not take.
        open: how many there are now.
    """

    __slots__ = ("chaos", "connections", "listener", "open", "port", "refused", "slot", "watch")

    def __init__(self, slot: int, listener: socket.socket, watch: Watch, chaos: Chaos | None = None) -> None:
        self.slot = slot
        self.listener = listener
        self.port: int = listener.getsockname()[1]
        self.watch = watch
        self.chaos = chaos
        self.connections = 0
        self.refused = 0
        self.open = 0


class Side:
    """One socket of a link; what is read here goes to `other`.

    Attributes:
        name: `player` or `game`.
        mask: the events that are waited for; `UNWATCHED` when not even errors are.
        outbox: what waits to be written here.
        line: the trouble on the way from here to the other side.
        eof: nothing more is read here.
        ended: nothing more goes from here to the other side.
        shut: this socket was told that nothing more comes.
    """

    __slots__ = ("ended", "eof", "fd", "line", "link", "mask", "name", "other", "outbox", "recv", "send", "show", "shut",
                 "sock")  # fmt: skip

    UNWATCHED = -1
    other: Side

    def __init__(self, sock: socket.socket, name: str, link: Link, show: Callable[[float, bytes, int], None]) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.recv = sock.recv
        self.send = sock.send
        self.show = show
        self.name = name
        self.link = link
        self.mask = Side.UNWATCHED
        self.outbox = bytearray()
        self.line: ChaosLine | None = None
        self.eof = False
        self.ended = False
        self.shut = False


class Link:
    """One player's connection, and ours to the game on its behalf.

    Attributes:
        number: of the connection at its seat, from 0.
        first: who ended it first: `player`, `game` or, on purpose, `tap`; empty while nobody has.
        standing: the game has taken it.
        open: it has not been closed.
    """

    __slots__ = ("door", "first", "game", "number", "open", "player", "standing")

    def __init__(self, door: Door, player: socket.socket, game: socket.socket) -> None:
        self.door = door
        self.number = door.connections
        self.player = Side(player, "player", self, door.watch.to_game)
        self.game = Side(game, "game", self, door.watch.to_player)
        self.player.other, self.game.other = self.game, self.player
        self.first = ""
        self.standing = False
        self.open = True
