"""Who stands where."""

from __future__ import annotations

import pytest

from coworld_actors.batch.records import SeatLatency, SeatLine, Status
from coworld_actors.batch.schedule import Schedule
from coworld_actors.batch.statistics.elo import ALL_WINS
from coworld_actors.batch.statistics.intervals import Resampler
from coworld_actors.batch.statistics.points import Points, select, tabulate
from coworld_actors.batch.statistics.ratings import Ratings
from coworld_actors.batch.statistics.standings import PlayerSummary, compare_pairs, latencies, rank_players, weigh_seats
from tests.played import line_of, pairs_of, play, schedule_of


def points_of(schedule: Schedule, scores: list[list[float]], *, lower: bool = False) -> Points:
    lines = [line_of(planned, some) for planned, some in zip(schedule.episodes, scores, strict=True)]
    return tabulate(select(schedule, lines), lower_is_better=lower)


def ranked(
    names: list[str], points: Points, *, lower: bool = False, unranked: tuple[int, ...] = ()
) -> tuple[PlayerSummary, ...]:
    return rank_players(
        names,
        points,
        Resampler(50),
        lower_is_better=lower,
        unranked=unranked,
        ratings=Ratings(),
        faults={},
        latency={},
    )


def test_equals_share_a_rank_and_the_next_one_is_skipped() -> None:
    """Competition ranking: 1, 2, 2, 4, equals in the order of the schedule."""
    schedule = schedule_of([[(0, 1, 2, 3)]] * 2)
    players = ranked(list("abcd"), points_of(schedule, [[0, 2, 3, 2]] * 2))
    assert [(player.name, player.rank) for player in players] == [("c", 1), ("b", 2), ("d", 2), ("a", 4)]


def test_the_direction_of_scores_turns_the_order() -> None:
    """Where lower is better the lowest mean is first, and wins are its."""
    schedule = schedule_of([[(0, 1)]] * 3)
    points = points_of(schedule, [[9, 1]] * 3, lower=True)
    players = ranked(["a", "b"], points, lower=True)
    assert [(player.name, player.rank, player.wins) for player in players] == [("b", 1, 3), ("a", 2, 0)]
    assert players[0].score.value == 1


def test_equal_sums_in_another_order_are_equal() -> None:
    """A rounding of the last digit is no lead."""
    schedule = schedule_of([[(0, 1)]] * 3)
    players = ranked(["a", "b"], points_of(schedule, [[0.1, 0.3], [0.2, 0.2], [0.3, 0.1]]))
    assert [player.rank for player in players] == [1, 1]


def test_who_never_played_or_always_failed_comes_last_without_a_rank() -> None:
    """No counted block, no rank; told to be unranked, no rank either, whatever the score."""
    schedule = schedule_of([[(0, 1)]] * 2)
    players = ranked(["a", "b", "c"], points_of(schedule, [[5, 1]] * 2), unranked=(0,))
    assert [(player.name, player.rank) for player in players] == [("b", 1), ("a", None), ("c", None)]
    assert players[2].score.value is None
    assert players[2].elo.value is None
    assert players[2].episodes == 0


def test_all_wins_have_no_infinite_elo() -> None:
    """The player that won everything: a share of 1 with an open interval, and a finite lower end of the Elo."""
    schedule = schedule_of([[(0, 1)]] * 30)
    best = ranked(["a", "b"], points_of(schedule, [[1, 0]] * 30))[0]
    assert (best.win_share.value, best.elo.value, best.elo.note) == (1, None, ALL_WINS)
    assert best.elo.low is not None
    assert best.elo.low > 300


def test_standard_errors_are_those_of_the_blocks() -> None:
    """Means of 1, 2 and 3: the sample's deviation of 1 by the root of 3."""
    schedule = schedule_of([[(0, 1)]] * 3)
    player = next(one for one in ranked(["a", "b"], points_of(schedule, [[1, 0], [2, 0], [3, 0]])) if one.entrant == 0)
    assert player.standard_error == pytest.approx(1 / 3**0.5)


def test_every_two_that_met_are_a_pair_the_better_one_first() -> None:
    """The side is chosen by the points, wins and margins are turned with it, and both sides' wins are the same episodes."""
    schedule = schedule_of([[(0, 1, 2)]] * 4)
    points = points_of(schedule, [[0, 1, 5], [2, 1, 5], [0, 1, 5], [0, 1, 5]])
    players = ranked(list("abc"), points)
    pairs = compare_pairs([player.entrant for player in players], points, Resampler(50))
    assert [(pair.first, pair.second, pair.wins, pair.losses) for pair in pairs] == [
        (2, 1, 4, 0),
        (2, 0, 4, 0),
        (1, 0, 3, 1),
    ]
    assert pairs[2].margin.value == pytest.approx(0.5)
    assert pairs[2].score.value == 0.75
    assert pairs[2].superiority is not None
    assert 0.5 < pairs[2].superiority < 1


def test_players_that_never_met_are_no_pair() -> None:
    """Only what was played is compared."""
    schedule = schedule_of([[(0, 1)], [(1, 2)]])
    points = points_of(schedule, [[1, 0], [1, 0]])
    assert {(pair.first, pair.second) for pair in compare_pairs([0, 1, 2], points, Resampler(50))} == {(0, 1), (1, 2)}


def test_an_even_pair_is_told_from_the_side_of_the_higher_one() -> None:
    """A tie in points goes by the standings."""
    schedule = schedule_of([[(0, 1)]] * 2)
    points = points_of(schedule, [[1, 0], [0, 5]])
    assert compare_pairs([1, 0], points, Resampler(50))[0].first == 1
    assert compare_pairs([0, 1], points, Resampler(50))[0].first == 0


def test_a_seat_that_is_worth_a_point_shows() -> None:
    """Seat 0 always gets two more: it is worth one above the mean of both, whoever sits there."""
    lines = play(pairs_of(5), lambda planned, slot, entrant: entrant + 2.0 * (slot == 0))
    effects = weigh_seats(tabulate(select(pairs_of(5), lines)), {"duel": 10}, Resampler(50))
    assert [(effect.slot, effect.effect.value, effect.episodes) for effect in effects] == [(0, 1.0, 10), (1, -1.0, 10)]


def test_latencies_are_medians_of_good_episodes() -> None:
    """Median of the episodes' percentiles, the longest of all, the sum of the answers; failed episodes are left out."""
    schedule = pairs_of(2)
    lines = []
    for planned, p50, status in zip(
        schedule.episodes, (0.1, 0.2, 0.4, 9.0), [*[Status.GOOD] * 3, Status.FAILED], strict=True
    ):
        taken = SeatLatency(answers=10, p50=p50, p99=2 * p50, longest=3 * p50)
        seats = tuple(
            SeatLine(entrant=entrant, score=0.0, latency=taken if entrant == 0 else None) for entrant in planned.seats
        )
        lines.append(line_of(planned, [0, 0], seats=seats, status=status))
    found = latencies(lines)
    assert set(found) == {0}
    assert (found[0].answers, found[0].p50, found[0].p99) == (30, 0.2, 0.4)
    assert found[0].longest == pytest.approx(1.2)
