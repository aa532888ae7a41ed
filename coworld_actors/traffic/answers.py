"""Which frame an answer answers: times of frames to a player, times of frames back, and the two series made of them.

A tap that knows nothing of the game sees frames go to the player and frames come back. Three terms:

* A *tick* is what the player has to answer: a data message that reached it, together with all that followed within
  `BURST` seconds before any answer; its time is that of the last of them. A greeting and the first observation right behind it are
  one tick.
* An *answer* is a data message of the player's that began after at least one unanswered tick had reached the player. Messages
  with no unanswered tick before them are *unprompted*.
* What reached the player in the same instant in which its answer began cannot have been answered by it and stays unanswered.

**The series of answers** has one duration for each answer: from the newest data message that had reached the player to the answer's
first byte. A player is never charged for what it was not asked yet: not for other players' turns that it was only shown, not for the
wait between a greeting and the start of the game. For a game that waits for its players that is the time a player took.

**The corrected series** has one duration for each tick: from the tick to the first answer behind it. In a game whose ticks do not
wait, a player that takes three ticks for one answer is measured, in the first series, against the third tick only; its slowness
prevents the very measurements that would show it, which is known as coordinated omission. Here each tick it missed counts with its own wait,
as in an HDR histogram's corrected recording, but against the ticks that really came instead of an assumed interval. What is still
unanswered when a connection ends counts with the wait so far, if that is longer than the usual interval: a player that froze is not
better off than a slow one. Only the very last tick does not: most games end with a message that nobody has to answer.

Before the first answer of a connection a game may still be waiting for other players, so only those ticks count that belong to the
pace of the last ones: going back from the answer, everything before the first gap of more than twice the usual one is left out.

**The pace.** A seat is `ticked` when its ticks keep an interval of their own: at least `ENOUGH` intervals, `REGULAR` of them within a
quarter of the median. The corrected series belongs to such a seat only. (A game that waits, with players that always take the same
time, looks like that too. There every tick is answered before the next, and the two series are the same.)
"""

from __future__ import annotations

from coworld_actors.traffic.latency import Series

__all__ = ["BURST", "ENOUGH", "MOST_WAITING", "REGULAR", "AnswerClock", "Answers"]

BURST = 0.001
"""Seconds after a data message within which the next one belongs to the same tick."""

ENOUGH = 20
"""Intervals between ticks below which nothing is said about a pace."""

REGULAR = 0.75
"""Share of the intervals that have to be within a quarter of the median."""

MOST_WAITING = 4096
"""Unanswered ticks of one connection that are remembered singly; of more, neighbours are taken together."""

_PAUSE = 2.0


class Answers:
    """What all connections of one seat have come to.

    Attributes:
        answers: one duration for each answer.
        waits: one for each tick that was answered.
        left: one for each tick that was not and that another one followed, from the tick to the end of its connection.
        ends: connections whose last tick was not answered.
        intervals: between one tick and the next.
        unprompted: data messages of the player's that answered nothing.
    """

    __slots__ = ("answers", "ends", "intervals", "left", "unprompted", "waits")

    def __init__(self) -> None:
        self.answers = Series()
        self.waits = Series()
        self.left = Series()
        self.ends = 0
        self.intervals = Series()
        self.unprompted = 0

    def interval(self) -> float:
        """The usual time between ticks, in seconds: the median; 0 when there are not enough to say."""
        return self.intervals.quantile(0.5) if self.intervals.count >= ENOUGH else 0.0

    def regular(self) -> float:
        """The share of the intervals within a quarter of the usual one, 0 to 1."""
        usual = self.interval()
        return self.intervals.within(0.75 * usual, 1.25 * usual) if usual else 0.0

    def ticked(self) -> bool:
        """Whether the ticks keep a pace of their own."""
        return self.regular() >= REGULAR

    def corrected(self) -> Series:
        """Every tick with its wait; those never answered if they waited longer than the usual interval."""
        series = Series()
        series.merge(self.waits)
        series.merge(self.left.above_part(self.interval()))
        return series


class AnswerClock:
    """The times of one connection. Times are seconds of any one clock that does not go back.

    Args:
        into: where the durations go.
    """

    __slots__ = ("_answered", "_before", "_counts", "_into", "_newest", "_stride", "_tick", "_ticks")

    def __init__(self, into: Answers) -> None:
        self._into = into
        self._ticks: list[float] = []  # unanswered, oldest first
        self._counts: list[int] = []  # how many ticks each of them stands for
        self._stride = 1  # how many each of them may stand for
        self._tick: float | None = None  # where the newest tick began, answered or not
        self._newest: float | None = None  # the newest unanswered data message
        self._before: float | None = None  # the newest one that came earlier than that
        self._answered = False

    def delivered(self, at: float) -> None:
        """A data message, or several at once, reached the player."""
        newest = self._newest
        if newest is not None and at > newest:
            self._before = newest
        self._newest = at
        if newest is not None and self._tick is not None and at - self._tick < BURST:
            if self._counts[-1] == 1:
                self._ticks[-1] = at
            return
        if self._tick is not None:
            self._into.intervals.record(at - self._tick)
        self._tick = at
        if self._stride > 1 and self._counts[-1] < self._stride:
            self._counts[-1] += 1
            return
        if len(self._ticks) >= MOST_WAITING:
            self._thin()
        self._ticks.append(at)
        self._counts.append(1)

    def answered(self, at: float) -> bool:
        """The player began a data message.

        Returns:
            Whether it is an answer.
        """
        newest = self._newest
        if newest is None:
            self._into.unprompted += 1
            return False
        if newest < at:
            self._into.answers.record(at - newest)
            self._settle(len(self._ticks), at)
            self._newest = self._before = None
            return True
        # What came in this very instant, and thus at the end of the list, is still to be answered.
        if self._before is None:
            self._into.unprompted += 1
            return False
        self._into.answers.record(at - self._before)
        asked = len(self._ticks)
        while asked and self._ticks[asked - 1] >= at:
            asked -= 1
        self._settle(asked, at)
        if not self._ticks:
            # It was counted together with older ones, which are answered now.
            self._ticks.append(newest)
            self._counts.append(1)
        self._before = None
        return True

    def leave(self, at: float, into: Answers) -> None:
        """Tell `into` how long the unanswered ticks have waited; they stay unanswered."""
        if not self._ticks:
            return
        into.ends += 1
        for tick, times in zip(self._ticks[:-1], self._counts[:-1], strict=True):
            into.left.record(at - tick, times)
        if self._counts[-1] > 1:
            into.left.record(at - self._ticks[-1], self._counts[-1] - 1)

    def ended(self, at: float) -> None:
        """The connection is over."""
        self.leave(at, self._into)
        self._ticks.clear()
        self._counts.clear()
        self._stride = 1
        self._newest = self._before = None

    def _settle(self, count: int, at: float) -> None:
        """The first so many of the unanswered ticks are answered."""
        if not count:
            return
        waits = self._into.waits
        for place in range(0 if self._answered else self._first_of_pace(count), count):
            waits.record(at - self._ticks[place], self._counts[place])
        self._answered = True
        del self._ticks[:count]
        del self._counts[:count]
        if not self._ticks:
            self._stride = 1

    def _first_of_pace(self, count: int) -> int:
        """Where, among the ticks before the first answer, those begin that keep the pace of the last ones."""
        gaps = [after - before for before, after in zip(self._ticks, self._ticks[1:count], strict=False)]
        if len(gaps) < 2:
            return count - 1
        usual = sorted(gaps)[(len(gaps) - 1) // 2]
        for place in range(len(gaps), 0, -1):
            if gaps[place - 1] > _PAUSE * usual:
                return place
        return 0

    def _thin(self) -> None:
        """Half as many, each for twice as many: the earlier of two neighbours stands for both."""
        self._ticks = self._ticks[::2]
        self._counts = [one + other for one, other in zip(self._counts[::2], self._counts[1::2], strict=True)]
        self._stride *= 2
