"""Recordings read back: the same report as the tap made, the frames, and clear errors for what is no recording."""

from __future__ import annotations

import math
import random
import zlib
from pathlib import Path

import msgspec
import pytest

from coworld_actors.traffic.playback import Recording
from coworld_actors.traffic.recording import BLOCK_LIMIT, MAGIC, Entry, Header, Kind, Recorder
from coworld_actors.traffic.watch import SeatTraffic
from coworld_protocol.errors import PreconditionMissing, Refused
from coworld_protocol.ws.deflate import Deflate
from coworld_protocol.ws.frames import PING, PONG, TEXT, encode, encode_close

REQUEST = b"GET /player?slot=0 HTTP/1.1\r\nHost: game\r\n\r\n"
ANSWER = b"HTTP/1.1 101 x\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"


def played(file: Path | None = None, seats: int = 2) -> list[SeatTraffic]:
    """Some traffic, in pieces of any size, with reconnects; the same each time."""
    recorder = None if file is None else Recorder(file, about={"episode": "e"})
    found = [SeatTraffic(slot, recorder) for slot in range(seats)]
    source = random.Random(5)
    at = 0.0
    for connection in range(2):
        deflaters = [Deflate().deflater(server=True) for _ in found]
        for traffic in found:
            traffic.opened(at, connection)
            traffic.to_game(at, REQUEST, connection)
            traffic.to_player(at, ANSWER, connection)
        for tick in range(40):
            for slot, traffic in enumerate(found):
                at += 0.02 + source.random() / 1000
                text = b'{"tick":%d}' % tick
                data = encode(TEXT, deflaters[slot].compress(text), rsv1=True) + encode(PING, b"!")
                cut = source.randrange(len(data))
                traffic.to_player(at, data[:cut], connection)
                at += 0.001
                traffic.to_player(at, data[cut:], connection)
                at += 0.003
                traffic.to_game(at, encode(PONG, b"!", mask=True), connection)
                if source.random() < 0.8:
                    at += 0.001
                    traffic.to_game(at, encode(TEXT, b"move %d" % tick, mask=True), connection)
        for traffic in found:
            traffic.to_player(at, encode_close(1000, "over"), connection)
            traffic.closed(at, "game", connection)
    if recorder is not None:
        recorder.close()
        assert not recorder.trouble
    return found


def raw(tmp_path: Path, *blocks: bytes, header: bytes | None = None) -> Path:
    """A file of blocks that somebody else has made."""
    file = tmp_path / "raw"
    first = msgspec.msgpack.encode(Header(version=1, created="now")) if header is None else header
    file.write_bytes(MAGIC + b"".join(block(part) for part in (first, *blocks)))
    return file


def block(content: bytes) -> bytes:
    packed = zlib.compress(content)
    return len(packed).to_bytes(4, "big") + zlib.crc32(packed).to_bytes(4, "big") + packed


def test_a_recording_gives_the_report_that_the_tap_gave(tmp_path: Path) -> None:
    """Every figure of every seat; only what the tap itself cost is not in the file."""
    live = played(tmp_path / "traffic")
    report = Recording(tmp_path / "traffic").report()
    assert report.seats == tuple(traffic.report() for traffic in live)
    assert report.own is None
    assert (report.notes, report.recording) == ((), str(tmp_path / "traffic"))


def test_a_recording_gives_its_frames(tmp_path: Path) -> None:
    """In order, unmasked and unpacked, with connects and closes between them; of one seat if asked."""
    played(tmp_path / "traffic")
    recording = Recording(tmp_path / "traffic")
    frames = list(recording.frames())
    assert {frame.slot for frame in frames} == {0, 1}
    assert [frame.at for frame in frames] == sorted(frame.at for frame in frames)
    mine = list(recording.frames(1))
    assert mine == [frame for frame in frames if frame.slot == 1]
    assert [frame.piece.kind for frame in mine[:3]] == ["opened", "request", "answer"]
    ticks = [frame.piece.payload for frame in mine if frame.direction == "to_player" and frame.piece.kind == "text"]
    assert ticks == [b'{"tick":%d}' % tick for tick in range(40)] * 2
    moves = [frame.piece.payload for frame in mine if frame.direction == "to_game" and frame.piece.kind == "text"]
    assert moves
    assert all(move.startswith(b"move ") for move in moves)
    assert [frame.piece.payload for frame in mine if frame.piece.kind == "closed"] == [b"game"] * 2
    assert {frame.connection for frame in mine} == {0, 1}


def test_a_gap_is_said_and_nothing_is_guessed_behind_it(tmp_path: Path) -> None:
    """Open connections are not followed beyond it; new ones are."""

    def half(connection: int, at: float) -> list[Entry]:
        return [
            Entry(Kind.OPENED, 0, connection, at),
            Entry(Kind.TO_GAME, 0, connection, at, REQUEST),
            Entry(Kind.TO_PLAYER, 0, connection, at, ANSWER + encode(TEXT, b"x")),
        ]

    entries = [
        *half(0, 0.0),
        Entry(Kind.LOST, 0, 0, 1.0),
        Entry(Kind.TO_PLAYER, 0, 0, 2.0, encode(TEXT, b"y")),
        *half(1, 3.0),
    ]
    recording = Recording(raw(tmp_path, msgspec.msgpack.encode(entries)))
    assert [frame.piece.kind for frame in recording.frames()] == [
        "opened", "request", "answer", "text", "lost", "opened", "request", "answer", "text",
    ]  # fmt: skip
    report = recording.report()
    assert report.seats[0].to_player.messages == 2
    assert "gap" in report.notes[0]


def test_withheld_bytes_are_said(tmp_path: Path) -> None:
    """As a number, and where they were."""
    entries = [Entry(Kind.OPENED, 0, 0, 0.0), Entry(Kind.WITHHELD, 0, 0, 1.0, b"to_game", 77)]
    recording = Recording(raw(tmp_path, msgspec.msgpack.encode(entries)))
    assert [(frame.direction, frame.piece.size) for frame in recording.frames()][1] == ("to_game", 77)
    assert recording.report().notes[0].startswith("77 bytes")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello, world, this is no recording", "is no recording of traffic"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is no recording of traffic"),
        (b"coworld-traffic 9\n" + bytes(20), "is a recording of version 9"),
        (b"coworld-traffic \x1b[31m", "is a recording of version"),
        (MAGIC, "has no readable header"),
        (MAGIC + b"\x00\x00", "has no readable header"),
        (MAGIC + block(b"\xff"), "has no readable header"),
        (MAGIC + block(msgspec.msgpack.encode({"version": 2, "created": "x"})), "is a recording of version 2"),
    ],
    ids=["empty", "text", "png", "later", "control codes", "no header", "torn header", "odd header", "later header"],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """With what it is instead, and what to do."""
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(Refused) as refused:
        Recording(file)
    assert words in refused.value.what
    assert refused.value.what.isprintable()
    assert refused.value.todo


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A file that is not there, and a directory."""
    for place in (tmp_path / "missing", tmp_path):
        with pytest.raises(PreconditionMissing, match="cannot be read"):
            Recording(place)


GOOD = msgspec.msgpack.encode([Entry(Kind.OPENED, 0, 0, 1.0)])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (block(GOOD)[:-1], "torn"),
        (block(GOOD)[:5], "torn"),
        (block(GOOD)[:-1] + b"\x00", "checksum"),
        (b"\xff\xff\xff\xff" + bytes(4), "not the start of a block"),
        (block(b"\x93\x01\x02"), "cannot be read"),
        (block(msgspec.msgpack.encode([[99, 0, 0, 1.0]])), "cannot be read"),
        (block(msgspec.msgpack.encode([[0, 0, 0, "soon"]])), "cannot be read"),
        (block(msgspec.msgpack.encode([[0, 0, 0, math.nan]])), "cannot be"),
        (block(msgspec.msgpack.encode([[0, 0, 0, math.inf]])), "cannot be"),
        (block(msgspec.msgpack.encode([[0, 0, 0, 0.5]])), "cannot be"),
        (block(msgspec.msgpack.encode([[0, -1, 0, 2.0]])), "cannot be"),
        (block(bytes(BLOCK_LIMIT + 1)), "cannot be unpacked"),
        ((4).to_bytes(4, "big") + zlib.crc32(b"junk").to_bytes(4, "big") + b"junk", "cannot be unpacked"),
    ],
    ids=["torn", "torn head", "checksum", "size", "msgpack", "kind", "type", "nan", "inf", "backwards", "seat", "bomb", "zlib"],
)  # fmt: skip
def test_reading_stops_at_damage_and_says_so(tmp_path: Path, bad: bytes, words: str) -> None:
    """What came before it is there; what comes behind it is not guessed at."""
    file = raw(tmp_path, GOOD)
    with file.open("ab") as stream:
        stream.write(bad if words == "torn" else bad + block(GOOD))
    recording = Recording(file)
    assert len(list(recording.entries())) == 1
    assert words in recording.damage
    assert "the recording ends early" in recording.report().notes[0]


def test_any_changed_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    """No single byte makes reading raise anything but a refusal."""
    played(tmp_path / "traffic", seats=1)
    whole = (tmp_path / "traffic").read_bytes()
    source = random.Random(3)
    file = tmp_path / "changed"
    for _ in range(300):
        changed = bytearray(whole)
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
        file.write_bytes(changed)
        try:
            recording = Recording(file)
            list(recording.frames())
            recording.report()
        except Refused:
            continue
        assert recording.damage


def test_more_seats_than_any_episode_has_are_refused(tmp_path: Path) -> None:
    """A small file must not make a large memory."""
    entries = [Entry(Kind.OPENED, slot, 0, 1.0) for slot in range(5000)]
    with pytest.raises(Refused, match="4096 seats"):
        Recording(raw(tmp_path, msgspec.msgpack.encode(entries))).report()
    entries = [Entry(Kind.OPENED, 0, number, 1.0) for number in range(70_000)]
    with pytest.raises(Refused, match="connections"):
        list(Recording(raw(tmp_path, msgspec.msgpack.encode(entries))).frames())
