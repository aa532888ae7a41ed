"""Value over replacement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec
import pytest

from coworld_actors.batch.records import EpisodeLine, Status
from coworld_actors.batch.schedule import Schedule, Scheduled, Seating, VariantSeats, make_schedule, pickup_lineups
from coworld_actors.batch.statistics.pickup import PickupReport, PickupScenario, value_over_replacement
from tests.played import line_of, play, schedule_of


def golden() -> tuple[Schedule, list[EpisodeLine]]:
    """N = 2: k = 2 [4, 6]; k = 1 the candidate's 8 and 3; k = 0 [1, 3] and [2, 2]."""
    schedule = schedule_of(
        [[(0, 0)], [(0, 1)], [(1, 0)], [(1, 1)], [(1, 1)]],
        lineups=[0, 1, 1, 2, 2],
        rounds=[0, 0, 1, 0, 1],
        entrants=("candidate", "pool"),
    )
    scores: list[Sequence[float]] = [(4, 6), (8, 2), (7, 3), (1, 3), (2, 2)]
    return schedule, [line_of(planned, some) for planned, some in zip(schedule.episodes, scores, strict=True)]


def pickup_schedule(rounds: int, *, seats: int = 4, pool: int = 2, blocks: bool = True) -> Schedule:
    return make_schedule(
        seed=50,
        variants=(VariantSeats(id="duel", seats=seats),),
        entrants=("candidate", *[f"pool-{at}" for at in range(pool)]),
        lineups=pickup_lineups(0, range(1, pool + 1)),
        seating=Seating.ROTATE,
        rounds=rounds,
        blocks=blocks,
    )


def report(schedule: Schedule, score: Callable[[Scheduled, int, int], float], **changes: Any) -> PickupReport:
    return value_over_replacement(schedule, play(schedule, score), **({"resamples": 100} | changes))


def scenario(found: PickupReport, held: int) -> PickupScenario:
    return next(one for one in found.scenarios if one.seats == held)


def test_the_golden_vector() -> None:
    """Replacement 2.0, value 3.0 with both seats and 3.5 with one, overall 3.25; lift and partners' effect by hand."""
    schedule, lines = golden()
    found = value_over_replacement(schedule, lines)
    assert found.value.value == pytest.approx(3.25)
    assert found.value_all == found.value
    assert found.replacement.value == 2.0
    assert [one.seats for one in found.scenarios] == [2, 1, 0]
    two, one, none = found.scenarios
    assert (two.candidate.value, two.episodes) == (5.0, 1)
    assert (one.candidate.value, one.episodes) == (5.5, 2)
    assert two.value is not None
    assert two.value.value == 3.0
    assert one.value is not None
    assert one.value.value == 3.5
    assert one.team_lift is not None
    assert one.team_lift.value == 3.0
    assert one.partner_effect is not None
    assert one.partner_effect.value == 2.5
    assert two.partner_effect is None
    assert none.value is None
    assert none.everybody.value == 2.0
    assert not found.constant_sum


def test_a_constant_score_game_gives_the_difference_for_every_k() -> None:
    """Everybody scores a constant of its own: the value is the candidate's less the pool's mean, exactly, with no spread."""
    constants = {0: 7.0, 1: 2.0, 2: 4.0}
    found = report(pickup_schedule(4), lambda planned, slot, entrant: constants[entrant])
    for held in (4, 3, 2, 1):
        value = scenario(found, held).value
        assert value is not None
        assert value.value == pytest.approx(4.0)
        assert value.low == pytest.approx(4.0)
        assert value.high == pytest.approx(4.0)
    assert found.value.value == pytest.approx(4.0)
    assert found.standard_error == pytest.approx(0, abs=1e-9)
    lift = scenario(found, 2).team_lift
    assert lift is not None
    assert lift.value == pytest.approx(2.0)


def test_a_constant_sum_leaves_self_play_out() -> None:
    """Two seats, zero sum: the value is that of k = 1 and not a third of it; both numbers are shown and a note says why."""
    found = report(
        pickup_schedule(10, seats=2, pool=1),
        lambda planned, slot, entrant: (
            0.0
            if len(set(planned.seats)) == 1 and planned.index % 2
            else (1.0 - 2 * slot)
            if len(set(planned.seats)) == 1
            else 1.0
            if entrant == 0
            else -1.0
        ),
    )
    one = scenario(found, 1).value
    assert one is not None
    assert found.constant_sum
    assert one.value == pytest.approx(1.0)
    assert found.value.value == pytest.approx(1.0)
    # E_k differ: with both seatings in a block, k = 1 has twice the episodes of k = 2.
    assert found.value_all.value == pytest.approx(1.0 * 1 * 20 / (1 * 20 + 2 * 10))
    assert any("Constant sum" in note for note in found.notes)


def test_a_third_is_left_when_every_scenario_has_as_many_episodes() -> None:
    """The same without blocks: N = 2 dilutes the value of k = 1 to exactly a third."""
    found = report(
        pickup_schedule(10, seats=2, pool=1, blocks=False),
        lambda planned, slot, entrant: (
            1.0 - 2 * slot if len(set(planned.seats)) == 1 else 1.0 if entrant == 0 else -1.0
        ),
    )
    assert found.value.value == pytest.approx(1.0)
    assert found.value_all.value == pytest.approx(1 / 3)


def test_lower_scores_can_be_the_better_ones() -> None:
    """Values are turned so that above 0 is better; means stay in the game's own units."""
    schedule, lines = golden()
    found = value_over_replacement(schedule, lines, lower_is_better=True)
    assert found.value.value == pytest.approx(-3.25)
    assert found.replacement.value == 2.0


def test_without_a_baseline_there_is_no_value() -> None:
    """The pool's own episode failed: null with a note, and the candidate's means are still there."""
    schedule, lines = golden()
    lines[3] = line_of(schedule.episodes[3], [0, 0], status=Status.FAILED)
    lines[4] = line_of(schedule.episodes[4], [0, None])
    found = value_over_replacement(schedule, lines)
    assert found.value.value is None
    assert found.value.note
    assert found.replacement.value is None
    value = scenario(found, 2).value
    assert value is not None
    assert value.value is None
    assert scenario(found, 2).candidate.value == 5.0
    assert any("No replacement baseline" in note for note in found.notes)
    assert found.episodes.failed == 1


def test_without_a_candidate_there_is_no_value() -> None:
    """Only the pool's episodes: replacement, but nothing to compare with it; the missing scenarios are named."""
    schedule, lines = golden()
    found = value_over_replacement(schedule, lines[3:])
    assert found.value.value is None
    assert found.replacement.value == 2.0
    assert any("2, 1 seats" in note for note in found.notes)


def test_nothing_played_is_a_report_too() -> None:
    """No lines: nothing made up, nothing raised."""
    schedule, _ = golden()
    found = value_over_replacement(schedule, [])
    assert found.value.value is None
    assert msgspec.json.decode(msgspec.json.encode(found), type=PickupReport) == found


def noisy(planned: Scheduled, slot: int, entrant: int) -> float:
    """What the seed does to everybody is ten times what a single seat adds."""
    return 10 * Random(planned.seed).gauss(0, 1) + Random(f"{planned.index}/{slot}").gauss(0, 1) + 2.0 * (entrant == 0)


def test_applied_seeds_pair_the_scenarios() -> None:
    """What a seed does to all scenarios cancels; without applied seeds it does not, and a note says so."""
    schedule = pickup_schedule(40)
    lines = play(schedule, noisy)
    paired = value_over_replacement(schedule, lines)
    loose = value_over_replacement(schedule, [msgspec.structs.replace(line, seed_applied=False) for line in lines])
    assert paired.value.value == pytest.approx(loose.value.value)
    assert paired.value.low is not None
    assert paired.value.high is not None
    assert loose.value.low is not None
    assert loose.value.high is not None
    assert paired.value.low < 2 < paired.value.high
    assert loose.value.high - loose.value.low > 4 * (paired.value.high - paired.value.low)
    assert paired.standard_error is not None
    assert paired.value.high - paired.value.low == pytest.approx(4 * paired.standard_error, rel=0.2)
    assert any("not paired" in note for note in loose.notes)
    assert not any("not paired" in note for note in paired.notes)


def test_intervals_hold_the_true_value() -> None:
    """Of 60 reports with ten rounds at least 51 hold the true value of 2: three standard errors below 95 %."""
    held = 0
    for seed in range(60):
        random = Random(seed)
        found = report(
            pickup_schedule(10, seats=2),
            lambda planned, slot, entrant, random=random: random.gauss(2.0 * (entrant == 0), 1),
        )
        assert found.value.low is not None
        assert found.value.high is not None
        held += found.value.low <= 2 <= found.value.high
    assert held >= 51


def test_the_order_of_lines_makes_no_difference() -> None:
    """A pure function of the lines, whatever their order."""
    schedule = pickup_schedule(6)
    lines = play(schedule, noisy)
    shuffled = list(lines)
    Random(1).shuffle(shuffled)
    assert value_over_replacement(schedule, lines) == value_over_replacement(schedule, shuffled)


def test_one_round_has_no_interval() -> None:
    """A single round is a number without a spread, and a note says that it is one."""
    found = report(pickup_schedule(1), noisy)
    assert found.value.value is not None
    assert (found.value.low, found.value.high, found.standard_error) == (None, None, None)
    assert any("Only 1 round:" in note for note in found.notes)


def test_a_choking_machine_forbids_a_conclusion() -> None:
    """Too many invalid episodes, and the report says so first."""
    schedule, lines = golden()
    lines[1] = line_of(schedule.episodes[1], [0, 0], status=Status.INVALID)
    found = value_over_replacement(schedule, lines)
    assert found.inconclusive
    assert found.notes[0] == found.inconclusive


def test_every_number_is_finite_for_huge_scores() -> None:
    """The largest usable scores leave no infinity behind."""
    found = report(pickup_schedule(3), lambda planned, slot, entrant: 1e100 * (slot - planned.index % 3))
    for one in found.scenarios:
        for estimate in (one.candidate, one.everybody, one.pool, one.value, one.team_lift, one.partner_effect):
            for number in () if estimate is None else (estimate.value, estimate.low, estimate.high):
                assert number is None or math.isfinite(number)


def test_a_variant_is_looked_at_for_itself() -> None:
    """Scores of different variants are never mixed; unless one is chosen the first is taken, and a note names the others."""
    schedule = make_schedule(
        seed=50,
        variants=(VariantSeats(id="small", seats=2), VariantSeats(id="large", seats=3)),
        entrants=("candidate", "pool"),
        lineups=pickup_lineups(0, [1]),
        seating=Seating.ROTATE,
        rounds=3,
        blocks=True,
    )
    lines = play(schedule, lambda planned, slot, entrant: (1.0 if planned.variant == "small" else 9.0) * (entrant == 0))
    first = value_over_replacement(schedule, lines)
    large = value_over_replacement(schedule, lines, variant="large")
    assert (first.variant, first.seats, first.value.value) == ("small", 2, 1.0)
    assert (large.variant, large.seats) == ("large", 3)
    assert large.value.value == pytest.approx(9.0)
    assert first.episodes.requested + large.episodes.requested == len(schedule.episodes)
    assert any("not large" in note for note in first.notes)
    assert not any("not small" in note for note in large.notes)
