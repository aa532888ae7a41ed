"""One strength for each player out of many meetings: a maximum-likelihood rating and an online ladder, where the extra is installed.

Bradley-Terry (episodes of two players) and Plackett-Luce (more) are fitted by choix, the ladder is OpenSkill's. Both libraries are
imported when they are needed and never before: without the extra `stats` everything else works, and a note says what is missing.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from coworld_actors.batch.records import EpisodeLine
from coworld_actors.batch.statistics.elo import ALL_LOSSES, ALL_WINS, SCALE
from coworld_actors.batch.statistics.intervals import LEVEL, Estimate, student_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.intp]

__all__ = ["MISSING", "Ratings", "rate"]

MISSING = "Ratings and the ladder are left out: they need the extra `stats` (pip install 'coworld-actors[stats]')."

HELD = "held finite by one win each way against everybody"

Ranking = tuple[list[int], float, int]
"""Entrants from the best to the worst, how much it weighs, and the place of its block."""


class Ratings(msgspec.Struct, frozen=True, kw_only=True):
    """What the libraries make of the episodes.

    Attributes:
        model: `bradley-terry` or `plackett-luce`; empty when there is no rating.
        strengths: by entrant, in Elo points around a mean of 0, with an interval that takes blocks as what is independent.
        ladder: by entrant OpenSkill's mu with two sigmas each way, after the episodes in schedule order.
        notes: what a reader has to know.
    """

    model: str = ""
    strengths: dict[int, Estimate] = {}
    ladder: dict[int, Estimate] = {}
    notes: tuple[str, ...] = ()


def _means(line: EpisodeLine, *, lower_is_better: bool) -> dict[int, float]:
    """Each player's mean in one episode, higher is better, rounded so that equal means are equal."""
    seats: dict[int, list[float]] = {}
    for seat in line.seats:
        seats.setdefault(seat.entrant, []).append(seat.score or 0.0)
    sign = -1 if lower_is_better else 1
    return {entrant: float(f"{sign * math.fsum(own) / len(own):.12g}") for entrant, own in seats.items()}


def rate(blocks: Sequence[Sequence[EpisodeLine]], *, lower_is_better: bool = False) -> Ratings:
    """Rate everybody who met somebody.

    Args:
        blocks: the counted episodes by block, in schedule order.
        lower_is_better: the direction of the scores.

    Returns:
        Nothing but a note when the extra is not installed.
    """
    played = [
        (place, line.index, means)
        for place, block in enumerate(blocks)
        for line in block
        if len(means := _means(line, lower_is_better=lower_is_better)) > 1
    ]
    if not played:
        return Ratings()
    try:
        for library in ("numpy", "choix", "openskill.models"):
            importlib.import_module(library)
    except ImportError:
        return Ratings(notes=(MISSING,))
    played.sort(key=lambda one: one[1])
    many = any(len(means) > 2 for _, _, means in played)
    strengths, notes = _strengths([(means, place) for place, _, means in played], many=many, blocks=len(blocks))
    return Ratings(
        model="plackett-luce" if many else "bradley-terry",
        strengths=strengths,
        ladder=_ladder([means for _, _, means in played]),
        notes=tuple(notes),
    )


def _ladder(episodes: Sequence[dict[int, float]]) -> dict[int, Estimate]:
    from openskill.models import PlackettLuce  # noqa: PLC0415 - the extra `stats`

    model = PlackettLuce()
    known: dict[int, Any] = {}
    for means in episodes:
        present = sorted(means)
        teams = [[known.get(entrant) or model.rating()] for entrant in present]
        rated = model.rate(teams, scores=_places([means[entrant] for entrant in present]))
        known.update({entrant: team[0] for entrant, team in zip(present, rated, strict=True)})
    return {
        entrant: Estimate(value=float(one.mu), low=float(one.mu - 2 * one.sigma), high=float(one.mu + 2 * one.sigma))
        for entrant, one in sorted(known.items())
    }


def _places(scores: Sequence[float]) -> list[float]:
    """Scores as small whole numbers in the same order: a ladder needs no more, and huge scores would overflow in it."""
    order = sorted(set(scores))
    return [float(order.index(score)) for score in scores]


def _rankings(episodes: Sequence[tuple[dict[int, float], int]], index: dict[int, int]) -> list[Ranking]:
    """Two rankings for every episode that has equals, each of half the weight: the lot decides, then the lot turned round."""
    random = Random(20_011)  # noqa: S311 - statistics, no secrets
    found: list[Ranking] = []
    for means, place in episodes:
        lots = {entrant: random.random() for entrant in sorted(means)}
        order = sorted(means, key=lambda entrant: (-means[entrant], lots[entrant]))
        best = [index[entrant] for entrant in order]
        if len(set(means.values())) == len(means):
            found.append((best, 1.0, place))
            continue
        turned = sorted(means, key=lambda entrant: (-means[entrant], -lots[entrant]))
        found += [(best, 0.5, place), ([index[entrant] for entrant in turned], 0.5, place)]
    return found


def _reached(start: int, beats: Sequence[set[int]]) -> set[int]:
    seen, waiting = {start}, [start]
    while waiting:
        for other in beats[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def _strengths(
    episodes: Sequence[tuple[dict[int, float], int]], *, many: bool, blocks: int
) -> tuple[dict[int, Estimate], list[str]]:
    entrants = sorted({entrant for means, _ in episodes for entrant in means})
    index = {entrant: place for place, entrant in enumerate(entrants)}
    rankings = _rankings(episodes, index)
    count = len(entrants)
    beats: list[set[int]] = [set() for _ in range(count)]
    beaten: list[set[int]] = [set() for _ in range(count)]
    for order, _, _ in rankings:
        for place, winner in enumerate(order):
            beats[winner].update(order[place + 1 :])
            for loser in order[place + 1 :]:
                beaten[loser].add(winner)
    notes: list[str] = []
    # The likelihood has a finite maximum only where everybody has beaten everybody else, if through others (Ford 1957).
    connected = len(_reached(0, beats)) == count and len(_reached(0, beaten)) == count
    if len(_reached(0, [won | lost for won, lost in zip(beats, beaten, strict=True)])) < count:
        notes.append("Ratings: the players fall into groups that never met; between groups they cannot be compared.")
    prior = [] if connected else [([i, j], 1.0, -1) for i in range(count) for j in range(count) if i != j]
    fitted = _fit(count, rankings + prior, many=many)
    if fitted is None:
        return {}, [*notes, "Ratings are left out: the fit did not converge."]
    errors = _errors(fitted, rankings, prior, blocks)
    reach = student_quantile((1 + LEVEL) / 2, blocks - 1) if blocks > 1 else None
    estimates: dict[int, Estimate] = {}
    for entrant, place in index.items():
        value = float(fitted[place]) * SCALE + 0.0
        error = None if reach is None else float(errors[place]) * SCALE * reach
        low, high = (None, None) if error is None else (value - error, value + error)
        if not beaten[place]:
            estimates[entrant] = Estimate(low=low, note=ALL_WINS)
        elif not beats[place]:
            estimates[entrant] = Estimate(high=high, note=ALL_LOSSES)
        else:
            estimates[entrant] = Estimate(value=value, low=low, high=high, note="" if connected else HELD)
    if not connected:
        notes.append(f"Ratings: not everybody has both won and lost against the rest; they are {HELD}.")
    return estimates, notes


def _fit(count: int, rankings: Sequence[Ranking], *, many: bool) -> Floats | None:
    import choix  # noqa: PLC0415 - the extra `stats`
    import numpy as np  # noqa: PLC0415

    try:
        if many:
            # choix knows no weights: what counts a half is there once, everything else twice.
            data = [tuple(order) for order, weight, _ in rankings for _ in range(round(2 * weight))]
            found = choix.ilsr_rankings(count, data, max_iter=1000)
        else:
            wins = np.zeros((count, count))
            for (winner, loser), weight, _ in rankings:
                wins[winner, loser] += weight
            found = choix.ilsr_pairwise_dense(wins, max_iter=1000)
    except (RuntimeError, ValueError, FloatingPointError):
        return None
    if not np.isfinite(found).all():
        return None
    centred: Floats = found - found.mean()
    return centred


def _errors(strengths: Floats, rankings: Sequence[Ranking], prior: Sequence[Ranking], blocks: int) -> Floats:
    """Standard errors of the strengths: Huber's sandwich with the blocks' scores between two inverse Hessians.

    Where the prior holds the strengths finite the Hessian's own errors are taken if they are larger: blocks that are all alike have
    no spread.
    """
    import numpy as np  # noqa: PLC0415 - the extra `stats`

    count = len(strengths)
    hessian = np.zeros((count, count))
    gradient = np.zeros((blocks + 1, count))  # the last row is the prior's
    lengths: dict[int, list[Ranking]] = {}
    for ranking in [*rankings, *prior]:
        lengths.setdefault(len(ranking[0]), []).append(ranking)
    for length, some in lengths.items():
        orders = np.array([order for order, _, _ in some], dtype=np.intp)
        weights = np.array([weight for _, weight, _ in some])
        places = np.array([place for _, _, place in some], dtype=np.intp)
        powers = np.exp(strengths[orders] - strengths.max())
        for stage in range(length - 1):
            left = orders[:, stage:]
            chances = powers[:, stage:] / powers[:, stage:].sum(axis=1, keepdims=True)
            np.add.at(gradient, (places, orders[:, stage]), weights)
            np.add.at(gradient, (places[:, None], left), -chances * weights[:, None])
            np.add.at(hessian, (left, left), chances * weights[:, None])
            np.add.at(
                hessian,
                (left[:, :, None], left[:, None, :]),
                -chances[:, :, None] * chances[:, None, :] * weights[:, None, None],
            )
    # Only differences are determined: (1, 1, ...) is the Hessian's null vector. It is filled in, inverted, and taken out again.
    level = np.full((count, count), 1 / count)
    fill = np.trace(hessian) / count
    inverse = np.linalg.inv(hessian + fill * level) - level / fill
    scores = gradient[:blocks]
    correction = blocks / (blocks - 1) if blocks > 1 else 1.0
    variance = np.diag(inverse @ (scores.T @ scores * correction) @ inverse)
    if prior:
        variance = np.maximum(variance, np.diag(inverse))
    errors: Floats = np.sqrt(np.maximum(variance, 0.0))
    return errors
