"""Interleaving, medians, ratios."""

from __future__ import annotations

import pytest

from coworld_bench.harness import difference, interleave, ratio, spread


def test_rounds_are_interleaved_and_turn() -> None:
    """Everybody is measured once per round, and nobody always comes first."""
    order: list[str] = []

    def contestant(name: str):
        def measure() -> int:
            order.append(name)
            return len(order)

        return measure

    found = interleave({name: contestant(name) for name in "abc"}, 3)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert found == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


def test_progress_names_contestant_and_round() -> None:
    """Whoever watches is told what is being measured."""
    said: list[str] = []
    interleave({"a": int}, 2, progress=said.append, about="echo 1 x 200 B")
    assert said == ["echo 1 x 200 B: a, round 1 of 2", "echo 1 x 200 B: a, round 2 of 2"]


def test_a_spread_is_median_and_extremes() -> None:
    """The median counts, the extremes are kept beside it."""
    found = spread([3.0, 1.0, 2.0])
    assert (found.median, found.low, found.high, found.values) == (2.0, 1.0, 3.0, (3.0, 1.0, 2.0))


def test_a_ratio_is_taken_round_by_round() -> None:
    """A round in which the machine was slow for both does not count against either."""
    assert ratio([100.0, 10.0, 50.0], [50.0, 5.0, 25.0]).values == (2.0, 2.0, 2.0)
    assert difference([5.0, 9.0], [1.0, 6.0]).values == (4.0, 3.0)


@pytest.mark.parametrize("compare", [ratio, difference])
def test_rounds_that_only_one_took_part_in_are_refused(compare) -> None:
    """Comparing three rounds with two would compare different minutes."""
    with pytest.raises(ValueError, match="both took part"):
        compare([1.0, 2.0], [1.0])


def test_nothing_has_no_median() -> None:
    """Measuring nothing is a mistake, not a zero."""
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])
