"""Reporters: asked with inputs that can be read, and nothing of theirs lands anywhere that has not passed the rules."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from urllib.parse import urlparse

import msgspec
import pytest
import trio

from coworld_actors.actors import SupervisorRef
from coworld_actors.episode.record import SupportReport
from coworld_actors.episode.workspace import Workspace
from coworld_actors.evidence.bundle import build_bundle
from coworld_actors.evidence.reporter import report_request, run_reporter
from coworld_drivers.process import ProcessSite


async def report_of(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported, behaviour: str, limit: float = 60
) -> SupportReport:
    spec = supported(reporters=(behaviour,), limit=limit)
    bundle = build_bundle(finished, spec.id)
    return await run_reporter(house, site, spec, finished, spec.plan.manifest.reporter[0], bundle)


async def test_a_reporter_is_asked_with_inputs_that_can_be_read(finished: Workspace, site: ProcessSite) -> None:
    """Every URI leads to a file with the content that is meant; absent artifacts are not named."""
    bundle = build_bundle(finished, "e-1")
    document = msgspec.json.decode(
        msgspec.json.encode(report_request(finished, site, (), bundle, finished.root / "out.zip"))
    )
    assert document["type"] == "report_request"
    (episode,) = document["episodes"]
    artifacts = episode["artifacts"]

    def read(artifact: dict[str, str]) -> bytes:
        return Path(urlparse(artifact["uri"]).path).read_bytes()

    assert read(artifacts["results"]) == b'{"scores": [3, 4]}'
    assert read(artifacts["replay"]) == b"\x00replay"
    assert {key: read(value) for key, value in artifacts["game_logs"].items()} == {
        "stdout": b"out\n",
        "stderr": b"err\n",
    }
    assert read(artifacts["player_logs"]["1"]) == b"connected 1\n"
    assert list(artifacts["player_artifact"]) == ["1"]
    assert episode["manifest"]["ereq_id"] == episode["episode_request_id"] == "e-1"


async def test_a_link_is_no_artifact(finished: Workspace, site: ProcessSite, tmp_path: Path) -> None:
    """What a game points to is not handed on."""
    finished.replay.unlink()
    finished.replay.symlink_to(tmp_path)
    finished.results.unlink()
    request = report_request(finished, site, (), build_bundle(finished, "e-1"), tmp_path / "out.zip")
    assert request.episodes[0].artifacts.replay is None
    assert request.episodes[0].artifacts.results is None


async def test_a_good_report_is_kept_and_unpacked(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported
) -> None:
    """The zip and its entries lie in `reports/ID/`, and the page to show is named."""
    report = await report_of(house, site, finished, supported, "works")
    assert report.ok, report
    assert (report.output, report.render) == ("reports/works/report.zip", "reports/works/summary.html")
    with zipfile.ZipFile(finished.root / report.output) as archive:
        assert {*archive.namelist(), "report.zip"} == set(os.listdir(finished.reports / "works"))
    assert "[3, 4] 7 connected 0" in (finished.root / report.render).read_text()


@pytest.mark.parametrize(
    ("behaviour", "message", "evidence"),
    [
        ("crashes", "the reporter did not finish well", "exit code 6; last line: no idea what happened"),
        ("hangs", "the reporter did not finish well", "still running after 3 s"),
        ("writes_nothing", "the reporter ended without writing report.zip", "exit code 0"),
        ("unsafe", "<script> without src", "exit code 0"),
        ("escapes", "'../../escaped.txt' would leave the report's directory", "exit code 0"),
        ("link", "report.zip cannot be read", "exit code 0"),
        ("pipe", "report.zip is no regular file", "exit code 0"),
        ("damaged", "the report cannot be unpacked: Bad CRC-32", "exit code 0"),
        ("clashes", "the report cannot be unpacked", "exit code 0"),
    ],
)
async def test_each_bad_reporter_is_named_by_its_fault(
    house: SupervisorRef,
    site: ProcessSite,
    finished: Workspace,
    supported,
    behaviour: str,
    message: str,
    evidence: str,
) -> None:
    """A sentence for the fault, the exit for evidence, and nothing of it lands among the reports or outside."""
    around = set(os.listdir(finished.root.parent))
    with trio.fail_after(60):
        report = await report_of(house, site, finished, supported, behaviour, 3 if behaviour == "hangs" else 60)
    assert not report.ok
    assert message in report.message
    assert report.evidence == evidence
    assert (report.output, report.render) == ("", "")
    assert list(finished.reports.iterdir()) == []
    assert set(os.listdir(finished.root.parent)) - around <= {"coworld"}


async def test_what_a_reporter_left_beside_its_zip_neither_disturbs_nor_redirects_it(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported
) -> None:
    """A draft under an entry's name, and a link under an entry's directory: the report is laid out elsewhere, whole."""
    report = await report_of(house, site, finished, supported, "redirects")
    assert report.ok, report
    place = finished.reports / "redirects"
    assert (place / "data/more").read_text() == "out"
    assert not (place / "data").is_symlink()
    assert (place / "summary.html").read_text() != "a draft"
    assert not (finished.root / "more").exists()


async def test_a_report_that_does_not_fit_on_the_disk_leaves_no_half_one(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is gone, and the sentence says that it was the room that was missing."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    report = await report_of(house, site, finished, supported, "works")
    assert report.message == "the report cannot be unpacked: No space left on device"
    assert list(finished.reports.iterdir()) == []


async def test_unpacking_can_be_called_off_and_leaves_no_half_report(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two pieces; what lies in `reports/` has passed and is whole."""
    scope = trio.CancelScope()

    def called_off() -> None:
        trio.from_thread.run_sync(scope.cancel)
        check()

    check = trio.from_thread.check_cancelled
    monkeypatch.setattr(trio.from_thread, "check_cancelled", called_off)
    with trio.fail_after(60), scope:
        await report_of(house, site, finished, supported, "works")
    assert scope.cancelled_caught
    assert list(finished.reports.iterdir()) == []
