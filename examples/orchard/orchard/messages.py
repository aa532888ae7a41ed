"""What Orchard's game and its players and viewers say to each other. `docs/` describes the same in prose.

A cell is one number, `y * width + x`; x grows to the right, y downwards, and both wrap around.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Direction", "Final", "Move", "Observation", "Results", "State", "Tick", "Welcome"]

Direction = Literal["up", "down", "left", "right", "stay"]


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="welcome"):
    """To a player, first on every connection: what never changes.

    Attributes:
        slot: the player's seat; its forager is `foragers[slot]` of every observation.
        width: columns of the grid.
        height: rows of the grid.
        max_ticks: the episode's length.
        regrow_ticks: how long a picked tree stays bare.
        names: one per seat.
        trees: cells with a tree.
    """

    slot: int
    width: int
    height: int
    max_ticks: int
    regrow_ticks: int
    names: list[str]
    trees: list[int]


class Observation(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="observation"):
    """To a player, after `welcome` and after every tick. The same for everybody.

    Attributes:
        tick: ticks played so far.
        foragers: cell of each forager, by seat.
        ripe: one character per tree, in the order of `trees`: `1` when it bears a fruit.
        scores: fruit picked so far, by seat.
    """

    tick: int
    foragers: list[int]
    ripe: str
    scores: list[int]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """From a player.

    Attributes:
        move: where to go.
        tick: the observation this answers; a move that answers an older one is ignored. None: whatever is current.
    """

    move: Direction
    tick: int | None = None


class Final(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="final"):
    """To a player, last: how it ended.

    Attributes:
        ticks: ticks played.
        scores: fruit picked, by seat.
        winner: the seat with the most fruit; None when several share the lead.
    """

    ticks: int
    scores: list[int]
    winner: int | None


class State(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="state"):
    """To a viewer, first: everything needed to draw from here on. Also the start of a replay.

    Attributes: as in `Welcome` and `Observation`.
    """

    width: int
    height: int
    max_ticks: int
    regrow_ticks: int
    names: list[str]
    trees: list[int]
    tick: int
    foragers: list[int]
    ripe: str
    scores: list[int]


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="tick"):
    """To a viewer and in the replay, after every tick: what changed.

    Attributes:
        tick: ticks played so far.
        foragers: cell of each forager, by seat.
        picked: pairs of seat and index into `trees`: this seat picked that tree's fruit and scored one.
        ripened: indexes into `trees` of the trees that bear a fruit again.
    """

    tick: int
    foragers: list[int]
    picked: list[tuple[int, int]]
    ripened: list[int]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What the runner gets.

    Attributes:
        scores: fruit picked, by seat.
        ticks: ticks played.
        winner: the seat with the most fruit; None when several share the lead.
        contested: how often two or more foragers reached the same fruit in the same tick.
    """

    scores: list[int]
    ticks: int
    winner: int | None
    contested: int
