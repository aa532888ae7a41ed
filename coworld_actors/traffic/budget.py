"""Latency budgets: limits, how often each may be exceeded, and what a report says about them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

import msgspec

from coworld_actors.traffic.latency import Latency
from coworld_actors.traffic.report import (
    BudgetVerdict,
    Judgement,
    SeatVerdict,
    TapCost,
    TapSeatReport,
    TierCount,
    seconds_text,
)
from coworld_protocol.errors import Refused
from coworld_protocol.printable import printable

__all__ = ["OWN_SHARE", "Budget", "Tier", "judge", "parse_budget"]

OWN_SHARE = 0.1
"""Share of a limit that our own delays may take before the limit cannot be judged any more."""

_EXAMPLE = "write tiers of limit:times with commas between them, such as 55ms:320,1s:10"
_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_LIMIT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([^\d\s.]*)")
_LONGEST_LIMIT = 3600.0


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """How often answers may take longer than a limit.

    Attributes:
        limit: seconds.
        times: how many answers of one seat in one episode may take longer.
    """

    limit: float
    times: int


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What every seat's answers are held to.

    Attributes:
        text: as it was written.
        tiers: shortest limit first.
    """

    text: str
    tiers: tuple[Tier, ...]


def parse_budget(text: str) -> Budget:
    """Read `55ms:320,1s:10`: at most 320 answers of a seat over 55 ms, at most 10 of them over 1 s.

    Units are `us`, `ms` and `s`.

    Raises:
        Refused: it is none; the error says what would be.
    """
    if not all(part.strip() for part in text.split(",")):
        raise _refused(text, "a tier is empty", _EXAMPLE)
    tiers = sorted((_tier(part.strip()) for part in text.split(",")), key=lambda tier: tier.limit)
    for shorter, longer in itertools.pairwise(tiers):
        if shorter.limit == longer.limit:
            raise _refused(text, f"{seconds_text(shorter.limit)} has two tiers", "give each limit once")
        if longer.times >= shorter.times:
            raise _refused(
                text,
                f"whoever is over {seconds_text(longer.limit)} is over {seconds_text(shorter.limit)} as well, and that is "
                f"allowed {shorter.times} times: a tier of {longer.times} can never matter",
                "allow fewer for the longer limit, or leave it out",
            )
    return Budget(text=text.strip(), tiers=tuple(tiers))


def judge(budget: Budget, seats: Sequence[TapSeatReport], own: TapCost | None) -> BudgetVerdict:
    """Hold every seat to a budget.

    A ticked seat is judged on its corrected series, any other on its answers. An answer is over a limit when it is so by more
    than a class of the histogram, 0.1 %.

    Our own delays are in every measured time. A tier is refused instead of passed or failed when 1 % of the tap's forwarding, or of
    our loop's timers, were late by more than `OWN_SHARE` of its limit. And it is refused instead of failed when as many answers
    as it is over by may have fallen into single stalls of ours of that length.

    Args:
        budget: the tiers.
        seats: the reports.
        own: what the tap and its loop took; without it nothing is judged.
    """
    verdicts = tuple(_seat(budget, seat, own) for seat in seats)
    for judgement in (Judgement.FAILED, Judgement.REFUSED):
        for verdict in verdicts:
            if verdict.judgement is judgement:
                reason = f"seat {verdict.slot}: {verdict.reason}"
                return BudgetVerdict(budget=budget.text, judgement=judgement, seats=verdicts, reason=reason)
    if not verdicts:
        return BudgetVerdict(
            budget=budget.text, judgement=Judgement.REFUSED, seats=(), reason="there is no seat that could be judged"
        )
    return BudgetVerdict(budget=budget.text, judgement=Judgement.PASSED, seats=verdicts)


def _seat(budget: Budget, seat: TapSeatReport, own: TapCost | None) -> SeatVerdict:
    judged, name = (seat.answers, "answers") if seat.corrected is None else (seat.corrected, "corrected")
    series = judged.series()
    tiers = tuple(
        TierCount(limit=tier.limit, allowed=tier.times, over=series.above(tier.limit)) for tier in budget.tiers
    )

    def verdict(judgement: Judgement, reason: str = "") -> SeatVerdict:
        return SeatVerdict(slot=seat.slot, judgement=judgement, series=name, tiers=tiers, reason=reason)

    if own is None or not own.lag.count:
        return verdict(Judgement.REFUSED, "nobody measured how late the runner itself was")
    refusal = ""
    for tier in tiers:
        slow = _runner_was_slow(tier, own)
        if tier.over > tier.allowed:
            failure = f"{tier.over} answers took longer than {seconds_text(tier.limit)}, {tier.allowed} may"
            if not slow and tier.over - _excusable(tier, seat, own) > tier.allowed:
                return verdict(Judgement.FAILED, failure)
            stalls = f"single stalls of the runner, up to {seconds_text(_worst(own))}, may have caused that"
            refusal = refusal or f"{failure}, but {slow or stalls}"
        elif slow:
            refusal = refusal or f"the limit of {seconds_text(tier.limit)} cannot be judged: {slow}"
    if seat.unread:
        refusal = refusal or f"its frames could not all be followed: {seat.unread}"
    if not judged.count:
        refusal = refusal or "no answer came, so there is nothing to judge"
    return verdict(Judgement.REFUSED, refusal) if refusal else verdict(Judgement.PASSED)


def _runner_was_slow(tier: TierCount, own: TapCost) -> str:
    """What of the runner's was slow as a rule; empty for nothing."""
    for what, latency in (("our own event loop was late by", own.lag), ("the tap itself took", own.cost)):
        if latency.p99 > OWN_SHARE * tier.limit:
            share = f"more than {OWN_SHARE:.0%} of {seconds_text(tier.limit)}"
            return f"{what} {seconds_text(latency.p99)} at its 99th percentile, {share}"
    return ""


def _excusable(tier: TierCount, seat: TapSeatReport, own: TapCost) -> int:
    """How many of a seat's answers may have been late because of single stalls: one for each, and every tick that fell into it."""
    count = 0
    for latency in (own.lag, own.cost):
        count += sum(
            times * (1 + _ticks(high, seat)) for low, high, times in _classes(latency) if low > OWN_SHARE * tier.limit
        )
    return count


def _ticks(seconds: float, seat: TapSeatReport) -> int:
    return math.ceil(seconds / seat.pace.interval) if seat.pace.ticked and seat.pace.interval else 0


def _classes(latency: Latency) -> list[tuple[float, float, int]]:
    return list(latency.series().classes())


def _worst(own: TapCost) -> float:
    return max(own.lag.max, own.cost.max)


def _tier(text: str) -> Tier:
    limit, colon, times = text.partition(":")
    matched = _LIMIT.fullmatch(limit.strip())
    if matched is None:
        raise _refused(text, "a limit is a number and a unit: 500us, 55ms, 1.5s", _EXAMPLE)
    number, unit = matched[1], matched[2]
    if unit not in _UNITS:
        named = f"the unit {unit!r} is not known" if unit else "the limit has no unit"
        raise _refused(text, f"{named}; there are us, ms and s", f"write {number}ms or {number}s")
    seconds = float(number) * _UNITS[unit]
    if not 0 < seconds <= _LONGEST_LIMIT:
        raise _refused(text, "a limit is more than 0 and at most one hour", _EXAMPLE)
    if not colon:
        raise _refused(text, "how often it may be exceeded is missing", f"write {number}{unit}:0 if it never may")
    if not re.fullmatch(r"[0-9]{1,12}", times.strip()):
        raise _refused(text, "how often a limit may be exceeded is a whole number from 0", f"write {number}{unit}:10")
    return Tier(limit=seconds, times=int(times))


def _refused(text: str, evidence: str, todo: str) -> Refused:
    return Refused(f"{printable(text[:80])!r} is no latency budget", evidence=evidence, todo=todo)
