"""What a candidate is worth to a pool: value over replacement, for every number of seats that it may hold.

Scenario k gives the candidate k of the N seats and the pool the others; scenario 0 is the pool alone, and its mean over all seats is
what a replacement would bring. A mean is always the mean over episodes of the mean over seats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.schedule import Schedule
from coworld_actors.batch.statistics.failures import (
    Counts,
    FailureCount,
    count_episodes,
    count_failures,
    inconclusive_because,
)
from coworld_actors.batch.statistics.intervals import (
    FEW_BLOCKS,
    MOST_UNITS,
    Estimate,
    Resampler,
    percentile_interval,
    sample_deviation,
)
from coworld_actors.batch.statistics.points import Selection, constant_sum, select

__all__ = ["PICKUP_VERSION", "PickupReport", "PickupScenario", "value_over_replacement"]

PICKUP_VERSION = 1
"""Version of the pickup report; raised when a reader of the old one would misread the new one."""

NO_BASELINE = "n/a (no replacement baseline)"


class PickupScenario(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate in k seats.

    Attributes:
        seats: k.
        episodes: counted ones.
        candidate: mean over the candidate's seats, in the game's own units; nothing for k = 0.
        everybody: mean over all seats.
        pool: mean over the pool's seats; nothing for k = N.
        value: value over replacement: the candidate's mean less the replacement's, above 0 is better whatever the direction of
            the scores; None for k = 0.
        standard_error: of that value, from the resamples; None below two rounds.
        team_lift: the mean of all seats less the replacement's, above 0 is better.
        partner_effect: the mean of the pool's seats less the replacement's, above 0 is better; None for k = N.
    """

    seats: int
    episodes: int
    candidate: Estimate = Estimate()
    everybody: Estimate = Estimate()
    pool: Estimate = Estimate()
    value: Estimate | None = None
    standard_error: float | None = None
    team_lift: Estimate | None = None
    partner_effect: Estimate | None = None


class PickupReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `pickup`. Equal lines give an equal document.

    Attributes:
        version: of this document.
        coworld: name of the game.
        variant: of the game.
        candidate: its name.
        pool: names of the others.
        seats: N.
        seed: the first.
        seed_applied: whether every episode's game was given its seed; then the scenarios are paired by it.
        lower_is_better: the direction of the scores; values are turned so that above 0 is better.
        episodes: by status.
        replacement: mean over all seats of the pool alone, in the game's own units.
        value: the candidate's value over replacement, every scenario weighted by the seats that the candidate held in it; without
            k = N in a constant-sum game, where that scenario is 0 by the rules.
        standard_error: of that value, from the resamples.
        value_all: the same over every k from 1 to N; equal to `value` unless the game is constant-sum.
        constant_sum: whether the scores of every episode have the same total.
        scenarios: from k = N down to 0; those without a counted episode have nothing but their number.
        failures: what went wrong, most frequent first.
        inconclusive: why nothing should be concluded; empty when that is not so.
        notes: what a reader has to know.
    """

    version: int = PICKUP_VERSION
    coworld: str = ""
    variant: str
    candidate: str
    pool: tuple[str, ...]
    seats: int
    seed: int
    seed_applied: bool
    lower_is_better: bool = False
    episodes: Counts
    replacement: Estimate
    value: Estimate
    standard_error: float | None = None
    value_all: Estimate
    constant_sum: bool = False
    scenarios: tuple[PickupScenario, ...] = ()
    failures: tuple[FailureCount, ...] = ()
    inconclusive: str = ""
    notes: tuple[str, ...] = ()


class _Quantity(msgspec.Struct, frozen=True):
    """A number and what it was in every resample; None where it has no value there."""

    value: float
    resampled: Sequence[float | None]

    def less(self, other: _Quantity, sign: float = 1.0) -> _Quantity:
        pairs = zip(self.resampled, other.resampled, strict=True)
        return _Quantity(
            sign * (self.value - other.value),
            [None if one is None or two is None else sign * (one - two) for one, two in pairs],
        )

    def errors(self) -> list[float]:
        return [one for one in self.resampled if one is not None]

    def estimate(self, units: int) -> Estimate:
        drawn = self.errors()
        if units < 2 or not drawn:
            return Estimate(value=self.value + 0.0, note="one round has no interval")
        low, high = percentile_interval(drawn, units)
        # Rounding of sums may leave an end a hair on the wrong side of a value that has no spread.
        return Estimate(value=self.value + 0.0, low=min(low, self.value) + 0.0, high=max(high, self.value) + 0.0)

    def deviation(self, units: int) -> float | None:
        drawn = self.errors()
        return sample_deviation(drawn) if units > 1 and len(drawn) > 1 else None


class _Scenario:
    """The sums of one k, by round: of the candidate's, everybody's and the pool's episode means, and the number of episodes."""

    def __init__(self, rounds: int) -> None:
        self.episodes = 0
        self.candidate = [0.0] * rounds
        self.everybody = [0.0] * rounds
        self.pool = [0.0] * rounds
        self.played = [0.0] * rounds

    def add(self, at: int, mine: Sequence[float], others: Sequence[float]) -> None:
        self.episodes += 1
        self.played[at] += 1
        self.everybody[at] += math.fsum([*mine, *others]) / (len(mine) + len(others))
        if mine:
            self.candidate[at] += math.fsum(mine) / len(mine)
        if others:
            self.pool[at] += math.fsum(others) / len(others)


def _quantity(sums: Sequence[float], played: Sequence[float], resampler: Resampler, *, paired: bool) -> _Quantity:
    """The mean over episodes, and in every resample of rounds: all of them together, or those of this scenario for itself."""
    value = math.fsum(sums) / math.fsum(played)
    if not paired:
        kept = [at for at, count in enumerate(played) if count]
        sums, played = [sums[at] for at in kept], [played[at] for at in kept]
    if len(sums) < 2:
        return _Quantity(value, [value] * resampler.resamples)
    totals, counts = resampler.sums(sums), resampler.sums(played)
    return _Quantity(value, [total / count if count else None for total, count in zip(totals, counts, strict=True)])


def _weighted(parts: Sequence[tuple[float, _Quantity]]) -> _Quantity:
    whole = math.fsum(weight for weight, _ in parts)
    columns = zip(*[quantity.resampled for _, quantity in parts], strict=True)
    weights = [weight for weight, _ in parts]
    resampled: list[float | None] = []
    for column in columns:
        known = [one for one in column if one is not None]
        if len(known) < len(column):
            resampled.append(None)
            continue
        resampled.append(math.fsum(weight * one for weight, one in zip(weights, known, strict=True)) / whole)
    return _Quantity(math.fsum(weight * quantity.value for weight, quantity in parts) / whole, resampled)


def value_over_replacement(
    schedule: Schedule,
    lines: Iterable[EpisodeLine],
    *,
    candidate: int = 0,
    coworld: str = "",
    variant: str = "",
    lower_is_better: bool = False,
    resamples: int = 1000,
) -> PickupReport:
    """What the candidate adds to a team or a table of the pool's.

    The intervals resample rounds: episodes of all scenarios with the same seed stay together where the seeds were applied, so that
    what the seed does to all of them cancels; otherwise every scenario is resampled for itself.

    Args:
        schedule: a lineup for each number of seats that the candidate holds.
        lines: what has ended, in any order.
        candidate: index of the entrant.
        coworld: name of the game.
        variant: which one; empty: the schedule's first, and a note says so when there are others.
        lower_is_better: the direction of the scores.
        resamples: of the bootstrap, at least 2.
    """
    chosen = variant or schedule.variants[0].id
    seats = next(one.seats for one in schedule.variants if one.id == chosen)
    selection = select(schedule, lines)
    ended = [line for line in selection.lines if line.variant == chosen]
    counted = [line for line in selection.counted if line.variant == chosen]
    seeded = bool(ended) and all(line.seed_applied for line in ended)

    rounds = {seed: at for at, seed in enumerate(sorted({line.seed for line in counted}))}
    scenarios = {held: _Scenario(len(rounds)) for held in range(seats, -1, -1)}
    for line in counted:
        own = [seat.score or 0.0 for seat in line.seats if seat.entrant == candidate]
        others = [seat.score or 0.0 for seat in line.seats if seat.entrant != candidate]
        scenarios[len(own)].add(rounds[line.seed], own, others)

    sign = -1.0 if lower_is_better else 1.0
    constant = constant_sum(counted)
    shared = Resampler(resamples)
    base = _baseline(scenarios[0], shared, paired=seeded)
    reports: list[PickupScenario] = []
    parts: list[tuple[int, float, _Quantity, int]] = []
    for held, scenario in scenarios.items():
        # Unpaired scenarios are independent samples and have draws of their own.
        resampler = shared if seeded else Resampler(resamples, salt=held)
        report, mine = _report(held, seats, scenario, base, sign=sign, resampler=resampler, paired=seeded)
        reports.append(report)
        if mine is not None:
            parts.append((held, float(held * scenario.episodes), mine, _units(scenario, paired=seeded)))

    overall, error = _overall(parts, base, sign)
    kept = [part for part in parts if part[0] < seats] if constant else parts
    if kept != parts:
        value, error = _overall(kept, base, sign)
    else:
        value = overall
    episodes = count_episodes(sum(one.variant == chosen for one in schedule.episodes), ended)
    inconclusive = inconclusive_because(episodes)
    return PickupReport(
        coworld=coworld,
        variant=chosen,
        candidate=schedule.entrants[candidate],
        pool=tuple(name for entrant, name in enumerate(schedule.entrants) if entrant != candidate),
        seats=seats,
        seed=schedule.seed,
        seed_applied=seeded,
        lower_is_better=lower_is_better,
        episodes=episodes,
        replacement=Estimate(note=NO_BASELINE) if base is None else base[0].estimate(base[1]),
        value=value,
        standard_error=error,
        value_all=overall,
        constant_sum=constant,
        scenarios=tuple(reports),
        failures=count_failures(ended),
        inconclusive=inconclusive,
        notes=tuple(
            _notes(
                selection,
                scenarios,
                len(rounds),
                inconclusive,
                others=() if variant else [one.id for one in schedule.variants if one.id != chosen],
                constant=constant,
                seeded=seeded,
            )
        ),
    )


def _units(scenario: _Scenario, *, paired: bool) -> int:
    return min(MOST_UNITS, len(scenario.played) if paired else sum(count > 0 for count in scenario.played))


def _baseline(scenario: _Scenario, resampler: Resampler, *, paired: bool) -> tuple[_Quantity, int] | None:
    if not scenario.episodes:
        return None
    return _quantity(scenario.everybody, scenario.played, resampler, paired=paired), _units(scenario, paired=paired)


def _report(
    held: int,
    seats: int,
    scenario: _Scenario,
    base: tuple[_Quantity, int] | None,
    *,
    sign: float,
    resampler: Resampler,
    paired: bool,
) -> tuple[PickupScenario, _Quantity | None]:
    """One scenario's numbers, and the candidate's mean where it had a seat."""
    if not scenario.episodes:
        return PickupScenario(seats=held, episodes=0), None
    units = _units(scenario, paired=paired)
    everybody = _quantity(scenario.everybody, scenario.played, resampler, paired=paired)
    mine = _quantity(scenario.candidate, scenario.played, resampler, paired=paired) if held else None
    others = _quantity(scenario.pool, scenario.played, resampler, paired=paired) if held < seats else None

    def over(one: _Quantity | None) -> tuple[Estimate | None, float | None]:
        if one is None:
            return None, None
        if base is None:
            return Estimate(note=NO_BASELINE), None
        gain, least = one.less(base[0], sign), min(units, base[1])
        return gain.estimate(least), gain.deviation(least)

    value, error = over(mine)
    return (
        PickupScenario(
            seats=held,
            episodes=scenario.episodes,
            candidate=Estimate() if mine is None else mine.estimate(units),
            everybody=everybody.estimate(units),
            pool=Estimate() if others is None else others.estimate(units),
            value=value,
            standard_error=error,
            team_lift=over(everybody)[0] if held else None,
            partner_effect=over(others)[0] if held else None,
        ),
        mine,
    )


def _overall(
    parts: Sequence[tuple[int, float, _Quantity, int]], base: tuple[_Quantity, int] | None, sign: float
) -> tuple[Estimate, float | None]:
    if base is None:
        return Estimate(note=NO_BASELINE), None
    if not parts:
        return Estimate(note="n/a (the candidate has no counted seat)"), None
    gain = _weighted([(weight, quantity) for _, weight, quantity, _ in parts]).less(base[0], sign)
    units = min(base[1], *(units for *_, units in parts))
    return gain.estimate(units), gain.deviation(units)


def _notes(
    selection: Selection,
    scenarios: dict[int, _Scenario],
    rounds: int,
    inconclusive: str,
    *,
    others: Sequence[str],
    constant: bool,
    seeded: bool,
) -> list[str]:
    notes = [inconclusive] if inconclusive else []
    if others:
        notes.append(f"Only this variant is looked at, not {', '.join(others)}.")
    missing = [held for held, scenario in scenarios.items() if not scenario.episodes]
    if 0 in missing:
        notes.append(
            "No replacement baseline: the pool alone has no counted episode, so there is no value over replacement."
        )
    if [held for held in missing if held]:
        which = ", ".join(str(held) for held in missing if held)
        notes.append(f"No counted episode with the candidate in {which} seats; the overall value rests on the others.")
    if constant:
        notes.append(
            f"Constant sum: with the candidate in all {max(scenarios)} seats the mean is fixed by the rules, so that scenario is left "
            "out of the value; `value_all` has it."
        )
    if 0 < rounds < FEW_BLOCKS:
        notes.append(
            f"Only {rounds} round{'' if rounds == 1 else 's'}: intervals from fewer than {FEW_BLOCKS} are rough."
        )
    if not seeded and selection.lines:
        notes.append("Seeds were not applied everywhere: the scenarios are not paired, and the intervals wider for it.")
    if selection.incomplete:
        notes.append(f"{len(selection.incomplete)} incomplete blocks left out: only whole blocks are balanced.")
    return notes
