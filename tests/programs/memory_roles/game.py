"""The sum game: every seat adds a number each tick."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from coworld_protocol.contract import ENV_EPISODE_ID
from coworld_protocol.sdk.environment import environment
from coworld_protocol.sdk.game import GameServer
from coworld_protocol.sdk.rules import GameConfig


class SumConfig(GameConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ticks: int = 3
    behaviour: str = "plays"


class Add(msgspec.Struct, frozen=True, kw_only=True):
    add: int
    tick: int | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="seen"):
    tick: int
    sums: list[int]


class Last(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="last"):
    sums: list[int]


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    scores: list[int]


class SumRules:
    def __init__(self, config: SumConfig) -> None:
        self.config = config
        self.tick = 0
        self.sums = [0] * len(config.tokens)
        if config.behaviour == "crashes at the start":
            raise RuntimeError("no such map")

    @property
    def done(self) -> bool:
        return self.tick >= self.config.ticks

    def welcome(self, slot: int) -> None:
        return None

    def observe(self, slot: int) -> Seen:
        return Seen(tick=self.tick, sums=self.sums)

    def step(self, moves: Mapping[int, Add]) -> None:
        self.tick += 1
        print(f"tick {self.tick} of {environment()[ENV_EPISODE_ID]}")
        if self.config.behaviour == "crashes" and self.tick == 2:
            raise RuntimeError("a rule broke")
        if self.config.behaviour == "exits" and self.tick == 2:
            sys.exit(7)
        if self.config.behaviour == "blocks" and self.tick == 2:
            time.sleep(0.3)
        for slot, move in moves.items():
            self.sums[slot] += move.add

    def final(self, slot: int) -> Last:
        return Last(sums=self.sums)

    def snapshot(self) -> Seen:
        return self.observe(0)

    def frame(self) -> Seen:
        return Seen(tick=self.tick, sums=self.sums.copy())

    def results(self) -> Sums:
        return Sums(scores=self.sums)


game = GameServer(config=SumConfig, rules=SumRules, move=Add, pages=Path(__file__).parent)

if __name__ == "__main__":
    raise SystemExit(game.main())
