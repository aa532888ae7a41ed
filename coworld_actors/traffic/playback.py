"""A recording is read back: its entries, its frames, and the report that the tap would have made of it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from coworld_actors.traffic.decode import Piece, StreamDecoder, agreed_inflaters
from coworld_actors.traffic.recording import BLOCK_LIMIT, FORMAT, MAGIC, Entry, Header, Kind
from coworld_actors.traffic.report import TapReport
from coworld_actors.traffic.watch import SeatTraffic
from coworld_protocol.errors import PreconditionMissing, Refused
from coworld_protocol.printable import printable

__all__ = ["MOST_SEATS", "Frame", "Recording"]

MOST_SEATS = 4096
"""Seats of a recording; one with more was not made by a tap."""

_MOST_LINKS = 65_536
_ENTRIES = msgspec.msgpack.Decoder(list[Entry])
_HEADER = msgspec.msgpack.Decoder(Header)


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame, or something else that a reader of the traffic has to know.

    Attributes:
        at: seconds since the recording's start at which its last byte passed.
        slot: the seat.
        connection: of the seat, from 0.
        direction: `to_player` or `to_game`; empty for what has none.
        piece: what it is. Beside a frame's kinds: `opened`, `closed` (`payload` is who ended it), `withheld` (`size` bytes are not in
            the file) and `lost` (an unknown number).
    """

    at: float
    slot: int
    connection: int
    direction: str
    piece: Piece


class _Link:
    """The two directions of one connection."""

    def __init__(self) -> None:
        self.to_player = StreamDecoder(answering=True, on_agreed=self._agreed)
        self.to_game = StreamDecoder(answering=False)

    def _agreed(self, answer: bytes) -> None:
        self.to_player.inflater, self.to_game.inflater = agreed_inflaters(answer)


class Recording:
    """A recording in a file. It is read anew by every iteration, a block at a time.

    Args:
        file: where it is.

    Attributes:
        header: what it says of itself.
        damage: where and why reading stopped before the file's end, after an iteration; empty for a whole file.

    Raises:
        Refused: it is no recording, or one of a later version.
        PreconditionMissing: it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.damage = ""
        with self._open() as stream:
            start = _read(stream, len(MAGIC), file)
            if start != MAGIC:
                raise _foreign(file, start)
            block = self._block(stream)
            try:
                header = None if block is None else _HEADER.decode(block)
            except msgspec.MsgspecError:
                header = None
            if header is None:
                raise Refused(
                    f"{file} has no readable header",
                    evidence=self.damage or "it ends behind its first line",
                    todo="record again; whoever wrote it was ended before anything was on disk",
                )
            if header.version != FORMAT:
                raise Refused(
                    f"{file} is a recording of version {header.version}; this program reads version {FORMAT}",
                    todo="read it with the version that wrote it",
                )
            self.header = header

    def entries(self) -> Iterator[Entry]:
        """Everything in it, in the order in which it happened, up to the first damage.

        Raises:
            PreconditionMissing: it cannot be read any more.
        """
        self.damage = ""
        latest = 0.0
        with self._open() as stream:
            _read(stream, len(MAGIC), self._file)
            self._block(stream)
            while (block := self._block(stream)) is not None:
                try:
                    entries = _ENTRIES.decode(block)
                except msgspec.MsgspecError as error:
                    self.damage = f"the block before byte {stream.tell()} cannot be read: {printable(str(error))}"
                    return
                for entry in entries:
                    if not (
                        latest <= entry.at < math.inf and entry.slot >= 0 and entry.connection >= 0 and entry.size >= 0
                    ):
                        self.damage = f"the block before byte {stream.tell()} has a time or a number that cannot be"
                        return
                    latest = entry.at
                    yield entry

    def frames(self, seat: int | None = None) -> Iterator[Frame]:
        """Its frames, unmasked and unpacked.

        Args:
            seat: of one seat only.

        Raises:
            Refused: it has more connections open at a time than any tap lets in.
        """
        links: dict[tuple[int, int], _Link] = {}
        for entry in self.entries():
            if seat is not None and entry.slot != seat:
                continue
            key = (entry.slot, entry.connection)
            direction = ""
            match entry.kind:
                case Kind.TO_PLAYER | Kind.TO_GAME:
                    direction = "to_player" if entry.kind is Kind.TO_PLAYER else "to_game"
                    link = links.get(key)
                    way = None if link is None else link.to_player if direction == "to_player" else link.to_game
                    pieces = [] if way is None else way.feed(entry.data)
                case Kind.OPENED:
                    if len(links) >= _MOST_LINKS:
                        raise Refused(f"{self._file} has more connections than a tap lets in", todo="record again")
                    links[key] = _Link()
                    pieces = [Piece(kind="opened")]
                case Kind.CLOSED:
                    links.pop(key, None)
                    pieces = [Piece(kind="closed", payload=entry.data[:16])]
                case Kind.WITHHELD:
                    direction = "to_player" if entry.data == b"to_player" else "to_game"
                    pieces = [Piece(kind="withheld", size=entry.size)]
                case Kind.LOST:
                    # Whatever comes now on any connection may begin anywhere.
                    links.clear()
                    pieces = [Piece(kind="lost", note="nothing behind it on open connections is read")]
            for piece in pieces:
                yield Frame(at=entry.at, slot=entry.slot, connection=entry.connection, direction=direction, piece=piece)

    def report(self, seat: int | None = None) -> TapReport:
        """What the tap reported, or would have, from the same bytes; what it cost itself is in no recording.

        Args:
            seat: of one seat only.

        Raises:
            Refused: it has more seats than any episode.
        """
        seats: dict[int, SeatTraffic] = {}
        lost = False
        withheld = 0
        for entry in self.entries():
            if seat is not None and entry.slot != seat:
                continue
            traffic = seats.get(entry.slot)
            if traffic is None:
                if len(seats) >= MOST_SEATS:
                    raise Refused(f"{self._file} has traffic of more than {MOST_SEATS} seats", todo="record again")
                traffic = seats[entry.slot] = SeatTraffic(entry.slot)
            match entry.kind:
                case Kind.OPENED:
                    traffic.opened(entry.at, entry.connection)
                case Kind.TO_PLAYER:
                    traffic.to_player(entry.at, entry.data, entry.connection)
                case Kind.TO_GAME:
                    traffic.to_game(entry.at, entry.data, entry.connection)
                case Kind.CLOSED:
                    by = entry.data.decode(errors="replace")
                    traffic.closed(entry.at, by if by in {"player", "game", "tap"} else "unknown", entry.connection)
                case Kind.WITHHELD:
                    withheld += entry.size
                case Kind.LOST:
                    lost = True
                    for each in seats.values():
                        each.lost()
        notes: list[str] = []
        if withheld:
            notes.append(f"{withheld} bytes of connections that were no websockets are not in the recording")
        if lost:
            notes.append(
                "the disk was too slow for this recording: what follows a gap on open connections is not counted as frames"
            )
        if self.damage:
            notes.append(f"the recording ends early: {self.damage}")
        return TapReport(
            seats=tuple(seats[slot].report() for slot in sorted(seats)), recording=str(self._file), notes=tuple(notes)
        )

    def _open(self) -> BinaryIO:
        try:
            return self._file.open("rb")
        except OSError as error:
            raise PreconditionMissing(
                f"{self._file} cannot be read: {error.strerror}",
                todo="name a file that `run --record FILE` has written",
            ) from error

    def _block(self, stream: BinaryIO) -> bytes | None:
        """The next block; None at the end and at damage."""
        place = stream.tell()
        frame = _read(stream, 8, self._file)
        if not frame:
            return None
        size, checksum = int.from_bytes(frame[:4], "big"), int.from_bytes(frame[4:], "big")
        packed = _read(stream, size, self._file) if len(frame) == 8 and size <= BLOCK_LIMIT else b""
        if len(frame) == 8 and size > BLOCK_LIMIT:
            self.damage = f"byte {place} is not the start of a block"
        elif len(frame) < 8 or len(packed) < size:
            self.damage = f"the block at byte {place} is torn: whoever wrote it was ended there"
        elif zlib.crc32(packed) != checksum:
            self.damage = f"the block at byte {place} is damaged: its checksum is wrong"
        else:
            unpacker = zlib.decompressobj()
            try:
                block = unpacker.decompress(packed, BLOCK_LIMIT + 1)
            except zlib.error:
                block = b""
            if unpacker.eof and len(block) <= BLOCK_LIMIT:
                return block
            self.damage = f"the block at byte {place} cannot be unpacked"
        return None


def _read(stream: BinaryIO, size: int, file: Path) -> bytes:
    try:
        return stream.read(size)
    except OSError as error:
        raise PreconditionMissing(
            f"{file} cannot be read: {error.strerror}", todo="see what is wrong with the disk"
        ) from error


def _foreign(file: Path, start: bytes) -> Refused:
    name = MAGIC.split()[0]
    if not start:
        return Refused(f"{file} is empty", todo="record again; whoever wrote it was ended before anything was on disk")
    if start.startswith(name + b" "):
        version = printable(start[len(name) : 40].decode(errors="replace").strip())
        return Refused(
            f"{file} is a recording of version {version}; this program reads version {FORMAT}",
            todo="read it with the version that wrote it",
        )
    return Refused(f"{file} is no recording of traffic", todo="name a file that `run --record FILE` has written")
