"""The rules of Orchard and nothing else: no sockets, no files, no clock.

Every tick, all at once:

1. each forager that made a move goes one cell; the grid wraps around, and any number of foragers may share a cell;
2. each tree whose bare time is over bears a fruit again;
3. each ripe tree with foragers on it is picked by one of them, who scores 1; the tree is bare for `regrow_ticks` ticks.

When several foragers stand on one ripe tree a lottery decides: the smallest of `hash(seed, tick, cell, seat)` wins. Every
contender has the same chance, no seat number is favoured, and the same seed and moves give the same episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Annotated

import msgspec

from coworld_protocol.sdk.rules import GameConfig, player_names
from orchard.messages import Direction, Final, Move, Observation, Results, State, Tick, Welcome

__all__ = ["Orchard", "OrchardConfig", "step_cell"]

_STEPS: dict[Direction, tuple[int, int]] = {
    "up": (0, -1),
    "down": (0, 1),
    "left": (-1, 0),
    "right": (1, 0),
    "stay": (0, 0),
}


class OrchardConfig(GameConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration: what the server acts on, and the orchard.

    Attributes:
        width: columns, 4..64.
        height: rows, 4..64.
        max_ticks: length of the episode, 1..10000.
        tree_share: share of the cells that have a tree, 0.02..0.5.
        regrow_ticks: ticks that a picked tree stays bare, 1..1000.
        seed: decides where trees and foragers start and how lotteries end.
    """

    tokens: Annotated[tuple[str, ...], msgspec.Meta(min_length=2, max_length=64)]
    width: Annotated[int, msgspec.Meta(ge=4, le=64)] = 24
    height: Annotated[int, msgspec.Meta(ge=4, le=64)] = 16
    max_ticks: Annotated[int, msgspec.Meta(ge=1, le=10000)] = 120
    tree_share: Annotated[float, msgspec.Meta(ge=0.02, le=0.5)] = 0.12
    regrow_ticks: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0


class Orchard:
    """One episode."""

    def __init__(self, config: OrchardConfig) -> None:
        self._config = config
        self._names = player_names(config)
        cells = config.width * config.height
        order = sorted(range(cells), key=lambda cell: _draw(config.seed, "cell", cell))
        count = max(1, round(cells * config.tree_share))
        self._trees = sorted(order[:count])
        free = order[count:]
        self._foragers = [free[slot % len(free)] for slot in range(len(config.tokens))]
        self._index = {cell: index for index, cell in enumerate(self._trees)}
        # When a tree bears fruit again; it is ripe once that tick has come.
        self._ripe_at = [0] * count
        self._ripe = ["1"] * count
        self._scores = [0] * len(config.tokens)
        self._contested = 0
        self._tick = 0
        self._picked: list[tuple[int, int]] = []
        self._ripened: list[int] = []
        self._observation = self._observe()

    @property
    def tick(self) -> int:
        return self._tick

    @property
    def done(self) -> bool:
        return self._tick >= self._config.max_ticks

    def step(self, moves: Mapping[int, Move]) -> None:
        self._tick += 1
        width, height = self._config.width, self._config.height
        for slot, move in moves.items():
            self._foragers[slot] = step_cell(self._foragers[slot], move.move, width, height)
        self._ripened = [index for index, at in enumerate(self._ripe_at) if at == self._tick]
        for index in self._ripened:
            self._ripe[index] = "1"
        self._picked = []
        standing: dict[int, list[int]] = {}
        for slot, cell in enumerate(self._foragers):
            tree = self._index.get(cell)
            if tree is not None and self._ripe[tree] == "1":
                standing.setdefault(tree, []).append(slot)
        for index, contenders in sorted(standing.items()):
            self._contested += len(contenders) > 1
            self._pick(index, self._winner_of_lottery(self._trees[index], contenders))
        self._observation = self._observe()

    def welcome(self, slot: int) -> Welcome:
        return Welcome(
            slot=slot,
            width=self._config.width,
            height=self._config.height,
            max_ticks=self._config.max_ticks,
            regrow_ticks=self._config.regrow_ticks,
            names=self._names,
            trees=self._trees,
        )

    def observe(self, slot: int) -> Observation:
        del slot
        return self._observation

    def final(self, slot: int) -> Final:
        del slot
        return Final(ticks=self._tick, scores=self._scores.copy(), winner=self._leader())

    def snapshot(self) -> State:
        return State(
            width=self._config.width,
            height=self._config.height,
            max_ticks=self._config.max_ticks,
            regrow_ticks=self._config.regrow_ticks,
            names=self._names,
            trees=self._trees,
            tick=self._tick,
            foragers=self._foragers.copy(),
            ripe="".join(self._ripe),
            scores=self._scores.copy(),
        )

    def frame(self) -> Tick:
        return Tick(tick=self._tick, foragers=self._foragers.copy(), picked=self._picked, ripened=self._ripened)

    def results(self) -> Results:
        return Results(scores=self._scores.copy(), ticks=self._tick, winner=self._leader(), contested=self._contested)

    def _observe(self) -> Observation:
        return Observation(
            tick=self._tick, foragers=self._foragers.copy(), ripe="".join(self._ripe), scores=self._scores.copy()
        )

    def _pick(self, index: int, slot: int) -> None:
        self._scores[slot] += 1
        self._ripe[index] = "0"
        self._ripe_at[index] = self._tick + self._config.regrow_ticks
        self._picked.append((slot, index))

    def _winner_of_lottery(self, cell: int, contenders: Iterable[int]) -> int:
        return min(contenders, key=lambda slot: _draw(self._config.seed, "pick", self._tick, cell, slot))

    def _leader(self) -> int | None:
        best = max(self._scores)
        return self._scores.index(best) if self._scores.count(best) == 1 else None


def step_cell(cell: int, move: Direction, width: int, height: int) -> int:
    """The cell that a move leads to; the grid wraps around."""
    across, down = _STEPS[move]
    y, x = divmod(cell, width)
    return (y + down) % height * width + (x + across) % width


def _draw(*what: object) -> bytes:
    """A lot: the same on every machine and every Python for the same `what`, and as good as random over different ones."""
    return blake2b("/".join(map(str, what)).encode(), digest_size=16).digest()
