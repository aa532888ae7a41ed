"""Strangers' text in messages: shown, never obeyed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_protocol.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, Ünïcode and 日本語", "plain text, Ünïcode and 日本語"),
        ("a\nb\tc", "a\\u000ab\\u0009c"),
        ("\x1b[31mred\x1b[0m \x07", "\\u001b[31mred\\u001b[0m \\u0007"),
        ("left\u202eright", "left\\u202eright"),
        ("\U000e0001", "\\U000e0001"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_or_hide_is_spelled_out(text: str, shown: str) -> None:
    """Printable characters of any script stay; control codes, changes of direction and half surrogates become escapes."""
    assert printable(text) == shown


@given(st.text())
def test_nothing_unprintable_is_left_and_nothing_printable_is_changed(text: str) -> None:
    """The result can be shown anywhere, and making it printable twice changes nothing."""
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    assert printable(text) == text or not text.isprintable()
