"""The subschemas of a JSON Schema as a graph, and how much work it can make a validator do.

A validator visits a subschema once for every way that leads to it. Ways multiply: `allOf` with the same `$ref` twice, thirty
levels deep, is a billion visits of one number; a schema that recurs twice into one child doubles with every level of the
value. Neither is slow to write nor large. So the work is counted before it is done, on this graph:

* a *here* edge leads to a subschema that looks at the same value: `$ref`, `allOf`, `if`, ...
* a *below* edge leads to one that looks at a part of it: `properties`, `items`, ...

A cycle of here edges alone never ends and is refused outright. A cycle through a below edge ends with the value. `estimate`
bounds the visits for a value from above: first roughly, by the size of both; and when that is too much exactly, by sending
the number of ways down the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from coworld_actors.manifest.document import DEPTH_LIMIT, describe, json_path
from coworld_protocol.errors import Problem

__all__ = ["Graph", "Location", "Pointer", "build_graph"]

Pointer = tuple[str | int, ...]

VALUE_LIMIT: Final = 100_000
"""JSON values in one schema. Beyond that, building the graph would itself be the slow part."""

LOOK_BACK: Final = 3
"""Visits of a here edge below an `unevaluated...` keyword. Measured with jsonschema-rs 0.60: nesting multiplies by 2.6 to 2.8."""

_HERE_ONE: Final = ("not", "if", "then", "else")
_HERE_MANY: Final = ("allOf", "anyOf", "oneOf")
_HERE_MAP: Final = ("dependentSchemas", "dependencies")
_ITEM: Final = ("items", "prefixItems", "contains", "additionalItems", "unevaluatedItems")
_KEY: Final = ("additionalProperties", "unevaluatedProperties")
_ASIDE_MAP: Final = ("$defs", "definitions")
_ASIDE_ONE: Final = ("contentSchema",)


class Location(msgspec.Struct, kw_only=True):
    """One subschema.

    Attributes:
        pointer: where it is.
        weight: values that a visit compares with: 1, and every value in `enum` and `const`.
        patterns: regular expressions that a visit tries on a text.
        key_patterns: regular expressions that a visit tries on each key of an object.
        here: subschemas for the same value.
        named: subschemas for one key of an object.
        keyed: subschemas that may apply to any key.
        items: subschemas that may apply to any item of a list.
        names: subschemas for the keys themselves.
        looks_back: it has an `unevaluated...` keyword, which goes through the here edges again to learn what they covered.
    """

    pointer: Pointer
    weight: int = 1
    patterns: list[str] = []
    key_patterns: list[str] = []
    here: list[int] = []
    named: dict[str, list[int]] = {}
    keyed: list[int] = []
    items: list[int] = []
    names: list[int] = []
    looks_back: bool = False

    def below(self) -> Iterator[int]:
        """Every subschema for a part of the value."""
        for targets in self.named.values():
            yield from targets
        yield from self.keyed
        yield from self.items
        yield from self.names

    def edges(self) -> Iterator[int]:
        """Every subschema that a visit may lead to, as often as it does."""
        yield from self.here
        yield from self.below()


class Graph(msgspec.Struct, kw_only=True):
    """A schema taken apart. Location 0 is the whole schema.

    Attributes:
        locations: every subschema that can be reached.
        problems: what makes the schema unusable, before any validator has seen it.
        pattern_paths: where each regular expression stands.
    """

    locations: list[Location]
    problems: list[Problem]
    pattern_paths: list[tuple[Pointer, str]]


def build_graph(schema: Any, path: str = "$") -> Graph:
    """Takes a schema apart.

    Nothing of it is executed or fetched, and no nesting or reference can exhaust the stack.

    Args:
        schema: what claims to be a JSON Schema.
        path: JSON path of the schema in its document, for the problems.
    """
    oversize = _oversize(schema, path)
    if oversize is not None:
        return Graph(locations=[Location(pointer=())], problems=[oversize], pattern_paths=[])
    builder = _Builder(schema, path)
    builder.run()
    return Graph(locations=builder.locations, problems=builder.problems, pattern_paths=builder.pattern_paths)


def _oversize(schema: Any, path: str) -> Problem | None:
    level, depth, count = [schema], 0, 0
    while level:
        depth += 1
        count += len(level)
        if depth > DEPTH_LIMIT:
            return Problem(path=path, found=f"more than {DEPTH_LIMIT} levels of nesting", allowed="a flatter schema")
        if count > VALUE_LIMIT:
            return Problem(path=path, found=f"more than {VALUE_LIMIT} values", allowed="a smaller schema")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level = below
    return None


def _value_count(value: Any) -> int:
    count, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        count += 1
        if isinstance(each, dict):
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return count


class _Builder:
    """Collects locations breadth first; references are tied up at the end, when every anchor is known."""

    def __init__(self, schema: Any, path: str) -> None:
        self.locations: list[Location] = []
        self.problems: list[Problem] = []
        self.pattern_paths: list[tuple[Pointer, str]] = []
        self._schema = schema
        self._path = path
        self._id_keyword = "id" if isinstance(schema, dict) and "draft-04" in str(schema.get("$schema")) else "$id"
        self._index: dict[Pointer, int] = {}
        self._anchors: dict[str, list[int]] = {}
        self._references: list[tuple[int, str, Any]] = []
        self._waiting: list[tuple[int, Any]] = []

    def run(self) -> None:
        self._add((), self._schema)
        while self._waiting or self._references:
            while self._waiting:
                self._visit(*self._waiting.pop())
            # A target may be a place that no keyword leads to; it then brings locations and references of its own.
            references, self._references = self._references, []
            for source, keyword, target in references:
                self._tie(source, keyword, target)
        self._refuse_loops()
        for location in self.locations:
            if location.looks_back:
                location.here *= LOOK_BACK

    def _problem(self, pointer: Pointer, found: str, allowed: str) -> None:
        self.problems.append(Problem(path=json_path(pointer, self._path), found=found, allowed=allowed))

    def _add(self, pointer: Pointer, schema: Any) -> int:
        if pointer in self._index:
            return self._index[pointer]
        number = len(self.locations)
        self._index[pointer] = number
        self.locations.append(Location(pointer=pointer))
        self._waiting.append((number, schema))
        return number

    def _visit(self, number: int, schema: Any) -> None:
        if not isinstance(schema, dict):
            return  # true, false, or something that the meta-schema refuses
        here = self.locations[number]
        self._names_of(number, here.pointer, schema)
        for keyword in ("enum", "const"):
            if keyword in schema:
                here.weight += _value_count(schema[keyword])
        if isinstance(schema.get("pattern"), str):
            here.patterns.append(schema["pattern"])
            self.pattern_paths.append(((*here.pointer, "pattern"), schema["pattern"]))
        here.looks_back = "unevaluatedItems" in schema or "unevaluatedProperties" in schema
        for keyword, value in schema.items():
            self._keyword(here, keyword, value)
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            if keyword in schema:
                self._references.append((number, keyword, schema[keyword]))

    def _keyword(self, here: Location, keyword: str, value: Any) -> None:
        at = (*here.pointer, keyword)
        one, many, mapping = isinstance(value, dict | bool), isinstance(value, list), isinstance(value, dict)
        if keyword in _HERE_ONE and one:
            here.here.append(self._add(at, value))
        elif keyword in _HERE_MANY and many:
            here.here.extend(self._add((*at, index), each) for index, each in enumerate(value))
        elif keyword in _HERE_MAP and mapping:
            here.here.extend(self._add((*at, key), each) for key, each in value.items() if not isinstance(each, list))
        elif keyword in _ITEM and one:
            here.items.append(self._add(at, value))
        elif keyword in _ITEM and many:
            here.items.extend(self._add((*at, index), each) for index, each in enumerate(value))
        elif keyword in _KEY and one:
            here.keyed.append(self._add(at, value))
        elif keyword == "propertyNames" and one:
            here.names.append(self._add(at, value))
        elif keyword == "properties" and mapping:
            for key, each in value.items():
                here.named.setdefault(key, []).append(self._add((*at, key), each))
        elif keyword == "patternProperties" and mapping:
            for key, each in value.items():
                here.keyed.append(self._add((*at, key), each))
                here.key_patterns.append(key)
                self.pattern_paths.append(((*at, key), key))
        elif keyword in _ASIDE_MAP and mapping:
            for key, each in value.items():
                self._add((*at, key), each)
        elif keyword in _ASIDE_ONE and one:
            self._add(at, value)

    def _names_of(self, number: int, pointer: Pointer, schema: dict[str, Any]) -> None:
        """Anchors, and identifiers that would move the base of references."""
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(schema.get(keyword), str):
                self._anchors.setdefault(schema[keyword], []).append(number)
        for keyword in ("$id", "id"):
            name = schema.get(keyword)
            if not isinstance(name, str):
                continue
            if name.startswith("#"):
                self._anchors.setdefault(name[1:], []).append(number)
            elif pointer and keyword == self._id_keyword:
                self._problem(
                    (*pointer, keyword),
                    describe(name),
                    f"no `{keyword}` inside a schema; name parts with `#/$defs/...`",
                )

    def _tie(self, source: int, keyword: str, target: Any) -> None:
        pointer = (*self.locations[source].pointer, keyword)
        if not isinstance(target, str):
            self._problem(pointer, describe(target), "a text that starts with `#`")
            return
        if not target.startswith("#"):
            self._problem(
                pointer, describe(target), "a reference into the same schema (`#/$defs/...`); others are never fetched"
            )
            return
        fragment = unquote(target[1:])
        if keyword == "$recursiveRef" or not fragment:
            self.locations[source].here.append(0)
        elif not fragment.startswith("/"):
            if fragment not in self._anchors:
                self._problem(pointer, describe(target), "an anchor that the schema has")
                return
            self.locations[source].here.extend(self._anchors[fragment])
        else:
            found = self._resolve(fragment)
            if found is None:
                self._problem(pointer, describe(target), "the place of a subschema in this schema; nothing is there")
                return
            self.locations[source].here.append(self._add(*found))

    def _resolve(self, fragment: str) -> tuple[Pointer, Any] | None:
        value: Any = self._schema
        pointer: Pointer = ()
        for raw in fragment.split("/")[1:]:
            token = raw.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and token in value:
                value, pointer = value[token], (*pointer, token)
            elif isinstance(value, list) and token.isascii() and token.isdigit() and int(token[:9]) < len(value):
                value, pointer = value[int(token[:9])], (*pointer, int(token[:9]))
            else:
                return None
        return (pointer, value) if isinstance(value, dict | bool) else None

    def _refuse_loops(self) -> None:
        """Finds cycles of here edges, depth first with a stack of our own."""
        done: set[int] = set()
        for start in range(len(self.locations)):
            open_: dict[int, Iterator[int]] = {}
            if start not in done:
                open_[start] = iter(self.locations[start].here)
            while open_:
                current = next(reversed(open_))
                following = next(open_[current], None)
                if following is None:
                    del open_[current]
                    done.add(current)
                elif following in open_:
                    self._problem(
                        self.locations[current].pointer,
                        "a reference that comes back to itself without going into the value",
                        "references that end",
                    )
                elif following not in done:
                    open_[following] = iter(self.locations[following].here)
