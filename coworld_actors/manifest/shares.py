"""Seats shared out by weight: the largest remainder (Hamilton) method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from coworld_protocol.errors import Refused

__all__ = ["largest_remainder"]


def largest_remainder(total: int, weights: Sequence[float]) -> list[int]:
    """Divides `total` seats: everybody gets the whole part of the ideal, the largest remainders one more.

    Equal remainders go to the earlier one. The counts are exact for any finite weights: fractions, no rounding.

    Args:
        total: seats; not negative.
        weights: not negative, finite, at least one above 0.

    Returns:
        One count per weight; the sum is `total`, each is within 1 of its ideal.

    Raises:
        Refused: there are no seats to divide or nobody to divide them among.
    """
    if total < 0:
        raise Refused(f"{total} seats cannot be shared", todo="give 0 seats or more")
    if not weights or any(not math.isfinite(weight) or weight < 0 for weight in weights) or not any(weights):
        raise Refused(
            "seats cannot be shared by these weights",
            evidence=f"weights: {', '.join(str(weight) for weight in weights) or 'none'}",
            todo="give finite weights of 0 or more, at least one of them above 0",
        )
    exact = [Fraction(weight) for weight in weights]
    whole = sum(exact)
    ideals = [total * weight / whole for weight in exact]
    counts = [math.floor(ideal) for ideal in ideals]
    most_left = sorted(range(len(counts)), key=lambda index: counts[index] - ideals[index])
    for index in most_left[: total - sum(counts)]:
        counts[index] += 1
    return counts
