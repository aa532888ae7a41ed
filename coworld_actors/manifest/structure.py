"""Does a JSON value have the shape of a Struct? Every deviation at once, each with path, what was found and what is allowed.

msgspec stops at the first wrong value. This walk asks msgspec for the description of a Struct and compares the whole value
with it, so that shapes are still written down once: in the Structs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import inspect

from coworld_actors.manifest.document import describe, json_path
from coworld_protocol.errors import Problem

__all__ = ["Deviations", "compare"]

Path = tuple[str | int, ...]

_NAMES: Final[dict[type[inspect.Type], str]] = {
    inspect.StrType: "a text",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.BoolType: "true or false",
    inspect.NoneType: "null",
    inspect.StructType: "an object",
    inspect.DictType: "an object",
    inspect.VarTupleType: "a list",
}


class Deviations(msgspec.Struct, frozen=True, kw_only=True):
    """What the walk found.

    Attributes:
        problems: values that the Struct cannot hold.
        unknown: keys that the Struct does not have, as paths with the nearest known key; whether that matters is the
            caller's decision.
    """

    problems: tuple[Problem, ...]
    unknown: tuple[Problem, ...]


def compare(value: Any, shape: type[msgspec.Struct], path: Path = ()) -> Deviations:
    """Compares a JSON value with a Struct.

    `msgspec.convert(value, shape)` succeeds exactly when there are no problems.

    Args:
        value: what `json.loads` gives.
        shape: the Struct.
        path: where the value sits in its document.
    """
    problems: list[Problem] = []
    unknown: list[Problem] = []
    for is_unknown, problem in _walk(value, inspect.type_info(shape), path):
        (unknown if is_unknown else problems).append(problem)
    return Deviations(problems=tuple(problems), unknown=tuple(unknown))


Found = Iterator[tuple[bool, Problem]]


def _walk(value: Any, shape: inspect.Type, path: Path) -> Found:
    match shape:
        case inspect.StructType():
            yield from _struct(value, shape, path)
        case inspect.UnionType():
            yield from _union(value, shape, path)
        case inspect.VarTupleType():
            yield from _list(value, shape, path)
        case inspect.DictType():
            yield from _dict(value, shape, path)
        case inspect.StrType() if isinstance(value, str):
            yield from _text(value, shape, path)
        case inspect.IntType() if isinstance(value, int) and not isinstance(value, bool):
            low, high = shape.ge, shape.le
            if (low is not None and value < low) or (high is not None and value > high):
                yield _problem(path, value, _bounds(low, high))
        case inspect.LiteralType() | inspect.EnumType():
            options = _options(shape)
            if not any(type(value) is type(option) and value == option for option in options):
                yield _problem(path, value, "one of " + ", ".join(describe(option) for option in options))
        case inspect.AnyType():
            return
        case inspect.NoneType() if value is None:
            return
        case _ if type(shape) in _NAMES:
            yield _problem(path, value, _NAMES[type(shape)])
        case _:
            raise TypeError(f"no rule for {shape!r}; add one beside the others")


def _struct(value: Any, shape: inspect.StructType, path: Path) -> Found:
    if not isinstance(value, dict):
        yield _problem(path, value, "an object")
        return
    fields = {field.encode_name: field for field in shape.fields}
    if shape.tag_field is not None and value.get(shape.tag_field) != shape.tag:
        yield _problem((*path, shape.tag_field), value.get(shape.tag_field), describe(shape.tag))
    for name, field in fields.items():
        if name in value:
            yield from _walk(value[name], field.type, (*path, name))
        elif field.required:
            yield False, Problem(path=json_path((*path, name)), found="nothing", allowed=_summary(field.type))
    known = [*fields, *([shape.tag_field] if shape.tag_field is not None else [])]
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"`{near[0]}`" if near else "one of " + ", ".join(known)
            yield True, Problem(path=json_path((*path, key)), found="an unknown key", allowed=hint)


def _union(value: Any, shape: inspect.UnionType, path: Path) -> Found:
    options = [option for option in shape.types if not isinstance(option, inspect.NoneType)]
    if value is None and len(options) < len(shape.types):
        return
    if len(options) == 1:
        yield from _walk(value, options[0], path)
        return
    tagged = [option for option in options if isinstance(option, inspect.StructType)]
    if len(tagged) != len(options):
        raise TypeError(f"no rule for {shape!r}; only tagged unions are known")
    if not isinstance(value, dict):
        yield _problem(path, value, "an object with `type` and `value`")
        return
    tag_field = tagged[0].tag_field or "type"
    if tag_field not in value:
        tags = ", ".join(describe(option.tag) for option in tagged)
        yield False, Problem(path=json_path((*path, tag_field)), found="nothing", allowed=f"one of {tags}")
        return
    for option in tagged:
        if option.tag == value[tag_field]:
            yield from _struct(value, option, path)
            return
    yield _problem((*path, tag_field), value[tag_field], "one of " + ", ".join(describe(each.tag) for each in tagged))


def _list(value: Any, shape: inspect.VarTupleType, path: Path) -> Found:
    if not isinstance(value, list):
        yield _problem(path, value, "a list")
        return
    if shape.min_length is not None and len(value) < shape.min_length:
        yield _problem(path, value, f"a list of at least {shape.min_length}")
    for index, item in enumerate(value):
        yield from _walk(item, shape.item_type, (*path, index))


def _dict(value: Any, shape: inspect.DictType, path: Path) -> Found:
    if not isinstance(value, dict):
        yield _problem(path, value, "an object")
        return
    for key, item in value.items():
        yield from _walk(item, shape.value_type, (*path, key))


def _text(value: str, shape: inspect.StrType, path: Path) -> Found:
    if shape.min_length is not None and len(value) < shape.min_length:
        yield _problem(path, value, "a text that is not empty")
    elif shape.max_length is not None and len(value) > shape.max_length:
        yield _problem(path, value, f"a text of at most {shape.max_length} characters")
    elif shape.pattern is not None and re.search(shape.pattern, value) is None:
        yield _problem(path, value, f"a text that matches {shape.pattern}")


def _options(shape: inspect.LiteralType | inspect.EnumType) -> list[Any]:
    return [each.value for each in shape.cls] if isinstance(shape, inspect.EnumType) else list(shape.values)


def _bounds(low: float | None, high: float | None) -> str:
    return f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"


def _summary(shape: inspect.Type) -> str:
    """What a missing value would have to be, in one phrase."""
    match shape:
        case inspect.StrType(min_length=minimum) if minimum:
            return "a text that is not empty"
        case inspect.VarTupleType(min_length=minimum) if minimum:
            return f"a list of at least {minimum}"
        case inspect.LiteralType() | inspect.EnumType():
            return "one of " + ", ".join(describe(option) for option in _options(shape))
        case inspect.UnionType():
            return "an object with `type` and `value`"
        case _:
            return _NAMES[type(shape)]


def _problem(path: Path, value: Any, allowed: str) -> tuple[bool, Problem]:
    return False, Problem(path=json_path(path), found=describe(value), allowed=allowed)
