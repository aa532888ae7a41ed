"""Environment variables of our own, beside the contract's: what games and players on the SDK let the outside decide."""

from __future__ import annotations

from typing import Final

__all__ = ["ENV_OLD_NAMES", "ENV_SPIN", "ENV_UNIX_SOCKET"]

ENV_SPIN: Final = "COWORLD_ACTORS_SPIN"
"""Polling and napping in place of sleeping (`ws.spin`): `0` does neither, `1` always while an answer is expected, `auto` (as if unset) measures."""

ENV_UNIX_SOCKET: Final = "COWORLD_ACTORS_UNIX_SOCKET"
"""Path of a Unix socket on which a game listens beside its port, and which its players try first."""

ENV_OLD_NAMES: Final = "COWORLD_ACTORS_OLD_NAMES"
"""`1` makes a game take the contract's old names of routes and variables as well (docs/contract.md)."""
