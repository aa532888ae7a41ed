"""Batches that nobody played: schedules, lines and heads, for what only looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from coworld_actors.batch.options import BatchOptions
from coworld_actors.batch.records import EpisodeLine, SeatLine, Status
from coworld_actors.batch.schedule import Schedule, Scheduled, Seating, VariantSeats
from coworld_actors.batch.store import BatchHead

__all__ = ["HEAD", "line", "schedule", "scheduled"]

HEAD = BatchHead(
    id="20300101-000000-aaaaaaaa",
    created="2030-01-01T00:00:00.000+00:00",
    coworld="orchard",
    game_version="0.1.0",
    manifest="m" * 64,
    schedule="s" * 64,
    episodes=3,
    options=BatchOptions(manifest="/world/coworld_manifest.json", directory="/work", rounds=3),
)


def scheduled(index: int, seats: Sequence[int] = (0, 1), **changes: Any) -> Scheduled:
    """One episode, its own block."""
    made = Scheduled(index=index, variant="duel", lineup=0, block=index, seed=42 + index, seats=tuple(seats))
    return msgspec.structs.replace(made, **changes)


def schedule(count: int, *, block: int = 1, entrants: Sequence[str] = ("a", "b")) -> Schedule:
    """Duels of two players, `block` episodes with one seed each, seats changed from one to the next."""
    return Schedule(
        seed=42,
        seating=Seating.ROTATE,
        entrants=tuple(entrants),
        variants=(VariantSeats(id="duel", seats=2),),
        episodes=tuple(
            scheduled(index, (index % 2, 1 - index % 2), block=index // block, seed=42 + index // block)
            for index in range(count)
        ),
    )


def line(of: Scheduled | int, scores: Sequence[float | None] = (1.0, 0.0), **changes: Any) -> EpisodeLine:
    """The line of a good episode."""
    what = scheduled(of) if isinstance(of, int) else of
    made = EpisodeLine(
        index=what.index,
        variant=what.variant,
        lineup=what.lineup,
        block=what.block,
        seed=what.seed,
        seed_applied=True,
        status=Status.GOOD,
        reason="completed",
        blame="nobody",
        seats=tuple(
            SeatLine(entrant=entrant, score=score, end="finished")
            for entrant, score in zip(what.seats, scores, strict=True)
        ),
        started="2030-01-01T00:00:00.000+00:00",
        seconds=0.5,
    )
    return msgspec.structs.replace(made, **changes)
