"""`--set KEY=JSON`."""

from __future__ import annotations

from typing import Any

import pytest

from coworld_actors.manifest.overrides import apply_overrides, parse_override
from coworld_protocol.errors import Refused

CONFIG: dict[str, Any] = {"width": 8, "players": [{"name": "a"}, {"name": "b"}], "rules": {"fruit": 1}}


def change(*texts: str) -> dict[str, Any]:
    return apply_overrides(CONFIG, [parse_override(text) for text in texts])


@pytest.mark.parametrize(
    ("text", "where", "value"),
    [
        ("width=9", ("width",), 9),
        ("rules.fruit=2.5", ("rules", "fruit"), 2.5),
        ('players.1.name="Ada = Bob"', ("players", 1, "name"), "Ada = Bob"),
        ("players.0={}", ("players", 0), {}),
        ("new.deep.key=[1]", ("new", "deep", "key"), [1]),
        ("rules=null", ("rules",), None),
    ],
)
def test_a_dotted_path_sets_one_place(text: str, where: tuple[Any, ...], value: Any) -> None:
    """Objects are entered by key and made where missing, lists by index; the value may hold an equals sign."""
    place: Any = change(text)
    for key in where:
        place = place[key]
    assert place == value


def test_later_changes_see_earlier_ones_and_the_base_stays() -> None:
    """They apply in order, to a copy."""
    assert change("players=[{}]", 'players.0.name="c"', "width=1", "width=2")["players"] == [{"name": "c"}]
    assert change("width=1", "width=2")["width"] == 2
    assert CONFIG["width"] == 8


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("width", ["--set width is not KEY=JSON", "try: write for example --set max_ticks=50"]),
        ("a..b=1", ["--set a..b=1 is not KEY=JSON", "try: write for example --set max_ticks=50"]),
        ("=1", ["--set =1 is not KEY=JSON", "try: write for example --set max_ticks=50"]),
        (
            "name=Ada",
            [
                "the value of --set name is not JSON",
                "evidence: line 1, column 1: Expecting value near `Ada`",
                """try: write JSON; a text needs quotes: --set 'name="text"'""",
            ],
        ),
        (
            "tokens.0=1",
            ["--set cannot change tokens", "try: leave them out; each episode gets fresh ones"],
        ),
        (
            "players.2.name=1",
            [
                "--set players.2.name leads nowhere",
                "evidence: players is a list of 2; `2` would need an index below 2",
                "try: set the part above it as a whole",
            ],
        ),
        (
            "width.x=1",
            [
                "--set width.x leads nowhere",
                "evidence: width is 8; `x` would need an object or a list",
                "try: set the part above it as a whole",
            ],
        ),
        (
            "players.-1=1",
            [
                "--set players.-1 leads nowhere",
                "evidence: players is a list of 2; `-1` would need an index below 2",
                "try: set the part above it as a whole",
            ],
        ),
    ],
)
def test_mistakes_have_a_next_step(text: str, lines: list[str]) -> None:
    """What was written, why it cannot be, what to write."""
    with pytest.raises(Refused) as caught:
        change(text)
    assert caught.value.lines() == lines


def test_depth_bombs_in_a_value_are_refused() -> None:
    """A command line is input too."""
    with pytest.raises(Refused, match="nested too deeply"):
        change("x=" + "[" * 100_000)
