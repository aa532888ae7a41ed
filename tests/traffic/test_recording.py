"""A recording while it is written: what is kept, what is not, and what happens to it when things go wrong."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from coworld_actors.traffic import recording as recording_module
from coworld_actors.traffic.playback import Recording
from coworld_actors.traffic.recording import Entry, Kind, Recorder, redacted
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.disks import is_full, small_disk

REQUEST = b"GET /player?slot=0&token=SECRET HTTP/1.1\r\nHost: game\r\n\r\n"
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def entries(file: Path) -> list[Entry]:
    recording = Recording(file)
    found = list(recording.entries())
    assert recording.damage == ""
    return found


def kept(file: Path, kind: Kind) -> bytes:
    return b"".join(entry.data for entry in entries(file) if entry.kind is kind)


def upgraded(recorder: Recorder, connection: int = 0) -> Recorder:
    recorder.opened(0, connection, 10.0)
    recorder.add(0, connection, "to_game", 10.0, REQUEST)
    recorder.add(0, connection, "to_player", 10.1, ANSWER)
    return recorder


def test_what_passed_is_in_the_file(tmp_path: Path) -> None:
    """Bytes, seats, connections, directions, times from the first entry on, and what it is a recording of."""
    file = tmp_path / "traffic"
    recorder = upgraded(Recorder(file, about={"episode": "e1"}))
    recorder.add(0, 0, "to_player", 10.5, b"frame")
    recorder.add(0, 0, "to_game", 10.75, b"answer" * 50_000)
    recorder.closed(0, 0, 11.0, "game")
    recorder.close()
    found = entries(file)
    assert [entry.kind for entry in found[:4]] == [Kind.OPENED, Kind.TO_GAME, Kind.TO_PLAYER, Kind.TO_PLAYER]
    assert found[3] == Entry(Kind.TO_PLAYER, 0, 0, 0.5, b"frame")
    assert b"".join(entry.data for entry in found[4:-1]) == b"answer" * 50_000
    assert found[-1] == Entry(Kind.CLOSED, 0, 0, 1.0, b"game")
    assert Recording(file).header.about == {"episode": "e1"}
    assert recorder.trouble == ""


def test_a_recording_is_for_its_owner_only(tmp_path: Path) -> None:
    """What players say is nobody else's on the machine."""
    file = tmp_path / "traffic"
    Recorder(file).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_secrets_of_handshakes_are_not_kept(tmp_path: Path, size: int) -> None:
    """However the heads are torn; what follows the handshake is kept byte for byte."""
    file = tmp_path / "traffic"
    recorder = Recorder(file, secrets=["HUSH"])
    recorder.opened(0, 0, 0.0)
    request = REQUEST.replace(b"\r\n\r\n", b"\r\nCookie: SECRET\r\nX-Own: HUSH\r\n\r\n")
    for place in range(0, len(request), size):
        recorder.add(0, 0, "to_game", 0.1, request[place : place + size])
    answer = (
        b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER.replace(b"\r\n\r\n", b"\r\nSet-Cookie: SECRET\r\n\r\n") + b"\x81\x01x"
    )
    for place in range(0, len(answer), size):
        recorder.add(0, 0, "to_player", 0.2, answer[place : place + size])
    recorder.add(0, 0, "to_game", 0.3, b"\x81\x80SECR")
    recorder.close()
    everything = b"".join(entry.data for entry in entries(file))
    assert b"SECRET" not in everything
    assert b"HUSH" not in everything
    assert b"GET /player?slot=0&token=redacted HTTP/1.1" in everything
    assert kept(file, Kind.TO_PLAYER).endswith(b"\r\n\r\n\x81\x01x")
    assert kept(file, Kind.TO_GAME).endswith(b"\r\n\r\n\x81\x80SECR")


@pytest.mark.parametrize(
    ("head", "clean"),
    [
        (b"GET /player?token=a&slot=3&x=y HTTP/1.1\r\n", b"GET /player?token=redacted&slot=3&x=redacted HTTP/1.1\r\n"),
        (b"GET /player?abc HTTP/1.1\r\n", b"GET /player?redacted HTTP/1.1\r\n"),
        (b"GET /player?slot=0;token=a HTTP/1.1\r\n", b"GET /player?slot=redacted HTTP/1.1\r\n"),
        (b"GET http://g/p?token=a?b=c#d HTTP/1.1\r\n", b"GET http://g/p?token=redacted#d HTTP/1.1\r\n"),
        (b"GET /p HTTP/1.1\r\nauthorization : Bearer a\r\nHost: h\r\n", b"GET /p HTTP/1.1\r\nauthorization : redacted\r\nHost: h\r\n"),
        (b"X\r\nReferer: http://g/c?slot=0&token=a\r\n", b"X\r\nReferer: http://g/c?slot=0&token=redacted\r\n"),
        (b"X\r\nSec-WebSocket-Protocol: bearer.a\r\n", b"X\r\nSec-WebSocket-Protocol: redacted\r\n"),
        (b"X\r\nSec-WebSocket-Extensions: a; b=12\r\n", b"X\r\nSec-WebSocket-Extensions: a; b=12\r\n"),
    ],
)  # fmt: skip
def test_what_is_redacted(head: bytes, clean: bytes) -> None:
    """Values of queries but the seat's number, and of headers that carry credentials; nothing else."""
    assert redacted(head) == clean


def test_connections_that_are_no_websockets_are_withheld(tmp_path: Path) -> None:
    """A second request on the same connection may hold a token too: only sizes are kept of what follows a declined upgrade."""
    file = tmp_path / "traffic"
    recorder = Recorder(file)
    recorder.opened(0, 0, 0.0)
    recorder.add(0, 0, "to_game", 0.1, b"GET /a?token=SECRET HTTP/1.1\r\n\r\nGET /b?token=SECRET HTTP/1.1\r\n\r\n")
    recorder.add(0, 0, "to_player", 0.2, b"HTTP/1.1 200 OK\r\n\r\nSECRET")
    recorder.add(0, 0, "to_player", 0.3, b"SECRET")
    recorder.opened(0, 1, 0.4)
    for _ in range(100):
        recorder.add(0, 1, "to_game", 0.5, b"SECRET" * 200)
    recorder.add(0, 2, "to_game", 0.6, b"never opened SECRET")
    recorder.opened(0, 3, 0.7)
    recorder.add(0, 3, "to_game", 0.8, b"SECRET")
    recorder.closed(0, 3, 0.9, "player")
    recorder.opened(0, 4, 1.0)
    recorder.add(0, 4, "to_game", 1.1, b"GET /?token=SECRET")
    recorder.close()
    found = entries(file)
    assert not any(b"SECRET" in entry.data for entry in found)
    sizes = {number: sum(entry.size for entry in found if entry.connection == number) for number in range(5)}
    assert sizes == {0: 32 + 12, 1: 120_000, 2: 19, 3: 6, 4: 18}


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    """Nor is one made where none can be."""
    file = tmp_path / "traffic"
    file.write_text("precious")
    with pytest.raises(PreconditionMissing, match="File exists"):
        Recorder(file)
    assert file.read_text() == "precious"
    with pytest.raises(PreconditionMissing, match="cannot be recorded to"):
        Recorder(tmp_path / "missing" / "traffic")


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    """Nothing is raised, what is there can be read, the trouble is said, and memory is not filled instead."""
    with small_disk(tmp_path / "small") as place:
        recorder = upgraded(Recorder(place / "traffic"))
        end = time.monotonic() + 60
        while not recorder.trouble and time.monotonic() < end:
            recorder.add(0, 0, "to_player", 11.0, os.urandom(50_000))
        assert is_full(recorder.trouble), recorder.trouble
        for _ in range(100):
            recorder.add(0, 0, "to_player", 12.0, bytes(50_000))
        recorder.closed(0, 0, 13.0, "game")
        recorder.close()
        assert not recorder._queue
        recording = Recording(place / "traffic")
        list(recording.entries())


def test_a_slow_disk_loses_bytes_and_not_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the backlog pieces are lost; the recording says where, and what came before and after is good."""
    monkeypatch.setattr(recording_module, "_BACKLOG", 1_000_000)
    go_on = threading.Event()
    write = Recorder._write

    def slow(self: Recorder, data: bytes) -> None:
        assert go_on.wait(60)
        write(self, data)

    monkeypatch.setattr(Recorder, "_write", slow)
    file = tmp_path / "traffic"
    recorder = upgraded(Recorder(file))
    tracemalloc.start()
    try:
        for place in range(2000):
            recorder.add(0, 0, "to_player", 11.0 + place, bytes([place % 256]) * 10_000)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 3_000_000
    assert recorder.lost > 15_000_000
    go_on.set()
    end = time.monotonic() + 60
    while recorder._queue and time.monotonic() < end:
        time.sleep(0.01)
    recorder.add(0, 0, "to_player", 5000.0, b"again")
    recorder.close()
    assert "too slow" in recorder.trouble
    found = entries(file)
    assert [entry.kind for entry in found].count(Kind.LOST) == 1
    assert found[-1].data == b"again"
    assert found[4].data == bytes([1]) * 10_000


WRITER = """
import sys, time
from pathlib import Path
from coworld_actors.traffic.recording import Recorder
recorder = Recorder(Path(sys.argv[1]))
recorder.opened(0, 0, 0.0)
recorder.add(0, 0, "to_game", 0.0, b"GET / HTTP/1.1\\r\\n\\r\\n")
recorder.add(0, 0, "to_player", 0.0, b"HTTP/1.1 101 x\\r\\n\\r\\n")
at = 0.0
while True:
    at += 0.001
    recorder.add(0, 0, "to_player", at, b"%020d" % int(at * 1000))
    time.sleep(0.001)
"""


def test_a_killed_writer_leaves_a_readable_recording(tmp_path: Path) -> None:
    """What was on disk when SIGKILL came is read back without a gap; the rest is torn off."""
    file = tmp_path / "traffic"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(file)])
    end = time.monotonic() + 60
    while time.monotonic() < end and (not file.exists() or file.stat().st_size < 3000):
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    recording = Recording(file)
    numbers = [int(entry.data) for entry in recording.entries() if entry.data.isdigit()]
    assert numbers
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_recording_torn_anywhere_is_readable_up_to_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shorter file has its whole blocks, and says where it is torn, or is refused for want of a header."""
    monkeypatch.setattr(recording_module, "_BLOCK", 1)
    file = tmp_path / "traffic"
    upgraded(Recorder(file)).close()
    whole = file.read_bytes()
    torn = tmp_path / "torn"
    counts: list[int] = []
    damages = 0
    for size in range(len(whole) + 1):
        torn.write_bytes(whole[:size])
        try:
            recording = Recording(torn)
        except Refused:
            assert not counts
            continue
        counts.append(len(list(recording.entries())))
        damages += bool(recording.damage)
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}
    assert damages == len(counts) - 4, "only at the four ends of blocks is nothing torn"


def test_a_recording_packs(tmp_path: Path) -> None:
    """Repeated observations take a fraction of their size."""
    file = tmp_path / "traffic"
    recorder = upgraded(Recorder(file))
    frame = b'{"type":"observation","tick":1,"cells":[0,1,2,3,4,5]}' * 4
    for place in range(5000):
        recorder.add(0, 0, "to_player", 11.0 + place, frame)
    recorder.close()
    assert file.stat().st_size < 5000 * len(frame) / 10
