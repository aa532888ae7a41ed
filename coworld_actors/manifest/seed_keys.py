"""Keys that a configuration's schema declares, found through local references and alternatives: where a seed may go, what may be pinned.

A key is a dotted path of property names; a number is an index into a list.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import unquote

from coworld_actors.manifest.document import describe, printable
from coworld_protocol.errors import Refused

__all__ = [
    "check_pin_key",
    "check_seed_key",
    "declared_keys",
    "describe_bounds",
    "find_declared",
    "find_seed_keys",
    "integer_bounds",
    "integer_keys",
]

_DEPTH: Final = 4
"""Levels of objects that listings go into."""
_LISTED: Final = 1000
"""Keys in a listing; schemas that recur would have any number."""
_ALTERNATIVES: Final = ("allOf", "anyOf", "oneOf")
_SEED: Final = re.compile(r"(.*[_-])?seed|.*[a-z0-9]Seed")
_RUNTIME_KEYS: Final = frozenset({"tokens"})
"""What the runtime writes into every configuration."""


def find_declared(config_schema: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The subschemas that speak about a key; empty where the schema does not declare it.

    References are followed and `allOf`, `anyOf`, `oneOf` opened: `{"anyOf": [{"type": "integer"}, {"type": "null"}]}` is found as
    its three parts.
    """
    level = [config_schema]
    for name in key.split("."):
        level = [part for place in level for part in _opened(config_schema, place)]
        level = [child for place in level for child in _children(place, name)]
    return [part for place in level for part in _opened(config_schema, place)]


def declared_keys(config_schema: dict[str, Any]) -> list[str]:
    """All declared keys in the schema's order, objects before what is in them; `tokens` and the insides of lists left out."""
    found: dict[str, None] = {}
    _collect(config_schema, [config_schema], (), found)
    return list(found)


def integer_keys(config_schema: dict[str, Any]) -> list[str]:
    """The declared keys that take an integer."""
    return [key for key in declared_keys(config_schema) if _takes_integer(find_declared(config_schema, key))]


def find_seed_keys(config_schema: dict[str, Any]) -> list[str]:
    """Integer keys that are called like a seed, the likeliest first.

    `seed`, then names that end with `_seed` (or `Seed`), then the same one level below.
    """
    named = [
        key for key in integer_keys(config_schema) if _SEED.fullmatch(key.rpartition(".")[2]) and key.count(".") < 2
    ]
    return sorted(named, key=lambda key: (key.count("."), key.rpartition(".")[2] != "seed"))


def check_seed_key(config_schema: dict[str, Any], key: str) -> None:
    """Checks what the caller named with `--seed-key`.

    Raises:
        Refused: the schema does not declare it, or not as an integer; the integer keys there are are named.
    """
    parts = find_declared(config_schema, key)
    if _takes_integer(parts):
        return
    integers = integer_keys(config_schema)
    near = difflib.get_close_matches(key, integers, n=1)
    listing = f"integer keys: {', '.join(map(printable, integers[:20])) or 'none'}"
    if parts:
        types = sorted({str(each) for part in parts for each in _types(part)})
        what = f"--seed-key {key} is no integer in the game's config_schema"
        listing = f"it is {' or '.join(types) or 'of no declared type'}; {listing}"
    else:
        what = f"--seed-key {key} is not in the game's config_schema"
    if not integers:
        todo = "leave --seed-key out; the game takes no seed"
    else:
        todo = f"did you mean {near[0]}?" if near else "choose one of them, or leave --seed-key out"
    raise Refused(what, evidence=listing, todo=todo)


def check_pin_key(config_schema: dict[str, Any], key: str) -> None:
    """Checks what the caller named with `--pin`.

    Raises:
        Refused: the schema does not declare it; the keys there are are named.
    """
    if find_declared(config_schema, key):
        return
    keys = declared_keys(config_schema)
    near = difflib.get_close_matches(key, keys, n=1)
    raise Refused(
        f"--pin {key} is not in the game's config_schema",
        evidence=f"keys: {', '.join(map(printable, keys[:20])) or 'none'}" + (", ..." if len(keys) > 20 else ""),
        todo=f"did you mean {near[0]}?" if near else "choose one of them; --set takes other keys if the schema does",
    )


def integer_bounds(config_schema: dict[str, Any], key: str) -> tuple[int | None, int | None, bool]:
    """What the schema says about an integer key.

    Returns:
        The least and the largest value, None where there is no bound, and whether these bounds are all that is said: then any
        integer between two accepted ones is accepted.
    """
    low: int | None = None
    high: int | None = None
    simple = True
    for part in find_declared(config_schema, key):
        simple = simple and part.keys() <= _SIMPLE
        for keyword, value in part.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            match keyword:
                case "minimum":
                    low = _larger(low, math.ceil(value))
                case "exclusiveMinimum":
                    low = _larger(low, math.floor(value) + 1)
                case "maximum":
                    high = _smaller(high, math.floor(value))
                case "exclusiveMaximum":
                    high = _smaller(high, math.ceil(value) - 1)
                case _:
                    pass
    return low, high, simple


_SIMPLE: Final = frozenset(
    {
        "$comment", "$ref", "allOf", "default", "deprecated", "description", "examples", "exclusiveMaximum", "exclusiveMinimum",
        "maximum", "minimum", "title", "type",
    }
)  # fmt: skip
"""Keywords that leave no gap between two accepted integers."""


def _larger(known: int | None, other: int) -> int:
    return other if known is None else max(known, other)


def _smaller(known: int | None, other: int) -> int:
    return other if known is None else min(known, other)


def _opened(root: dict[str, Any], schema: Any) -> Iterator[dict[str, Any]]:
    """A subschema and whatever else speaks about the same value, each once: a loop of references ends."""
    waiting: list[Any] = [schema]
    seen: set[int] = set()
    while waiting:
        part = waiting.pop(0)
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            waiting.append(_resolved(root, reference))
        for keyword in _ALTERNATIVES:
            branches = part.get(keyword)
            waiting.extend(branches if isinstance(branches, list) else [])


def _resolved(root: dict[str, Any], reference: str) -> Any:
    place: Any = root
    for token in unquote(reference[1:]).split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list):
            place = place[int(key)] if key.isascii() and key.isdigit() and int(key) < len(place) else None
        else:
            place = place.get(key) if isinstance(place, dict) else None
    return place


def _children(schema: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    properties, items = schema.get("properties"), schema.get("items")
    found = [properties.get(name)] if isinstance(properties, dict) else []
    if name.isascii() and name.isdigit():
        found.append(items)
    for child in found:
        if child is True:
            yield {}
        elif isinstance(child, dict):
            yield child


def _collect(root: dict[str, Any], places: Sequence[Any], above: tuple[str, ...], found: dict[str, None]) -> None:
    for place in places:
        for part in _opened(root, place):
            properties = part.get("properties")
            for name, child in properties.items() if isinstance(properties, dict) else ():
                if len(found) >= _LISTED or (not above and name in _RUNTIME_KEYS) or "." in name:
                    continue
                path = (*above, name)
                found[".".join(path)] = None
                if len(path) < _DEPTH:
                    _collect(root, [child], path, found)


def _types(schema: dict[str, Any]) -> list[Any]:
    kind = schema.get("type", [])
    return kind if isinstance(kind, list) else [kind]


def _takes_integer(parts: Sequence[dict[str, Any]]) -> bool:
    return any("integer" in _types(part) for part in parts)


def describe_bounds(low: int | None, high: int | None) -> str:
    """`0 to 4294967295`, `at least 0`, ..."""
    match low, high:
        case None, None:
            return "any integer"
        case _, None:
            return f"at least {describe(low)}"
        case None, _:
            return f"at most {describe(high)}"
        case _:
            return f"{describe(low)} to {describe(high)}"
