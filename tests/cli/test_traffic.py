"""`coworld-actors traffic` as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coworld_actors.traffic.recording import Recorder
from coworld_actors.traffic.watch import SeatTraffic
from coworld_protocol.ws.frames import BINARY, TEXT, encode, encode_close

COMMAND = [sys.executable, "-m", "coworld_actors", "traffic"]


def traffic(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seats, three ticks, a hostile text, a close of each side."""
    file = tmp_path / "match.cwt"
    recorder = Recorder(file, about={"episode": "e1", "seat 0": "greedy \x1b[31m"})
    for slot in (0, 1):
        seat = SeatTraffic(slot, recorder)
        seat.opened(1.0, 0)
        seat.to_game(1.0, b"GET /player?slot=0&token=SECRET HTTP/1.1\r\n\r\n")
        seat.to_player(1.0, b"HTTP/1.1 101 x\r\n\r\n")
        for tick in range(3):
            seat.to_player(
                2.0 + tick, encode(TEXT, b'{"tick":%d}' % tick + b"\x1b[2J\r\n" + "\u202e".encode() + b"x" * 200)
            )
            seat.to_game(2.25 + tick, encode(BINARY, b"\x00\xff\x01", mask=True))
        seat.to_player(6.0, encode_close(4001, "over\x07"))
        seat.closed(6.0, "game", 0)
    recorder.close()
    return file


def test_the_summary_says_what_passed_and_how_long_answers_took(recording: Path) -> None:
    """Counts, percentiles, closes, for every seat; no control code of a stranger's reaches the terminal."""
    done = traffic(recording)
    assert (done.returncode, done.stderr) == (0, "")
    assert "episode e1, seat 0 greedy \\u001b[31m" in done.stdout
    assert "seat 0: 3 messages to the player, 3 back" in done.stdout
    assert "seat 1: 3 messages" in done.stdout
    assert "p50 250 ms" in done.stdout
    assert "1 closed by game (4001)" in done.stdout
    assert "\x1b" not in done.stdout


def test_one_seat_only(recording: Path) -> None:
    """The others are left out; one that is not there is refused with those that are."""
    assert "seat 0:" not in traffic(recording, "--seat", "1").stdout
    for more in ([], ["--frames"]):
        done = traffic(recording, "--seat", "7", *more)
        assert done.returncode == 2
        assert "no traffic of seat 7" in done.stderr
        assert "seats 0, 1" in done.stderr


def test_frames_are_a_line_each(recording: Path) -> None:
    """Shortened, with control characters and changes of direction made visible, binary as hex, no token."""
    done = traffic(recording, "--frames", "--seat", "0")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 + 6 + 2
    assert "opened" in lines[0]
    assert "to game" in lines[1]
    assert "GET /player?slot=0&token=redacted HTTP/1.1" in lines[1]
    assert '{"tick":0}\\u001b[2J\\u000d\\u000a\\u202exxx' in lines[3]
    assert lines[3].endswith("...")
    assert max(map(len, lines)) < 160
    assert lines[4].endswith("00 ff 01")
    assert lines[-2].endswith("4001 over\\u0007")
    assert lines[-1].endswith("by game")
    assert "SECRET" not in done.stdout
    assert "\x1b" not in done.stdout


def test_the_report_as_json(recording: Path) -> None:
    """One document with the histogram in it."""
    document = json.loads(traffic(recording, "--json").stdout)
    assert document["exit_code"] == 0
    assert document["header"]["version"] == 1
    seats = document["report"]["seats"]
    assert [seat["slot"] for seat in seats] == [0, 1]
    assert seats[0]["answers"]["count"] == 3
    assert seats[0]["answers"]["histogram"].startswith("HISTFAAA")


def test_frames_as_json_are_an_object_a_line(recording: Path) -> None:
    """Whole payloads: text where it is UTF-8, base64 where not; the last line is the document."""
    lines = [json.loads(line) for line in traffic(recording, "--frames", "--json").stdout.splitlines()]
    assert lines[-1]["exit_code"] == 0
    assert lines[-1]["frames"] == len(lines) - 1
    texts = [line for line in lines[:-1] if line["kind"] == "text"]
    assert len(texts) == 6
    assert texts[0]["text"].endswith("x" * 200)
    assert [line["base64"] for line in lines[:-1] if line["kind"] == "binary"] == ["AP8B"] * 6


@pytest.mark.parametrize("more", [[], ["--frames"], ["--json"]], ids=["summary", "frames", "json"])
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, more: list[str]) -> None:
    """With exit code 2 and the next step, and the document when one was asked for."""
    file = tmp_path / "x"
    file.write_bytes(os.urandom(1000))
    done = traffic(file, *more)
    assert done.returncode == 2
    assert "is no recording of traffic" in done.stderr
    assert "run --record FILE" in done.stderr
    if "--json" in more:
        assert json.loads(done.stdout)["error"]["type"] == "Refused"
    assert traffic(tmp_path / "missing").returncode == 3


@pytest.mark.parametrize("more", [[], ["--frames"]], ids=["summary", "frames"])
def test_a_torn_recording_is_shown_up_to_there(recording: Path, more: list[str]) -> None:
    """What is there is shown, and that it is not all."""
    whole = recording.read_bytes()
    recording.write_bytes(whole + b"\x00\x00")
    done = traffic(recording, *more)
    assert done.returncode == 0
    assert "the recording ends early" in done.stdout
    assert "4001" in done.stdout


def test_a_reader_that_goes_away_is_no_error(recording: Path) -> None:
    """`| head` ends it without a word."""
    done = subprocess.run(
        ["sh", "-c", f"{' '.join(COMMAND)} {recording} --frames | head -1"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
