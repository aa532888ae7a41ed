"""Shares of points as Elo differences, and how sure it is who is the stronger one: finite, or said why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence

from coworld_actors.batch.statistics.intervals import Estimate, sample_deviation, student_cdf

__all__ = ["ALL_LOSSES", "ALL_WINS", "NELO", "elo", "elo_estimate", "nelo_estimate", "share", "superiority"]

ALL_WINS = "n/a (all wins)"
ALL_LOSSES = "n/a (all losses)"

SCALE = 400 / math.log(10)
"""Elo points for one unit of log odds."""

NELO = 800 / math.log(10)
"""Normalised Elo points for a mean one standard deviation of a single episode above even: fishtest's constant, 347.44."""


def elo(points: float) -> float | None:
    """The Elo difference at which this share of the points is expected; None at 0 and 1, where it is infinite.

    Args:
        points: share of the points, 0 to 1.
    """
    if not 0 < points < 1:
        return None
    return SCALE * (math.log(points) - math.log1p(-points)) + 0.0


def share(difference: float) -> float:
    """The share of the points expected of a player who is so many Elo points stronger."""
    odds = -difference / SCALE
    # exp overflows beyond 709, where the share is 0 to all the digits there are.
    return 0.0 if odds > 700 else 1 / (1 + math.exp(odds))


def elo_estimate(points: Estimate) -> Estimate:
    """A share's value and interval as Elo.

    An end at 0 or 1 is open. A player who won everything has no finite Elo: the value is missing, and the lower end says how much
    it is at least.
    """
    if points.value is None:
        return Estimate(note=points.note)
    note = ALL_WINS if points.value >= 1 else ALL_LOSSES if points.value <= 0 else points.note
    return Estimate(
        value=elo(points.value),
        low=None if points.low is None else elo(points.low),
        high=None if points.high is None else elo(points.high),
        note=note,
    )


def nelo_estimate(shares: Sequence[float], episodes: int) -> Estimate:
    """Normalised Elo: how far the mean block is above even, in standard deviations of one episode, times `NELO`.

    The standard deviation is the blocks' own (divided by n, as in fishtest), times the root of the episodes in a block. The
    interval is that of the mean: +- 1.96 standard errors.

    Args:
        shares: share of the points of each block.
        episodes: how many episodes a block has.
    """
    count = len(shares)
    if not count:
        return Estimate(note="n/a (nothing counted)")
    mean = math.fsum(shares) / count
    deviation = math.sqrt(math.fsum([(value - mean) ** 2 for value in shares]) / count)
    if deviation < 1e-9:
        note = ALL_WINS if mean >= 1 else ALL_LOSSES if mean <= 0 else "n/a (every block came out alike)"
        return Estimate(note=note)
    value = NELO * (mean - 0.5) / (deviation * math.sqrt(episodes))
    reach = 1.959964 * NELO / math.sqrt(count * episodes)
    return Estimate(value=value + 0.0, low=value - reach, high=value + reach)


def superiority(shares: Sequence[float]) -> float | None:
    """The probability that whoever got these shares is the stronger one: Student's t of the blocks against an even half.

    Blocks that are all alike show no spread; there it is the sign test's: n equal wins leave 1 / 2 ** (n + 1) of doubt.

    Args:
        shares: share of the points of each block.

    Returns:
        None without a block.
    """
    count = len(shares)
    if not count:
        return None
    mean = math.fsum(shares) / count
    deviation = sample_deviation(shares) if count > 1 else 0.0
    if deviation < 1e-9:
        doubt = 0.5 ** min(count + 1, 1000)
        return 0.5 if abs(mean - 0.5) < 1e-9 else 1 - doubt if mean > 0.5 else doubt
    return student_cdf((mean - 0.5) / (deviation / math.sqrt(count)), count - 1)
