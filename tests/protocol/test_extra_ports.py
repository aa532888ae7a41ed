"""What a game may wish for besides the contract's port, row by row."""

from __future__ import annotations

import pytest

from coworld_protocol.extra_ports import BadExtraPorts, wished_ports


@pytest.mark.parametrize(
    ("text", "wishes"),
    [
        ("", ()),
        (" \t", ()),
        ("3724", ((3724, None),)),
        ("3724:0", ((3724, None),)),
        ("3724:3724/tcp", ((3724, 3724),)),
        ("3724/tcp", ((3724, None),)),
        (" 3724 , 8085:18085 ", ((3724, None), (8085, 18085))),
        ("1,65535:65535", ((1, None), (65535, 65535))),
        ("3724:0,3725:0", ((3724, None), (3725, None))),
        ("3724:3725,3725:3724", ((3724, 3725), (3725, 3724))),
    ],
)
def test_a_wish_is_read(text: str, wishes: tuple[tuple[int, int | None], ...]) -> None:
    """Container port, host port; 0 and nothing leave the choice to the runner."""
    assert wished_ports(text) == wishes


@pytest.mark.parametrize(
    ("text", "found", "words"),
    [
        ("3724,,3725", "", "CONTAINER[:HOST][/tcp]"),
        ("3724,", "", "CONTAINER[:HOST][/tcp]"),
        ("3724/udp", "3724/udp", "CONTAINER[:HOST][/tcp]"),
        ("3724:1:2", "3724:1:2", "CONTAINER[:HOST][/tcp]"),
        ("3724:", "3724:", "CONTAINER[:HOST][/tcp]"),
        (":3724", ":3724", "CONTAINER[:HOST][/tcp]"),
        ("http", "http", "CONTAINER[:HOST][/tcp]"),
        ("-1", "-1", "CONTAINER[:HOST][/tcp]"),
        ("\N{ARABIC-INDIC DIGIT THREE}", "\N{ARABIC-INDIC DIGIT THREE}", "CONTAINER[:HOST][/tcp]"),
        ("9" * 5000, "9" * 5000, "CONTAINER[:HOST][/tcp]"),
        ("0", "0", "up to 65535"),
        ("0:5", "0:5", "up to 65535"),
        ("65536", "65536", "up to 65535"),
        ("3724:65536", "3724:65536", "up to 65535"),
        ("8080", "8080", "besides 8080"),
        ("3724,3724:1", "3724:1", "container port of its own"),
        ("3724:9000,3725:9000", "3725:9000", "host port of its own"),
    ],
)
def test_a_wish_that_means_nothing_is_refused(text: str, found: str, words: str) -> None:
    """With the entry at fault and what would be right."""
    with pytest.raises(BadExtraPorts) as caught:
        wished_ports(text)
    assert caught.value.found == found
    assert words in caught.value.allowed
