"""What an author of a game writes: a configuration Struct and one class of rules. No I/O, no tasks, no clock.

The server calls the rules from one task, in a fixed order: `welcome` and `observe` for a seat that connects, `snapshot` for a
viewer that connects; every tick `step`, then `frame`, then `observe` for each connected seat; when `done`, `results`, then
`final` for each seat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Protocol, TypeVar

import msgspec

__all__ = ["GameConfig", "Named", "Pace", "Replay", "Rules", "player_names"]

MoveT_contra = TypeVar("MoveT_contra", contravariant=True)

Pace = Literal["lockstep", "realtime"]


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the configuration's `players`.

    Attributes:
        name: what to call the seat.
    """

    name: Annotated[str, msgspec.Meta(min_length=1)]


class GameConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a game's configuration that the server itself acts on; a game adds its own by inheriting.

    Attributes:
        tokens: one secret per seat, made by the runner. The rules get them blanked.
        players: names of the seats, in order; may be shorter than `tokens`.
        player_connect_timeout_seconds: how long to wait for seats before the game starts without them.
        mode: `lockstep`: the next tick comes when every connected seat has moved or the tick's time is up. `realtime`: ticks
            come at a fixed rate whatever the seats do.
        tick_rate: ticks per second. In lockstep an upper bound, 0 for none; in real time 0 stands for 5.
        tick_timeout_seconds: lockstep: how long a tick waits for moves.
        reconnect_grace_seconds: lockstep: how long a seat that lost its connection is still waited for.
        admin: whether `/admin` and `/client/admin` exist.
    """

    tokens: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    players: tuple[Named, ...] = ()
    player_connect_timeout_seconds: Annotated[float, msgspec.Meta(ge=0)] = 180.0
    mode: Pace = "lockstep"
    tick_rate: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    tick_timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    reconnect_grace_seconds: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    admin: bool = False


def player_names(config: GameConfig) -> list[str]:
    """One name per seat; a seat without one is `Seat N`, counted from 0."""
    given = [player.name for player in config.players[: len(config.tokens)]]
    return given + [f"Seat {slot}" for slot in range(len(given), len(config.tokens))]


class Rules(Protocol[MoveT_contra]):
    """One episode of a game. Every message is a msgspec Struct that encodes to a JSON object.

    Returning the same object for several seats makes the server encode it once.
    """

    @property
    def tick(self) -> int:
        """Number of steps so far. A move with a `tick` attribute that is neither None nor this number is ignored as late."""
        ...

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        ...

    def welcome(self, slot: int) -> msgspec.Struct | None:
        """Sent to a seat first on every connection: what never changes. None for nothing."""
        ...

    def observe(self, slot: int) -> msgspec.Struct:
        """What the seat may know now; sent after `welcome` and after every tick."""
        ...

    def step(self, moves: Mapping[int, MoveT_contra]) -> None:
        """Advance one tick with the newest move of each seat that made one."""
        ...

    def final(self, slot: int) -> msgspec.Struct:
        """The last message to a seat."""
        ...

    def snapshot(self) -> msgspec.Struct:
        """Public: everything that a viewer who arrives now needs to draw from here on."""
        ...

    def frame(self) -> msgspec.Struct:
        """Public: what the last step changed; for live viewers and the replay."""
        ...

    def results(self) -> msgspec.Struct:
        """What is written for the runner; by custom it has `scores`, one number per seat."""
        ...


class Replay(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="replay"):
    """The replay file, and the one message that `/replay` sends. It holds what the rules made public, so no tokens.

    Attributes:
        start: the `snapshot` before the first step.
        frames: the `frame` after each step.
        results: the `results`.
    """

    start: msgspec.Raw
    frames: list[msgspec.Raw]
    results: msgspec.Raw
