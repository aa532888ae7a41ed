"""Records for programs: one JSON object a line, a last one that says it is over, never at the cost of a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from coworld_actors.batch.events import (
    BatchEnded,
    BatchLaunched,
    EpisodeBegan,
    EpisodePlaying,
    EpisodeRetried,
    EpisodeSettled,
    ParallelChanged,
)
from coworld_actors.cli.batch_records import BatchRecords, refuse_taken
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.batches import line

EVENTS = (
    BatchLaunched(id="b", directory="/b", coworld="c 1", entrants=("a", "b"), episodes=1, open=1, parallel=2),
    EpisodeBegan(index=0, seats=(0, 1), attempt=1),
    EpisodePlaying(index=0, seconds=0.5),
    EpisodeRetried(index=0, attempt=1, reason="the machine", wait=1),
    ParallelChanged(parallel=4, because="it pays"),
    EpisodeSettled(line=line(0), done=1, total=1),
    BatchEnded(stopped="", done=1, total=1, seconds=3),
)
KINDS = ["launch", "retry", "parallel", "episode", "done"]


def write(path: Path) -> BatchRecords:
    with BatchRecords(path) as records:
        for event in EVENTS:
            records.tell(event)
        records.done(0, directory="/b")
    return records


def test_programs_are_told_what_they_need(tmp_path: Path) -> None:
    """In the order in which it happened; the end comes last and has the exit code."""
    assert write(tmp_path / "all.jsonl").trouble is None
    found = [json.loads(text) for text in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [record["event"] for record in found] == KINDS
    assert found[3]["line"]["index"] == 0
    assert (found[-1]["exit_code"], found[-1]["directory"], found[-1]["seconds"]) == (0, "/b", 3)


def test_stdout_takes_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """`-`."""
    write(Path("-"))
    assert [json.loads(text)["event"] for text in capsys.readouterr().out.splitlines()] == KINDS


def test_without_an_end_there_is_no_last_record(tmp_path: Path) -> None:
    """Whoever reads it knows that it broke off."""
    with BatchRecords(tmp_path / "all.jsonl") as records:
        records.tell(EVENTS[0])
        records.done(4)
    assert (tmp_path / "all.jsonl").read_text().count("\n") == 1


def test_what_is_there_stays(tmp_path: Path) -> None:
    """A file with something in it, a pipe, a directory: refused before anything is written."""
    (tmp_path / "mine").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    for name in ("mine", "pipe", "."):
        with pytest.raises(Refused):
            refuse_taken(tmp_path / name)
        with pytest.raises(Refused):
            BatchRecords(tmp_path / name)
    assert (tmp_path / "mine").read_text() == "mine"
    refuse_taken(tmp_path / "not/there/yet")
    with pytest.raises(PreconditionMissing):
        BatchRecords(tmp_path / "not/there/yet")


def test_a_full_disk_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch goes on without them."""

    def full(path: Path) -> BinaryIO:
        del path
        return os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)

    monkeypatch.setattr("coworld_actors.cli.batch_records._open", full)
    trouble = write(tmp_path / "all.jsonl").trouble
    assert trouble is not None
    assert "No space left" in trouble.what
