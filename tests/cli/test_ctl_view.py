"""Rows and lines of `ctl`: readable, aligned, and harmless to a terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.actors.children import State
from coworld_actors.cli.ctl_view import Sheet, actor_sheet, duration, event_line, finding_lines, plain, show
from coworld_actors.cli.streams import Stream
from coworld_actors.control.anomalies import Finding, Trouble
from coworld_actors.control.tree import ActorStatus

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
CELLS = st.text(max_size=8)


@given(st.floats(0, 8e7))
def test_a_duration_is_right_within_its_smallest_unit_and_short(seconds: float) -> None:
    """Never more than seven characters for 900 days."""
    text = duration(seconds)
    parts = re.findall(r"([\d.]+)([smhd])", text)
    assert "".join(number + unit for number, unit in parts) == text
    shown = sum(float(number) * UNITS[unit] for number, unit in parts)
    assert abs(seconds - shown) <= (UNITS[parts[-1][1]] if len(parts) > 1 else 0.06)
    assert len(text) <= 7


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0.0s"), (-1e-9, "0.0s"), (59.94, "59.9s"), (59.96, "1m00s"), (3599, "59m59s"), (90061, "1d01h")],
)
def test_durations_at_the_edges(seconds: float | None, text: str) -> None:
    """No 60 seconds, no minus."""
    assert duration(seconds) == text


@given(st.lists(st.tuples(CELLS, CELLS, CELLS)))
def test_plain_lines_are_aligned_and_printable(rows: list[tuple[str, ...]]) -> None:
    """As many as rows and the heading; the right column ends where its heading does, whatever strangers wrote into the cells."""
    lines = plain(Sheet(("one", ">two", "three"), rows))
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)
    assert lines[0].split() == ["one", "two", "three"]
    assert all(line == line.rstrip() for line in lines)


def test_columns_are_where_their_headings_are() -> None:
    """Words to the left, numbers to the right."""
    assert plain(Sheet(("name", ">count"), [("a", "7"), ("longer", "1234567")])) == [
        "name      count",
        "a             7",
        "longer  1234567",
    ]
    assert plain(Sheet(("", ""), [("a", "b")])) == ["a  b"]


def actor(path: str, depth: int, **more: object) -> ActorStatus:
    fields = {"kind": "Game", "state": State.RUNNING, "incarnation": 0, "restarts": 2, "queued": 3, "capacity": 8}
    times = {"busy": None, "age": 65.0, "in_state": 1.0}
    return ActorStatus(path=path, depth=depth, **{**fields, **times, **more})


def test_a_tree_is_indented_and_its_top_has_its_whole_path() -> None:
    """Also when the top is in the middle of a tree."""
    lines = plain(actor_sheet([actor("e/play", 0, capacity=0), actor("e/play/game", 1, busy=0.5)]))
    assert re.split(r"\s{2,}", lines[1]) == ["e/play", "Game", "running", "1.0s", "2", "-", "-", "1m05s"]
    assert re.split(r"\s{2,}", lines[2]) == ["", "game", "Game", "running", "1.0s", "2", "3/8", "0.5s", "1m05s"]


def test_findings_that_are_left_out_are_counted() -> None:
    """In a last line."""
    finding = Finding(trouble=Trouble.BUSY, subject="a", seconds=1.0, text="a is busy")
    assert finding_lines([finding], 3) == ["busy: a is busy", "and 3 more"]
    assert finding_lines([], 0) == []


def record(**event: object) -> bytes:
    fields = {"seq": 7, "time": 0.5, "at": 0.1, "scope": "e-1", "actor": "e-1/game", "incarnation": 2}
    return msgspec.json.encode({**fields, "event": {"type": "noise", **event}})


def test_an_event_is_a_line_like_those_of_a_verbose_run() -> None:
    """With its number, its own time, and what is bound."""
    line = event_line(record(words="two words", count=3))
    assert line.startswith("     7  1970-01-01T00:00:00.5")
    for part in ("noise", "episode=e-1", "actor=e-1/game", "incarnation=2", "words='two words'", "count=3"):
        assert part in line
    assert "\x1b[" in event_line(record(), coloured=True)
    assert "\x1b[" not in line


WORDS = st.text(max_size=5)
VALUES = (
    WORDS | st.none() | st.lists(WORDS, max_size=2) | st.dictionaries(WORDS, st.lists(WORDS, max_size=2), max_size=2)
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(WORDS, VALUES, max_size=4))
def test_an_event_of_strangers_words_is_one_printable_line(event: dict[str, object]) -> None:
    """Neither names nor values nor what is inside of them reach the terminal as more than words."""
    event.pop("type", None)
    line = event_line(record(**event))
    assert line.isprintable()


@given(st.binary(max_size=50) | st.dictionaries(st.text(max_size=5), st.integers()).map(msgspec.json.encode))
def test_what_is_no_record_is_one_kind_of_error(data: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(ValueError, match="this is no record"):
        event_line(data)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_is_plain_unless_there_is_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one it is drawn to its width, and words are words there too."""
    sheet = Sheet(("name", ">n"), [("\x1b[31mred", "1"), ("x" * 200, "2")])
    here, there = io.StringIO(), Terminal()
    show(sheet, Stream(here))
    assert here.getvalue().splitlines() == plain(sheet)
    monkeypatch.setenv("COLUMNS", "60")
    show(sheet, Stream(there))
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 60 for line in there.getvalue().splitlines())
    assert "\x1b[31m" not in there.getvalue()
    assert "\\u001b[31mred" in there.getvalue()
