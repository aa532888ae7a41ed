"""The seats of an episode: who may sit, who sits, who has moved, who misbehaved. Nothing here waits."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec
import trio

from coworld_protocol.ws.frames import TEXT, encode
from coworld_protocol.ws.web import Endpoint, Socket

__all__ = ["FLOOD_LIMIT", "MALFORMED_LIMIT", "Seats", "text_frame"]

MoveT = TypeVar("MoveT")

MALFORMED_LIMIT = 100
"""Messages that are no moves before a seat's socket is closed."""
FLOOD_LIMIT = 1000
"""Messages within one tick and one second before a seat's socket is closed; a fast lockstep player sends one per tick."""

_LEFT = 1000
_POLICY = 1008
_NEVER: tuple[int, float] = (0, float("-inf"))

_json = msgspec.json.Encoder()


def text_frame(message: object) -> bytes:
    """A message as JSON in a text frame that any number of sockets may send."""
    return encode(TEXT, _json.encode(message))


class Seats(Generic[MoveT]):
    """All seats of one episode.

    Args:
        tokens: the secret of each seat.
        move_type: the Struct a player's message must decode to.
        greet: the frames for a seat that has just connected.
        changed: called when a seat connects or goes.
        clock: seconds.

    Attributes:
        tick: number of the observation that moves have to answer.
        missing: the connected seats that have not moved since the last `take_moves`.
        malformed: messages of each seat that were no moves.
        late: moves of each seat that answered another tick than the current one.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        move_type: type[MoveT],
        *,
        greet: Callable[[int], Sequence[bytes]],
        changed: Callable[[], None],
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._tokens = [token.encode() for token in tokens]
        self._decode = msgspec.json.Decoder(move_type).decode
        self._greet = greet
        self._changed = changed
        self._clock = clock
        self._sockets: list[Socket | None] = [None] * len(tokens)
        self._seated: set[int] = set()
        self._moves: dict[int, MoveT] = {}
        self._lost: dict[int, float] = {}
        # Per seat, since it was taken: messages since the last look at the clock, and tick and time of that look.
        self._heard = [0] * len(tokens)
        self._looked = [_NEVER] * len(tokens)
        self.tick = 0
        self.missing: set[int] = set()
        self.malformed = [0] * len(tokens)
        self.late = [0] * len(tokens)

    @property
    def connected(self) -> list[bool]:
        """Per seat, whether somebody sits there."""
        return [socket is not None for socket in self._sockets]

    @property
    def full(self) -> bool:
        """Whether every seat is taken."""
        return len(self._seated) == len(self._sockets)

    @property
    def empty(self) -> bool:
        """Whether nobody sits anywhere."""
        return not self._seated

    @property
    def waiting(self) -> bool:
        """Whether there is somebody to wait for: connected without a move, or cut off and not forgotten."""
        return bool(self.missing or self._lost)

    def forget(self, grace: float) -> float:
        """Stop waiting for seats that were cut off at least `grace` seconds ago; the time when the next one is due, or infinity."""
        if not self._lost:
            return float("inf")
        now = self._clock()
        self._lost = {slot: since for slot, since in self._lost.items() if now - since < grace}
        return min(self._lost.values(), default=float("inf")) + grace

    def admit(self, slot: str, token: str) -> int | None:
        """The seat that this pair opens, or None. Takes the same time for every wrong token."""
        number = int(slot) if slot.isascii() and slot.isdigit() and len(slot) < 6 else -1
        known = 0 <= number < len(self._tokens)
        expected = self._tokens[number if known else 0]
        fits = hmac.compare_digest(expected, token.encode(errors="replace"))
        return number if known and fits and expected else None

    def endpoint(self, slot: int) -> Endpoint:
        """What receives the websocket of somebody who was admitted to `slot`."""
        return _Sitting(self, slot)

    def take_moves(self) -> Mapping[int, MoveT]:
        """The newest move of each seat since the last call; every connected seat is then waited for anew."""
        moves = self._moves
        self._moves = {}
        self.missing = self._seated.copy()
        return moves

    def tell(self, message: Callable[[int], object]) -> None:
        """Send to each connected seat what is meant for it; an object given for several seats is encoded once."""
        last: object = None
        frame = b""
        for slot, socket in enumerate(self._sockets):
            if socket is not None:
                this = message(slot)
                if this is not last:
                    last = this
                    frame = text_frame(this)
                socket.send_frame(frame)

    def dismiss(self) -> None:
        """Say good-bye to everybody: the episode is over."""
        for socket in self._sockets:
            if socket is not None:
                socket.close(_LEFT, "episode over")

    def sit(self, slot: int, socket: Socket) -> None:
        """A connection for a seat is there; it takes the place of an older one."""
        older = self._sockets[slot]
        self._sockets[slot] = socket
        self._seated.add(slot)
        self._heard[slot] = 0
        self._looked[slot] = _NEVER
        if older is not None:
            older.close(_POLICY, "replaced by a newer connection")
        self._lost.pop(slot, None)
        if slot not in self._moves:
            self.missing.add(slot)
        for frame in self._greet(slot):
            socket.send_frame(frame)
        self._changed()

    def leave(self, slot: int, socket: Socket, code: int) -> None:
        """A connection of a seat is gone; without a proper good-bye its seat may come back."""
        if self._sockets[slot] is not socket:
            return
        self._sockets[slot] = None
        self._seated.discard(slot)
        self.missing.discard(slot)
        if code != _LEFT:
            self._lost[slot] = self._clock()
        self._changed()

    def hear(self, slot: int, socket: Socket, payload: bytes) -> None:
        """A message came for a seat; only the newest connection speaks for it."""
        if self._sockets[slot] is not socket:
            return
        self._heard[slot] += 1
        if self._heard[slot] > FLOOD_LIMIT and self._flooded(slot):
            socket.close(_POLICY, "too many messages")
            return
        try:
            move = self._decode(payload)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self.malformed[slot] += 1
            if self.malformed[slot] % MALFORMED_LIMIT == 0:
                socket.close(_POLICY, "too many messages that are no moves")
            return
        answered = getattr(move, "tick", None)
        if answered is not None and answered != self.tick:
            self.late[slot] += 1
            return
        self._moves[slot] = move
        self.missing.discard(slot)

    def _flooded(self, slot: int) -> bool:
        tick, since = self._looked[slot]
        now = self._clock()
        self._looked[slot] = (self.tick, now)
        self._heard[slot] = 0
        return tick == self.tick and now - since < 1.0


class _Sitting(Generic[MoveT]):
    """One connection of one seat."""

    __slots__ = ("_seats", "_slot", "_socket")

    def __init__(self, seats: Seats[MoveT], slot: int) -> None:
        self._seats = seats
        self._slot = slot
        self._socket: Socket | None = None

    def opened(self, socket: Socket) -> None:
        self._socket = socket
        self._seats.sit(self._slot, socket)

    def received(self, payload: bytes, text: bool) -> None:  # noqa: ARG002 - the interface's; JSON is JSON in either kind
        assert self._socket is not None
        self._seats.hear(self._slot, self._socket, payload)

    def closed(self, code: int) -> None:
        if self._socket is not None:
            self._seats.leave(self._slot, self._socket, code)
