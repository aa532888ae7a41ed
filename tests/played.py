"""Schedules and lines made by hand, for the tests of what a batch says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coworld_actors.batch.records import EpisodeLine, SeatLine, Status
from coworld_actors.batch.schedule import Schedule, Scheduled, Seating, VariantSeats


def schedule_of(
    seatings: Sequence[Sequence[Sequence[int]]],
    *,
    entrants: Sequence[str] | None = None,
    variant: str = "duel",
    lineups: Sequence[int] | None = None,
    rounds: Sequence[int] | None = None,
) -> Schedule:
    """A schedule of one variant: for each block the seats of its episodes; lineups and rounds (seeds) per block."""
    episodes = []
    for block, arrangements in enumerate(seatings):
        for seats in arrangements:
            episodes.append(
                Scheduled(
                    index=len(episodes),
                    variant=variant,
                    lineup=0 if lineups is None else lineups[block],
                    block=block,
                    seed=42 + (block if rounds is None else rounds[block]),
                    seats=tuple(seats),
                )
            )
    most = max((entrant for episode in episodes for entrant in episode.seats), default=-1) + 1
    return Schedule(
        seed=42,
        seating=Seating.ROTATE,
        entrants=tuple(entrants) if entrants is not None else tuple("abcdefghijklmnopqrstuvwxyz"[:most]),
        variants=(VariantSeats(id=variant, seats=len(episodes[0].seats) if episodes else 0),),
        episodes=tuple(episodes),
    )


def pairs_of(blocks: int) -> Schedule:
    """Two players, two seats, both seatings in every block."""
    return schedule_of([[(0, 1), (1, 0)]] * blocks, entrants=("greedy", "random"))


def line_of(planned: Scheduled, scores: Sequence[float | None], **changes: object) -> EpisodeLine:
    """A good episode with these scores, unless `changes` say something else."""
    fields = {
        "index": planned.index,
        "variant": planned.variant,
        "lineup": planned.lineup,
        "block": planned.block,
        "seed": planned.seed,
        "seed_applied": True,
        "status": Status.GOOD,
        "reason": "completed",
        "blame": "nobody",
        "seats": tuple(
            SeatLine(entrant=entrant, score=score, end="finished")
            for entrant, score in zip(planned.seats, scores, strict=True)
        ),
        "started": "2026-01-01T00:00:00Z",
        "seconds": 1.0,
    }
    return EpisodeLine(**(fields | changes))  # type: ignore[arg-type]


def play(schedule: Schedule, score: Callable[[Scheduled, int, int], float]) -> list[EpisodeLine]:
    """Every episode played well: `score(episode, slot, entrant)`."""
    return [
        line_of(planned, [score(planned, slot, entrant) for slot, entrant in enumerate(planned.seats)])
        for planned in schedule.episodes
    ]
