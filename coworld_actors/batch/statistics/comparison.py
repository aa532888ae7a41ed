"""Two players compared block by block: what `compare` asks after every block, and what it says at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

import msgspec

from coworld_actors.batch.options import Bounds
from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.schedule import Schedule
from coworld_actors.batch.statistics.points import pair_share
from coworld_actors.batch.statistics.sprt import Decision, Sprt, SprtState

__all__ = ["Comparison", "ComparisonReport"]


class ComparisonReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison has found.

    Attributes:
        first: name of A.
        second: name of B.
        answer: a sentence.
        bounds: the hypotheses and error rates.
        state: where the test stands.
        skipped: blocks before the decision that could not be used: an episode of theirs does not count.
        decided: number of the block that settled it; None while it is open.
        ratios: the log-likelihood ratio after every block that was used.
        biased: whether the estimates of the difference are biased, because the test stopped where they were extreme.
    """

    first: str
    second: str
    answer: str
    bounds: Bounds
    state: SprtState
    skipped: int = 0
    decided: int | None = None
    ratios: tuple[float, ...] = ()
    biased: bool = False


@final
class Comparison:
    """The test of one schedule with two entrants. What it says depends on the schedule and the lines alone.

    Args:
        schedule: in blocks that all have the same number of episodes.
        bounds: hypotheses and error rates.
        lower_is_better: the direction of the scores.
    """

    def __init__(self, schedule: Schedule, bounds: Bounds, *, lower_is_better: bool = False) -> None:
        self._schedule = schedule
        self._bounds = bounds
        self._lower_is_better = lower_is_better
        first = schedule.episodes[0].block
        self._episodes = sum(each.block == first for each in schedule.episodes)
        self._sprt = self._new()

    def _new(self) -> Sprt:
        bounds = self._bounds
        return Sprt(bounds.nelo0, bounds.nelo1, bounds.alpha, bounds.beta, episodes=self._episodes)

    @property
    def remark(self) -> str:
        """Where it stands, while it goes on."""
        sprt = self._sprt
        return f"LLR {sprt.llr:.2f} in ({sprt.lower:.2f}, {sprt.upper:.2f})"

    def decide(self, block: Sequence[EpisodeLine]) -> str | None:
        """Look at one more whole block, blocks in the order of the schedule; returns why the batch may end, if it may."""
        share = pair_share(block, 0, 1, lower_is_better=self._lower_is_better)
        decision = None if share is None else self._sprt.update(share)
        return None if decision is None else f"the question is answered: {decision.upper()} is accepted"

    def report(self, lines: Iterable[EpisodeLine]) -> ComparisonReport:
        """What the lines say: blocks in the order of the schedule, up to the decision or to the first one that is not over."""
        by_index = {line.index: line for line in lines if line.status.settled}
        blocks: dict[int, list[int]] = {}
        for each in self._schedule.episodes:
            blocks.setdefault(each.block, []).append(each.index)
        sprt = self._new()
        ratios: list[float] = []
        skipped, decided = 0, None
        for number, members in blocks.items():
            if any(index not in by_index for index in members):
                break
            share = pair_share([by_index[index] for index in members], 0, 1, lower_is_better=self._lower_is_better)
            if share is None:
                skipped += 1
                continue
            decision = sprt.update(share)
            ratios.append(sprt.llr)
            if decision is not None:
                decided = number
                break
        first, second = self._schedule.entrants
        return ComparisonReport(
            first=first,
            second=second,
            answer=_answer(sprt, first, second),
            bounds=self._bounds,
            state=sprt.state(),
            skipped=skipped,
            decided=decided,
            ratios=tuple(ratios),
            biased=decided is not None,
        )


def _answer(sprt: Sprt, first: str, second: str) -> str:
    low, high = f"{sprt.elo0:g}", f"{sprt.elo1:g}"
    match sprt.decision:
        case Decision.H1 if sprt.elo0 == 0:
            return f"{first} is better than {second}."
        case Decision.H0 if sprt.elo0 == 0:
            return f"{first} is not better than {second} by {high} normalised Elo or more."
        case Decision.H1:
            return f"{first} less {second} is {high} normalised Elo or more, not {low} or less."
        case Decision.H0:
            return f"{first} less {second} is {low} normalised Elo or less, not {high} or more."
        case None:
            return f"It is not known yet whether {first} is better than {second}."
