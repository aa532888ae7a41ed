"""Is B better than A? A generalised sequential probability ratio test on the scores of blocks, which stops when the answer is known.

The blocks are a sample of an unknown distribution with finite support in [0, 1]. Both hypotheses fix one number of it (its
normalised Elo, or its mean); everything else is put at its maximum-likelihood value under that constraint, and the logarithm of the
ratio of the two likelihoods is compared with Wald's bounds. Mathematics: Michel Van den Bergh, "Normalized Elo practical guide" and
"Comments on normalized Elo"; Wald 1945. The code is ours.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence

import msgspec

from coworld_actors.batch.statistics.elo import NELO, elo_estimate, nelo_estimate, share
from coworld_actors.batch.statistics.intervals import Estimate, standard_error, wilson
from coworld_protocol.errors import Refused

__all__ = ["PSEUDO", "BlockCount", "Decision", "Model", "Sprt", "SprtState", "llr_logistic", "llr_normalized"]

PSEUDO = 1e-3
"""Weight of a possible block score that has not been seen yet.

It keeps the variance above zero while all blocks came out alike, and makes every hypothesis reachable; fishtest uses the same.
"""


class Decision(enum.StrEnum):
    """Which hypothesis the test has accepted."""

    H0 = "h0"
    """No better than `elo0`."""
    H1 = "h1"
    """At least as much better as `elo1`."""


class Model(enum.StrEnum):
    """What the bounds are measured in."""

    NORMALIZED = "normalized"
    """Standard deviations of one episode times 347.44: how long a test takes does not depend on how many episodes are drawn."""
    LOGISTIC = "logistic"
    """Elo points of the mean share."""


class BlockCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many blocks had one score."""

    score: float
    blocks: int


class SprtState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a test stands.

    Attributes:
        llr: logarithm of the likelihood ratio; positive speaks for H1.
        lower: at or below it H0 is accepted.
        upper: at or above it H1 is accepted.
        decision: None while the test goes on.
        blocks: how many the above rests on; blocks after the decision are not looked at.
        share: the first player's share of the points.
        elo: from that share, +- 1.96 standard errors of the blocks. Biased once the test has decided.
        nelo: the same, normalised.
        counts: of each possible score, from 0 up; for pairs of episodes these are the five of the pentanomial.
    """

    llr: float = 0.0
    lower: float
    upper: float
    decision: Decision | None = None
    blocks: int = 0
    share: float | None = None
    elo: Estimate = Estimate()
    nelo: Estimate = Estimate()
    counts: tuple[BlockCount, ...] = ()


def _root(values: Sequence[float], weights: Sequence[float], guess: float = 0.0) -> float | None:
    """The x at which sum(w * v / (1 + x * v)) is 0 and every 1 + x * v is positive; None when no such x exists.

    The sum falls strictly from +inf to -inf between the two poles next to 0, so Newton's steps are kept in a shrinking bracket.
    """
    least, most = min(values), max(values)
    if not least < 0 < most:
        return None
    low, high = -1 / most, -1 / least
    # 1 + x * v is then known to twelve digits or so, for the largest v.
    enough = 1e-13 * (high - low)
    x = guess if low < guess < high else 0.0
    for _ in range(200):
        total = slope = 0.0
        for value, weight in zip(values, weights, strict=True):
            part = value / (1 + x * value)
            total += weight * part
            slope += weight * part * part
        if total > 0:
            low = x
        else:
            high = x
        step = x + total / slope
        if abs(step - x) <= enough:
            return x
        if not low < step < high:
            step = (low + high) / 2
        x = step
    return x


def _mean_constrained(support: Sequence[float], weights: Sequence[float], mean: float) -> list[float] | None:
    """The most likely distribution with this mean, as factors of `weights`."""
    offsets = [value - mean for value in support]
    x = _root(offsets, weights)
    return None if x is None else [1 / (1 + x * offset) for offset in offsets]


def _t_tangents(
    support: Sequence[float], weights: Sequence[float], t: float, factors: list[float]
) -> list[float] | None:
    """Fixed point of the tangents of mean - t * deviation = 1/2, from a first guess; None when it runs out of reach."""
    guess = 0.0
    for _ in range(60):
        mean = square = total = 0.0
        for value, weight, factor in zip(support, weights, factors, strict=True):
            mass = weight * factor
            total += mass
            mean += mass * value
            square += mass * value * value
        # A guess from other weights is no distribution yet.
        mean, square = mean / total, square / total
        deviation = math.sqrt(max(square - mean * mean, 0.0))
        if deviation < 1e-9:
            return None
        tangent = [value - 0.5 - t * deviation * (1 + ((value - mean) / deviation) ** 2) / 2 for value in support]
        x = _root(tangent, weights, guess)
        if x is None:
            return None
        guess = x
        found = [1 / (1 + x * each) for each in tangent]
        change = max([weight * abs(new - old) for new, old, weight in zip(found, factors, weights, strict=True)])
        factors = found
        if change < 1e-9:
            return factors
    return None


def _t_constrained(
    support: Sequence[float], weights: Sequence[float], t: float, guess: list[float] | None = None
) -> list[float] | None:
    """The most likely distribution whose mean is `t` standard deviations above a half, as factors of `weights`.

    The constraint is not linear in the probabilities. It is replaced by its tangent at the last distribution found, which is a
    secular equation, until that distribution stays where it is. From far away a tangent may miss every distribution; then the way
    to `t` is gone in steps, from the t-value that was seen.
    """
    found = _t_tangents(support, weights, t, guess or [1.0] * len(support))
    if found is not None:
        return found
    mean = math.fsum(value * weight for value, weight in zip(support, weights, strict=True))
    deviation = math.sqrt(
        math.fsum(weight * (value - mean) ** 2 for value, weight in zip(support, weights, strict=True))
    )
    if deviation < 1e-9:
        return None
    seen = (mean - 0.5) / deviation
    steps = min(64, math.ceil(abs(t - seen) / 0.1))
    found = [1.0] * len(support)
    for step in range(1, steps + 1):
        found = _t_tangents(support, weights, seen + (t - seen) * step / steps, found)
        if found is None:
            return None
    return found


def _ratio(weights: Sequence[float], first: Sequence[float], second: Sequence[float]) -> float:
    return math.fsum(
        weight * math.log(one / other) for weight, one, other in zip(weights, first, second, strict=True) if weight
    )


def _normalise(counts: Mapping[float, float]) -> tuple[list[float], list[float], float]:
    support = sorted(counts)
    total = math.fsum(counts.values())
    return support, [counts[value] / total for value in support], total


def llr_normalized(
    counts: Mapping[float, float], t0: float, t1: float, guesses: list[list[float]] | None = None
) -> float:
    """The log-likelihood ratio of two hypotheses about the blocks' t-value, (mean - 1/2) / standard deviation.

    Where the exact maximum cannot be found (a t-value out of reach of a nearly degenerate distribution) Van den Bergh's
    closed approximation n / 2 * log((1 + (t - t0)^2) / (1 + (t - t1)^2)) stands in, which is finite whatever the counts are.

    Args:
        counts: how often each block score was seen, all above 0.
        t0: under H0.
        t1: under H1.
        guesses: what the last call with the same possible scores left there: where to begin. Saves time, changes the answer by
            less than 1e-6; an empty list is filled.
    """
    support, weights, total = _normalise(counts)
    begin = guesses if guesses and len(guesses[0]) == len(support) else (None, None)
    under0 = _t_constrained(support, weights, t0, begin[0])
    under1 = _t_constrained(support, weights, t1, begin[1])
    if under0 is not None and under1 is not None:
        if guesses is not None:
            guesses[:] = [under0, under1]
        return total * _ratio(weights, under1, under0)
    mean = math.fsum(value * weight for value, weight in zip(support, weights, strict=True))
    variance = math.fsum(weight * (value - mean) ** 2 for value, weight in zip(support, weights, strict=True))
    if variance <= 0:
        return 0.0
    t = (mean - 0.5) / math.sqrt(variance)
    return total / 2 * math.log((1 + (t - t0) ** 2) / (1 + (t - t1) ** 2))


def llr_logistic(counts: Mapping[float, float], mean0: float, mean1: float) -> float:
    """The log-likelihood ratio of two hypotheses about the blocks' mean.

    Args:
        counts: how often each block score was seen, all above 0.
        mean0: under H0.
        mean1: under H1.

    Returns:
        0 when a hypothesis lies outside of all that was seen: nothing can be said then.
    """
    support, weights, total = _normalise(counts)
    under0 = _mean_constrained(support, weights, mean0)
    under1 = _mean_constrained(support, weights, mean1)
    if under0 is None or under1 is None:
        return 0.0
    return total * _ratio(weights, under1, under0)


class Sprt:
    """One test of one player against another. Blocks are looked at one by one, in schedule order.

    Args:
        elo0: H0's bound, in points of `model`.
        elo1: H1's bound, above `elo0`.
        alpha: how often H1 may be accepted although H0 holds; above 0, and alpha + beta below 1.
        beta: how often H0 may be accepted although H1 holds.
        episodes: how many episodes a block has; 2 for a pair with swapped seats.
        model: what the bounds are measured in.

    Raises:
        Refused: bounds or error rates that make no test.
    """

    def __init__(
        self,
        elo0: float = 0.0,
        elo1: float = 10.0,
        alpha: float = 0.05,
        beta: float = 0.05,
        *,
        episodes: int = 2,
        model: Model = Model.NORMALIZED,
    ) -> None:
        if not (math.isfinite(elo0) and math.isfinite(elo1) and elo0 < elo1):
            raise Refused(
                f"the bounds of the test are {elo0:g} and {elo1:g}", todo="make the second one the greater one"
            )
        if not (alpha > 0 and beta > 0 and alpha + beta < 1):
            raise Refused(
                f"error rates of {alpha:g} and {beta:g} make no test",
                todo="make both greater than 0 and their sum less than 1",
            )
        if episodes < 1:
            raise Refused(f"a block of {episodes} episodes cannot be judged", todo="give a block at least one episode")
        self.elo0, self.elo1, self.alpha, self.beta = elo0, elo1, alpha, beta
        self.episodes = episodes
        self.model = model
        self.lower = math.log(beta / (1 - alpha))
        self.upper = math.log((1 - beta) / alpha)
        self._seen: list[float] = []
        self._counts: dict[float, int] = {}
        self._llr = 0.0
        self._decision: Decision | None = None
        self._guesses: list[list[float]] = []
        self._grid = [step / (2 * episodes) for step in range(2 * episodes + 1)]

    @property
    def decision(self) -> Decision | None:
        """What the test has accepted; None while it goes on. It never changes again."""
        return self._decision

    @property
    def llr(self) -> float:
        """The log-likelihood ratio of the blocks looked at."""
        return self._llr

    def update(self, score: float) -> Decision | None:
        """Look at one more block; after the decision nothing is looked at any more.

        Args:
            score: the first player's share of the block's points, 0 to 1.

        Raises:
            ValueError: it is no share.
        """
        if not 0 <= score <= 1:
            raise ValueError(f"A block's score is a share from 0 to 1, not {score!r}.")
        if self._decision is not None:
            return self._decision
        # Sums of thirds and the like reach the same score on several ways.
        score = round(score, 12) + 0.0
        self._seen.append(score)
        self._counts[score] = self._counts.get(score, 0) + 1
        self._llr = self._ratio()
        if self._llr >= self.upper:
            self._decision = Decision.H1
        elif self._llr <= self.lower:
            self._decision = Decision.H0
        return self._decision

    def _ratio(self) -> float:
        counts: dict[float, float] = {**self._counts}
        for value in self._grid:
            counts.setdefault(round(value, 12), PSEUDO)
        if self.model is Model.LOGISTIC:
            return llr_logistic(counts, share(self.elo0), share(self.elo1))
        scale = math.sqrt(self.episodes) / NELO
        return llr_normalized(counts, self.elo0 * scale, self.elo1 * scale, self._guesses)

    def judge(self, blocks: Sequence[float]) -> SprtState:
        """Where the test stands after these blocks, the first ones of which it may have seen already.

        Args:
            blocks: the first player's share of the points in every block, in schedule order, from the first one on.

        Raises:
            ValueError: they do not begin with the ones that were looked at before.
        """
        seen = len(self._seen)
        if [round(score, 12) for score in blocks[:seen]] != self._seen[: len(blocks)]:
            raise ValueError("The blocks do not begin with those that the test has looked at; a new test is needed.")
        for score in blocks[seen:]:
            if self.update(score) is not None:
                break
        return self.state()

    def state(self) -> SprtState:
        """Where the test stands."""
        seen = self._seen
        counts = {round(value, 12): 0 for value in self._grid} | self._counts
        mean: float | None = None
        found = Estimate(note="n/a (nothing counted)")
        if seen:
            mean = math.fsum(seen) / len(seen)
            error = standard_error(seen)
            # Blocks that are all alike have no spread, which is no certainty.
            reach = 1.959964 * (error or 0.0)
            low, high = (mean - reach, mean + reach) if reach else wilson(mean, len(seen))
            found = elo_estimate(
                Estimate(
                    value=mean,
                    low=None if error is None else max(0.0, low),
                    high=None if error is None else min(1.0, high),
                )
            )
        return SprtState(
            llr=self._llr + 0.0,
            lower=self.lower,
            upper=self.upper,
            decision=self._decision,
            blocks=len(seen),
            share=mean,
            elo=found,
            nelo=nelo_estimate(seen, self.episodes),
            counts=tuple(BlockCount(score=score, blocks=counts[score]) for score in sorted(counts)),
        )
