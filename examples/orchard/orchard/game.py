"""Orchard as a game process: `python -m orchard.game`."""

from __future__ import annotations

from pathlib import Path

from coworld_protocol.sdk.game import GameServer
from orchard.messages import Move
from orchard.rules import Orchard, OrchardConfig

__all__ = ["game"]

game = GameServer(config=OrchardConfig, rules=Orchard, move=Move, pages=Path(__file__).with_name("pages"))

if __name__ == "__main__":
    raise SystemExit(game.main())
