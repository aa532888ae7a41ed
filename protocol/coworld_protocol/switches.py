"""Environment variables of our own, beside the contract's: what games and players on the SDK let the outside decide."""

from __future__ import annotations

from typing import Final

__all__ = ["ENV_OLD_NAMES", "ENV_PLAYER_SEED", "ENV_SPIN", "ENV_UNIX_SOCKET"]

ENV_SPIN: Final = "COWORLD_ACTORS_SPIN"
"""Polling and napping in place of sleeping (`ws.spin`): `0` does neither, `1` always while an answer is expected, `auto` (as if unset) measures."""

ENV_UNIX_SOCKET: Final = "COWORLD_ACTORS_UNIX_SOCKET"
"""Path of a Unix socket on which a game listens beside its port, and which its players try first."""

ENV_OLD_NAMES: Final = "COWORLD_ACTORS_OLD_NAMES"
"""`1` makes a game take the contract's old names of routes and variables as well (docs/contract.md)."""

ENV_PLAYER_SEED: Final = "COWORLD_ACTORS_PLAYER_SEED"
"""A decimal number from 0 to 4294967295 that a batch draws for each seat of each episode, and draws again when it plays that
episode again. Advice: a player that needs chance may start from it."""
