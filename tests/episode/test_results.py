"""Results as strangers leave them: missing, malformed, in disguise; and what their scores are."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from coworld_actors.episode import results
from coworld_actors.episode.results import QUICK, check_results, compiled, is_quick, scores_of, written_at
from coworld_actors.episode.verdict import ResultsCheck
from coworld_actors.episode.workspace import Workspace
from coworld_actors.manifest.schema import compile_schema
from coworld_protocol.contract import ErrorType

SCHEMA = compile_schema(
    {
        "type": "object",
        "required": ["scores"],
        "properties": {"scores": {"type": "array", "items": {"type": "number"}}},
    }
)


def check(workspace: Workspace) -> ResultsCheck:
    return check_results(workspace, SCHEMA)


def test_results_that_obey_their_schema_have_scores(workspace: Workspace) -> None:
    """One number per seat, as the game wrote them."""
    workspace.results.write_text('{"scores": [1, 2.5], "more": null}')
    assert check(workspace) == ResultsCheck(scores=(1.0, 2.5))


def test_no_results_are_missing_results(workspace: Workspace) -> None:
    """Absence is an error of its own."""
    assert check(workspace).error is ErrorType.RESULTS_MISSING


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ('{"scores": [1,', "is no JSON"),
        ('{"scores": [NaN]}', "is no JSON"),
        ('{"scores": [1]} {"scores": [2]}', "is no JSON"),
        ('{"scores": ' + "[" * 100_000, "is no JSON"),
        ("\ud800".encode("utf-8", "surrogatepass"), "is no JSON"),
        ("[1, 2]", "$"),
        ("{}", "scores"),
        ('{"scores": "many"}', "$.scores"),
    ],
)
def test_malformed_results_say_what_is_wrong(workspace: Workspace, text: str | bytes, words: str) -> None:
    """No JSON, two documents, nesting without end, or a value that the schema refuses, with its path."""
    workspace.results.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = check(workspace)
    assert found.error is ErrorType.RESULTS_MALFORMED
    assert words in found.message
    assert found.scores == ()


def test_many_problems_are_counted(workspace: Workspace) -> None:
    """The sentence names some and says how many there are besides."""
    workspace.results.write_text(json.dumps({"scores": ["x"] * 8}))
    message = check(workspace).message
    assert message.count("$.scores") == results.SHOWN_PROBLEMS
    assert message.endswith("and 5 more")


def test_what_is_no_file_of_the_games_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link, a dangling one too, a pipe, a directory and a file without end are not read."""
    target = workspace.results
    good = workspace.root / "elsewhere.json"
    good.write_text('{"scores": [9, 9]}')
    for made in (
        lambda: target.symlink_to(good),
        lambda: target.symlink_to("nowhere"),
        lambda: os.mkfifo(target),
        target.mkdir,
        lambda: target.write_text('{"scores": [' + "1," * 100 + "1]}"),
    ):
        made()
        monkeypatch.setattr(results, "RESULTS_LIMIT", 100)
        assert check(workspace).error is ErrorType.RESULTS_MALFORMED
        target.rmdir() if target.is_dir() and not target.is_symlink() else target.unlink()


async def test_the_time_of_writing_is_on_the_clock_of_the_findings(workspace: Workspace) -> None:
    """Written just now is now; a file from a minute ago is a minute before now; nothing written is nothing."""
    assert written_at(workspace) is None
    workspace.results.write_text("{}")
    now = trio.current_time()
    at = written_at(workspace)
    assert at is not None
    assert abs(at - now) < 10
    stat = workspace.results.stat()
    os.utime(workspace.results, (stat.st_atime, stat.st_mtime - 60))
    older = written_at(workspace)
    assert older is not None
    assert 50 < at - older < 70


async def test_the_time_of_a_link_is_its_own(workspace: Workspace, tmp_path: Path) -> None:
    """A game cannot choose the time by pointing to an old file."""
    old = tmp_path / "old.json"
    old.write_text("{}")
    os.utime(old, (1, 1))
    workspace.results.symlink_to(old)
    at = written_at(workspace)
    assert at is not None
    assert abs(at - trio.current_time()) < 10


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"scores": [1, 2.5]}, (1.0, 2.5)),
        ({"scores": []}, ()),
        ({"scores": [1, True]}, ()),
        ({"scores": [1, "2"]}, ()),
        ({"scores": [1, None]}, ()),
        ({"scores": [math.inf]}, ()),
        ({"scores": {"0": 1}}, ()),
        ({"points": [1]}, ()),
        ([1, 2], ()),
        (None, ()),
    ],
)
def test_scores_are_a_list_of_finite_numbers_or_nothing(document: Any, expected: tuple[float, ...]) -> None:
    """A list with anything else in it names no seat's score."""
    assert scores_of(document) == expected


def test_a_schema_is_compiled_once_for_all_episodes_that_have_it() -> None:
    """By what it says, not by which object it is; many different ones do not pile up."""
    first = compiled({"type": "object", "required": ["a"]})
    assert compiled({"type": "object", "required": ["a"]}) is first
    assert compiled({"type": "object", "required": ["b"]}) is not first
    assert not first.accepts({"b": 1})
    for number in range(100):
        compiled({"type": "object", "required": [str(number)]})
    assert compiled({"type": "object", "required": ["a"]}) is not first


def test_little_is_quick(workspace: Workspace) -> None:
    """Nothing at all, too."""
    assert is_quick(workspace)
    workspace.results.write_bytes(b" " * QUICK)
    assert is_quick(workspace)
    workspace.results.write_bytes(b" " * (QUICK + 1))
    assert not is_quick(workspace)
