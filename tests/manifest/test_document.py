"""Reading JSON of strangers: mistakes with their place, and nothing that a validator or a writer chokes on later."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.manifest.document import DEPTH_LIMIT, describe, json_path, parse_json, printable
from coworld_protocol.errors import Refused


@pytest.mark.parametrize(
    ("data", "evidence"),
    [
        (b'{"a": 1,\n "b": }', 'line 2, column 7: Expecting value near `"b": }`'),
        (b"", "line 1, column 1: Expecting value"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1, "b": 2, "a": 3}', 'an object has the key "a" twice; the first would be lost'),
        (b'{"a":\n "\xff"}', "line 2, byte 3: 0xff"),
        (b'{"a": "\\ud800"}', "\\ud800"),
    ],
)
def test_mistakes_have_their_place(data: bytes, evidence: str) -> None:
    """Each mistake is a refusal that names the document and the evidence."""
    with pytest.raises(Refused, match=r"^world\.json ") as caught:
        parse_json(data, source="world.json")
    assert caught.value.evidence == evidence
    assert caught.value.todo


@pytest.mark.parametrize("data", [b'{"a": 1e999}', b"1" * 5000])
def test_numbers_that_cannot_be_kept_are_refused(data: bytes) -> None:
    """Overflow to infinity and integers of thousands of digits are no numbers of a game."""
    with pytest.raises(Refused):
        parse_json(data, source="world.json")


@pytest.mark.parametrize("depth", [DEPTH_LIMIT + 1, 10_000, 1_000_000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_bombs_are_refused(depth: int, brackets: tuple[bytes, bytes]) -> None:
    """However deep the nesting, the answer is a refusal."""
    opening, closing = brackets
    with pytest.raises(Refused, match="nested too deeply"):
        parse_json(opening * depth + b"0" + closing * depth, source="world.json")


def test_depth_up_to_the_limit_is_read() -> None:
    """The limit itself is still allowed."""
    value = parse_json(b"[" * (DEPTH_LIMIT - 1) + b"0" + b"]" * (DEPTH_LIMIT - 1), source="world.json")
    assert isinstance(value, list)


def test_size_is_bounded() -> None:
    """Size is checked before the text is looked at."""
    with pytest.raises(Refused, match="too large") as caught:
        parse_json(b"[1,2]", source="world.json", size_limit=4)
    assert caught.value.evidence == "5 bytes; the limit is 4"


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(_values)
def test_what_json_writes_is_read_back(value: Any) -> None:
    """Every value of JSON survives, and every one can be described in a short line."""
    assert parse_json(json.dumps(value).encode(), source="d") == value
    # Ten characters for each one that has to be escaped, of four keys of 23.
    assert len(describe(value)) < 1000
    assert describe(value).isprintable()


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    """No bytes lead to any other exception."""
    with contextlib.suppress(Refused):
        assert parse_json(data, source="d") == json.loads(data)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "an empty object"),
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, "an object with a, b, c, d, ..."),
        ([], "an empty list"),
        ([1, 2], "a list of 2"),
        ("a" * 100, f'"{"a" * 60}..." (100 characters)'),
        (None, "null"),
        (True, "true"),
        (10**400, "an integer of 1329 bits"),
    ],
)
def test_descriptions_are_short(value: Any, text: str) -> None:
    """What was found is recognisable and never fills the screen."""
    assert describe(value) == text


def test_terminal_codes_are_shown_not_sent() -> None:
    """A manifest cannot colour, clear or reverse the screen of whoever reads its refusal."""
    assert describe("\x1b[2J\u202e\x9b") == '"\\u001b[2J\\u202e\\u009b"'
    assert json_path(["\x1b[31m"]) == '$["\\u001b[31m"]'
    assert describe({"\x1b": 1}) == "an object with \\u001b"
    assert printable("a\nb") == "a\\u000ab"
    assert printable("\U000e0001") == "\\U000e0001"


def test_paths_quote_what_is_no_plain_name() -> None:
    """A JSON path can be pasted into a query; keys of strangers cannot break it or fill the screen."""
    assert json_path(["player", 0, "id"]) == "$.player[0].id"
    assert json_path(["a b", 'say "x"', ""], "$.root") == '$.root["a b"]["say \\"x\\""][""]'
    assert len(json_path(["k" * 10_000])) < 80
