"""What a batch's episodes say about its players: the document `summary.json`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.schedule import Schedule
from coworld_actors.batch.statistics.failures import (
    Counts,
    FailureCount,
    count_episodes,
    count_failures,
    count_faults,
    failing_always,
    inconclusive_because,
)
from coworld_actors.batch.statistics.intervals import FEW_BLOCKS, MOST_UNITS, Estimate, Resampler
from coworld_actors.batch.statistics.points import Points, Selection, constant_sum, select, tabulate
from coworld_actors.batch.statistics.ratings import rate
from coworld_actors.batch.statistics.standings import (
    LatencySummary,
    Pair,
    PlayerSummary,
    SeatEffect,
    compare_pairs,
    latencies,
    rank_players,
    weigh_seats,
)

__all__ = [
    "SUMMARY_VERSION",
    "Counts",
    "Duration",
    "Estimate",
    "FailureCount",
    "LatencySummary",
    "Pair",
    "PlayerSummary",
    "SeatEffect",
    "Summary",
    "summarize",
]

SUMMARY_VERSION = 1
"""Version of `summary.json`; raised when a reader of the old one would misread the new one."""

MOST_DRAWS = 60_000_000
"""Numbers that all bootstraps of one summary draw together: 2 to 4 s in plain Python on the machine this was measured on."""


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of the counted episodes: shortest, median, 95 %, longest."""

    shortest: float
    median: float
    p95: float
    longest: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The document `summary.json`. Equal lines give an equal document: it holds no time of day.

    Attributes:
        version: of this document.
        coworld: name of the game.
        game_version: its version.
        variants: ids.
        seating: who sat where.
        seed: the first.
        seed_applied: whether every episode's game was given its seed.
        lower_is_better: the direction of the scores.
        episodes: by status.
        blocks: complete ones, which everything below rests on.
        counted: episodes in those blocks.
        failures: what went wrong, most frequent first.
        players: the best first.
        pairs: every two players that met, the better one first, in the order of the players.
        seat_effects: by variant and seat.
        duration: None without a counted episode.
        rating_model: `bradley-terry` or `plackett-luce`; empty without ratings.
        inconclusive: why nothing should be concluded from these numbers; empty when that is not so.
        notes: what a reader has to know before they believe a number.
    """

    version: int = SUMMARY_VERSION
    coworld: str
    game_version: str
    variants: tuple[str, ...]
    seating: str
    seed: int
    seed_applied: bool
    lower_is_better: bool = False
    episodes: Counts
    blocks: int = 0
    counted: int = 0
    failures: tuple[FailureCount, ...] = ()
    players: tuple[PlayerSummary, ...] = ()
    pairs: tuple[Pair, ...] = ()
    seat_effects: tuple[SeatEffect, ...] = ()
    duration: Duration | None = None
    rating_model: str = ""
    inconclusive: str = ""
    notes: tuple[str, ...] = ()


def summarize(
    *,
    coworld: str,
    game_version: str,
    schedule: Schedule,
    lines: Iterable[EpisodeLine],
    lower_is_better: bool = False,
    resamples: int = 1000,
    stopped_early: str = "",
) -> Summary:
    """What the episodes say: a pure function of what is given; the order of the lines makes no difference.

    Args:
        coworld: name of the game.
        game_version: its version.
        schedule: everything that was going to be played.
        lines: what has ended.
        lower_is_better: the direction of the scores.
        resamples: of every bootstrap, at least 2.
        stopped_early: what ended the batch before its end because of its results: they are biased by that. Empty when the number
            of episodes was settled beforehand.
    """
    selection = select(schedule, lines)
    counted = selection.counted
    points = tabulate(selection, lower_is_better=lower_is_better)
    resampler = Resampler(resamples, units=_units(points, resamples))
    ratings = rate(selection.blocks, lower_is_better=lower_is_better)
    hopeless = failing_always(selection.lines)
    players = rank_players(
        schedule.entrants,
        points,
        resampler,
        lower_is_better=lower_is_better,
        unranked=hopeless,
        ratings=ratings,
        faults=count_faults(selection.lines),
        latency=latencies(selection.lines),
    )
    episodes = count_episodes(len(schedule.episodes), selection.lines)
    inconclusive = inconclusive_because(episodes)
    return Summary(
        coworld=coworld,
        game_version=game_version,
        variants=tuple(variant.id for variant in schedule.variants),
        seating=schedule.seating.value,
        seed=schedule.seed,
        seed_applied=bool(selection.lines) and all(line.seed_applied for line in selection.lines),
        lower_is_better=lower_is_better,
        episodes=episodes,
        blocks=len(selection.blocks),
        counted=len(counted),
        failures=count_failures(selection.lines),
        players=players,
        pairs=compare_pairs([player.entrant for player in players], points, resampler),
        seat_effects=weigh_seats(points, Counter(line.variant for line in counted), resampler),
        duration=_duration([line.seconds for line in counted]),
        rating_model=ratings.model if ratings.strengths else "",
        inconclusive=inconclusive,
        notes=(
            *((inconclusive,) if inconclusive else ()),
            *_notes(schedule, selection, episodes, hopeless, stopped_early),
            *ratings.notes,
        ),
    )


def _units(points: Points, resamples: int) -> int:
    """How many groups every bootstrap draws from, so that all of them together stay within `MOST_DRAWS`."""
    sizes = [len(entrant.scores) for entrant in points.entrants.values() for _ in range(2)]
    sizes += [len(pair.shares) for pair in points.pairs.values() for _ in range(2)]
    sizes += [len(values) for values in points.seats.values()]
    units = MOST_UNITS
    while units > 100 and resamples * sum(min(units, size) for size in sizes) > MOST_DRAWS:
        units = max(100, units * 3 // 4)
    return units


def _duration(seconds: Sequence[float]) -> Duration | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    last = len(ordered) - 1
    middle = (ordered[last // 2] + ordered[(last + 1) // 2]) / 2
    # Nearest rank: the smallest one that 95 % do not exceed.
    return Duration(
        shortest=ordered[0], median=middle, p95=ordered[math.ceil(0.95 * len(ordered)) - 1], longest=ordered[-1]
    )


def _episodes(count: int) -> str:
    return "1 episode" if count == 1 else f"{count} episodes"


def _notes(
    schedule: Schedule, selection: Selection, episodes: Counts, hopeless: Iterable[int], stopped_early: str
) -> list[str]:
    notes: list[str] = []
    blocks = len(selection.blocks)
    if stopped_early:
        notes.append(
            f"Biased by stopping: {stopped_early.rstrip('.')}. A batch that stops when its result is clear stops at a result that "
            "is larger than the truth; the decision holds, the size of the difference does not."
        )
    notes += [f"{schedule.entrants[entrant]} failed in every episode it had a seat in." for entrant in sorted(hopeless)]
    if not blocks:
        notes.append("No block is complete: there is nothing to compare yet.")
    elif blocks < FEW_BLOCKS:
        notes.append(
            f"Only {blocks} block{'' if blocks == 1 else 's'}: intervals from fewer than {FEW_BLOCKS} are rough."
        )
    if selection.incomplete:
        broken = set(selection.incomplete)
        left = sum(line.block in broken and line.counts for line in selection.lines)
        notes.append(
            f"{len(selection.incomplete)} incomplete block{'' if len(selection.incomplete) == 1 else 's'} left out, with "
            f"{_episodes(left)} that went well: only whole blocks are balanced."
        )
    if episodes.failed:
        notes.append(
            f"{_episodes(episodes.failed)} failed by a player's or the game's doing: counted apart, neither wins nor losses."
        )
    if episodes.open and not stopped_early:
        notes.append(f"{_episodes(episodes.open)} not played yet.")
    if selection.unscored:
        notes.append(f"{_episodes(selection.unscored)} ended well without a usable score for every seat; left out.")
    if selection.strangers:
        notes.append(f"{selection.strangers} lines do not fit the schedule; left out.")
    unseeded = sum(not line.seed_applied for line in selection.lines)
    if unseeded:
        notes.append(
            f"Seed not applied in {_episodes(unseeded)}: equal seeds do not mean equal games there, and blocks are paired by their "
            "seats only."
        )
    if len(schedule.variants) > 1:
        notes.append(
            "Scores are averaged over variants, each block alike; compare variants only where their scores are alike."
        )
    if constant_sum(selection.counted):
        notes.append(
            "Constant sum: what one player gains another loses, so that mean scores say who is better, not how good."
        )
    return notes
