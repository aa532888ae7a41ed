"""How many seats a configuration has, and the placeholder tokens that stand in until an episode makes real ones."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["TokenBounds", "placeholder_tokens", "seat_count", "token_bounds"]


class TokenBounds(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens, and so how many seats, a game takes.

    Attributes:
        least: `minItems` of `tokens`.
        most: `maxItems` of `tokens`.
    """

    least: int
    most: int

    def __contains__(self, count: int) -> bool:
        return self.least <= count <= self.most


def token_bounds(config_schema: Any) -> TokenBounds | None:
    """What `properties.tokens` of a configuration's schema says; None where it breaks the contract."""
    properties = config_schema.get("properties") if isinstance(config_schema, dict) else None
    tokens = properties.get("tokens") if isinstance(properties, dict) else None
    if not isinstance(tokens, dict):
        return None
    least, most = _whole(tokens.get("minItems")), _whole(tokens.get("maxItems"))
    if least is None or most is None or least > most:
        return None
    return TokenBounds(least=least, most=most)


def seat_count(game_config: dict[str, Any], bounds: TokenBounds | None) -> int | None:
    """How many seats a configuration asks for by itself.

    In this order: the length of its `players` list; its `num_agents`, which 0.1.64 reads and which counts here only where
    the game takes as many; the one number that the game takes. None when nothing says it.
    """
    players, agents = game_config.get("players"), game_config.get("num_agents")
    if isinstance(players, list):
        return len(players)
    if bounds is None:
        return None
    if isinstance(agents, int) and not isinstance(agents, bool) and agents > 0 and agents in bounds:
        return agents
    return bounds.least if bounds.least == bounds.most else None


def placeholder_tokens(count: int) -> list[str]:
    """`token-0`, `token-1`, ...: what configurations are checked with before an episode has tokens."""
    return [f"token-{slot}" for slot in range(count)]


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
