from __future__ import annotations

import pytest

from coworld_protocol.ws.fields import Fields, is_token, read_extensions

LONG = 64 * 1024


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", []),
        (" , ,", []),
        ("a", [("a", [])]),
        (" a , b ", [("a", []), ("b", [])]),
        ("a; x; y=1", [("a", [("x", None), ("y", "1")])]),
        ("a;x=1,a;x", [("a", [("x", "1")]), ("a", [("x", None)])]),
        ('a ; x = "1" ;\ty', [("a", [("x", "1"), ("y", None)])]),
        (",a,,b,", [("a", []), ("b", [])]),
    ],
)
def test_extensions_are_read(value: str, found: list[object]) -> None:
    """Names, parameters with and without value, quoted values, blanks and empty elements."""
    assert read_extensions(value) == found


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "a;",
        "a;;b",
        ";a",
        "a=1",
        "a; x=",
        'a; x=""',
        'a; x="1',
        'a; x="1 2"',
        'a; x="1\\"2"',
        "a; x=(",
        "ä",
        "a\n",
        "a;x=1 2",
    ],
)
def test_what_breaks_the_grammar_is_refused(value: str) -> None:
    """RFC 6455, 9.1: malformed extension headers fail the handshake."""
    with pytest.raises(ValueError, match="malformed"):
        read_extensions(value)


@pytest.mark.parametrize(
    "value",
    [
        " " * LONG + "(",
        "a" + " " * LONG + "(",
        "a;" * LONG,
        "a;b" + " " * LONG + ";",
        'a;b="' + "c" * LONG,
        "a;b=" + "\t" * LONG,
    ],
)
def test_malformed_extensions_cost_no_more_than_their_length(value: str) -> None:
    """Long runs of blanks and unclosed quotes end in the same refusal; with a square's work the test would run for minutes."""
    with pytest.raises(ValueError, match="malformed"):
        read_extensions(value)


def test_long_lists_are_read_in_one_pass() -> None:
    """Sixteen thousand extensions and as many parameters."""
    assert len(read_extensions("a," * (LONG // 4))) == LONG // 4
    assert len(read_extensions("a" + ";b=1" * (LONG // 4))[0][1]) == LONG // 4


@pytest.mark.parametrize(
    ("text", "expected"), [("chat.v1", True), ("", False), ("a b", False), ("a\n", False), ("ä", False)]
)
def test_a_token_is_told_from_other_text(text: str, expected: bool) -> None:
    """Tokens are visible ASCII without separators, and not empty."""
    assert is_token(text) is expected


def test_fields_are_found_in_any_case_and_over_several_lines() -> None:
    """Names ignore case, values keep their order and lose blanks; list elements come lowered and without empty ones."""
    fields = Fields([(b"Connection", b" Keep-Alive ,, Upgrade"), (b"CONNECTION", b"Foo"), (b"X", b"\t1 ")])
    assert fields.values("connection") == ["Keep-Alive ,, Upgrade", "Foo"]
    assert fields.lowered("connection") == ["keep-alive", "upgrade", "foo"]
    assert fields.values("x") == ["1"]
    assert fields.values("y") == []


def test_lists_of_tokens_are_strict() -> None:
    """An element that is no token, an empty one included, is an error; no header is an empty list."""
    assert Fields([(b"P", b"a, b"), (b"p", b"c")]).tokens("p") == ["a", "b", "c"]
    assert Fields([]).tokens("p") == []
    for value in (b"", b"a,", b"a b", b"a,(", b"\xff"):
        with pytest.raises(ValueError, match="malformed"):
            Fields([(b"p", value)]).tokens("p")
