"""The list of episodes: balanced where it promises to be, and a function of its arguments alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.batch.schedule import (
    EPISODE_LIMIT,
    Lineups,
    Schedule,
    Seating,
    VariantSeats,
    make_schedule,
    pickup_lineups,
    rotations,
    round_robin,
    shared_lineup,
)
from coworld_protocol.errors import Refused

NAMES = ("ann", "bob", "cid", "dan", "eve")


def scheduled(
    lineups: Lineups,
    *,
    seats: int | tuple[int, ...] = 4,
    entrants: int = 2,
    seating: Seating = Seating.ROTATE,
    rounds: int = 4,
    blocks: bool = False,
    seed: int = 42,
) -> Schedule:
    sizes = (seats,) if isinstance(seats, int) else seats
    return make_schedule(
        seed=seed,
        variants=[VariantSeats(id=f"v{number}", seats=size) for number, size in enumerate(sizes)],
        entrants=NAMES[:entrants],
        lineups=lineups,
        seating=seating,
        rounds=rounds,
        blocks=blocks,
    )


def seatings(schedule: Schedule) -> list[str]:
    return ["".join(map(str, episode.seats)) for episode in schedule.episodes]


def said(call: Callable[[], Any]) -> list[str]:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.lines()


def test_rotation_puts_seat_s_of_round_i_on_base_s_plus_i() -> None:
    """The rule of the public evaluation's description, spelled out."""
    assert seatings(scheduled(shared_lineup([1, 1]), rounds=5)) == ["0011", "0110", "1100", "1001", "0011"]


def test_fixed_seating_stays() -> None:
    """Everybody sits where the command line put them."""
    assert seatings(scheduled(shared_lineup([3, 1]), seating=Seating.FIXED, rounds=3)) == ["0001"] * 3


def test_shuffled_rounds_are_drawn_one_by_one() -> None:
    """Each round's lot follows from seed, variant and round, so that no round depends on those before it."""
    base = [0, 0, 1, 1]
    expected = []
    for round_ in range(20):
        drawn = base.copy()
        random.Random(f"42/v0/{round_}").shuffle(drawn)
        expected.append("".join(map(str, drawn)))
    found = seatings(scheduled(shared_lineup([1, 1]), seating=Seating.SHUFFLE, rounds=20))
    assert found == expected
    assert len(set(found)) > 3
    other = scheduled(shared_lineup([1, 1]), seating=Seating.SHUFFLE, rounds=20, seed=43)
    assert seatings(other) != found


def test_a_block_plays_one_seed_on_every_seat() -> None:
    """All turns of the base, one seed, one block; the next round goes on with the next seed."""
    schedule = scheduled(shared_lineup([1, 1, 1, 1]), entrants=4, rounds=2, blocks=True)
    assert seatings(schedule) == ["0123", "1230", "2301", "3012"] * 2
    assert [episode.seed for episode in schedule.episodes] == [42] * 4 + [43] * 4
    assert [episode.block for episode in schedule.episodes] == [0] * 4 + [1] * 4


def test_a_base_that_repeats_itself_has_fewer_turns() -> None:
    """No episode of a block is played twice."""
    assert rotations((0, 1, 0, 1)) == [(0, 1, 0, 1), (1, 0, 1, 0)]
    assert rotations((0, 0, 0)) == [(0, 0, 0)]
    assert seatings(scheduled(shared_lineup([1]), entrants=1, rounds=3, blocks=True)) == ["0000"] * 3


def test_a_fixed_block_is_one_episode() -> None:
    """There is only one seating."""
    assert len(scheduled(shared_lineup([1, 1]), seating=Seating.FIXED, rounds=3, blocks=True).episodes) == 3


def test_variants_share_the_seeds_and_have_blocks_of_their_own() -> None:
    """Round by round; a lineup is shared out anew for each number of seats."""
    schedule = scheduled(shared_lineup([1, 1]), seats=(2, 3), rounds=2)
    assert seatings(schedule) == ["01", "001", "10", "010"]
    assert [(each.variant, each.seed, each.block, each.lineup) for each in schedule.episodes] == [
        ("v0", 42, 0, 0),
        ("v1", 42, 1, 0),
        ("v0", 43, 2, 0),
        ("v1", 43, 3, 0),
    ]


def test_round_robin_lets_every_group_meet() -> None:
    """Each pair of four is a lineup with a block of its own."""
    schedule = scheduled(round_robin(4), seats=2, entrants=4, rounds=2, blocks=True)
    first = [each for each in schedule.episodes if each.seed == 42]
    assert ["".join(map(str, each.seats)) for each in first] == (
        "01 10 02 20 03 30 12 21 13 31 23 32".split()  # noqa: SIM905
    )
    assert [each.lineup for each in first] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert len({each.block for each in schedule.episodes}) == 12


def test_round_robin_with_room_for_all_is_one_lineup() -> None:
    """Where there are seats enough the seats are shared."""
    assert seatings(scheduled(round_robin(2), seats=5, rounds=1)) == ["00011"]


@pytest.mark.parametrize(
    ("seats", "pool", "expected"),
    [
        (4, 2, ["0000", "0001", "0012", "0112", "1122"]),
        (5, 3, ["00000", "00001", "00012", "00123", "01123", "11223"]),
        (2, 1, ["00", "01", "11"]),
    ],
)
def test_pickup_holds_from_all_seats_to_none(seats: int, pool: int, expected: list[str]) -> None:
    """The splits of the public evaluation: the candidate has index 0, the pool shares the rest, the earlier one has more."""
    lineups = pickup_lineups(0, range(1, pool + 1))
    assert ["".join(map(str, base)) for base in lineups(seats, 0)] == expected


def test_pickup_turns_the_pool_every_round() -> None:
    """The odd seat goes round, so that every member of the pool meets the candidate."""
    lineups = pickup_lineups(0, (1, 2, 3))
    assert [lineups(2, round_)[1] for round_ in range(4)] == [(0, 1), (0, 2), (0, 3), (0, 1)]
    assert [lineups(4, round_)[4] for round_ in range(3)] == [(1, 1, 2, 3), (2, 2, 3, 1), (3, 3, 1, 2)]


def test_pickup_plays_every_lineup_with_the_same_lot_and_seed() -> None:
    """Common random numbers: what differs between lineups is who plays, not where the seats went."""
    schedule = scheduled(pickup_lineups(0, (1,)), seating=Seating.SHUFFLE, rounds=30)
    for _, group in groupby(schedule.episodes, key=lambda each: each.seed):
        episodes = list(group)
        assert [each.lineup for each in episodes] == [0, 1, 2, 3, 4]
        held = [{slot for slot, entrant in enumerate(each.seats) if entrant == 0} for each in episodes]
        assert all(later < earlier for earlier, later in pairwise(held))


@settings(deadline=None)
@given(
    seats=st.integers(1, 9),
    shares=st.lists(st.sampled_from([1.0, 2.0, 0.5]), min_size=1, max_size=3),
    turns=st.integers(1, 3),
)
def test_rotation_is_exactly_balanced(seats: int, shares: list[float], turns: int) -> None:
    """Over a multiple of the seats, each entrant sits on each seat equally often."""
    try:
        schedule = scheduled(shared_lineup(shares), seats=seats, entrants=len(shares), rounds=turns * seats)
    except Refused:
        return
    for entrant in range(len(shares)):
        held = [sum(each.seats[slot] == entrant for each in schedule.episodes) for slot in range(seats)]
        assert len(set(held)) == 1


@settings(deadline=None)
@given(
    seats=st.lists(st.integers(3, 6), min_size=1, max_size=3),
    seating=st.sampled_from(Seating),
    rounds=st.integers(1, 6),
    seed=st.integers(0, 2**40),
    blocks=st.booleans(),
    pickup=st.booleans(),
)
def test_what_holds_for_every_schedule(
    seats: list[int], seating: Seating, rounds: int, seed: int, blocks: bool, pickup: bool
) -> None:
    """Counts are those of the lineup, seeds those of the round, blocks are unique, whole and hold each turn once."""

    def lineups() -> Lineups:
        return pickup_lineups(0, (1, 2)) if pickup else shared_lineup([1, 2, 1])

    wishes: Any = {"entrants": 3, "seats": tuple(seats), "seating": seating, "rounds": rounds, "seed": seed}
    schedule = scheduled(lineups(), blocks=blocks, **wishes)
    assert schedule == scheduled(lineups(), blocks=blocks, **wishes)
    assert [each.index for each in schedule.episodes] == list(range(len(schedule.episodes)))
    sizes = {variant.id: variant.seats for variant in schedule.variants}
    bases = lineups()
    runs = [(number, list(group)) for number, group in groupby(schedule.episodes, key=lambda each: each.block)]
    assert [number for number, _ in runs] == list(range(len(runs)))
    per_round = sum(len(bases(size, 0)) for size in seats)
    for number, episodes in runs:
        assert len({(each.variant, each.lineup, each.seed) for each in episodes}) == 1
        each = episodes[0]
        assert each.seed == seed + number // per_round
        base = bases(sizes[each.variant], each.seed - seed)[each.lineup]
        assert all(Counter(other.seats) == Counter(base) for other in episodes)
        if not blocks or seating is Seating.FIXED:
            assert len(episodes) == 1
        else:
            assert {other.seats for other in episodes} == set(rotations(each.seats))
            assert len({other.seats for other in episodes}) == len(episodes)
    longer = scheduled(lineups(), blocks=blocks, **{**wishes, "rounds": rounds + 1})
    assert longer.episodes[: len(schedule.episodes)] == schedule.episodes


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        (
            lambda: scheduled(shared_lineup([1, 1, 1], NAMES[:3]), seats=2, entrants=3),
            [
                "2 seats cannot be shared like this: cid would get none",
                "evidence: shares: ann 1, bob 1, cid 1",
                "try: play a variant with at least 3 seats, or let all groups of players meet with --round-robin",
            ],
        ),
        (
            lambda: scheduled(shared_lineup([9, 0.5]), seats=4),
            [
                "4 seats cannot be shared like this: player 2 would get none",
                "evidence: shares: player 1 9, player 2 0.5",
                "try: play a variant with at least 10 seats, or give shares that lie closer together",
            ],
        ),
        (
            lambda: scheduled(shared_lineup([1, 2]), seats=1),
            [
                "1 seat cannot be shared like this: player 1 would get none",
                "evidence: shares: player 1 1, player 2 2",
                "try: play a variant with at least 2 seats",
            ],
        ),
        (
            lambda: scheduled(shared_lineup([1e9, 1]), seats=2),
            [
                "2 seats cannot be shared like this: player 2 would get none",
                "evidence: shares: player 1 1e+09, player 2 1",
                "try: give shares that lie closer together",
            ],
        ),
        (
            lambda: pickup_lineups(0, ()),
            ["the pool is empty", "try: name at least one player with --pool"],
        ),
        (
            lambda: scheduled(shared_lineup([1, 1]), rounds=0),
            ["0 rounds are no schedule", "try: ask for 1 or more"],
        ),
        (
            lambda: scheduled(shared_lineup([1]), entrants=0),
            ["a schedule needs a player and a variant", "try: name at least one of each"],
        ),
        (
            lambda: scheduled(shared_lineup([1]), seats=()),
            ["a schedule needs a player and a variant", "try: name at least one of each"],
        ),
        (
            lambda: scheduled(shared_lineup([1]), rounds=EPISODE_LIMIT + 1, entrants=1),
            [
                f"the schedule would have {EPISODE_LIMIT + 1} episodes",
                f"evidence: {EPISODE_LIMIT + 1} rounds; the limit is {EPISODE_LIMIT}",
                "try: ask for fewer rounds, players or variants",
            ],
        ),
        (
            lambda: scheduled(round_robin(60), seats=30),
            [
                "the schedule would have 118264581564861424 episodes",
                f"evidence: 60 players meet in all groups of 30; the limit is {EPISODE_LIMIT}",
                "try: ask for fewer rounds, players or variants",
            ],
        ),
    ],
)
def test_what_cannot_be_scheduled_is_refused(call: Callable[[], Any], lines: list[str]) -> None:
    """Every message, at once and with what would have been right."""
    assert said(call) == lines


@pytest.mark.parametrize("twice", ["player", "variant"])
def test_names_that_come_twice_are_refused(twice: str) -> None:
    """Results of two things with one name could not be told apart."""
    names = {"player": ["ann", "ann"], "variant": ["ann", "bob"]}[twice]
    ids = {"player": ["x", "y"], "variant": ["ann", "ann"]}[twice]
    lines = said(
        lambda: make_schedule(
            seed=1,
            variants=[VariantSeats(id=each, seats=2) for each in ids],
            entrants=names,
            lineups=shared_lineup([1, 1]),
            seating=Seating.FIXED,
            rounds=1,
            blocks=False,
        )
    )
    assert lines == [f"{twice} 'ann' comes twice", "try: name it once"]
