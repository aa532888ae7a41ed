"""How much work a schema makes for a value, bounded before a validator starts.

See `schema_graph` for why. The unit is one visit of one subschema, about 0.1 microseconds in the validator; a text that meets
a regular expression counts its characters, weighted by the size of the expression.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from coworld_actors.manifest.schema_graph import Graph, Location, Pointer

__all__ = ["WORK_LIMIT", "WorkMeter"]

WORK_LIMIT: Final = 20_000_000
"""Visits. Two to four seconds of a slow machine at worst; an honest results file needs thousands."""

PAIR_LIMIT: Final = 1_000_000
"""Subschemas met by values in an exact count, which costs a microsecond or two each."""


class WorkMeter:
    """Bounds the work of one schema.

    Args:
        graph: the schema, without problems.
        pattern_weight: work per character of each regular expression.

    Attributes:
        branches: whether some subschema offers alternatives. A failed alternative holds the errors of every branch.
    """

    def __init__(self, graph: Graph, pattern_weight: dict[str, int]) -> None:
        self.branches = any({"anyOf", "oneOf"} & set(location.pointer[-2:]) for location in graph.locations)
        self._locations = graph.locations
        self._order = _here_order(graph.locations)
        self._on_text = [sum(pattern_weight[each] for each in location.patterns) for location in graph.locations]
        self._on_keys = [sum(pattern_weight[each] for each in location.key_patterns) for location in graph.locations]
        self._visits, self._per_character = self._expanded()

    def hopeless(self) -> Pointer | None:
        """A subschema that cannot be afforded even for a number, because too many ways lead on from it to its parts."""
        totals = [0] * len(self._locations)
        for number in sorted(range(len(totals)), key=self._order.__getitem__, reverse=True):
            location = self._locations[number]
            totals[number] = min(location.weight + sum(totals[each] for each in location.here), WORK_LIMIT + 1)
            if totals[number] > WORK_LIMIT:
                return location.pointer
        return None

    def within(self, limit: int, value: Any) -> bool:
        """Whether validating `value` takes no more work than `limit`, which is at most `WORK_LIMIT`."""
        if self._visits <= limit:
            values, characters = _size(value)
            if self._visits * values + self._per_character * characters <= limit:
                return True
        exact = self.count(value)
        return exact is not None and exact <= limit

    def _expanded(self) -> tuple[int, int]:
        """Visits per value and work per character if every way led to every value; beyond the limit when there is a cycle."""
        locations = self._locations
        totals: dict[int, tuple[int, int]] = {}
        # Depth first; `open_` is the way from the root, so meeting one of its members is a cycle.
        open_: dict[int, Iterator[int]] = {0: locations[0].edges()}
        while open_:
            current = next(reversed(open_))
            waiting = next((each for each in open_[current] if each not in totals), None)
            if waiting is not None:
                if waiting in open_:
                    return WORK_LIMIT + 1, WORK_LIMIT + 1
                open_[waiting] = locations[waiting].edges()
                continue
            del open_[current]
            visits, characters = locations[current].weight, self._on_text[current] + self._on_keys[current]
            for each in locations[current].edges():
                visits, characters = visits + totals[each][0], characters + totals[each][1]
            # Capped, because the true numbers may have as many digits as the schema has levels.
            totals[current] = min(visits, WORK_LIMIT + 1), min(characters, WORK_LIMIT + 1)
        return totals[0]

    def count(self, value: Any) -> int | None:
        """The work that validating `value` would be, not counting short cuts; None where it is beyond all limits.

        The number of ways to each subschema is sent down the value, and what they cost is summed.
        """
        work = pairs = 0
        waiting: list[tuple[Any, dict[int, int]]] = [(value, {0: 1})]
        while waiting:
            item, ways = waiting.pop()
            ways = self._spread_here(ways)
            pairs += len(ways)
            characters = len(item) if isinstance(item, str) else 0
            keys = sum(map(len, item)) if isinstance(item, dict) else 0
            for number, count in ways.items():
                each = (
                    self._locations[number].weight + self._on_text[number] * characters + self._on_keys[number] * keys
                )
                work += count * each
            if work > WORK_LIMIT or pairs > PAIR_LIMIT:
                return None
            if isinstance(item, dict):
                for key, part in item.items():
                    _push(waiting, part, _onward(self._locations, ways, key))
                    _push(waiting, key, _gather((self._locations[n].names, count) for n, count in ways.items()))
            elif isinstance(item, list) and item:
                onward = _gather((self._locations[n].items, count) for n, count in ways.items())
                if onward:
                    waiting.extend((part, onward) for part in item)
        return work

    def _spread_here(self, ways: dict[int, int]) -> dict[int, int]:
        """Follows here edges. Their cycles were refused, so going by `_order` meets each subschema after all that lead to it."""
        totals = dict(ways)
        waiting = list(ways)
        while waiting:
            for target in self._locations[waiting.pop()].here:
                if target not in totals:
                    totals[target] = 0
                    waiting.append(target)
        for number in sorted(totals, key=self._order.__getitem__):
            for target in self._locations[number].here:
                totals[target] += totals[number]
        return totals


def _onward(locations: list[Location], ways: dict[int, int], key: str) -> dict[int, int]:
    return _gather(
        (targets, count)
        for number, count in ways.items()
        for targets in (locations[number].named.get(key, ()), locations[number].keyed)
    )


def _gather(groups: Iterable[tuple[Sequence[int], int]]) -> dict[int, int]:
    gathered: dict[int, int] = {}
    for targets, count in groups:
        for target in targets:
            gathered[target] = gathered.get(target, 0) + count
    return gathered


def _push(waiting: list[tuple[Any, dict[int, int]]], part: Any, ways: dict[int, int]) -> None:
    if ways:
        waiting.append((part, ways))


def _size(value: Any) -> tuple[int, int]:
    """How many values there are in `value`, keys included, and how many characters in its texts and keys."""
    values = characters = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        values += 1
        if isinstance(each, str):
            characters += len(each)
        elif isinstance(each, dict):
            waiting.extend(each)
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return values, characters


def _here_order(locations: list[Location]) -> list[int]:
    """A position for each location such that here edges lead to higher ones."""
    order = [-1] * len(locations)
    remaining = len(locations)
    for start in range(len(locations)):
        open_ = [(start, iter(locations[start].here))] if order[start] < 0 else []
        while open_:
            current, edges = open_[-1]
            following = next((each for each in edges if order[each] < 0), None)
            if following is None:
                open_.pop()
                if order[current] < 0:
                    remaining -= 1
                    order[current] = remaining
            else:
                open_.append((following, iter(locations[following].here)))
    return order
