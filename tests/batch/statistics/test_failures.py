"""What went wrong, counted apart."""

from __future__ import annotations

from coworld_actors.batch.records import EpisodeLine, SeatLine, Status
from coworld_actors.batch.statistics.failures import (
    MOST_UNPLAYED,
    Counts,
    count_episodes,
    count_failures,
    count_faults,
    failing_always,
    inconclusive_because,
)
from tests.played import line_of, pairs_of, play


def failed(line: EpisodeLine, *guilty: int, blame: str = "players", reason: str = "player_failed") -> EpisodeLine:
    """The same episode, failed by the doing of these slots."""
    seats = tuple(
        SeatLine(entrant=seat.entrant, end="crashed" if slot in guilty else "finished", fault=slot in guilty)
        for slot, seat in enumerate(line.seats)
    )
    return EpisodeLine(
        **{field: getattr(line, field) for field in line.__struct_fields__}  # type: ignore[arg-type]
        | {"status": Status.FAILED, "reason": reason, "blame": blame, "seats": seats}
    )


def test_episodes_are_counted_by_status() -> None:
    """Every episode of the schedule is in exactly one count."""
    schedule = pairs_of(3)
    lines = play(schedule, lambda planned, slot, entrant: 1.0)[:4]
    lines[1] = line_of(schedule.episodes[1], [1, 1], status=Status.INVALID)
    lines[2] = line_of(schedule.episodes[2], [1, 1], status=Status.INFRASTRUCTURE)
    lines[3] = failed(lines[3], 0)
    counts = count_episodes(6, lines)
    assert counts == Counts(requested=6, good=1, failed=1, invalid=1, infrastructure=1, open=2)
    assert counts.unplayed == 0.5


def test_a_failure_names_whose_doing_it_was() -> None:
    """A player's failure counts once for each guilty player, the game's and the machine's once for nobody; frequent ones first."""
    lines = play(pairs_of(4), lambda planned, slot, entrant: 1.0)
    lines[0] = failed(lines[0], 0)  # greedy
    lines[1] = failed(lines[1], 0)  # random
    lines[2] = failed(lines[2], 0, 1)
    lines[3] = failed(lines[3], blame="game", reason="game_crashed")
    lines[4] = line_of(pairs_of(4).episodes[4], [0, 0], status=Status.INVALID, reason="timed_out", blame="players")
    found = [
        (failure.status, failure.reason, failure.entrant, failure.count, failure.example)
        for failure in count_failures(lines)
    ]
    assert found == [
        ("failed", "player_failed", 0, 2, 0),
        ("failed", "player_failed", 1, 2, 1),
        ("failed", "game_crashed", None, 1, 3),
        ("invalid", "timed_out", None, 1, 4),
    ]


def test_a_fault_in_a_good_episode_is_the_seats() -> None:
    """A player that crashed at the end of an episode that counts is named with its seat's end."""
    schedule = pairs_of(1)
    seats = (
        SeatLine(entrant=0, score=1.0, end="overstayed", fault=True),
        SeatLine(entrant=1, score=0.0, end="finished"),
    )
    lines = [line_of(schedule.episodes[0], [1, 0], seats=seats)]
    assert [(one.status, one.reason, one.entrant, one.count) for one in count_failures(lines)] == [
        ("good", "overstayed", 0, 1)
    ]
    assert count_faults(lines) == {0: {"overstayed": 1}}


def test_a_choking_machine_is_nobodys_fault() -> None:
    """Faults in invalid episodes, and in those that were never played, are not held against a player."""
    lines = play(pairs_of(1), lambda planned, slot, entrant: 1.0)
    guilty = failed(lines[0], 0)
    for status in (Status.INVALID, Status.INFRASTRUCTURE):
        line = EpisodeLine(
            **{field: getattr(guilty, field) for field in guilty.__struct_fields__} | {"status": status}  # type: ignore[arg-type]
        )
        assert count_faults([line]) == {}
        assert failing_always([line]) == frozenset()


def test_who_always_fails_is_known() -> None:
    """One good episode is enough not to be hopeless; a player that only ever met one is not either."""
    lines = play(pairs_of(2), lambda planned, slot, entrant: 1.0)
    lines = [failed(line, line.seats[1].entrant == 1) for line in lines]
    assert failing_always(lines) == {1}
    assert failing_always([*lines, line_of(pairs_of(3).episodes[4], [1, 1])]) == frozenset()
    assert failing_always([]) == frozenset()


def test_too_much_left_unplayed_forbids_a_conclusion() -> None:
    """Above 5 % of the ended episodes, and not at it; what is not played yet does not count."""
    assert MOST_UNPLAYED == 0.05
    assert not inconclusive_because(Counts(requested=200, good=95, invalid=3, infrastructure=2, open=100))
    assert "6 of 100" in inconclusive_because(Counts(requested=200, good=94, invalid=4, infrastructure=2, open=100))
    assert not inconclusive_because(Counts(requested=5, open=5))
