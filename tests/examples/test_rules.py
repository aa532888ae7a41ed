"""`examples/orchard/orchard/rules.py`: the promises of the rules, by examples and by properties."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orchard.messages import Direction, Move
from orchard.rules import Orchard, OrchardConfig, step_cell

MOVES = get_args(Direction)


@st.composite
def episodes(draw: st.DrawFn) -> tuple[OrchardConfig, list[dict[int, Move]]]:
    """A configuration and the moves of every tick; some seats miss some ticks."""
    seats = draw(st.integers(2, 6))
    config = OrchardConfig(
        tokens=("",) * seats,
        width=draw(st.integers(4, 9)),
        height=draw(st.integers(4, 9)),
        max_ticks=draw(st.integers(1, 40)),
        tree_share=draw(st.sampled_from([0.02, 0.2, 0.5])),
        regrow_ticks=draw(st.integers(1, 6)),
        seed=draw(st.integers(0, 2**63)),
    )
    move = st.sampled_from(MOVES).map(lambda name: Move(move=name))
    moves = st.dictionaries(st.integers(0, seats - 1), move)
    return config, draw(st.lists(moves, min_size=config.max_ticks, max_size=config.max_ticks))


def replay(config: OrchardConfig, moves: list[dict[int, Move]]) -> bytes:
    orchard = Orchard(config)
    parts = [orchard.snapshot()]
    for tick in moves:
        orchard.step(tick)
        parts.append(orchard.frame())
    return msgspec.json.encode([*parts, orchard.results()])


@given(episodes())
@settings(deadline=None)
def test_every_tick_keeps_the_books(episode):
    """Foragers stay on the grid, a score grows only by picking a ripe tree, and fruit is neither made nor lost."""
    config, moves = episode
    orchard = Orchard(config)
    trees = orchard.snapshot().trees
    bare_until: dict[int, int] = {}
    picked = [0] * len(config.tokens)
    before = orchard.snapshot()
    for tick in moves:
        orchard.step(tick)
        frame, after = orchard.frame(), orchard.snapshot()
        assert all(0 <= cell < config.width * config.height for cell in after.foragers)
        for slot, (old, new) in enumerate(zip(before.foragers, after.foragers, strict=True)):
            assert new == step_cell(old, tick[slot].move if slot in tick else "stay", config.width, config.height)
        assert len({index for _, index in frame.picked}) == len(frame.picked)
        for slot, index in frame.picked:
            assert after.foragers[slot] == trees[index]
            assert bare_until.get(index, 0) <= after.tick
            bare_until[index] = after.tick + config.regrow_ticks
            picked[slot] += 1
        expected = ["0" if bare_until.get(index, 0) > after.tick else "1" for index in range(len(trees))]
        assert list(after.ripe) == expected
        # Who stands on a tree leaves no fruit on it.
        assert all(after.ripe[trees.index(cell)] == "0" for cell in after.foragers if cell in trees)
        assert after.scores == picked
        before = after
    assert orchard.done
    assert orchard.results().scores == picked


@given(episodes())
@settings(deadline=None, max_examples=30)
def test_same_seed_and_moves_give_the_same_bytes(episode):
    """An episode is a function of its configuration and the moves."""
    assert replay(*episode) == replay(*episode)


@given(episodes())
@settings(deadline=None, max_examples=30)
def test_the_start_is_a_full_orchard_with_room(episode):
    """At the start every tree is ripe, no forager stands on a tree, and seats share cells only when there are too few."""
    config, _ = episode
    state = Orchard(config).snapshot()
    assert set(state.ripe) == {"1"}
    assert state.trees == sorted(set(state.trees))
    assert not set(state.foragers) & set(state.trees)
    free = config.width * config.height - len(state.trees)
    assert len(set(state.foragers)) == min(len(state.foragers), free)


@given(st.integers(4, 64), st.integers(4, 64), st.data())
def test_moves_wrap_around_and_undo_each_other(width, height, data):
    """A step and its opposite lead back; as many steps as the grid is long lead around it."""
    cell = data.draw(st.integers(0, width * height - 1))
    for there, back, length in (("up", "down", height), ("left", "right", width)):
        assert step_cell(step_cell(cell, there, width, height), back, width, height) == cell
        around = cell
        for _ in range(length):
            around = step_cell(around, there, width, height)
        assert around == cell
    assert step_cell(cell, "stay", width, height) == cell


def contest(seed: int, seats: int) -> int:
    """Let all seats stand on one ripe tree and see who picks it."""
    orchard = Orchard(OrchardConfig(tokens=("",) * seats, width=4, height=4, seed=seed))
    orchard._foragers = [orchard._trees[0]] * seats
    orchard.step({})
    ((winner, _),) = orchard.frame().picked
    assert orchard.results().contested == 1
    return winner


@pytest.mark.parametrize("seats", [2, 3, 8])
def test_the_lottery_favours_no_seat(seats):
    """Over many seeds every contender wins its share; six standard deviations are allowed."""
    rounds = 2000
    wins = [0] * seats
    for seed in range(rounds):
        wins[contest(seed, seats)] += 1
    share = 1 / seats
    slack = 6 * (rounds * share * (1 - share)) ** 0.5
    assert all(abs(won - rounds * share) < slack for won in wins)


def test_the_lottery_depends_on_who_stands_there_and_not_on_the_others():
    """Among some contenders the same one wins, whether or not further foragers are elsewhere, and in whatever order."""
    orchard = Orchard(OrchardConfig(tokens=("",) * 8, seed=5))
    for group in ([1, 4], [4, 1], (4, 1)):
        assert orchard._winner_of_lottery(7, group) == orchard._winner_of_lottery(7, [1, 4])
    best = orchard._winner_of_lottery(7, range(8))
    assert all(orchard._winner_of_lottery(7, [best, other]) == best for other in range(8))


def test_standing_on_a_tree_picks_it_again_when_it_ripens():
    """A forager that waits on a tree scores every `regrow_ticks` ticks."""
    orchard = Orchard(OrchardConfig(tokens=("", ""), width=4, height=4, regrow_ticks=3, max_ticks=20))
    tree = orchard._trees[0]
    orchard._foragers = [tree, orchard._foragers[1]]
    picks = []
    for _ in range(20):
        orchard.step({})
        picks += [orchard.tick for slot, _ in orchard.frame().picked if slot == 0]
    assert picks == [1, 4, 7, 10, 13, 16, 19]
    assert all(later - earlier == 3 for earlier, later in pairwise(picks))


def test_a_shared_lead_has_no_winner():
    """`winner` is null when the best score is not one seat's alone."""
    orchard = Orchard(OrchardConfig(tokens=("", "", "")))
    assert orchard.results().winner is None
    orchard._scores = [1, 2, 2]
    assert orchard.final(0).winner is None
    orchard._scores = [1, 2, 3]
    assert orchard.results().winner == 2


def test_one_observation_is_shared_by_all_seats():
    """All seats get the same object, so the server encodes it once."""
    orchard = Orchard(OrchardConfig(tokens=("",) * 64))
    assert all(orchard.observe(slot) is orchard.observe(0) for slot in range(64))


def test_an_observation_for_64_seats_is_small():
    """The largest variant's observation stays below one network packet."""
    orchard = Orchard(OrchardConfig(tokens=("",) * 64, width=48, height=32))
    assert len(msgspec.json.encode(orchard.observe(0))) < 1400


@pytest.mark.parametrize("seats", [1, 65])
def test_too_few_or_too_many_seats_are_refused(seats):
    """2 to 64 seats, by the configuration's own type."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"tokens": ["x"] * seats}, OrchardConfig)
