"""Who stands where: players, pairs and seats, from the numbers of complete blocks."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from coworld_actors.batch.records import EpisodeLine, SeatLatency, Status
from coworld_actors.batch.statistics.elo import elo_estimate, superiority
from coworld_actors.batch.statistics.intervals import Estimate, Resampler, mean_estimate, share_estimate, standard_error
from coworld_actors.batch.statistics.points import EntrantColumn, PairColumn, Points
from coworld_actors.batch.statistics.ratings import Ratings

__all__ = [
    "LatencySummary",
    "Pair",
    "PlayerSummary",
    "SeatEffect",
    "compare_pairs",
    "latencies",
    "rank_players",
    "weigh_seats",
]


class LatencySummary(msgspec.Struct, frozen=True, kw_only=True):
    """How long a player took to answer, where the tap ran: seconds, the episodes' medians of each.

    Attributes:
        answers: in all good episodes.
        p50: median of the seats' p50.
        p99: median of the seats' p99.
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
        rank: by mean score, 1 is the best; equals share a rank; None for whoever never played, or failed in every episode.
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
        faults: seats that ended by its own fault, by the name of the end, in good and failed episodes.
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
        wins: episodes in which the mean over the first one's seats was the better one.
        draws: equal.
        losses: worse.
        score: share of the points, with its interval over blocks.
        elo: from that share.
        superiority: probability that the first one is the stronger one.
        margin: mean of the first one's score less the second one's, in the game's own units, with its interval; below 0 for the
            better one where lower scores are better.
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


def latencies(lines: Iterable[EpisodeLine]) -> dict[int, LatencySummary]:
    """By entrant how long it took to answer in good episodes, where the tap ran."""
    found: dict[int, list[SeatLatency]] = {}
    for line in lines:
        if line.status is Status.GOOD:
            for seat in line.seats:
                if seat.latency is not None and seat.latency.answers:
                    found.setdefault(seat.entrant, []).append(seat.latency)
    return {
        entrant: LatencySummary(
            answers=sum(one.answers for one in some),
            p50=statistics.median([one.p50 for one in some]),
            p99=statistics.median([one.p99 for one in some]),
            longest=max(one.longest for one in some),
        )
        for entrant, some in found.items()
    }


def _rank_key(value: float, *, lower_is_better: bool) -> float:
    """Best first. Twelve digits, so that equal results reached by different sums are equal."""
    rounded = float(f"{value:.12g}")
    return rounded if lower_is_better else -rounded


def rank_players(
    names: Sequence[str],
    points: Points,
    resampler: Resampler,
    *,
    lower_is_better: bool,
    unranked: Collection[int],
    ratings: Ratings,
    faults: Mapping[int, dict[str, int]],
    latency: Mapping[int, LatencySummary],
) -> tuple[PlayerSummary, ...]:
    """Everybody's results, the best first; equals share a rank and come in the order of the schedule, the unranked last.

    Args:
        names: of the entrants.
        points: of the complete blocks.
        resampler: for the intervals.
        lower_is_better: the direction of the scores.
        unranked: entrants that get no rank, whatever they scored.
        ratings: what the libraries said.
        faults: by entrant.
        latency: by entrant.
    """
    order: list[tuple[bool, float, int]] = []
    players: dict[int, PlayerSummary] = {}
    for entrant, name in enumerate(names):
        column = points.entrants.get(entrant, EntrantColumn())
        score = mean_estimate(column.scores, resampler)
        share = share_estimate(column.points, resampler, weights=column.met)
        players[entrant] = PlayerSummary(
            entrant=entrant,
            name=name,
            episodes=column.episodes,
            seats=column.seats,
            score=score,
            standard_error=standard_error(column.scores),
            wins=column.wins,
            draws=column.draws,
            losses=column.losses,
            win_share=share,
            elo=elo_estimate(share),
            rating=ratings.strengths.get(entrant),
            ladder=ratings.ladder.get(entrant),
            faults=dict(faults.get(entrant, {})),
            latency=latency.get(entrant),
        )
        if score.value is None:
            order.append((True, 0.0, entrant))
        else:
            key = _rank_key(score.value, lower_is_better=lower_is_better)
            order.append((entrant in unranked, key, entrant))
    order.sort()
    ranked: list[PlayerSummary] = []
    rank, last = 0, 0.0
    for place, (last_of_all, key, entrant) in enumerate(order, start=1):
        if last_of_all:
            ranked.append(players[entrant])
            continue
        if place == 1 or key != last:
            rank, last = place, key
        ranked.append(msgspec.structs.replace(players[entrant], rank=rank))
    return tuple(ranked)


def compare_pairs(order: Sequence[int], points: Points, resampler: Resampler) -> tuple[Pair, ...]:
    """Every two players that met, from the side of whoever got more of the points; equals from the one who stands higher.

    Args:
        order: entrants, the best first.
        points: of the complete blocks.
        resampler: for the intervals.
    """
    place = {entrant: at for at, entrant in enumerate(order)}
    pairs: list[tuple[tuple[int, int], Pair]] = []
    for (one, other), column in points.pairs.items():
        share = sum(column.shares) / len(column.shares)
        turned = share < 0.5 - 1e-12 or (share <= 0.5 + 1e-12 and place[other] < place[one])
        pair = _pair(other, one, _turn(column), resampler) if turned else _pair(one, other, column, resampler)
        both = place[one], place[other]
        pairs.append(((min(both), max(both)), pair))
    return tuple(pair for _, pair in sorted(pairs, key=lambda item: item[0]))


def _turn(column: PairColumn) -> PairColumn:
    return PairColumn(
        shares=[1 - share for share in column.shares],
        margins=[0.0 - margin for margin in column.margins],
        wins=column.losses,
        draws=column.draws,
        losses=column.wins,
    )


def _pair(first: int, second: int, column: PairColumn, resampler: Resampler) -> Pair:
    share = share_estimate(column.shares, resampler)
    return Pair(
        first=first,
        second=second,
        blocks=len(column.shares),
        wins=column.wins,
        draws=column.draws,
        losses=column.losses,
        score=share,
        elo=elo_estimate(share),
        superiority=superiority(column.shares),
        margin=mean_estimate(column.margins, resampler),
    )


def weigh_seats(points: Points, episodes: Mapping[str, int], resampler: Resampler) -> tuple[SeatEffect, ...]:
    """What every seat of every variant is worth.

    Args:
        points: of the complete blocks.
        episodes: counted ones, by variant.
        resampler: for the intervals.
    """
    return tuple(
        SeatEffect(variant=variant, slot=slot, episodes=episodes[variant], effect=mean_estimate(values, resampler))
        for (variant, slot), values in sorted(points.seats.items())
    )
