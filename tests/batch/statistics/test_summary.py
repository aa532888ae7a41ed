"""The document of a batch."""

from __future__ import annotations

import math
import time
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.batch.records import EpisodeLine, SeatLine, Status
from coworld_actors.batch.schedule import Schedule, VariantSeats
from coworld_actors.batch.statistics import summary as module
from coworld_actors.batch.statistics.ratings import MISSING, Ratings
from coworld_actors.batch.statistics.summary import Summary, summarize
from tests.played import line_of, pairs_of, play, schedule_of


def sum_up(schedule: Schedule, lines: list[EpisodeLine], **changes: Any) -> Summary:
    fields: dict[str, Any] = {"coworld": "orchard", "game_version": "1", "resamples": 50}
    return summarize(schedule=schedule, lines=lines, **(fields | changes))


def numbers(value: Any) -> list[float]:
    """Every number in a document."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers(one)]
    if isinstance(value, (list, tuple)):
        return [number for one in value for number in numbers(one)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def test_a_batch_is_summed_up() -> None:
    """The better player first, everybody's numbers, the pair from its side, both seats, and how long episodes took."""
    schedule = pairs_of(30)
    random = Random(1)
    lines = play(schedule, lambda planned, slot, entrant: random.gauss(1.5 * (entrant == 0), 1))
    found = sum_up(schedule, lines)
    assert [(player.name, player.rank) for player in found.players] == [("greedy", 1), ("random", 2)]
    assert (found.blocks, found.counted, found.episodes.good, found.episodes.open) == (30, 60, 60, 0)
    greedy = found.players[0]
    assert greedy.score.low is not None
    assert found.players[1].score.high is not None
    assert greedy.score.low > found.players[1].score.high
    assert greedy.wins + greedy.draws + greedy.losses == greedy.episodes == 60
    assert len(found.pairs) == 1
    assert found.pairs[0].elo.low is not None
    assert found.pairs[0].elo.low > 0
    assert len(found.seat_effects) == 2
    assert found.duration is not None
    assert found.duration.median == 1.0
    assert found.rating_model == "bradley-terry"
    assert greedy.rating is not None
    assert greedy.ladder is not None
    assert found.seed_applied
    assert found.notes == ()
    assert found.inconclusive == ""


SEATINGS = st.lists(
    st.tuples(
        st.sampled_from([(0, 1), (1, 0), (0, 2), (2, 1), (1, 1)]),
        st.tuples(st.integers(-2, 2), st.integers(-2, 2)),
        st.sampled_from([*[Status.GOOD] * 6, *Status]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(SEATINGS, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_lines_makes_no_difference(episodes: Any, random: Any, lower: bool) -> None:
    """Equal lines in any order give equal documents, byte for byte; all numbers are finite, ranks in order, shares add up."""
    schedule = schedule_of([[seats] for seats, *_ in episodes], entrants=("a", "b", "c"))
    lines = [
        line_of(planned, [float(score) for score in scores], status=status, started=f"2026-01-0{1 + late}T00:00:00Z")
        for planned, (_, scores, status, late) in zip(schedule.episodes, episodes, strict=True)
    ]
    lines += [line_of(schedule.episodes[0], [9.0, 9.0], started="2026-01-02T00:00:00Z")]
    shuffled = list(lines)
    random.shuffle(shuffled)
    one = sum_up(schedule, lines, lower_is_better=lower)
    two = sum_up(schedule, shuffled, lower_is_better=lower)
    assert msgspec.json.encode(one) == msgspec.json.encode(two)
    assert all(math.isfinite(number) for number in numbers(msgspec.to_builtins(one)))
    ranks = [player.rank for player in one.players if player.rank is not None]
    assert ranks == sorted(ranks)
    assert sum(player.wins for player in one.players) == sum(player.losses for player in one.players)
    counts = one.episodes
    assert counts.good + counts.failed + counts.invalid + counts.infrastructure + counts.open == counts.requested
    for pair in one.pairs:
        assert pair.score.value is not None
        assert pair.score.value >= 0.5


def test_nothing_played_is_a_document_too() -> None:
    """No lines: everybody without a rank, nothing made up, and a note."""
    found = sum_up(pairs_of(3), [])
    assert [player.rank for player in found.players] == [None, None]
    assert found.duration is None
    assert not found.seed_applied
    assert found.episodes.open == 6
    assert any("No block is complete" in note for note in found.notes)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Summary) == found


def test_a_player_that_fails_in_every_episode_is_marked() -> None:
    """Its failures are counted, nobody gets a win from them, it has no rank, and a note names it."""
    schedule = schedule_of([[(0, 1), (1, 0)]] * 10 + [[(0, 2), (2, 0)]] * 10, entrants=("good", "crasher", "other"))
    lines = []
    for planned in schedule.episodes:
        if 1 in planned.seats:
            seats = tuple(SeatLine(entrant=entrant, end="crashed", fault=entrant == 1) for entrant in planned.seats)
            lines.append(
                line_of(planned, [0, 0], seats=seats, status=Status.FAILED, reason="player_failed", blame="players")
            )
        else:
            lines.append(line_of(planned, [1.0 - (entrant == 2) for entrant in planned.seats]))
    found = sum_up(schedule, lines)
    crasher = found.players[-1]
    assert (crasher.name, crasher.rank, crasher.losses, crasher.faults) == ("crasher", None, 0, {"crashed": 20})
    assert found.players[0].wins == 20
    assert (found.failures[0].entrant, found.failures[0].count) == (1, 20)
    assert any(note.startswith("crasher failed in every episode") for note in found.notes)
    assert any("counted apart" in note for note in found.notes)


def test_a_choking_machine_forbids_a_conclusion() -> None:
    """Above 5 % of invalid episodes the document says that nothing should be concluded, first of all notes."""
    schedule = pairs_of(30)
    lines = play(schedule, lambda planned, slot, entrant: float(entrant))
    for at in range(4):
        lines[at] = line_of(schedule.episodes[at], [0, 0], status=Status.INVALID)
    found = sum_up(schedule, lines)
    assert "4 of 60" in found.inconclusive
    assert found.notes[0] == found.inconclusive
    assert found.blocks == 28


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stopped_early": "H1 was accepted."}, "Biased by stopping: H1 was accepted."),
        ({}, "Only 3 blocks"),
    ],
)
def test_what_a_reader_has_to_know_is_said(changes: dict[str, Any], words: str) -> None:
    """Stopping early and few blocks are in the notes."""
    schedule = pairs_of(3)
    found = sum_up(schedule, play(schedule, lambda planned, slot, entrant: float(planned.index)), **changes)
    assert any(words in note for note in found.notes)


def test_what_is_missing_is_said() -> None:
    """Incomplete blocks, open episodes, seeds that were not applied, missing scores, strange lines, several variants."""
    schedule = pairs_of(40)
    schedule = msgspec.structs.replace(schedule, variants=(*schedule.variants, VariantSeats(id="other", seats=2)))
    lines = play(schedule, lambda planned, slot, entrant: 1.0)[:75]
    lines[0] = msgspec.structs.replace(lines[0], seed_applied=False)
    lines[2] = line_of(schedule.episodes[2], [1, None])
    lines.append(msgspec.structs.replace(lines[0], index=500))
    notes = " ".join(sum_up(schedule, lines).notes)
    for words in (
        "2 incomplete blocks left out, with 2 episodes that went well",
        "5 episodes not played yet",
        "Seed not applied in 1 episode:",
        "1 episode ended well without a usable score",
        "1 lines do not fit",
        "averaged over variants",
    ):
        assert words in notes


def test_a_constant_sum_is_said() -> None:
    """Scores that always add up to the same say who is better only."""
    schedule = pairs_of(30)
    found = sum_up(
        schedule, play(schedule, lambda planned, slot, entrant: 1.0 if entrant == planned.index % 2 else -1.0)
    )
    assert any(note.startswith("Constant sum") for note in found.notes)


def test_without_the_extra_the_rest_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ratings are None and one note says what to install."""
    monkeypatch.setattr(module, "rate", lambda blocks, *, lower_is_better: Ratings(notes=(MISSING,)))
    schedule = pairs_of(25)
    found = sum_up(schedule, play(schedule, lambda planned, slot, entrant: float(entrant)))
    assert found.players[0].rating is None
    assert found.players[0].ladder is None
    assert found.players[0].elo.low is not None
    assert found.rating_model == ""
    assert found.notes.count(MISSING) == 1


@pytest.mark.parametrize("seats", [2, 4])
def test_ten_thousand_episodes_are_summed_up_in_time(seats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every episode its own block, a thousand resamples, without the extra: seconds of one core, on a busy machine too."""
    monkeypatch.setattr(module, "rate", lambda blocks, *, lower_is_better: Ratings())
    schedule = schedule_of([[tuple(range(seats))]] * 10_000)
    random = Random(1)
    lines = play(schedule, lambda planned, slot, entrant: random.gauss(entrant * 0.1, 1))
    begin = time.process_time()
    found = sum_up(schedule, lines, resamples=1000)
    assert time.process_time() - begin < 6
    assert found.blocks == 10_000


def test_many_players_stay_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dozen players in one game are 276 pairs: bootstraps draw from fewer groups instead of taking minutes."""
    monkeypatch.setattr(module, "rate", lambda blocks, *, lower_is_better: Ratings())
    monkeypatch.setattr(module, "MOST_DRAWS", 2_000_000)
    schedule = schedule_of([[tuple(range(24))]] * 300)
    random = Random(2)
    lines = play(schedule, lambda planned, slot, entrant: random.gauss(entrant * 0.1, 1))
    found = sum_up(schedule, lines, resamples=20)
    assert len(found.pairs) == 276
    assert all(pair.score.low is not None for pair in found.pairs)
