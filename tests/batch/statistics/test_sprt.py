"""The sequential test."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.batch.statistics import sprt as module
from coworld_actors.batch.statistics.elo import NELO, share
from coworld_actors.batch.statistics.sprt import Decision, Model, Sprt, llr_logistic, llr_normalized
from coworld_protocol.errors import Refused

SUPPORT = (0.0, 0.25, 0.5, 0.75, 1.0)
GOLDEN = dict(zip(SUPPORT, (13, 37, 50, 25, 3), strict=True))


def blocks_of(counts: dict[float, int], seed: int = 1) -> list[float]:
    blocks = [score for score, count in counts.items() for _ in range(count)]
    Random(seed).shuffle(blocks)
    return blocks


def test_the_golden_pentanomial() -> None:
    """[13, 37, 50, 25, 3] with bounds [0, 4] is LLR -0.549125, Elo -43.658, nElo -63.968, whatever the order."""
    for seed in (1, 2):
        state = Sprt(0, 4).judge(blocks_of(GOLDEN, seed))
        assert state.llr == pytest.approx(-0.549125, abs=1e-6)
        assert state.elo.value == pytest.approx(-43.658, abs=5e-4)
        assert state.nelo.value == pytest.approx(-63.968, abs=5e-4)
        assert [count.blocks for count in state.counts] == [13, 37, 50, 25, 3]
        assert state.decision is None
        assert (state.upper, state.lower) == pytest.approx((2.944439, -2.944439), abs=1e-6)


def test_the_logistic_ratio_of_the_golden_pentanomial() -> None:
    """With the same bounds turned into mean scores by the sample's own deviation the mean-constrained ratio is -0.5377."""
    total = sum(GOLDEN.values())
    mean = sum(score * count for score, count in GOLDEN.items()) / total
    deviation = math.sqrt(sum(count * (score - mean) ** 2 for score, count in GOLDEN.items()) / total)
    t1 = 4 * math.sqrt(2) / NELO
    counts = {score: float(count) for score, count in GOLDEN.items()}
    assert llr_logistic(counts, 0.5, 0.5 + t1 * deviation) == pytest.approx(-0.5377, abs=2e-4)


def brute_force(counts: dict[float, float], constraint: float, *, normalised: bool) -> float:
    """The largest log-likelihood under the constraint, by scipy."""
    from scipy.optimize import minimize

    support = list(counts)

    def left(chances: list[float]) -> float:
        mean = sum(chance * score for chance, score in zip(chances, support, strict=True))
        if not normalised:
            return mean - constraint
        variance = sum(chance * (score - mean) ** 2 for chance, score in zip(chances, support, strict=True))
        return mean - 0.5 - constraint * math.sqrt(variance)

    total = sum(counts.values())
    found = minimize(
        lambda chances: (
            -sum(count / total * math.log(chance) for count, chance in zip(counts.values(), chances, strict=True))
        ),
        [0.2] * 5,
        method="SLSQP",
        bounds=[(1e-9, 1)] * 5,
        constraints=[{"type": "eq", "fun": left}, {"type": "eq", "fun": lambda chances: sum(chances) - 1}],
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert found.success
    return -found.fun * total


@pytest.mark.parametrize("counts", [(13, 37, 50, 25, 3), (2, 3, 5, 8, 2), (40, 1, 2, 1, 30)])
@pytest.mark.parametrize("bounds", [(0.0, 0.05), (-0.3, 0.3), (0.2, 0.9)])
def test_the_constrained_maximum_is_the_maximum(counts: tuple[int, ...], bounds: tuple[float, float]) -> None:
    """The tangent iteration finds what a general optimiser finds, for t-values and for means, near and far."""
    table = {score: float(count) for score, count in zip(SUPPORT, counts, strict=True)}
    low, high = (brute_force(table, bound, normalised=True) for bound in bounds)
    assert llr_normalized(table, *bounds) == pytest.approx(high - low, abs=2e-3)
    means = 0.5 + bounds[0] / 3, 0.5 + bounds[1] / 3
    low, high = (brute_force(table, mean, normalised=False) for mean in means)
    assert llr_logistic(table, *means) == pytest.approx(high - low, abs=2e-3)


def simulate(chances: tuple[float, ...], tests: int, elo1: float, most: int, seed: int) -> tuple[int, int]:
    """How many of so many tests accept H1 and H0 of [0, elo1] when blocks come with these chances."""
    random = Random(seed)
    accepted = rejected = 0
    for _ in range(tests):
        test = Sprt(0, elo1)
        for score in random.choices(SUPPORT, chances, k=most):
            if test.update(score) is not None:
                break
        accepted += test.decision is Decision.H1
        rejected += test.decision is Decision.H0
    return accepted, rejected


def test_a_thousand_tests_of_equals_keep_the_promised_error_rate() -> None:
    """A/A with alpha 5 %: at most 50 of 1000 are expected to accept H1; 71 is three standard errors of that binomial above."""
    accepted, rejected = simulate((0.1, 0.2, 0.4, 0.2, 0.1), 1000, 150, 400, 7)
    assert accepted <= 50 + 3 * math.sqrt(1000 * 0.05 * 0.95)
    assert accepted + rejected == 1000


def test_a_better_player_is_found_as_often_as_promised() -> None:
    """A/B exactly at H1's bound: at least 95 % less three standard errors of 500 tests accept it."""
    chances = (0.04, 0.13, 0.35, 0.28, 0.2)
    mean = sum(score * chance for score, chance in zip(SUPPORT, chances, strict=True))
    deviation = math.sqrt(sum(chance * (score - mean) ** 2 for score, chance in zip(SUPPORT, chances, strict=True)))
    true = NELO * (mean - 0.5) / (deviation * math.sqrt(2))
    accepted, _ = simulate(chances, 500, true, 1000, 8)
    assert accepted >= 500 * 0.95 - 3 * math.sqrt(500 * 0.05 * 0.95)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1 / 6, 0.25, 1 / 3, 0.5, 0.7, 1.0]) | st.floats(0, 1), max_size=25),
    st.floats(-300, 300),
    st.floats(0.5, 300),
    st.sampled_from(list(Model)),
    st.integers(1, 6),
)
def test_nothing_is_ever_infinite(scores: list[float], elo0: float, width: float, model: Model, episodes: int) -> None:
    """Any shares, any bounds, any size of a block: every number of the state is finite."""
    state = Sprt(elo0, elo0 + width, model=model, episodes=episodes).judge(scores)
    numbers = [state.llr, state.lower, state.upper, state.share]
    numbers += [state.elo.value, state.elo.low, state.elo.high, state.nelo.value, state.nelo.low, state.nelo.high]
    assert all(number is None or math.isfinite(number) for number in numbers)
    assert sum(count.blocks for count in state.counts) == state.blocks


@pytest.mark.parametrize(("score", "decision"), [(1.0, Decision.H1), (0.0, Decision.H0)])
def test_a_player_who_wins_everything_is_found_quickly(score: float, decision: Decision) -> None:
    """Blocks without any spread still decide; the Elo is not available but its finite end is."""
    state = Sprt(0, 50).judge([score] * 200)
    assert state.decision is decision
    assert state.blocks < 60
    assert state.elo.value is None
    assert state.nelo.value is None
    assert state.elo.note


def test_only_draws_speak_against_the_difference() -> None:
    """Blocks that are all even are evidence for no difference."""
    state = Sprt(0, 100).judge([0.5] * 500)
    assert state.decision is Decision.H0


def test_what_comes_after_the_decision_is_not_looked_at() -> None:
    """The state of a decided test stays, so that it does not depend on how many blocks were under way."""
    test = Sprt(0, 50)
    first = test.judge([1.0] * 100)
    assert test.update(0.0) is Decision.H1
    assert test.state() == first
    assert Sprt(0, 50).judge([1.0] * first.blocks + [0.0] * 300) == first


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(SUPPORT), max_size=40), st.integers(0, 40))
def test_blocks_may_come_in_pieces(scores: list[float], cut: int) -> None:
    """Judging a beginning and then everything gives what judging everything gives."""
    test = Sprt(-20, 80)
    test.judge(scores[:cut])
    assert test.judge(scores) == Sprt(-20, 80).judge(scores)


def test_other_blocks_need_another_test() -> None:
    """A list that does not begin with what was looked at is a mistake of the caller's."""
    test = Sprt(0, 4)
    test.judge([0.5, 1.0])
    with pytest.raises(ValueError, match="begin"):
        test.judge([1.0, 0.5])
    with pytest.raises(ValueError, match="share"):
        test.update(1.5)
    with pytest.raises(ValueError, match="share"):
        test.update(math.nan)


@pytest.mark.parametrize(
    "arguments",
    [(4, 4, 0.05, 0.05), (0, math.inf, 0.05, 0.05), (0, 4, 0, 0.05), (0, 4, 0.5, 0.5), (0, 4, math.nan, 0.05)],
)
def test_bounds_that_make_no_test_are_refused(arguments: tuple[float, float, float, float]) -> None:
    """The error says what would do."""
    with pytest.raises(Refused) as caught:
        Sprt(*arguments)
    assert caught.value.todo


def test_a_block_without_episodes_is_refused() -> None:
    """There is no share of nothing."""
    with pytest.raises(Refused):
        Sprt(episodes=0)


def test_where_no_maximum_is_found_the_closed_form_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the sign and nearly the size of the exact ratio."""
    counts = {score: float(count) for score, count in GOLDEN.items()}
    t1 = 4 * math.sqrt(2) / NELO
    exact = llr_normalized(counts, 0, t1)
    monkeypatch.setattr(module, "_t_constrained", lambda *_: None)
    assert llr_normalized(counts, 0, t1) == pytest.approx(exact, rel=0.1)
    assert llr_normalized({0.5: 3.0}, 0, t1) == 0


def test_the_logistic_model_measures_elo() -> None:
    """Its bounds are Elo points of the mean: a player at twice H1's bound is accepted."""
    random = Random(4)
    test = Sprt(0, 40, model=Model.LOGISTIC)
    for _ in range(1000):
        test.update(sum(random.random() < share(80) for _ in range(2)) / 2)
    assert test.decision is Decision.H1
    assert llr_logistic({0.5: 3.0, 0.75: 1.0}, 0.1, 0.9) == 0
