"""Where a value is drawn: axes with round marks, straight or by powers of ten, that any finite values can be put on."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

__all__ = ["Axis", "decades"]

_NEARLY = 1e-9
"""Share of a step by which a mark may miss the end of its axis and still be on it."""


class Axis:
    """One axis of a plot.

    Args:
        low: value at its start.
        high: value at its end.
        start: where it starts on the paper.
        end: where it ends.
        logarithmic: equal ratios are equally long; both values are above 0 then.
    """

    def __init__(self, low: float, high: float, start: float, end: float, *, logarithmic: bool = False) -> None:
        transform: Callable[[float], float] = math.log10 if logarithmic else float
        if low == high:
            half = max(abs(transform(low)), 1.0) / 2
            most = sys.float_info.max
            self._low, self._high = max(transform(low) - half, -most), min(transform(low) + half, most)
        else:
            self._low, self._high = transform(low), transform(high)
        self._transform = transform
        self._start, self._end = start, end
        self._logarithmic = logarithmic

    def at(self, value: float) -> float:
        """The place of a value, to a tenth; of one beyond an end that end."""
        if not self._logarithmic or value > 0:
            # Halves: the difference of two finite floats may be infinite, that of their halves is not.
            span = self._high / 2 - self._low / 2
            share = (self._transform(value) / 2 - self._low / 2) / span if span else 0.5
        else:
            share = 0.0
        place = self._start + min(max(share, 0.0), 1.0) * (self._end - self._start)
        return round(place, 1)

    def marks(self, wanted: int = 6) -> list[float]:
        """Round values along a straight axis, about as many as asked for."""
        step = _round_step((self._high / 2 - self._low / 2) / max(wanted, 1) * 2)
        if not math.isfinite(step) or not step or self._high / step > 2**53:
            return [self._low, self._high]
        first = math.ceil(self._low / step - _NEARLY)
        last = math.floor(self._high / step + _NEARLY)
        return [place * step for place in range(first, last + 1)] or [self._low, self._high]


def decades(low: float, high: float) -> list[float]:
    """The powers of ten around two values above 0, at least two."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _round_step(step: float) -> float:
    """1, 2 or 5 times a power of ten, and not less than the step."""
    if not math.isfinite(step) or step <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(step))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= step * (1 - _NEARLY)), 10 * power)
