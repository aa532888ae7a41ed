"""`examples/orchard/orchard/reporter.py`: as a process, and its page by the rules for reports."""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from xml.etree import ElementTree as ET

import pytest

from coworld_actors.evidence.report_rules import check_report


def request_for(directory, *, encoding="identity", status="success"):
    replay = {"uri": f"file://{directory}/replay", "media_type": "application/json", "encoding": encoding}
    results = {"uri": f"file://{directory}/results.json", "media_type": "application/json"}
    return {
        "type": "report_request",
        "request_id": "r",
        "report_uri": f"file://{directory}/out/report.zip",
        "episodes": [
            {
                "episode_request_id": "<b>ereq & 1</b>",
                "status": status,
                "manifest": {"ereq_id": "x", "status": status, "include": [], "files": {}},
                "artifacts": {"results": results, "replay": replay},
            }
        ],
    }


@pytest.fixture
def played(start_orchard):
    """A finished episode of two greedy players with names that are markup."""
    episode = start_orchard(2, max_ticks=30, players=[{"name": "<script>x</script>"}, {"name": 'Bo "&" Co'}])
    for slot in range(2):
        episode.sit(slot, "greedy")
    assert episode.wait() == 0
    return episode


def report(processes, request, log="reporter.log"):
    return processes.start("orchard.reporter", {"COGAME_REPORT_REQUEST": json.dumps(request)}, log).wait(60)


def test_the_report_obeys_every_rule_and_shows_the_scores(played, processes, tmp_path):
    """The zip breaks no rule; its page has one line per seat that ends at the seat's score, and names are escaped."""
    assert report(processes, request_for(tmp_path)) == 0, (tmp_path / "reporter.log").read_text()
    data = (tmp_path / "out" / "report.zip").read_bytes()
    checked = check_report(data)
    assert checked.problems == ()
    assert checked.manifest.render == "report.html"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        page = archive.read("report.html").decode()
    assert "<script>" not in page
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    picture = ET.fromstring(re.search(r"<svg.*?</svg>", page, re.DOTALL)[0])
    lines = picture.findall("polyline")
    assert len(lines) == 2
    scores = played.results()["scores"]
    ends = [float(line.get("points").split()[-1].split(",")[1]) for line in lines]
    assert (ends[0] < ends[1]) == (scores[0] > scores[1])
    for score in scores:
        assert f'<td class="n">{score}</td>' in page


def test_the_report_is_deterministic_and_takes_packed_replays(played, processes, tmp_path):
    """The same episode gives the same bytes, also from a replay that is delivered as zlib."""
    assert report(processes, request_for(tmp_path)) == 0
    first = (tmp_path / "out" / "report.zip").read_bytes()
    (tmp_path / "replay").write_bytes(zlib.compress((tmp_path / "replay").read_bytes()))
    assert report(processes, request_for(tmp_path, encoding="zlib")) == 0
    assert (tmp_path / "out" / "report.zip").read_bytes() == first


def test_an_episode_that_failed_is_refused(played, processes, tmp_path):
    """No report is written on an episode without success, and the reason is a sentence."""
    assert report(processes, request_for(tmp_path, status="failed")) == 2
    assert "did not succeed" in (tmp_path / "reporter.log").read_text()
    assert not (tmp_path / "out").exists()


def test_files_of_another_game_are_refused(processes, tmp_path):
    """A replay that is not Orchard's is a sentence, not a traceback."""
    (tmp_path / "replay").write_text('{"type": "replay", "start": {}, "frames": [], "results": {}}')
    (tmp_path / "results.json").write_text("{}")
    assert report(processes, request_for(tmp_path)) == 2
    log = (tmp_path / "reporter.log").read_text()
    assert "not Orchard's" in log
    assert "Traceback" not in log
