"""What `bench/autobahn/run.py` makes of the suite's reports; the suite itself is run by `make autobahn`."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("autobahn_run", ROOT / "bench/autobahn/run.py")
assert SPEC is not None
assert SPEC.loader is not None
run = importlib.util.module_from_spec(SPEC)
sys.modules["autobahn_run"] = run
SPEC.loader.exec_module(run)

VERSIONS = {"autobahntestsuite": "25.10.1", "autobahn": "0.10.9", "Twisted": "19.10.0", "python": "2.7.18"}


def report(directory: Path, agent: str, **cases: tuple[str, str]) -> dict[str, tuple[str, str]]:
    found = {name.replace("_", "."): {"behavior": ends[0], "behaviorClose": ends[1]} for name, ends in cases.items()}
    (directory / "index.json").write_text(json.dumps({agent: {name[1:]: ends for name, ends in found.items()}}))
    return run._collect(directory, agent)


def test_cases_are_counted_by_how_they_ended(tmp_path):
    """Every behaviour has its column; a close that went wrong counts as failed whatever the behaviour."""
    cases = report(
        tmp_path,
        "ours",
        c1_1=("OK", "OK"),
        c3_2=("NON-STRICT", "OK"),
        c7_1_5=("OK", "WRONG CODE"),
        c9_1=("FAILED", "OK"),
        c10_1=("INFORMATIONAL", "INFORMATIONAL"),
    )
    outcome = run.Outcome(cases, 12.4)
    assert outcome.failed() == ["7.1.5", "9.1"]
    text = run.summary({"server pump": outcome}, VERSIONS)
    assert "| server pump | 5 | 1 | 1 | 1 | 0 | 2 | 12 |" in text
    assert "neither OK nor FAILED: 3.2 NON-STRICT, 10.1 INFORMATIONAL." in text
    assert "server pump, case 7.1.5: OK, close WRONG CODE." in text


def test_a_case_that_was_not_run_has_failed(monkeypatch):
    """What the suite did with one subject it has to do with every other."""
    good = ("OK", "OK")
    outcomes = {"pump": run.Outcome({"1.1": good, "1.2": good}), "connection": run.Outcome({"1.1": good})}
    monkeypatch.setattr(run, "try_server", lambda suite, api, wanted: outcomes[api])
    found = run.try_all(None, ["server pump", "server connection"], {})
    assert found["server pump"].failed() == []
    assert found["server connection"].failed() == ["1.2"]


def test_the_summary_takes_the_place_of_the_one_before(tmp_path, monkeypatch):
    """Only what stands between the markers changes; a page without them is left alone and told."""
    page = tmp_path / "page.md"
    begin, end = run.MARKERS
    page.write_text(f"before\n\n{begin}\n\nold\n\n{end}\n\nbehind\n")
    monkeypatch.setattr(run, "PAGE", page)
    run.write_page("new")
    assert page.read_text() == f"before\n\n{begin}\n\nnew\n\n{end}\n\nbehind\n"
    page.write_text("nothing\n")
    with pytest.raises(run.Missing, match="markers"):
        run.write_page("new")
    assert page.read_text() == "nothing\n"


def test_without_python_27_it_says_how_to_name_one(capsys):
    """A missing interpreter is exit code 3 and a sentence with the next step."""
    assert run.main(["--python27", "no-such-python2.7"]) == 3
    assert "make autobahn PYTHON27=" in capsys.readouterr().err


def test_the_page_has_all_subjects_and_no_failure():
    """The newest summary on `docs/conformance.md` is of every subject, ran the compression cases, and none failed."""
    text = (ROOT / "docs/conformance.md").read_text().partition(run.MARKERS[0])[2].partition(run.MARKERS[1])[0]
    rows = dict(re.findall(r"^\| (server \w+|client) \|(.*)\|$", text, re.MULTILINE))
    assert set(rows) == {"server pump", "server connection", "client"}
    for name, row in rows.items():
        numbers = [int(cell) for cell in row.split("|")]
        assert numbers[0] == sum(numbers[1:6]) > 500, name
        assert numbers[5] == 0, name
