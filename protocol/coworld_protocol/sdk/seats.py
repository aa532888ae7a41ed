"""The seats of an episode: who may sit, who sits, who has moved, who misbehaved."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec
import trio

from coworld_protocol.sdk.web import Socket

__all__ = ["FLOOD_LIMIT", "MALFORMED_LIMIT", "Seats"]

MoveT = TypeVar("MoveT")

MALFORMED_LIMIT = 100
"""Messages that are no moves before a seat's socket is closed."""
FLOOD_LIMIT = 1000
"""Messages within one tick and one second before a seat's socket is closed; a fast lockstep player sends one per tick."""

_LEFT = 1000
_POLICY = 1008


class Seats(Generic[MoveT]):
    """All seats of one episode.

    Args:
        tokens: the secret of each seat.
        move_type: the Struct a player's message must decode to.
        greet: the messages for a seat that has just connected.
        tick: the number of the observation that moves have to answer.
        changed: called when a seat connects or goes.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        move_type: type[MoveT],
        *,
        greet: Callable[[int], Sequence[str]],
        tick: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        self._tokens = [token.encode() for token in tokens]
        self._decoder = msgspec.json.Decoder(move_type)
        self._greet = greet
        self._tick = tick
        self._changed = changed
        self._sockets: list[Socket | None] = [None] * len(tokens)
        self._moves: dict[int, MoveT] = {}
        self._missing: set[int] = set()
        self._lost: dict[int, float] = {}
        self._stir = trio.Event()
        self.malformed = [0] * len(tokens)
        self.late = [0] * len(tokens)

    @property
    def connected(self) -> list[bool]:
        """Per seat, whether somebody sits there."""
        return [socket is not None for socket in self._sockets]

    def admit(self, slot: str, token: str) -> int | None:
        """The seat that this pair opens, or None. Takes the same time for every wrong token."""
        number = int(slot) if slot.isascii() and slot.isdigit() and len(slot) < 6 else -1
        known = 0 <= number < len(self._tokens)
        expected = self._tokens[number if known else 0]
        fits = hmac.compare_digest(expected, token.encode(errors="replace"))
        return number if known and fits and expected else None

    def endpoint(self, slot: int) -> _Sitting[MoveT]:
        """What receives the websocket of somebody who was admitted to `slot`."""
        return _Sitting(self, slot)

    def send(self, slot: int, message: str) -> None:
        """Send to a seat, if somebody sits there."""
        socket = self._sockets[slot]
        if socket is not None:
            socket.send(message)

    def close_all(self) -> None:
        """Say good-bye to everybody: the episode is over."""
        for socket in self._sockets:
            if socket is not None:
                socket.close(_LEFT, "episode over")

    def take_moves(self) -> dict[int, MoveT]:
        """The newest move of each seat since the last call; every connected seat is then asked anew."""
        moves = self._moves
        self._moves = {}
        self._missing = {slot for slot, socket in enumerate(self._sockets) if socket is not None}
        return moves

    async def all_connected(self) -> None:
        """Wait until every seat is taken."""
        while not all(self.connected):
            await self._next_stir()

    async def all_gone(self) -> None:
        """Wait until nobody sits anywhere."""
        while any(self.connected):
            await self._next_stir()

    async def all_moved(self, grace: float) -> None:
        """Wait until nobody is left to wait for: everybody connected has moved, and nobody was cut off less than `grace` ago."""
        while self._missing or self._lost:
            now = trio.current_time()
            for slot in [slot for slot, since in self._lost.items() if now - since >= grace]:
                del self._lost[slot]
            until = min(self._lost.values(), default=float("inf")) + grace
            if self._missing or self._lost:
                with trio.move_on_at(until):
                    await self._next_stir()

    async def _next_stir(self) -> None:
        if self._stir.is_set():
            self._stir = trio.Event()
        await self._stir.wait()

    def _sit(self, slot: int, socket: Socket) -> None:
        older = self._sockets[slot]
        self._sockets[slot] = socket
        if older is not None:
            older.close(_POLICY, "replaced by a newer connection")
        self._lost.pop(slot, None)
        if slot not in self._moves:
            self._missing.add(slot)
        for message in self._greet(slot):
            socket.send(message)
        self._stir.set()
        self._changed()

    def _leave(self, slot: int, socket: Socket, code: int) -> None:
        if self._sockets[slot] is not socket:
            return
        self._sockets[slot] = None
        self._missing.discard(slot)
        if code != _LEFT:
            self._lost[slot] = trio.current_time()
        self._stir.set()
        self._changed()

    def _receive(self, slot: int, socket: Socket, message: str | bytes) -> None:
        try:
            move = self._decoder.decode(message)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self.malformed[slot] += 1
            if self.malformed[slot] % MALFORMED_LIMIT == 0:
                socket.close(_POLICY, "too many messages that are no moves")
            return
        answered = getattr(move, "tick", None)
        if answered is not None and answered != self._tick():
            self.late[slot] += 1
            return
        self._moves[slot] = move
        self._missing.discard(slot)
        if not self._missing:
            self._stir.set()


class _Sitting(Generic[MoveT]):
    """One connection of one seat."""

    def __init__(self, seats: Seats[MoveT], slot: int) -> None:
        self._seats = seats
        self._slot = slot
        self._socket: Socket | None = None
        self._window = (0, 0.0)
        self._count = 0

    def opened(self, socket: Socket) -> None:
        self._socket = socket
        self._seats._sit(self._slot, socket)  # noqa: SLF001

    def received(self, message: str | bytes) -> None:
        assert self._socket is not None
        # Only the newest socket of a seat speaks for it.
        if self._seats._sockets[self._slot] is not self._socket:  # noqa: SLF001
            return
        if self._flooded():
            self._socket.close(_POLICY, "too many messages")
            return
        self._seats._receive(self._slot, self._socket, message)  # noqa: SLF001

    def closed(self, code: int) -> None:
        if self._socket is not None:
            self._seats._leave(self._slot, self._socket, code)  # noqa: SLF001

    def _flooded(self) -> bool:
        self._count += 1
        if self._count <= FLOOD_LIMIT:
            return False
        tick, since = self._window
        now, current = trio.current_time(), self._seats._tick()  # noqa: SLF001
        self._window = (current, now)
        self._count = 0
        return tick == current and now - since < 1.0
