"""The plain subset of JSON Schema, compiled by fastjsonschema.

fastjsonschema writes Python source from a schema and executes it. Here it only ever sees a schema that was built anew from a
closed list of keywords, with names and texts from a safe alphabet, whole numbers and finite floats: no text of a stranger
reaches the generated source in any other form. What it would understand differently from the drafts since 2019 (`items` as a
list, `$ref` with neighbours, `enum` of numbers, where Python takes 1 for true) is not in the list, so its yes is a yes of
every draft from 6 on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

import fastjsonschema

__all__ = ["compile_plain", "plain_copy"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEPTH: Final = 8  # nested lists become nested loops, of which Python allows 20 in one function
_VALUES: Final = 1000
_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_COUNTS: Final = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_REMARKS: Final = frozenset(
    {"$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
)
"""Say nothing about validity; they are left out of the copy."""


class _NotPlainError(Exception):
    pass


def plain_copy(schema: Any) -> dict[str, Any] | None:
    """A copy of `schema` that says the same in the plain subset; None when there is none.

    Args:
        schema: a schema of draft 6 or later.
    """
    if not isinstance(schema, dict):
        return None
    budget = [_VALUES]
    try:
        copy = _schema({key: value for key, value in schema.items() if key != "$schema"}, _DEPTH, budget)
    except _NotPlainError:
        return None
    return {"$schema": "http://json-schema.org/draft-07/schema#", **copy}


def compile_plain(copy: dict[str, Any]) -> Callable[[Any], bool] | None:
    """Compiles what `plain_copy` returned into a yes or no; None for a schema that fastjsonschema takes for a mistake.

    It does so with a closed object that requires a key it has not; such a schema is valid, no object obeys it.
    """
    try:
        run: Callable[[Any], Any] = fastjsonschema.compile(copy, use_default=False, detailed_exceptions=False)
    except fastjsonschema.JsonSchemaDefinitionException:
        return None

    def accepts(value: Any) -> bool:
        try:
            run(value)
        except fastjsonschema.JsonSchemaValueException:
            return False
        return True

    return accepts


def _schema(schema: Any, depth: int, budget: list[int]) -> dict[str, Any]:
    if not isinstance(schema, dict) or depth == 0:
        raise _NotPlainError
    return {key: _value(key, value, depth, budget) for key, value in schema.items() if key not in _REMARKS}


def _value(key: str, value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise _NotPlainError
    match key, value:
        case "type", str() if value in _TYPES:
            return value
        case (("type" | "required" | "enum"), list()) if value:
            budget[0] -= len(value)
            allowed = _TYPES.__contains__ if key == "type" else _is_name
            if len(set(map(repr, value))) == len(value) and all(
                isinstance(each, str) and allowed(each) for each in value
            ):
                return list(value)
        case "properties", dict() if all(map(_is_name, value)):
            return {name: _schema(each, depth - 1, budget) for name, each in value.items()}
        case "additionalProperties", bool():
            return value
        case "additionalProperties", dict():
            # fastjsonschema takes an empty schema for false when it looks for required keys that cannot be.
            return _schema(value, depth - 1, budget) or True
        case "items", dict():
            return _schema(value, depth - 1, budget)
        case _, int() if key in _COUNTS and not isinstance(value, bool) and 0 <= value < 2**31:
            return value
        case _, int() | float() if key in _BOUNDS and not isinstance(value, bool) and math.isfinite(value):
            if abs(value) < 2**53:
                return value
        case _:
            pass
    raise _NotPlainError


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None
