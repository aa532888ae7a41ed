"""Orchard as a game process: `python -m orchard.game`."""

from __future__ import annotations

from pathlib import Path

from coworld_protocol.sdk.game import GameServer
from orchard.messages import Move
from orchard.rules import Orchard, OrchardConfig

if __name__ == "__main__":
    pages = Path(__file__).with_name("pages")
    raise SystemExit(GameServer(config=OrchardConfig, rules=Orchard, move=Move, pages=pages).main())
