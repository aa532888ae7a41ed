"""Means with 95 % intervals: a percentile bootstrap over blocks, Wilson's interval for shares, Student's t in plain Python.

Everything here is a pure function of its arguments: the random numbers come from a fixed seed, so that equal blocks give equal
intervals on every machine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from random import Random
from statistics import NormalDist
from typing import NamedTuple

import msgspec

__all__ = [
    "FEW_BLOCKS",
    "LEVEL",
    "MOST_UNITS",
    "Estimate",
    "Resampler",
    "mean_estimate",
    "percentile_interval",
    "sample_deviation",
    "share_estimate",
    "standard_error",
    "student_cdf",
    "student_quantile",
    "wilson",
]

LEVEL = 0.95
"""How often an interval is promised to hold the true value."""

MOST_UNITS = 1000
"""More blocks than this are first put into this many groups by lot, and the groups are drawn.

The groups' sums vary as the blocks' do, so the interval's width is the same in expectation; what it costs is 1 / sqrt(2 * 1000) = 2 %
of random error in that width, below the 4 % that a thousand resamples leave anyway.
"""

FEW_BLOCKS = 20
"""Below this many blocks the intervals are said to be rough."""

SEED = 20_011
"""Of every bootstrap."""

NORMAL = NormalDist()


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A number with its 95 % interval.

    Attributes:
        value: None where there is none, never an infinity.
        low: lower end; None where it is open.
        high: upper end; None where it is open.
        note: why something is missing: `n/a (all wins)`.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


def student_cdf(t: float, freedom: int) -> float:
    """The probability that Student's t is below `t`.

    Args:
        t: any finite number.
        freedom: degrees of freedom, at least 1. Above 400 the normal approximation is used, good to five decimals there.
    """
    if freedom > 400:
        return NORMAL.cdf(t * (1 - 1 / (4 * freedom)) / math.sqrt(1 + t * t / (2 * freedom)))
    # Abramowitz and Stegun, 26.7.3 and 26.7.4: finite series for whole degrees of freedom.
    angle = math.atan(abs(t) / math.sqrt(freedom))
    cosine = math.cos(angle)
    if freedom % 2:
        term, total = cosine, 0.0
        for step in range(1, freedom - 1, 2):
            total += term
            term *= cosine * cosine * (step + 1) / (step + 2)
        inside = (angle + math.sin(angle) * total) * 2 / math.pi
    else:
        term, total = 1.0, 0.0
        for step in range(0, freedom, 2):
            total += term
            term *= cosine * cosine * (step + 1) / (step + 2)
        inside = math.sin(angle) * total
    return (1 + math.copysign(min(inside, 1.0), t)) / 2


@functools.lru_cache(maxsize=4096)
def student_quantile(probability: float, freedom: int) -> float:
    """The t below which Student's distribution has `probability`.

    Args:
        probability: at least 0.5 and below 1.
        freedom: degrees of freedom, at least 1.
    """
    low, high = 0.0, 1.0
    while student_cdf(high, freedom) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if student_cdf(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


class _Draws(NamedTuple):
    groups: list[list[int]] | None
    """Indices of the blocks of each group; None when blocks are drawn themselves."""
    picks: Sequence[Callable[[Sequence[float]], Sequence[float]]]
    """One for each resample: takes what was drawn out of a list."""
    blocks: list[int]
    """How many blocks each resample has."""


class Resampler:
    """Draws blocks with replacement; statistics over the same number of blocks share the same draws.

    Args:
        resamples: how many times everything is drawn.
        units: how many groups there are at most; see `MOST_UNITS`.
        salt: another one gives other draws, for samples that are independent of each other.
    """

    def __init__(self, resamples: int = 1000, *, units: int = MOST_UNITS, salt: int = 0) -> None:
        self.resamples = resamples
        self._units = units
        self._salt = salt
        self._draws = functools.lru_cache(maxsize=8)(self._draw)

    def units(self, blocks: int) -> int:
        """How many things are drawn from when there are so many blocks."""
        return min(blocks, self._units)

    def _draw(self, blocks: int) -> _Draws:
        random = Random(f"{SEED}/{self._salt}/{blocks}")  # noqa: S311 - statistics, no secrets
        groups: list[list[int]] | None = None
        units = self.units(blocks)
        if blocks > units:
            order = list(range(blocks))
            random.shuffle(order)
            groups = [order[start::units] for start in range(units)]
        population = list(range(units))
        picks = [itemgetter(*random.choices(population, k=units)) for _ in range(self.resamples)]
        sizes = [len(group) for group in groups] if groups is not None else [1] * units
        return _Draws(groups, picks, [sum(pick(sizes)) for pick in picks])

    def sums(self, values: Sequence[float]) -> list[float]:
        """The sum of every resample.

        Args:
            values: per block, in the same order of blocks for all statistics; at least two.
        """
        draws = self._draws(len(values))
        if draws.groups is not None:
            values = [math.fsum([values[at] for at in group]) for group in draws.groups]
        return [math.fsum(pick(values)) for pick in draws.picks]

    def means(self, values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
        """The mean of every resample: the sum of the values by the sum of the weights.

        Args:
            values: sums per block.
            weights: how much each of them is made of; None: 1 each. A resample without any weight is left out.
        """
        if weights is not None and min(weights) != max(weights):
            return [total / count for total, count in zip(self.sums(values), self.sums(weights), strict=True) if count]
        each = 1.0 if weights is None else weights[0]
        # Groups differ in size by one where the blocks are no multiple of them.
        drawn = self._draws(len(values)).blocks
        return [total / (count * each) for total, count in zip(self.sums(values), drawn, strict=True)]


def percentile_interval(resampled: Sequence[float], units: int) -> tuple[float, float]:
    """The 95 % interval of what was resampled.

    The percentiles are moved outwards for few blocks, as far as Student's t is wider than the normal distribution and the sample's
    variance smaller than its population's (Hesterberg 2015, "expanded percentile"); at 1000 blocks that is nothing.

    Args:
        resampled: one number per resample, at least one.
        units: how many blocks were drawn from, at least two.
    """
    stretch = math.sqrt(units / (units - 1)) * student_quantile((1 + LEVEL) / 2, units - 1)
    tail = NORMAL.cdf(-stretch)
    ordered = sorted(resampled)
    return _quantile(ordered, tail), _quantile(ordered, 1 - tail)


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    part = place - below
    return ordered[below] * (1 - part) + ordered[above] * part


def sample_deviation(values: Sequence[float]) -> float:
    """The standard deviation that a sample shows of its population: divided by n - 1.

    Args:
        values: at least two.
    """
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum([(value - mean) ** 2 for value in values]) / (len(values) - 1))


def standard_error(values: Sequence[float]) -> float | None:
    """How far the mean of the blocks strays: their standard deviation by the root of their number; None below two."""
    if len(values) < 2:
        return None
    return sample_deviation(values) / math.sqrt(len(values))


def mean_estimate(
    values: Sequence[float], resampler: Resampler, *, weights: Sequence[float] | None = None, mean: float | None = None
) -> Estimate:
    """The mean over blocks with its bootstrap interval.

    Args:
        values: one per block; with weights, the block's sum.
        resampler: who draws.
        weights: see `Resampler.means`.
        mean: the value where the caller knows it already.
    """
    total = math.fsum(weights) if weights is not None else float(len(values))
    if not values or not total:
        return Estimate(note="n/a (nothing counted)")
    if mean is None:
        mean = math.fsum(values) / total + 0.0
    if len(values) == 1:
        return Estimate(value=mean, note="one block has no interval")
    if weights is None and all(value == values[0] for value in values):
        return Estimate(value=mean, low=mean, high=mean)
    low, high = percentile_interval(resampler.means(values, weights), resampler.units(len(values)))
    # Rounding of a sum may leave an end a hair on the wrong side of a mean that has no spread.
    return Estimate(value=mean, low=min(low, mean) + 0.0, high=max(high, mean) + 0.0)


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share seen in so many independent trials; it is sensible at 0 and 1 where the normal one is not.

    Args:
        share: 0 to 1.
        trials: above 0.
    """
    z = NORMAL.inv_cdf((1 + LEVEL) / 2)
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low = 0.0 if share <= 0 else max(0.0, middle - reach)
    high = 1.0 if share >= 1 else min(1.0, middle + reach)
    return low, high


def share_estimate(
    values: Sequence[float], resampler: Resampler, *, weights: Sequence[float] | None = None
) -> Estimate:
    """A share of points with its interval: bootstrapped, or Wilson's where every block came out alike.

    Blocks that are all alike have no spread to draw from: a bootstrap would claim certainty after two wins. Wilson's interval with
    one trial for each block is what that many equal outcomes can show.

    Args:
        values: points per block: between 0 and the block's weight.
        resampler: who draws.
        weights: how many points each block could have brought; None: 1 each.
    """
    if weights is not None:
        kept = [(value, weight) for value, weight in zip(values, weights, strict=True) if weight]
        values, weights = [value for value, _ in kept], [weight for _, weight in kept]
    shares = (
        list(values) if weights is None else [value / weight for value, weight in zip(values, weights, strict=True)]
    )
    if not shares:
        return Estimate(note="n/a (no opponent)")
    if max(shares) - min(shares) <= 1e-12:
        share = min(1.0, max(0.0, shares[0]))
        low, high = wilson(share, len(shares))
        return Estimate(value=share, low=low, high=high)
    found = mean_estimate(values, resampler, weights=weights)
    if (
        found.value is None or found.low is None or found.high is None
    ):  # pragma: no cover - two unlike blocks have all three
        return found
    return Estimate(value=min(1.0, found.value), low=max(0.0, found.low), high=min(1.0, found.high))
