"""`coworld_protocol.sdk.roles`: requests, report zips, bundles, grades."""

from __future__ import annotations

import io
import json
import zipfile
import zlib

import pytest

from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from coworld_protocol.messages.reporter import Artifact, ReportManifest
from coworld_protocol.sdk.roles import (
    Bundle,
    Grade,
    deterministic_zip,
    open_bundle,
    read_artifact,
    read_report_request,
    report_zip,
    run_role,
    write_grade,
    write_report,
)

REQUEST = {
    "type": "report_request",
    "request_id": "r",
    "report_uri": "file:///nowhere/report.zip",
    "episodes": [
        {
            "episode_request_id": "e",
            "status": "success",
            "manifest": {
                "ereq_id": "e",
                "status": "success",
                "include": ["results"],
                "files": {"results": "results.json"},
            },
            "artifacts": {"results": {"uri": "file:///r.json", "media_type": "application/json", "later": 1}},
            "inline_json": {},
        }
    ],
    "unknown": True,
}


def test_the_request_is_read_from_the_environment():
    """Unknown keys are ignored; what was not delivered is None."""
    request = read_report_request({"COGAME_REPORT_REQUEST": json.dumps(REQUEST)})
    assert request.report_uri == "file:///nowhere/report.zip"
    assert request.episodes[0].artifacts.results.uri == "file:///r.json"
    assert request.episodes[0].artifacts.replay is None


@pytest.mark.parametrize(
    ("environ", "kind"),
    [({}, PreconditionMissing), ({"COGAME_REPORT_REQUEST": "{"}, Refused), ({"COGAME_REPORT_REQUEST": "{}"}, Refused)],
)
def test_a_request_that_is_none_is_a_sentence(environ, kind):
    """A missing or broken request is told apart."""
    with pytest.raises(kind, match="COGAME_REPORT_REQUEST"):
        read_report_request(environ)


def test_an_artifact_is_unpacked(tmp_path):
    """A zlib artifact is inflated, an absent one refused."""
    (tmp_path / "replay").write_bytes(zlib.compress(b"frames"))
    artifact = Artifact(uri=f"file://{tmp_path}/replay", media_type="application/octet-stream", encoding="zlib")
    assert read_artifact(artifact) == b"frames"
    with pytest.raises(Refused):
        read_artifact(None)


def test_a_report_zip_is_deterministic_and_in_order(tmp_path):
    """Manifest first, entries as given, 1980, sorted keys without blanks; the same content gives the same bytes."""
    manifest = ReportManifest(reporter_id="me", trace="t.jsonl", render="r.md")
    entries = {"r.md": b"# hi", "t.jsonl": b"{}\n", "a/picture.svg": b"<svg/>"}
    data = report_zip(manifest, entries)
    assert data == report_zip(manifest, dict(entries))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["manifest.json", "r.md", "t.jsonl", "a/picture.svg"]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        assert archive.read("manifest.json") == b'{"render":"r.md","reporter_id":"me","trace":"t.jsonl"}'
    write_report(f"file://{tmp_path}/out/report.zip", manifest, entries)
    assert (tmp_path / "out" / "report.zip").read_bytes() == data


@pytest.mark.parametrize(
    ("manifest", "entries"),
    [
        (ReportManifest(reporter_id="me", render="missing.md"), {}),
        (ReportManifest(reporter_id="me", render="r.txt"), {"r.txt": b""}),
        (ReportManifest(reporter_id="me", event_log="e.csv"), {"e.csv": b""}),
        (ReportManifest(reporter_id="me", trace="t.txt"), {"t.txt": b""}),
        (ReportManifest(reporter_id="me", render="r.html"), {"r.html": b"\xff"}),
        (ReportManifest(reporter_id="me"), {"../up": b""}),
        (ReportManifest(reporter_id="me"), {"/root": b""}),
        (ReportManifest(reporter_id="me"), {"": b""}),
    ],
)
def test_a_report_that_breaks_a_rule_is_refused_before_it_is_written(manifest, entries):
    """The rules of report zips hold already at the author's."""
    with pytest.raises(Refused):
        report_zip(manifest, entries)


def bundle_bytes(**files: object) -> bytes:
    manifest = {"ereq_id": "e", "status": "success", "include": sorted(files), "files": files}
    return deterministic_zip(
        {"manifest.json": json.dumps(manifest).encode(), "x/results.json": b'{"scores": [1]}', "log0": b"zero"}
    )


def test_a_bundle_is_read_through_its_manifest(tmp_path):
    """Entries are found by token and key; what was not delivered is None."""
    (tmp_path / "bundle.zip").write_bytes(bundle_bytes(results="x/results.json", player_logs={"0": "log0"}))
    bundle = open_bundle({"COGAME_EPISODE_BUNDLE_URI": f"file://{tmp_path}/bundle.zip"})
    assert bundle.read("results") == b'{"scores": [1]}'
    assert bundle.read("player_logs", "0") == b"zero"
    assert bundle.read("player_logs", "1") is None
    assert bundle.read("replay") is None


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", deterministic_zip({"a": b""}), deterministic_zip({"manifest.json": b"{}"})]
)
def test_what_is_no_bundle_is_a_sentence(data):
    """Anything but a zip with a manifest is refused."""
    with pytest.raises(Refused):
        Bundle(data)


def test_a_bundle_whose_manifest_lies_is_a_sentence():
    """A named entry that is not there is refused by its name."""
    with pytest.raises(Refused, match="gone"):
        Bundle(bundle_bytes(results="gone")).read("results")


def test_a_grade_is_written_as_json(tmp_path):
    """Id, score and the grader's own keys arrive."""

    class Mine(Grade, frozen=True, kw_only=True):
        why: str

    write_grade(Mine(grader_id="g", score=0.5, why="so"), {"COGAME_GRADE_URI": f"{tmp_path}/g.json"})
    assert json.loads((tmp_path / "g.json").read_text()) == {"grader_id": "g", "score": 0.5, "why": "so"}
    with pytest.raises(PreconditionMissing, match="COGAME_GRADE_URI"):
        write_grade(Grade(grader_id="g", score=1), {})


def test_a_role_that_fails_has_a_status_and_a_sentence(capsys):
    """A refusal ends with its exit status and no traceback; success is 0."""

    def fail() -> None:
        raise Refused("It cannot be used.", todo="use another")

    assert run_role(fail) == Refused.exit_code
    assert capsys.readouterr().err == "It cannot be used.\ntry: use another\n"
    assert run_role(lambda: None) == 0
    assert issubclass(Refused, CoworldError)
