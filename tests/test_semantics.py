"""The semantics page is executable: every promise on it names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/semantics.md").read_text()
PROMISE = re.compile(r"^\| ([PER]\d+[a-z]?) \|.*$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("line", [match.group(0) for match in PROMISE.finditer(PAGE)], ids=lambda line: line[2:6])
def test_a_promise_names_tests_that_exist(line: str) -> None:
    """A promise without a test is a wish."""
    named = TEST.findall(line)
    assert named, f"no test in: {line}"
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, f"{path} has no {name}"


def test_every_promise_has_an_id_of_its_own() -> None:
    """Two promises with one id could not be told apart in a report."""
    ids = [match.group(1) for match in PROMISE.finditer(PAGE)]
    assert len(ids) == len(set(ids)) > 20


def test_no_promise_of_the_supervisor_is_left_out() -> None:
    """P01 to P12 and P17 to P20, each on a line of its own."""
    ids = {match.group(1) for match in PROMISE.finditer(PAGE)}
    assert ids >= {f"P{number:02}" for number in (*range(1, 13), *range(17, 21))}


def test_the_reasons_and_ends_of_the_page_are_those_of_the_code() -> None:
    """The tables list every reason and every seat end, and none that does not exist."""
    from coworld_actors.episode.verdict import EndReason, SeatEnd

    reasons = set(re.findall(r"^\| `(\w+)` \| `\w+` \| \w+ \|", PAGE, re.MULTILINE))
    assert reasons == set(EndReason) - {EndReason.COMPLETED}
    ends = set(re.findall(r"^\| `(\w+)` \| (?:yes)? ?\|", PAGE, re.MULTILINE))
    assert ends == set(SeatEnd)
