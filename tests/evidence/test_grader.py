"""Graders: exactly one finite number, or a sentence that says what came instead."""

from __future__ import annotations

import json
import os
import stat

import pytest
import trio

from coworld_actors.actors import SupervisorRef
from coworld_actors.episode.workspace import FOR_READERS, Workspace
from coworld_actors.evidence.bundle import build_bundle
from coworld_actors.evidence.grader import GradeRefused, parse_grade, run_grader
from coworld_drivers.process import ProcessSite

UMASK = os.umask(0o077)
os.umask(UMASK)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"score": 0.85}', 0.85),
        ('{"score": -3, "grader_id": "g", "margin_tiles": [1]}', -3.0),
        (' {"score": 0} \n', 0.0),
        ('{"score": 1e300}', 1e300),
    ],
)
def test_a_number_is_a_grade_and_other_keys_are_ignored(text: str, score: float) -> None:
    """Extra keys are allowed, `grader_id` is only advised."""
    assert parse_grade(text.encode()) == score


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("a fine game", "no JSON"),
        ('{"score": NaN}', "no JSON"),
        ('{"score": Infinity}', "no JSON"),
        ('{"score": 1}{"score": 2}', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("0.85", "no JSON object"),
        ("[0.85]", "no JSON object"),
        ("{}", "None"),
        ('{"score": null}', "None"),
        ('{"score": true}', "True"),
        ('{"score": "9"}', "'9'"),
        ('{"score": {"value": 1}}', "is an object, not a finite number"),
        ('{"score": 1e400}', ""),
        ('{"score": 1' + "0" * 400 + "}", "too large a number"),
        ('{"score": -1' + "0" * 400 + "}", "too large a number"),
        ('{"score": 1' + "0" * 5000 + "}", "no JSON"),
        ('{"score": ' + "[" * 400 + "]" * 400 + "}", "is a list, not a finite number"),
        ('{"score": "\\u001b[31m"}', "'\\x1b[31m'"),
    ],
)
def test_anything_else_is_refused_with_what_was_found(text: str, words: str) -> None:
    """Nothing is rounded up to a grade: no text, no boolean, no NaN, no second document."""
    with pytest.raises(GradeRefused) as caught:
        parse_grade(text.encode())
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("behaviour", "message", "evidence"),
    [
        ("crashes", "the grader did not finish well", "exit code 6; last line: no idea what happened"),
        ("hangs", "the grader did not finish well", "still running after 3 s"),
        ("writes_nothing", "the grader ended without writing its grade", "exit code 0"),
        ("boolean", "the grade's score is True, not a finite number", "exit code 0"),
        ("text", "the grade's score is '9', not a finite number", "exit code 0"),
        ("nan", "the grade is no JSON", "exit code 0"),
        ("prose", "the grade is no JSON", "exit code 0"),
        ("two", "the grade is no JSON", "exit code 0"),
    ],
)
async def test_each_bad_grader_is_named_by_its_fault(
    house: SupervisorRef,
    site: ProcessSite,
    finished: Workspace,
    supported,
    behaviour: str,
    message: str,
    evidence: str,
) -> None:
    """A sentence for the fault, the exit for evidence, and no grade is left."""
    spec = supported(graders=(behaviour,), limit=3 if behaviour == "hangs" else 60)
    build_bundle(finished, spec.id)
    report = await run_grader(house, site, spec, finished, spec.plan.manifest.grader[0])
    assert not report.ok
    assert message in report.message
    assert report.evidence == evidence
    assert report.score is None
    assert list(finished.grades.iterdir()) == []


async def test_a_good_grade_lands_under_the_graders_id(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported
) -> None:
    """The grader read the bundle that it was promised; its document is kept whole."""
    spec = supported(graders=("works",))
    build_bundle(finished, spec.id)
    with trio.fail_after(60):
        report = await run_grader(house, site, spec, finished, spec.plan.manifest.grader[0])
    assert (report.ok, report.score, report.output) == (True, 7.0, "grades/works.json"), report
    assert json.loads((finished.root / report.output).read_text()) == {"grader_id": "scripted", "score": 7}
    assert (finished.logs / "grader-works.log").exists()
    assert stat.S_IMODE((finished.root / report.output).stat().st_mode) == FOR_READERS & ~UMASK
