"""Trouble on purpose between player and game: what `--chaos` asks for, and a plan that the same seed always makes again.

What happens to a frame follows from the seed, the seat, the number of its connection, the direction and the number of the frame,
and from nothing else: not from the clock, and not from how TCP cuts the stream into pieces. The bytes that arrive are the bytes
that were sent; only when they arrive, and whether the rest of the connection still does, is changed.
"""

from __future__ import annotations

import enum
import hashlib
import math
import re
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

import msgspec

from coworld_protocol.errors import Refused

__all__ = ["Chaos", "ChaosLine", "Cut", "Direction", "Fault", "FrameCounter", "Trouble", "parse_chaos"]

LONGEST = 600.0
"""Seconds that one delay or stall may take at most."""

_EXAMPLE = "--chaos 'delay=20ms jitter=10ms stall=0.01:500ms drop=0.001 halfclose=0.001 seed=7 seats=0,2'"
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s)")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Direction(enum.StrEnum):
    """Which way a frame goes."""

    TO_GAME = "to_game"
    TO_PLAYER = "to_player"


class Fault(enum.StrEnum):
    """What is done to a connection, apart from delaying it."""

    STALL = "stall"
    DROP = "drop"
    HALF_CLOSE = "half_close"


class Trouble(NamedTuple):
    """What happens to one frame.

    Attributes:
        delay: seconds that it is held.
        stall: seconds for which it and all behind it wait on top of that.
        end: instead of it the connection is reset, or this direction of it ends.
    """

    delay: float = 0.0
    stall: float = 0.0
    end: Fault | None = None


class Chaos(msgspec.Struct, frozen=True, kw_only=True):
    """What `--chaos` asks for; everything holds for each direction of each connection of the seats.

    Attributes:
        delay: seconds that every frame is held.
        jitter: at most so many seconds more or less; order is kept.
        stall_rate: share of frames at which the direction stalls.
        stall: for how many seconds.
        drop: share of frames at which the connection is reset.
        half_close: share of frames at which the direction ends: its receiver sees the end, its sender goes on.
        seed: of the plan.
        seats: which seats; None for all.

    Raises:
        Refused: a value that means nothing.
    """

    delay: float = 0.0
    jitter: float = 0.0
    stall_rate: float = 0.0
    stall: float = 0.0
    drop: float = 0.0
    half_close: float = 0.0
    seed: int = 0
    seats: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("delay", "jitter", "stall"):
            if not 0 <= getattr(self, name) <= LONGEST:
                raise _refused(f"{name} is {getattr(self, name):g} s", f"use 0 s to {LONGEST:g} s")
        for name in ("stall_rate", "drop", "half_close"):
            if not 0 <= getattr(self, name) <= 1:
                raise _refused(f"{name} is {getattr(self, name):g}", "use a share of frames from 0 to 1")
        if self.jitter > self.delay:
            raise _refused(
                f"jitter is {self.jitter:g} s and delay {self.delay:g} s",
                "use a delay of at least the jitter: a frame cannot arrive before it was sent",
            )
        if bool(self.stall_rate) != bool(self.stall):
            raise _refused("a stall needs a share of frames and a time", "write stall=0.01:500ms")
        if not (self.delay or self.stall or self.drop or self.half_close):
            raise _refused("nothing would happen", f"ask for something, such as {_EXAMPLE}")

    def __str__(self) -> str:
        """As `parse_chaos` reads it."""
        words = [
            f"{name}={_number(value)}s" for name, value in (("delay", self.delay), ("jitter", self.jitter)) if value
        ]
        if self.stall:
            words.append(f"stall={_number(self.stall_rate)}:{_number(self.stall)}s")
        words += [
            f"{name}={_number(value)}" for name, value in (("drop", self.drop), ("halfclose", self.half_close)) if value
        ]
        words.append(f"seed={self.seed}")
        if self.seats is not None:
            words.append("seats=" + ",".join(map(str, self.seats)))
        return " ".join(words)

    def on(self, slot: int) -> bool:
        """Whether this seat has trouble."""
        return self.seats is None or slot in self.seats

    def trouble(self, slot: int, connection: int, direction: Direction, frame: int) -> Trouble:
        """What happens to a frame; the same arguments always give the same answer.

        Args:
            slot: the seat.
            connection: number of the connection at this seat, from 0.
            direction: which way.
            frame: number of the frame in this direction, from 1; 0 is the handshake.
        """
        key = f"{self.seed}:{slot}:{connection}:{direction}:{frame}"
        digest = hashlib.blake2b(key.encode(), digest_size=32).digest()
        # Four independent numbers below 1; 53 bits each, so that none is rounded up to 1.
        late, stalls, drops, ends = (
            (int.from_bytes(digest[start : start + 8], "big") >> 11) / (1 << 53) for start in (0, 8, 16, 24)
        )
        return Trouble(
            delay=self.delay + self.jitter * (2 * late - 1),
            stall=self.stall if stalls < self.stall_rate else 0.0,
            end=Fault.DROP if drops < self.drop else Fault.HALF_CLOSE if ends < self.half_close else None,
        )


def parse_chaos(text: str) -> Chaos:
    """Read `delay=20ms jitter=10ms stall=0.01:500ms drop=0.001 halfclose=0.001 seed=7 seats=0,2`; the order is free.

    Raises:
        Refused: with what would be right.
    """
    found: dict[str, str] = {}
    for word in text.split():
        name, sign, value = word.partition("=")
        if name not in _READERS:
            raise _refused(f"{name!r} is nothing it can do", f"use {', '.join(_READERS)}, such as {_EXAMPLE}")
        if not sign or not value:
            raise _refused(f"{name} has no value", f"write it as in {_EXAMPLE}")
        if name in found:
            raise _refused(f"{name} is given twice", "give it once")
        found[name] = value
    values: dict[str, object] = {}
    for name, value in found.items():
        values.update(_READERS[name](name, value))
    return msgspec.convert(values, Chaos) if values else Chaos()


def _number(value: float) -> str:
    """A number without an exponent, exact enough to be read back as itself."""
    return format(Decimal(repr(value)), "f")


def _refused(what: str, todo: str) -> Refused:
    return Refused(f"--chaos: {what}", todo=todo)


def _seconds(name: str, text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None and text != "0":
        raise _refused(f"{name}: {text!r} is no time", "write a number with its unit: 500us, 20ms or 1.5s")
    return 0.0 if match is None else float(match[1]) * _UNITS[match[2]]


def _share(name: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise _refused(f"{name}: {text!r} is no share of frames", "write a number from 0 to 1, such as 0.001")
    return share


def _stall(name: str, text: str) -> dict[str, object]:
    share, sign, seconds = text.partition(":")
    if not sign:
        raise _refused(f"{name}: {text!r} has no time", "write how often and for how long: stall=0.01:500ms")
    return {"stall_rate": _share(name, share), "stall": _seconds(name, seconds)}


def _seed(name: str, text: str) -> dict[str, object]:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise _refused(f"{name}: {text!r} is no seed", "write a whole number of at most 18 digits")
    return {"seed": int(text)}


def _seats(name: str, text: str) -> dict[str, object]:
    if not re.fullmatch(r"[0-9]{1,6}(,[0-9]{1,6})*", text):
        raise _refused(f"{name}: {text!r} is no list of seats", "write seat numbers, from 0, with commas: seats=0,2")
    return {"seats": tuple(sorted({int(slot) for slot in text.split(",")}))}


_READERS: dict[str, Callable[[str, str], dict[str, object]]] = {
    "delay": lambda name, text: {"delay": _seconds(name, text)},
    "jitter": lambda name, text: {"jitter": _seconds(name, text)},
    "stall": _stall,
    "drop": lambda name, text: {"drop": _share(name, text)},
    "halfclose": lambda name, text: {"half_close": _share(name, text)},
    "seed": _seed,
    "seats": _seats,
}


class FrameCounter:
    """Tells which bytes of a websocket stream belong to which frame, from the frames' heads alone; never raises.

    Frame 0 is the HTTP head, to its empty line. What is no websocket is counted all the same, in a way that depends on nothing
    but the bytes.
    """

    __slots__ = ("_head", "_http", "_left", "_number")

    def __init__(self) -> None:
        self._http = True
        self._number = 0
        self._head = b""
        self._left = 0

    def split(self, data: bytes) -> list[tuple[int, bytes]]:
        """Cut a piece of the stream where frames begin.

        Returns:
            Frame numbers with their bytes, in order; together the bytes are `data`.
        """
        parts: list[tuple[int, bytes]] = []
        at = 0
        size = len(data)
        if self._http:
            at = self._http_head(data)
            parts.append((0, data[:at]))
        while at < size:
            begin = at
            if self._left == 0:
                if not self._head:
                    self._number += 1
                at = self._frame_head(data, at)
            step = min(self._left, size - at)
            self._left -= step
            at += step
            parts.append((self._number, data[begin:at]))
        return parts

    def _http_head(self, data: bytes) -> int:
        """How many bytes of `data` belong to the HTTP head."""
        seen = self._head + data
        end = seen.find(b"\r\n\r\n")
        if end < 0:
            self._head = seen[-3:]
            return len(data)
        rest = end + 4 - len(self._head)
        self._head = b""
        self._http = False
        return rest

    def _frame_head(self, data: bytes, at: int) -> int:
        """Read on in a frame's head; returns where its payload begins, or the end of `data`."""
        while at < len(data):
            self._head += data[at : at + 1]
            at += 1
            have = len(self._head)
            if have < 2:
                continue
            length = self._head[1] & 0x7F
            extra = 2 if length == 126 else 8 if length == 127 else 0
            whole = 2 + extra + (4 if self._head[1] & 0x80 else 0)
            if have == whole:
                self._left = int.from_bytes(self._head[2 : 2 + extra], "big") if extra else length
                self._head = b""
                break
        return at


class Cut(enum.Enum):
    """What comes out of a line instead of bytes."""

    END = enum.auto()
    """Its sender has ended this direction."""
    DROP = enum.auto()
    HALF_CLOSE = enum.auto()


class ChaosLine:
    """One direction of one connection with trouble on it: what goes in comes out later, in order, or ends. It has no clock.

    Args:
        chaos: what was asked for.
        slot: the seat.
        connection: number of the connection at this seat.
        direction: which way.
        on_fault: called with every fault but plain delay: the fault, the frame, seconds.

    Attributes:
        held: bytes inside.
    """

    __slots__ = ("_chaos", "_connection", "_counter", "_delay", "_direction", "_frame", "_last", "_on_fault", "_over",
                 "_queue", "_slot", "held")  # fmt: skip

    def __init__(
        self,
        chaos: Chaos,
        slot: int,
        connection: int,
        direction: Direction,
        on_fault: Callable[[Fault, int, float], None],
    ) -> None:
        self._chaos = chaos
        self._slot = slot
        self._connection = connection
        self._direction = direction
        self._on_fault = on_fault
        self._counter = FrameCounter()
        self._frame = -1
        self._delay = 0.0
        self._last = -math.inf
        self._over = False
        self._queue: deque[tuple[float, bytes | Cut, int]] = deque()
        self.held = 0

    def put(self, now: float, data: bytes) -> None:
        """Bytes have come from the sender; after the direction was ended they go nowhere."""
        if self._over:
            return
        for frame, part in self._counter.split(data):
            if frame != self._frame:
                self._frame = frame
                trouble = self._chaos.trouble(self._slot, self._connection, self._direction, frame)
                self._delay = trouble.delay
                if trouble.stall:
                    self._last = max(self._last, now + trouble.delay) + trouble.stall
                    self._on_fault(Fault.STALL, frame, trouble.stall)
                if trouble.end is not None:
                    self._append(now, Cut.DROP if trouble.end is Fault.DROP else Cut.HALF_CLOSE)
                    self._over = True
                    return
            self._append(now, part)
            self.held += len(part)

    def end(self, now: float) -> None:
        """The sender has ended this direction; the end is as late as its last frame."""
        if not self._over:
            self._append(now, Cut.END)
            self._over = True

    def _append(self, now: float, item: bytes | Cut) -> None:
        self._last = max(self._last, now + self._delay)
        self._queue.append((self._last, item, self._frame))

    @property
    def due(self) -> float:
        """When the next thing comes out; infinite when there is none."""
        return self._queue[0][0] if self._queue else math.inf

    def take(self, now: float) -> list[bytes | Cut]:
        """What has to come out by now."""
        out: list[bytes | Cut] = []
        while self._queue and self._queue[0][0] <= now:
            _, item, frame = self._queue.popleft()
            if isinstance(item, bytes):
                self.held -= len(item)
            elif item is not Cut.END:
                self._on_fault(Fault.DROP if item is Cut.DROP else Fault.HALF_CLOSE, frame, 0.0)
            out.append(item)
        return out
