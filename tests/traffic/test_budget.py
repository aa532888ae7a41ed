"""Budgets: what can be written, what is judged, and when nothing is."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coworld_actors.traffic.budget import Budget, Tier, judge, parse_budget
from coworld_actors.traffic.latency import Latency, Series
from coworld_actors.traffic.report import BudgetVerdict, Judgement, Pace, TapCost, TapSeatReport
from coworld_protocol.errors import Refused


def series(*durations: float) -> Latency:
    found = Series()
    for seconds in durations:
        found.record(seconds)
    return found.latency()


QUIET = TapCost(cost=series(*[2e-5] * 1000), lag=series(*[2e-4] * 1000))


def judged(
    text: str, answers: Latency, own: TapCost | None = QUIET, *, corrected: Latency | None = None, interval: float = 0.0
) -> BudgetVerdict:
    pace = Pace(interval=interval, regular=1.0, ticked=corrected is not None)
    seat = TapSeatReport(slot=4, answers=answers, corrected=corrected, pace=pace)
    return judge(parse_budget(text), [seat], own)


def test_a_budget_is_read() -> None:
    """Tiers in any order, with the units us, ms and s; they come out shortest first."""
    budget = parse_budget(" 1s:10, 55ms:320 ,500us:1000,1.5s:0")
    assert [tier.times for tier in budget.tiers] == [1000, 320, 10, 0]
    assert [tier.limit for tier in budget.tiers] == pytest.approx([0.0005, 0.055, 1.0, 1.5])
    assert parse_budget("55ms:1") == Budget(text="55ms:1", tiers=(Tier(limit=0.055, times=1),))


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "55ms:320,1s:10"),
        ("fast", "55ms:320,1s:10"),
        ("55ms", "write 55ms:0 if it never may"),
        ("55:3", "write 55ms or 55s"),
        ("55min:3", "write 55ms or 55s"),
        ("55ms:few", "write 55ms:10"),
        ("55ms:-1", "write 55ms:10"),
        ("55ms:1.5", "write 55ms:10"),
        ("0ms:1", "55ms:320,1s:10"),
        ("7200s:1", "55ms:320,1s:10"),
        ("55ms:1,", "55ms:320,1s:10"),
        ("1s:1,1000ms:0", "give each limit once"),
        ("55ms:10,1s:10", "allow fewer for the longer limit"),
        ("1e3ms:1", "write"),
        ("inf s:1", "55ms:320,1s:10"),
        ("\N{ARABIC-INDIC DIGIT FIVE}s:1", "write"),
    ],
)
def test_what_is_no_budget_is_refused_with_advice(text: str, advice: str) -> None:
    """The error says what would be right."""
    with pytest.raises(Refused) as refused:
        parse_budget(text)
    assert advice in refused.value.todo
    assert refused.value.evidence


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=30))
def test_any_text_is_a_budget_or_is_refused(text: str) -> None:
    """Nothing else than a refusal comes out, in one printable line."""
    said = "fine"
    try:
        parse_budget(text)
    except Refused as refused:
        said = refused.what
    assert said.isprintable()


def test_the_verdict_is_the_model_s_on_a_thousand_schedules() -> None:
    """Known overruns against random tiers: failed exactly if some tier is exceeded more often than allowed."""
    outcomes = {Judgement.PASSED: 0, Judgement.FAILED: 0}
    for seed in range(1000):
        source = random.Random(seed)
        durations = [source.choice([0.01, 0.06, 0.2, 1.2, 12.0]) for _ in range(source.randrange(1, 60))]
        allowed = sorted((source.randrange(30) for _ in range(3)), reverse=True)
        if len(set(allowed)) < 3:
            continue
        tiers = list(zip((0.055, 1.0, 10.0), allowed, strict=True))
        text = ",".join(f"{limit}s:{times}" for limit, times in tiers)
        verdict = judged(text, series(*durations))
        over = [sum(seconds > limit for seconds in durations) for limit, _ in tiers]
        assert [tier.over for tier in verdict.seats[0].tiers] == over
        expected = (
            Judgement.FAILED if any(n > times for n, (_, times) in zip(over, tiers, strict=True)) else Judgement.PASSED
        )
        assert verdict.judgement is expected
        outcomes[expected] += 1
    assert min(outcomes.values()) > 50


def test_a_ticked_seat_is_judged_on_its_corrected_series() -> None:
    """Missed ticks count, which the series of answers does not show."""
    verdict = judged("55ms:1", series(*[0.01] * 50), corrected=series(*[0.01] * 50, 0.1, 0.2), interval=0.05)
    assert verdict.judgement is Judgement.FAILED
    assert verdict.seats[0].series == "corrected"
    assert "seat 4: 2 answers took longer than 55.0 ms, 1 may" in verdict.reason


def test_a_stall_of_the_runner_is_not_the_player_s() -> None:
    """One stall of 200 ms may have caused one late answer: one too many is then no verdict, two too many are a failure."""
    stalled = TapCost(cost=QUIET.cost, lag=series(*[2e-4] * 1000, 0.2))
    one = judged("55ms:1", series(*[0.01] * 50, 0.2, 0.2), stalled)
    assert one.judgement is Judgement.REFUSED
    assert "stalls of the runner, up to 200 ms" in one.reason
    assert judged("55ms:1", series(*[0.01] * 50, 0.2, 0.2, 0.2), stalled).judgement is Judgement.FAILED
    assert judged("55ms:1", series(*[0.01] * 50, 0.2), stalled).judgement is Judgement.PASSED


def test_all_ticks_that_fell_into_a_stall_are_excused() -> None:
    """200 ms at a tick of 50 ms: up to five late ones."""
    stalled = TapCost(cost=QUIET.cost, lag=series(*[2e-4] * 1000, 0.2))
    ticks = [0.01] * 50
    five = judged("55ms:0", Latency(), stalled, corrected=series(*ticks, *[0.2] * 5), interval=0.05)
    assert five.judgement is Judgement.REFUSED
    ten = judged("55ms:0", Latency(), stalled, corrected=series(*ticks, *[0.2] * 10), interval=0.05)
    assert ten.judgement is Judgement.FAILED


@pytest.mark.parametrize("slow", ["lag", "cost"])
@pytest.mark.parametrize("answers", [[0.01] * 50, [0.2] * 50], ids=["within", "over"])
def test_a_slow_runner_gives_no_verdict_at_all(slow: str, answers: list[float]) -> None:
    """When our own delays are a tenth of the limit neither a pass nor a failure means anything; longer limits still do."""
    late = series(*[0.008] * 1000)
    own = TapCost(cost=late, lag=QUIET.lag) if slow == "cost" else TapCost(cost=QUIET.cost, lag=late)
    assert judged("55ms:10", series(*answers), own).judgement is Judgement.REFUSED
    assert judged("1s:0", series(*answers), own).judgement is Judgement.PASSED
    assert judged("55ms:10,1s:0", series(*answers, 3.0), own).judgement is Judgement.FAILED


@pytest.mark.parametrize("own", [None, TapCost()], ids=["not measured", "no timer ran"])
def test_without_our_own_delays_nothing_is_judged(own: TapCost | None) -> None:
    """A report always states them, and a recording has none."""
    verdict = judged("55ms:10", series(0.01), own)
    assert verdict.judgement is Judgement.REFUSED
    assert "how late the runner itself was" in verdict.reason


def test_silence_is_no_pass() -> None:
    """A seat that never answered, and one that could not be followed, are not judged; neither is an episode without seats."""
    assert judged("55ms:10", Latency()).judgement is Judgement.REFUSED
    unread = TapSeatReport(slot=0, answers=series(0.01), unread="its bytes are not websocket frames")
    assert judge(parse_budget("55ms:10"), [unread], QUIET).judgement is Judgement.REFUSED
    assert judge(parse_budget("55ms:10"), [], QUIET).judgement is Judgement.REFUSED


def test_one_failed_seat_decides_before_a_refused_one() -> None:
    """Failed, else refused, else passed."""
    good = TapSeatReport(slot=0, answers=series(0.01))
    silent = TapSeatReport(slot=1)
    slow = TapSeatReport(slot=2, answers=series(0.2))
    budget = parse_budget("55ms:0")
    assert judge(budget, [good], QUIET).judgement is Judgement.PASSED
    assert judge(budget, [good, silent], QUIET).judgement is Judgement.REFUSED
    verdict = judge(budget, [good, silent, slow], QUIET)
    assert verdict.judgement is Judgement.FAILED
    assert verdict.reason.startswith("seat 2: ")
