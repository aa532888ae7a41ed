"""How many seats a configuration has."""

from __future__ import annotations

from typing import Any

import pytest

from coworld_actors.manifest.slots import TokenBounds, placeholder_tokens, seat_count, token_bounds

TWO_TO_EIGHT = TokenBounds(least=2, most=8)


@pytest.mark.parametrize(
    ("config", "bounds", "seats"),
    [
        ({"players": [{}, {}, {}]}, TWO_TO_EIGHT, 3),
        ({"players": [{}], "num_agents": 4}, TWO_TO_EIGHT, 1),
        ({"players": 4, "num_agents": 5}, TWO_TO_EIGHT, 5),
        ({"num_agents": 9}, TWO_TO_EIGHT, None),
        ({"num_agents": True}, TokenBounds(least=1, most=8), None),
        ({}, TWO_TO_EIGHT, None),
        ({}, TokenBounds(least=4, most=4), 4),
        ({}, None, None),
        ({"players": []}, None, 0),
    ],
)
def test_what_decides_the_number_of_seats(
    config: dict[str, Any], bounds: TokenBounds | None, seats: int | None
) -> None:
    """The players list, then a number of agents that the game takes, then the only number it takes."""
    assert seat_count(config, bounds) == seats


@pytest.mark.parametrize(
    "tokens",
    [
        None,
        [],
        {},
        {"minItems": 2},
        {"minItems": 3, "maxItems": 2},
        {"minItems": True, "maxItems": 2},
        {"minItems": -1},
    ],
)
def test_bounds_that_break_the_contract_are_none(tokens: Any) -> None:
    """No guess is made from half a declaration."""
    assert token_bounds({"properties": {"tokens": tokens}}) is None
    assert token_bounds(tokens) is None


def test_bounds_are_read() -> None:
    """`minItems` and `maxItems` of the tokens' schema."""
    bounds = token_bounds({"properties": {"tokens": {"minItems": 2, "maxItems": 8}}})
    assert bounds == TWO_TO_EIGHT
    assert [count for count in range(12) if count in TWO_TO_EIGHT] == [2, 3, 4, 5, 6, 7, 8]


def test_placeholders_differ() -> None:
    """A schema that asks for unique tokens is satisfied."""
    assert placeholder_tokens(3) == ["token-0", "token-1", "token-2"]
