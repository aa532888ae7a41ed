"""A game of the SDK's that runs inside the test process: whoever says a number gets it, once per tick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_actors.testing import FakeRole, plays, serves
from coworld_protocol.sdk.game import GameServer
from coworld_protocol.sdk.rules import GameConfig
from coworld_protocol.ws.web import Limits as ServerLimits
from tests.coworlds import scripted_manifest, write_coworld

__all__ = ["Say", "counting_game", "counting_player", "counting_server", "counting_spec"]


class CountingConfig(GameConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scripted manifest's keys on top of the server's own; `padding` bytes make every observation so large."""

    behaviour: str = ""
    ticks: int = 3
    padding: int = 0


class Say(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    tick: int | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="seen"):
    tick: int
    padding: str = ""


class Last(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="last"):
    scores: list[int]


class Shown(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="shown"):
    tick: int


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    scores: list[int]


class CountingRules:
    def __init__(self, config: CountingConfig) -> None:
        self.config = config
        self.tick = 0
        self.scores = [0] * len(config.tokens)

    @property
    def done(self) -> bool:
        return self.tick >= self.config.ticks

    def welcome(self, slot: int) -> None:
        return None

    def observe(self, slot: int) -> Seen:
        return Seen(tick=self.tick, padding="x" * self.config.padding)

    def step(self, moves: Mapping[int, Say]) -> None:
        self.tick += 1
        for slot, move in moves.items():
            self.scores[slot] += move.number

    def final(self, slot: int) -> Last:
        return Last(scores=self.scores)

    def snapshot(self) -> Shown:
        return Shown(tick=self.tick)

    frame = snapshot

    def results(self) -> Scores:
        return Scores(scores=self.scores)


def counting_server(pages: Path, limits: ServerLimits | None = None) -> GameServer[CountingConfig, Say]:
    """The game's server, with pages written where it is told."""
    pages.mkdir(exist_ok=True)
    for name in ("player", "global", "replay", "admin"):
        (pages / f"{name}.html").write_text(f"<p>{name}")
    return GameServer(config=CountingConfig, rules=CountingRules, move=Say, pages=pages, limits=limits)


def counting_game(pages: Path) -> FakeRole:
    """The game as a fake role."""
    return serves(counting_server(pages))


def counting_player(number: int = 1, *, decide: Callable[[Any], Say | None] | None = None) -> FakeRole:
    """A player as a fake role: says its number each tick."""
    return plays(Seen, decide or (lambda seen: Say(number=number, tick=seen.tick)), final=Last)


def counting_spec(
    directory: Path, players: Sequence[str] = ("plays", "plays"), *, episode: str = "e-1", **config: Any
) -> EpisodeSpec:
    """An episode of it; the manifest and the run are below `directory`."""
    defaults = {"ticks": 3, "tick_timeout_seconds": 5, "player_connect_timeout_seconds": 5}
    loaded = load_manifest(
        write_coworld(
            directory / f"coworld-{episode}", scripted_manifest("plays", players, config={**defaults, **config})
        )
    )
    limits = Limits(timeout=60, startup=30, player_grace=5, support=30)
    return EpisodeSpec(id=episode, plan=build_plan(loaded), directory=directory / f"run-{episode}", limits=limits)
