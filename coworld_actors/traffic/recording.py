"""A recording of the tap's traffic: its format, and who writes it.

The format, version 1. A file begins with the line `coworld-traffic 1`. Blocks follow, each

    4 bytes   length of the packed block, big-endian
    4 bytes   CRC-32 of the packed block, big-endian
    n bytes   the block, packed by zlib; unpacked it has at most `BLOCK_LIMIT` bytes

The first block holds one msgpack map, the `Header`. Every further one holds a msgpack array of entries, and an entry is the array
`[kind, slot, connection, at, data, size]` (`Entry`; trailing defaults may be missing). Bytes of sockets are as they passed, in pieces as
they passed: what is masked or compressed is so in the file. The heads of handshakes are the exception: their secrets are replaced by
`redacted`, and of connections that never became websockets nothing but these heads is kept.

A writer that was killed leaves a torn last block; everything before it is good.
"""

from __future__ import annotations

import datetime
import enum
import os
import re
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from coworld_actors.traffic.scan import HEAD_LIMIT
from coworld_protocol.contract import QUERY_SLOT
from coworld_protocol.errors import PreconditionMissing

__all__ = ["BLOCK_LIMIT", "FORMAT", "MAGIC", "Entry", "Header", "Kind", "Recorder", "redacted"]

FORMAT = 1
"""Version of the format."""

MAGIC = b"coworld-traffic 1\n"
"""What every recording begins with."""

BLOCK_LIMIT = 4 * 1024 * 1024
"""Bytes of a block, unpacked."""

_BLOCK = 256 * 1024
_PIECE = 64 * 1024
_WAKE = 1024 * 1024
_BACKLOG = 32 * 1024 * 1024
_PAUSE = 0.25
_CLOSE_WAIT = 10.0
_MOST_LINKS = 4096
_ENTRY_SIZE = 32

_HIDDEN_FIELDS = re.compile(
    rb"(?im)^((?:authorization|proxy-authorization|cookie|set-cookie|sec-websocket-protocol)[ \t]*:)[^\r\n]*"
)
_QUERY_ITEM = re.compile(rb"([?&])([^=&\s?#]{1,200}=)?([^&\s#]*)")
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")


class Kind(enum.IntEnum):
    """What an entry is."""

    OPENED = 0
    TO_PLAYER = 1
    TO_GAME = 2
    CLOSED = 3
    """`data` is who ended it."""
    WITHHELD = 4
    """`size` bytes of a connection that may hold secrets were not kept; `data` is the direction."""
    LOST = 5
    """Bytes could not be kept: the disk was too slow. What follows, on any connection, may begin inside of a frame."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first block.

    Attributes:
        version: of the format.
        created: wall-clock time, ISO 8601 in UTC.
        about: what the traffic is of, in the writer's words: episode, coworld, players.
    """

    version: int
    created: str
    about: dict[str, str] = {}


class Entry(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One thing that happened.

    Attributes:
        kind: what.
        slot: the seat.
        connection: of the seat, from 0.
        at: seconds since the recording's first entry.
        data: the bytes that passed, or as `kind` says.
        size: as `kind` says.
    """

    kind: Kind
    slot: int
    connection: int
    at: float
    data: bytes = b""
    size: int = 0


class _Heads:
    """The beginnings of one connection, held back until they can be redacted."""

    __slots__ = ("open", "parts", "request")

    def __init__(self) -> None:
        self.parts = {Kind.TO_PLAYER: bytearray(), Kind.TO_GAME: bytearray()}
        self.request = False  # the head of the request has been kept
        self.open = True  # not given up


class Recorder:
    """Writes a recording while the traffic passes.

    `add` only queues; a thread packs and writes, at the latest every quarter of a second. Memory is bounded: when the disk is slower than
    the traffic for long, pieces are lost, and the recording says where. A disk that fails ends the recording and nothing else.

    Args:
        file: a new file.
        about: what the traffic is of.
        secrets: texts that are redacted in handshakes, beside what `redacted` finds by itself.

    Attributes:
        lost: bytes that could not be kept.

    Raises:
        PreconditionMissing: the file is there already or cannot be made.
    """

    def __init__(self, file: Path, *, about: Mapping[str, str] | None = None, secrets: Iterable[str] = ()) -> None:
        self._file = file
        try:
            # What players say is not for everybody on the machine.
            self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PreconditionMissing(
                f"{file} cannot be recorded to: {error.strerror}",
                todo="name a new file in a directory that can be written",
            ) from error
        self._secrets = tuple(secret.encode() for secret in secrets if secret)
        self._queue: deque[Entry] = deque()
        self._links: dict[tuple[int, int], _Heads] = {}
        self._upgraded: set[tuple[int, int]] = set()
        self._begin: float | None = None
        self._latest = 0.0
        self._gap = False
        # Each has one writer: this side counts what it queues, the thread what it takes.
        self._queued = 0
        self._taken = 0
        self._trouble: OSError | None = None
        self._stopping = False
        self._wake = threading.Event()
        self.lost = 0
        created = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._header = Header(version=FORMAT, created=created, about=dict(about or {}))
        self._thread = threading.Thread(target=self._write_all, name="traffic recorder", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Why the recording is not whole; empty while it is."""
        if self._trouble is not None:
            return f"{self._file} is not whole: {self._trouble.strerror}"
        if self.lost:
            return f"{self._file} is not whole: the disk was too slow for {self.lost} bytes"
        return ""

    def opened(self, slot: int, connection: int, at: float) -> None:
        """A connection began."""
        if len(self._links) < _MOST_LINKS:
            self._links[slot, connection] = _Heads()
        self._put(Kind.OPENED, slot, connection, at)

    def add(self, slot: int, connection: int, direction: str, at: float, data: bytes) -> None:
        """Bytes went by; `direction` is `to_player` or `to_game`."""
        kind = Kind.TO_PLAYER if direction == "to_player" else Kind.TO_GAME
        if (slot, connection) in self._upgraded:
            self._put(kind, slot, connection, at, data)
            return
        heads = self._links.get((slot, connection))
        if heads is None or not heads.open:
            self._withhold(kind, slot, connection, at, len(data))
        else:
            self._add_to_heads(heads, kind, slot, connection, at, data)

    def closed(self, slot: int, connection: int, at: float, by: str) -> None:
        """A connection is over."""
        self._upgraded.discard((slot, connection))
        heads = self._links.pop((slot, connection), None)
        if heads is not None:
            self._give_up(heads, slot, connection, at)
        self._put(Kind.CLOSED, slot, connection, at, by[:16].encode(errors="replace"))

    def close(self) -> None:
        """Write what is left, for at most ten seconds, and close the file."""
        for (slot, connection), heads in self._links.items():
            self._give_up(heads, slot, connection, self._latest)
        self._links.clear()
        self._upgraded.clear()
        self._stopping = True
        self._wake.set()
        self._thread.join(_CLOSE_WAIT)
        if self._thread.is_alive() and self._trouble is None:
            self._trouble = OSError(0, "the disk did not take it in time")

    def _add_to_heads(self, heads: _Heads, kind: Kind, slot: int, connection: int, at: float, data: bytes) -> None:
        """The beginning of a connection: heads are kept when they are whole, the rest once the game has agreed to a websocket."""
        heads.parts[kind].extend(data)
        if not heads.request:
            heads.request = self._keep_head(heads.parts[Kind.TO_GAME], Kind.TO_GAME, slot, connection, at) is not None
        while heads.request:
            status = self._keep_head(heads.parts[Kind.TO_PLAYER], Kind.TO_PLAYER, slot, connection, at)
            if status is None:
                break
            if status == 101:
                del self._links[slot, connection]
                self._upgraded.add((slot, connection))
                for way, rest in heads.parts.items():
                    if rest:
                        self._put(way, slot, connection, at, bytes(rest))
                return
            if not 100 <= status < 200:
                self._give_up(heads, slot, connection, at)
                return
        if any(len(each) > HEAD_LIMIT for each in heads.parts.values()):
            self._give_up(heads, slot, connection, at)

    def _keep_head(self, part: bytearray, kind: Kind, slot: int, connection: int, at: float) -> int | None:
        """Take a whole head off the front: its status, 0 for a request; None while it is not whole."""
        end = part.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(part[: end + 4])
        del part[: end + 4]
        status = _STATUS.match(head)
        self._put(kind, slot, connection, at, redacted(head, self._secrets))
        return int(status[1]) if status else 0

    def _give_up(self, heads: _Heads, slot: int, connection: int, at: float) -> None:
        """It is no websocket: nothing more of it is kept."""
        heads.open = False
        for kind, part in heads.parts.items():
            self._withhold(kind, slot, connection, at, len(part))
            part.clear()

    def _withhold(self, kind: Kind, slot: int, connection: int, at: float, size: int) -> None:
        if size:
            way = b"to_player" if kind is Kind.TO_PLAYER else b"to_game"
            self._put(Kind.WITHHELD, slot, connection, at, way, size)

    def _put(self, kind: Kind, slot: int, connection: int, at: float, data: bytes = b"", size: int = 0) -> None:
        if self._begin is None:
            self._begin = self._latest = at
        # Readers rely on times that do not go back.
        at = self._latest = max(at, self._latest)
        if self._trouble is not None or self._stopping:
            return
        at -= self._begin
        waiting = self._queued - self._taken
        if waiting > _BACKLOG:
            self.lost += len(data)
            # One entry for a whole gap, or the gaps would be what fills the memory.
            if not self._gap:
                self._gap = True
                self._queue.append(Entry(Kind.LOST, slot, connection, at))
                self._queued += _ENTRY_SIZE
            return
        self._gap = False
        if len(data) <= _PIECE:
            self._queue.append(Entry(kind, slot, connection, at, data, size))
            self._queued += len(data) + _ENTRY_SIZE
        else:
            for start in range(0, len(data), _PIECE):
                part = data[start : start + _PIECE]
                self._queue.append(Entry(kind, slot, connection, at, part, size))
                self._queued += len(part) + _ENTRY_SIZE
        if waiting > _WAKE:
            self._wake.set()

    def _write_all(self) -> None:
        """The thread: pack and write until told to stop or the disk fails."""
        try:
            self._write(MAGIC + _packed(msgspec.msgpack.encode(self._header)))
            while True:
                self._wake.wait(_PAUSE)
                self._wake.clear()
                # Read first: what was queued before it was set is in the queue now.
                last = self._stopping
                while self._queue:
                    self._write(_packed(msgspec.msgpack.encode(self._take())))
                if last:
                    break
        except OSError as error:
            self._trouble = error
            self._queue.clear()
        finally:
            os.close(self._fd)

    def _take(self) -> list[Entry]:
        """What fits into a block."""
        entries: list[Entry] = []
        size = 0
        while self._queue and size < _BLOCK:
            entry = self._queue.popleft()
            entries.append(entry)
            size += len(entry.data) + _ENTRY_SIZE
        self._taken += size
        return entries

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def redacted(head: bytes, secrets: Iterable[bytes] = ()) -> bytes:
    """The head of a request or an answer without secrets.

    These become `redacted`: every value of a query but the seat's number, in the target and wherever else a query appears; the values of
    headers that carry credentials or may (`Authorization`, `Cookie`, `Set-Cookie`, `Sec-WebSocket-Protocol`); and the texts given.
    """
    for secret in secrets:
        head = head.replace(secret, b"redacted")
    return _QUERY_ITEM.sub(_without_value, _HIDDEN_FIELDS.sub(rb"\1 redacted", head))


def _without_value(item: re.Match[bytes]) -> bytes:
    name, value = item[2] or b"", item[3]
    harmless = not value or (name == f"{QUERY_SLOT}=".encode() and value.isdigit())
    return item[0] if harmless else item[1] + name + b"redacted"


def _packed(block: bytes) -> bytes:
    data = zlib.compress(block, 1)
    return len(data).to_bytes(4, "big") + zlib.crc32(data).to_bytes(4, "big") + data
