"""How long answers took: a series of durations in little memory, and its figures.

Durations are counted in the classes of an HDR histogram with three significant digits over nanoseconds: no class is wider than
0.1 % of its values, and a series of anything from nanoseconds to a day is some thousand counters at most.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

__all__ = ["LONGEST", "Latency", "Series"]

LONGEST = 86_400.0
"""Seconds; whatever took longer is counted as this long."""

_BITS = 11  # 2048 classes up to 2048 ns, then 1024 for every doubling: what HDR does for three digits
_SUB = 1 << _BITS
_HIGHEST = int(LONGEST * 1e9)
_DIGITS = 3
_ENCODED_LIMIT = 512 * 1024


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a series. Times are seconds; all of them are 0 where `count` is.

    Attributes:
        count: durations in the series.
        min: the shortest, exactly.
        mean: of all, to 0.1 %.
        p50: median; like every percentile the upper end of its class, so at most 0.1 % too long.
        p90: nine of ten took no longer.
        p99: 99 of 100 took no longer.
        p999: 999 of 1000 took no longer.
        max: the longest, exactly.
        histogram: the whole series as an HDR histogram of nanoseconds (format V2, compressed, base64); series of several
            episodes are merged from it without loss. Empty for an empty series.
    """

    count: int = 0
    min: float = 0.0
    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    max: float = 0.0
    histogram: str = ""

    def series(self) -> Series:
        """The series behind the figures.

        Raises:
            ValueError: `histogram` is not one.
        """
        series = Series()
        if self.histogram:
            series.merge(Series.decode(self.histogram))
            # The histogram knows its ends to 0.1 %, the figures know them exactly.
            series.longest, series.shortest = self.max, self.min
        return series


class Series:
    """Durations, counted.

    Attributes:
        count: how many.
        longest: in seconds, exactly; 0 for none.
        shortest: in seconds, exactly; 0 for none.
    """

    __slots__ = ("_classes", "count", "longest", "shortest")

    def __init__(self) -> None:
        self._classes: dict[int, int] = {}
        self.count = 0
        self.longest = 0.0
        self.shortest = 0.0

    def record(self, seconds: float, times: int = 1) -> None:
        """Count a duration; one below 0 is 0."""
        value = int(seconds * 1e9)
        if value >= _SUB:
            value = min(value, _HIGHEST)
            shift = value.bit_length() - _BITS
            index = (shift << _BITS) + (value >> shift)
        else:
            index = max(value, 0)
            seconds = max(seconds, 0.0)
        classes = self._classes
        classes[index] = classes.get(index, 0) + times
        self.longest = max(self.longest, seconds)
        if seconds < self.shortest or not self.count:
            self.shortest = seconds
        self.count += times

    def merge(self, other: Series) -> None:
        """Count everything that another series has counted."""
        if not other.count:
            return
        for index, times in other._classes.items():
            self._classes[index] = self._classes.get(index, 0) + times
        self.shortest = other.shortest if not self.count else min(self.shortest, other.shortest)
        self.longest = max(self.longest, other.longest)
        self.count += other.count

    def classes(self) -> Iterator[tuple[float, float, int]]:
        """Lower end, upper end (seconds) and count of every class that has any, shortest first."""
        for index in sorted(self._classes):
            low, high = _bounds(index)
            yield low / 1e9, high / 1e9, self._classes[index]

    def quantile(self, share: float) -> float:
        """The shortest duration that at least this share of all stays within, in seconds; 0 for an empty series.

        It is the upper end of its class, and never more than the longest.
        """
        wanted, seen = share * self.count, 0
        for _, high, times in self.classes():
            seen += times
            if seen >= wanted:
                return min(high, self.longest)
        return 0.0

    def above(self, limit: float) -> int:
        """How many durations were longer than a limit in seconds; those of the limit's own class (0.1 %) are not counted."""
        return sum(times for low, _, times in self.classes() if low > limit)

    def above_part(self, limit: float) -> Series:
        """The durations that `above` counts, as a series."""
        part = Series()
        for low, high, times in self.classes():
            if low > limit:
                part.record(min(high, self.longest), times)
        return part

    def within(self, low: float, high: float) -> float:
        """The share of all durations whose classes lie between two times, 0 to 1."""
        inside = sum(times for lower, upper, times in self.classes() if lower >= low and upper <= high)
        return inside / self.count if self.count else 0.0

    def latency(self) -> Latency:
        """The figures as they stand."""
        if not self.count:
            return Latency()
        targets = [0.5, 0.9, 0.99, 0.999]
        found: list[float] = []
        seen, total = 0, 0.0
        for low, high, times in self.classes():
            seen += times
            total += (low + high) / 2 * times
            while len(found) < len(targets) and seen >= targets[len(found)] * self.count:
                found.append(min(high, self.longest))
        p50, p90, p99, p999 = found
        return Latency(
            count=self.count,
            min=self.shortest,
            mean=min(max(total / self.count, self.shortest), self.longest),
            p50=p50,
            p90=p90,
            p99=p99,
            p999=p999,
            max=self.longest,
            histogram=self.encode(),
        )

    def encode(self) -> str:
        """An HDR histogram of nanoseconds (format V2, compressed, base64), as every HDR library reads it."""
        from hdrh.histogram import HdrHistogram  # noqa: PLC0415 - 20 ms, and only a tapped episode needs it

        histogram = HdrHistogram(1, _HIGHEST, _DIGITS)
        for index, times in self._classes.items():
            histogram.record_value(_bounds(index)[0], times)
        return bytes(histogram.encode()).decode("ascii")

    @classmethod
    def decode(cls, encoded: str) -> Series:
        """The series of an HDR histogram of nanoseconds; `shortest` and `longest` are those of their classes.

        Raises:
            ValueError: it is none.
        """
        from hdrh.histogram import HdrHistogram  # noqa: PLC0415

        if len(encoded) > _ENCODED_LIMIT:
            raise ValueError("an HDR histogram of this size is not one of ours")
        try:
            histogram = HdrHistogram.decode(encoded.encode())
            # Nothing is below the first and above the last; the array has forty thousand places.
            first = histogram.get_counts_array_index(histogram.get_min_value()) if histogram.get_total_count() else 0
            last = histogram.get_counts_array_index(histogram.get_max_value())
            values = [
                (int(histogram.get_value_from_index(index)), int(times))
                for index, times in enumerate(histogram.counts[first : last + 1], first)
                if times
            ]
        except Exception as error:
            # The library has half a dozen unrelated exceptions for the ways in which text can fail to be a histogram.
            raise ValueError(f"not an HDR histogram: {type(error).__name__}") from error
        series = cls()
        for value, times in values:
            if times < 0:
                raise ValueError("not an HDR histogram: a negative count")
            # Half a nanosecond keeps a whole number of them in its class whatever the division rounds to.
            series.record((value + 0.5) / 1e9, times)
        if values:
            series.shortest, series.longest = values[0][0] / 1e9, max(series.classes())[1]
        return series


def _bounds(index: int) -> tuple[int, int]:
    """First and last nanosecond of a class."""
    if index < _SUB:
        return index, index
    # `record` makes `shift * 2048 + mantissa` with a mantissa of 1024 to 2047.
    shift = index >> _BITS
    low = (index & (_SUB - 1)) << shift
    return low, low + (1 << shift) - 1
