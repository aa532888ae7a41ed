"""`examples/orchard/orchard/grader.py`: the grade, and the process."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from orchard.grader import grade
from orchard.messages import Results

from coworld_protocol.sdk.roles import deterministic_zip


@given(st.lists(st.integers(0, 500), min_size=2, max_size=64))
def test_the_score_is_a_share_and_one_only_for_a_shared_lead(scores):
    """0..1 always; 1 exactly when the two best are level."""
    best, second = sorted(scores, reverse=True)[:2]
    given_grade = grade(Results(scores=scores, ticks=1, winner=None, contested=0))
    assert 0 <= given_grade.score <= 1
    assert (given_grade.score == 1) == (best == second)
    assert given_grade.margin == best - second


def test_the_process_reads_a_bundle_and_writes_a_grade(processes, tmp_path):
    """Bundle in, JSON out, status 0."""
    manifest = {"ereq_id": "e", "status": "success", "include": ["results"], "files": {"results": "r.json"}}
    results = {"scores": [10, 8, 3], "ticks": 5, "winner": 0, "contested": 2}
    bundle = deterministic_zip({"manifest.json": json.dumps(manifest).encode(), "r.json": json.dumps(results).encode()})
    (tmp_path / "bundle.zip").write_bytes(bundle)
    environ = {
        "COGAME_EPISODE_BUNDLE_URI": f"file://{tmp_path}/bundle.zip",
        "COGAME_GRADE_URI": f"file://{tmp_path}/g.json",
    }
    assert processes.start("orchard.grader", environ, "grader.log").wait(60) == 0
    assert json.loads((tmp_path / "g.json").read_text()) == {
        "grader_id": "orchard-closeness",
        "score": 0.8,
        "scale": "0: the best seat stands alone; 1: the two best are level",
        "margin": 2,
        "total": 21,
        "contested": 2,
        "winner_slot": 0,
    }


def test_a_bundle_without_results_is_a_sentence(processes, tmp_path):
    """A failed episode's bundle is refused and nothing is written."""
    manifest = {"ereq_id": "e", "status": "failed", "include": [], "files": {}}
    (tmp_path / "bundle.zip").write_bytes(deterministic_zip({"manifest.json": json.dumps(manifest).encode()}))
    environ = {"COGAME_EPISODE_BUNDLE_URI": f"{tmp_path}/bundle.zip", "COGAME_GRADE_URI": f"{tmp_path}/g.json"}
    assert processes.start("orchard.grader", environ, "grader.log").wait(60) == 2
    assert "The bundle has no results." in (tmp_path / "grader.log").read_text()
    assert not (tmp_path / "g.json").exists()
