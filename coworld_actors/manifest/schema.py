"""JSON Schemas of strangers: checked before use, never fetched for, never executed, never given more work than there is time for.

The validator of record is jsonschema-rs, by the draft that `$schema` names (2020-12 when it names none), with formats checked
and with regular expressions that run in linear time. Schemas of the plain subset are answered by fastjsonschema first, and
only a no is asked again for its reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Any, Final, final

import jsonschema_rs

from coworld_actors.manifest.document import describe, json_path, printable
from coworld_actors.manifest.schema_graph import build_graph
from coworld_actors.manifest.schema_plain import compile_plain, plain_copy
from coworld_actors.manifest.schema_work import WORK_LIMIT, WorkMeter
from coworld_protocol.errors import ManifestRefused, Problem

__all__ = ["DEFAULT_DRAFT", "PROBLEM_LIMIT", "Validator", "check_schema", "compile_schema"]

PROBLEM_LIMIT: Final = 50
"""Problems named for one value; a list of a million wrong numbers is one mistake."""

LISTING_LIMIT: Final = 1_000_000
"""Work up to which all problems of a value are listed, and beyond which the first must do. Four thousand wrong values beside
an `enum` of two thousand took 0.9 GB to list."""

DEFAULT_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

_DRAFTS: Final[dict[str, type[jsonschema_rs.Validator]]] = {
    DEFAULT_DRAFT: jsonschema_rs.Draft202012Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema_rs.Draft201909Validator,
    "http://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
    "http://json-schema.org/draft-06/schema": jsonschema_rs.Draft6Validator,
    "http://json-schema.org/draft-04/schema": jsonschema_rs.Draft4Validator,
}
_DRAFT_4: Final = "http://json-schema.org/draft-04/schema"

_PATTERN_SIZES: Final = tuple(2**power for power in range(14, 21))
"""Sizes of a compiled expression, in bytes. The last one admits `.{1,1000}` and `\\S{1,256}`; it costs up to 120 microseconds
per character in the worst case known, the first one 2, so the work per character doubles from step to step."""


@final
class Validator:
    """A compiled schema. Made by `compile_schema`.

    Attributes:
        plain: whether fastjsonschema gives the first answer.
    """

    def __init__(self, schema: dict[str, Any], meter: WorkMeter) -> None:
        self._schema = schema
        self._meter = meter
        self._validator = _validator_class(schema)(
            schema, validate_formats=True, pattern_options=_pattern_options(_PATTERN_SIZES[-1]), offline=True
        )
        self._accepts = _compile_plain(schema)
        self.plain = self._accepts is not None

    def accepts(self, value: Any) -> bool:
        """Whether `value` obeys the schema; the quick question."""
        return self._refusal(value, "$") is None

    def problems(self, value: Any, path: str = "$", *, secret: Collection[str] = ()) -> list[Problem]:
        """Everything that is wrong with a value, at most `PROBLEM_LIMIT` of them and a last one that says so.

        Args:
            value: what `parse_json` gives.
            path: JSON path of the value in its document.
            secret: keys of the top-level object whose values must not be shown.
        """
        refusal = self._refusal(value, path)
        if refusal is None:
            return []
        if refusal:
            return refusal
        # The library builds every error with copies of what it is about before it hands out the first one.
        if self._meter.within(LISTING_LIMIT, value):
            errors = list(islice(self._validator.iter_errors(value), PROBLEM_LIMIT + 1))
        elif not self._meter.branches:
            errors = [self._first(value)]
        else:
            allowed = (
                "a value that obeys the schema; with so many alternatives it is too large to say where it does not"
            )
            return [Problem(path=path, found=describe(value), allowed=allowed)]
        problems = _distinct(each for error in errors for each in _explain(error, value, path, secret))
        if len(errors) > PROBLEM_LIMIT:
            problems[PROBLEM_LIMIT:] = [
                Problem(path=path, found="further problems", allowed="none; these are the first")
            ]
        return problems

    def _refusal(self, value: Any, path: str) -> list[Problem] | None:
        """None for a valid value; the problems of one that cannot be looked at; an empty list for one with problems to name."""
        if self._accepts is not None and self._accepts(value):
            return None
        if not self._meter.within(WORK_LIMIT, value):
            found = "a value that would take this schema too long to check"
            allowed = "a smaller value, or a schema that looks at each part of it once"
            return [Problem(path=path, found=found, allowed=allowed)]
        try:
            return None if self._validator.is_valid(value) else []
        except UnicodeEncodeError:
            return [Problem(path=path, found="half of a surrogate pair in a text", allowed="whole characters")]
        except ValueError:
            return [Problem(path=path, found="a value nested too deeply to check", allowed="at most 255 levels")]

    def _first(self, value: Any) -> jsonschema_rs.ValidationError:
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return error
        raise AssertionError("called for values that are not valid")


def check_schema(schema: Any, path: str = "$") -> list[Problem]:
    """Everything that makes a schema unusable here: it is no schema of its draft, it is too much, or it is not safe.

    Args:
        schema: what a manifest gives for a schema; only objects will do.
        path: its JSON path in the manifest.
    """
    return _check(schema, path)[0]


def compile_schema(schema: dict[str, Any], *, source: str = "the schema") -> Validator:
    """Compiles a schema.

    Raises:
        ManifestRefused: `check_schema` finds problems.
    """
    problems, meter = _check(schema, "$")
    if meter is None:
        raise ManifestRefused(source, problems)
    return Validator(schema, meter)


def _check(schema: Any, path: str) -> tuple[list[Problem], WorkMeter | None]:
    if not isinstance(schema, dict):
        return [Problem(path=path, found=describe(schema), allowed="a JSON Schema object")], None
    if _draft(schema) is None:
        drafts = ", ".join(_DRAFTS)
        return [Problem(path=f"{path}.$schema", found=describe(schema["$schema"]), allowed=f"one of {drafts}")], None
    graph = build_graph(schema, path)
    problems = list(graph.problems)
    weights: dict[str, int] = {}
    for pointer, pattern in graph.pattern_paths:
        weight = weights[pattern] if pattern in weights else _pattern_weight(pattern)
        if weight is None:
            problems.append(
                Problem(
                    path=json_path(pointer, path),
                    found=describe(pattern),
                    allowed="a regular expression of moderate size without look-around and back-references,"
                    " which no engine matches in bounded time",
                )
            )
        else:
            weights[pattern] = weight
    if problems:
        return problems, None
    meter = WorkMeter(graph, weights)
    hopeless = meter.hopeless()
    if hopeless is not None:
        ways = f"more than {WORK_LIMIT} ways into its own parts"
        problems = [Problem(path=json_path(hopeless, path), found=ways, allowed="a schema that names each part once")]
    problems = problems or _against_meta_schema(schema, path) or _uncompilable(schema, path)
    return problems, None if problems else meter


def _draft(schema: dict[str, Any]) -> str | None:
    named = schema.get("$schema", DEFAULT_DRAFT)
    if not isinstance(named, str):
        return None
    draft = named.removesuffix("#")
    return draft if draft in _DRAFTS else None


def _validator_class(schema: dict[str, Any]) -> type[jsonschema_rs.Validator]:
    return _DRAFTS[_draft(schema) or DEFAULT_DRAFT]


def _compile_plain(schema: dict[str, Any]) -> Callable[[Any], bool] | None:
    # Draft 4 spells exclusive bounds as booleans beside the bound.
    copy = None if _draft(schema) == _DRAFT_4 else plain_copy(schema)
    return None if copy is None else compile_plain(copy)


def _pattern_options(size: int) -> jsonschema_rs.RegexOptions:
    return jsonschema_rs.RegexOptions(size_limit=size)


def _pattern_weight(pattern: str) -> int | None:
    """Work per character that an expression may cost; None when it cannot be used at all."""
    for step, size in enumerate(_PATTERN_SIZES):
        try:
            jsonschema_rs.Draft202012Validator(
                {"pattern": pattern}, pattern_options=_pattern_options(size), offline=True
            )
        except ValueError:
            continue
        return 16 << step
    return None


def _against_meta_schema(schema: dict[str, Any], path: str) -> list[Problem]:
    draft = _draft(schema) or DEFAULT_DRAFT
    # The meta-schemas are part of jsonschema-rs; a reference to one is no fetch.
    meta = _DRAFTS[draft]({"$ref": draft}, validate_formats=False, offline=True)
    try:
        return _distinct(
            each for error in islice(meta.iter_errors(schema), 500) for each in _explain(error, schema, path, ())
        )
    except ValueError:
        return [Problem(path=path, found="a schema nested too deeply", allowed="at most 255 levels")]


def _uncompilable(schema: dict[str, Any], path: str) -> list[Problem]:
    try:
        _validator_class(schema)(
            schema, validate_formats=True, pattern_options=_pattern_options(_PATTERN_SIZES[-1]), offline=True
        )
    except jsonschema_rs.ValidationError as error:
        return [
            Problem(
                path=json_path(error.instance_path, path),
                found=printable(error.message[:200]),
                allowed="a usable keyword",
            )
        ]
    except ValueError as error:
        return [Problem(path=path, found=printable(str(error)[:200]), allowed="a schema that can be compiled")]
    return []


def _distinct(problems: Iterable[Problem]) -> list[Problem]:
    """Branches of a schema may complain about the same place in the same words."""
    return list(dict.fromkeys(problems))


def _explain(error: jsonschema_rs.ValidationError, whole: Any, root: str, secret: Collection[str]) -> list[Problem]:
    where = list(error.instance_path)
    path = json_path(where, root)
    kind, names = error.kind, jsonschema_rs.ValidationErrorKind
    hidden = bool(where) and where[0] in secret
    found = "a value that is not shown" if hidden else describe(error.instance)
    match kind:
        case names.Required(property=missing):
            return [
                Problem(path=json_path([*where, missing], root), found="nothing", allowed="a value; it is required")
            ]
        case names.AdditionalProperties(unexpected=keys) | names.UnevaluatedProperties(unexpected=keys):
            return _unknown_keys(keys, where, root)
        case names.PropertyNames(error=inner):
            return [Problem(path=path, found=f"the key {describe(inner.instance)}", allowed=_allowed(inner))]
        case names.FalseSchema() if error.schema_path[-1:] == ["additionalProperties"]:
            # The library's words for an object that may have no key at all: it names the object and shows one value.
            for part in where:
                whole = whole[part]
            return _unknown_keys(list(whole), where, root)
        case names.FalseSchema():
            return [Problem(path=path, found=found, allowed="nothing; no value may stand here")]
        case _:
            return [Problem(path=path, found=found, allowed=_allowed(error))]


def _unknown_keys(keys: list[str], where: list[str | int], root: str) -> list[Problem]:
    return [
        Problem(path=json_path([*where, key], root), found="an unknown key", allowed="no further keys here")
        for key in keys[:PROBLEM_LIMIT]
    ]


_PHRASES: Final[dict[str, str]] = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
    "pattern": "a text that matches {}",
    "format": "a text of format {}",
    "const": "{}",
    "uniqueItems": "items that differ from each other",
    "contains": "a list with an item of the demanded kind",
    "anyOf": "a value that one of the alternatives takes",
    "oneOf": "a value that exactly one of the alternatives takes",
    "not": "a value that the negated schema does not take",
}


def _allowed(error: jsonschema_rs.ValidationError) -> str:
    kind = error.kind
    keyword = kind.name
    phrase = _PHRASES.get(keyword, f"what `{keyword}` demands")
    if keyword == "type":
        return " or ".join(sorted(kind.value)) if isinstance(kind.value, list) else str(kind.value)
    if keyword == "enum" and isinstance(kind.value, list):
        shown = ", ".join(describe(each) for each in kind.value[:20])
        return f"one of {shown}" + (f" and {len(kind.value) - 20} more" if len(kind.value) > 20 else "")
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.AnyOf):
        # One demand per branch reads better than the general phrase, where a branch has one and it is about this place.
        demands = [
            _allowed(branch[0])
            for branch in kind.context
            if len(branch) == 1 and branch[0].instance_path == error.instance_path
        ]
        if len(demands) == len(kind.context) <= 4:
            return " or ".join(dict.fromkeys(demands))
    if "{}" not in phrase:
        return phrase
    # Without quotes where the keyword names no value of the document, such as a pattern.
    bare = isinstance(kind.value, str) and keyword != "const"
    return phrase.format(printable(kind.value[:200]) if bare else describe(kind.value))
