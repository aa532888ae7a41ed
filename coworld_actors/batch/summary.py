"""What a batch's episodes say about its players: the document `summary.json`."""

from __future__ import annotations

import msgspec

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
]

SUMMARY_VERSION = 1
"""Version of `summary.json`; raised when a reader of the old one would misread the new one."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A number with its 95 % interval.

    Attributes:
        value: None where there is none, never an infinity.
        low: lower end; None where it is open.
        high: upper end; None where it is open.
        note: why something is missing: `n/a (all wins)`.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Episodes by status.

    Attributes:
        requested: in the schedule.
        good: that count.
        failed: by the game's or a player's doing.
        invalid: played while the machine was choking.
        infrastructure: not played for a reason of the machine's.
        open: not played yet.
    """

    requested: int
    good: int = 0
    failed: int = 0
    invalid: int = 0
    infrastructure: int = 0
    open: int = 0


class FailureCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often one thing went wrong.

    Attributes:
        status: of the episodes; `good` for a seat that failed in an episode that counts.
        reason: end reason of the episodes or end of the seats.
        entrant: whose doing it was; None for the game's or the machine's.
        count: how often.
        example: index of one such episode.
    """

    status: str
    reason: str
    entrant: int | None = None
    count: int
    example: int


class LatencySummary(msgspec.Struct, frozen=True, kw_only=True):
    """How long a player took to answer, where the tap ran: seconds, the episodes' medians of each.

    Attributes:
        answers: in all episodes.
        p50: median of the episodes' p50.
        p99: median of the episodes' p99.
        longest: of all answers.
    """

    answers: int
    p50: float
    p99: float
    longest: float


class PlayerSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One player's results.

    Attributes:
        entrant: its index.
        name: unique.
        rank: 1 is the best; equals share a rank; None for whoever never played.
        episodes: counted ones in which it had a seat.
        seats: of those episodes.
        score: mean over blocks of the mean over its seats.
        standard_error: of that mean; None below two blocks.
        wins: opponents outscored: one for each counted episode and other player in it.
        draws: the same for equal scores.
        losses: the same for lower ones.
        win_share: (wins + draws / 2) of all, with its interval.
        elo: against the field, from the win share.
        rating: Bradley-Terry or Plackett-Luce strength in Elo points; None without the extra `stats`.
        ladder: OpenSkill's mu with its interval of two sigmas; None without the extra `stats`.
        faults: seats that ended by its own fault, by the name of the end.
        latency: where the tap ran.
    """

    entrant: int
    name: str
    rank: int | None = None
    episodes: int = 0
    seats: int = 0
    score: Estimate = Estimate()
    standard_error: float | None = None
    wins: int = 0
    draws: int = 0
    losses: int = 0
    win_share: Estimate = Estimate()
    elo: Estimate = Estimate()
    rating: Estimate | None = None
    ladder: Estimate | None = None
    faults: dict[str, int] = {}
    latency: LatencySummary | None = None


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One player against another, from the first one's side.

    Attributes:
        first: index.
        second: index.
        blocks: in which both played.
        wins: episodes in which the mean over the first one's seats was higher.
        draws: equal.
        losses: lower.
        score: share of the points, with its interval over blocks.
        elo: from that share.
        superiority: probability that the first one is the stronger one.
        margin: mean difference of the scores, with its interval.
    """

    first: int
    second: int
    blocks: int
    wins: int
    draws: int
    losses: int
    score: Estimate
    elo: Estimate
    superiority: float | None
    margin: Estimate


class SeatEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What a seat is worth, whoever sits there: its score less the mean of its episode's seats.

    Attributes:
        variant: of the game.
        slot: seat number.
        episodes: counted.
        effect: mean, with its interval.
    """

    variant: str
    slot: int
    episodes: int
    effect: Estimate


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
        failures: what went wrong, most frequent first.
        players: the best first.
        pairs: every two players that met, the better one first.
        seat_effects: by variant and seat.
        duration: None without a counted episode.
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
    failures: tuple[FailureCount, ...] = ()
    players: tuple[PlayerSummary, ...] = ()
    pairs: tuple[Pair, ...] = ()
    seat_effects: tuple[SeatEffect, ...] = ()
    duration: Duration | None = None
    notes: tuple[str, ...] = ()
