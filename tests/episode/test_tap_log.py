"""What a tap leaves: bounded, and written where nobody can have put anything else."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from coworld_actors.episode import tap_log
from coworld_actors.episode.chaos import Direction, Fault, parse_chaos
from coworld_actors.episode.spec import TapSpec
from coworld_actors.episode.tap_log import InjectedFault, TapLog, write_tap
from coworld_actors.episode.workspace import Workspace
from coworld_actors.traffic.budget import parse_budget
from coworld_actors.traffic.report import Judgement

FAULT = InjectedFault(at=1.0, slot=0, connection=0, direction=Direction.TO_GAME, fault=Fault.DROP, frame=7)


def test_many_faults_are_counted_and_the_first_are_kept(spec_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the trouble."""
    monkeypatch.setattr(tap_log, "MOST_FAULTS", 3)
    log = TapLog(spec_of())
    for frame in range(10):
        log.note(msgspec.structs.replace(FAULT, frame=frame))
    document = log.document()
    assert [fault.frame for fault in document.faults] == [0, 1, 2]
    assert document.fault_count == 10


def test_the_document_says_what_was_asked_for(spec_of, tmp_path: Path) -> None:
    """Chaos, recording and budget; without an answer there is nothing to judge."""
    tap = TapSpec(budget=parse_budget("55ms:320"), recording=tmp_path / "file", chaos=parse_chaos("delay=1ms seed=4"))
    log = TapLog(msgspec.structs.replace(spec_of(), tap=tap))
    log.lag.record(0.001)
    log.close()
    log.close()
    report = log.document().report
    assert (report.chaos, report.recording) == ("delay=0.001s seed=4", str(tmp_path / "file"))
    assert report.budget is not None
    assert report.budget.judgement is Judgement.REFUSED
    assert [seat.slot for seat in report.seats] == [0, 1]
    assert report.notes == ()


def test_it_is_written_beside_what_a_role_left_under_its_name(spec_of, workspace: Workspace, tmp_path: Path) -> None:
    """A link does not lead us elsewhere."""
    (tmp_path / "victim").write_text("precious")
    workspace.tap.symlink_to(tmp_path / "victim")
    log = TapLog(spec_of())
    log.note(FAULT)
    write_tap(workspace, log.document())
    assert (tmp_path / "victim").read_text() == "precious"
    document = json.loads(workspace.tap.read_text())
    assert document["faults"][0]["fault"] == "drop"
    assert document["report"]["version"] == 1
