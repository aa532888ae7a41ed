"""Schemas of strangers: what is refused, what is answered, and that nothing in them can hang or break us."""

from __future__ import annotations

import time
from typing import Any

import pytest

from coworld_actors.manifest.schema import PROBLEM_LIMIT, check_schema, compile_schema
from coworld_protocol.errors import ManifestRefused

BASE = "$.game.config_schema"
TOO_LONG = (
    "$: found a value that would take this schema too long to check; "
    "allowed: a smaller value, or a schema that looks at each part of it once"
)


def refused(schema: Any) -> list[str]:
    return [str(problem) for problem in check_schema(schema, BASE)]


def answer(schema: dict[str, Any], value: Any) -> list[str]:
    return [str(problem) for problem in compile_schema(schema).problems(value)]


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:9/x", "https://example.org/s.json", "file:///etc/passwd", "other.json", "//host/x", "urn:x"],
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_references_elsewhere_are_refused_with_their_place(target: str, keyword: str) -> None:
    """Nothing is fetched, by whatever scheme, and the refusal says where the reference stands."""
    (problem,) = refused({"properties": {"a": {"items": {keyword: target}}}})
    assert problem == (
        f'{BASE}.properties.a.items.{keyword}: found "{target}"; '
        "allowed: a reference into the same schema (`#/$defs/...`); others are never fetched"
    )


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (
            {"$ref": "#/$defs/none"},
            f'{BASE}.$ref: found "#/$defs/none"; allowed: the place of a subschema in this schema; nothing is there',
        ),
        ({"items": {"$ref": "#none"}}, f'{BASE}.items.$ref: found "#none"; allowed: an anchor that the schema has'),
        ({"$ref": 7}, f"{BASE}.$ref: found 7; allowed: a text that starts with `#`"),
        (
            {"properties": {"a": {"$id": "https://example.org/a"}}},
            (
                f'{BASE}.properties.a.$id: found "https://example.org/a"; '
                "allowed: no `$id` inside a schema; name parts with `#/$defs/...`"
            ),
        ),
        ([], f"{BASE}: found an empty list; allowed: a JSON Schema object"),
        ({"minimum": "x"}, f'{BASE}.minimum: found "x"; allowed: number'),
        ({"properties": {"a": 3}}, f"{BASE}.properties.a: found 3; allowed: boolean or object"),
    ],
)
def test_unusable_schemas_are_refused(schema: Any, problem: str) -> None:
    """References into nothing, and what the draft does not allow."""
    assert refused(schema) == [problem]


def test_all_mistakes_of_a_schema_are_named() -> None:
    """One look at a schema finds every wrong keyword."""
    schema = {"required": "a", "properties": {"b": {"minLength": -1}, "c": {"enum": 1}}}
    assert sorted(problem.partition(":")[0] for problem in refused(schema)) == [
        f"{BASE}.properties.b.minLength",
        f"{BASE}.properties.c.enum",
        f"{BASE}.required",
    ]


def test_unknown_draft_is_refused() -> None:
    """A meta-schema of a stranger is not fetched; the drafts that are known are listed."""
    (problem,) = refused({"$schema": "http://127.0.0.1:9/meta"})
    assert problem.startswith(
        f'{BASE}.$schema: found "http://127.0.0.1:9/meta"; allowed: one of https://json-schema.org/'
    )
    assert refused({"$schema": 4})


@pytest.mark.parametrize(
    ("draft", "accepts_one"),
    [
        ("http://json-schema.org/draft-04/schema#", False),
        ("http://json-schema.org/draft-07/schema#", True),
        ("https://json-schema.org/draft/2020-12/schema", True),
        (None, True),
    ],
)
def test_the_draft_decides(draft: str | None, accepts_one: bool) -> None:
    """`1.0` is an integer since draft 6 only; `$schema` chooses, and the newest draft is the default."""
    schema = {"type": "integer", **({} if draft is None else {"$schema": draft})}
    assert compile_schema(schema).accepts(1.0) is accepts_one


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"if": {"not": {"$ref": "#"}}},
        {
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}},
            "items": {"$ref": "#/$defs/a"},
        },
        {"$dynamicAnchor": "x", "oneOf": [{"$dynamicRef": "#x"}]},
        {"$anchor": "x", "dependentSchemas": {"k": {"$ref": "#x"}}},
    ],
)
def test_references_that_never_end_are_refused(schema: dict[str, Any]) -> None:
    """A reference that comes back without going into the value says nothing and never stops."""
    (problem,) = refused(schema)
    assert problem.endswith(
        "found a reference that comes back to itself without going into the value; allowed: references that end"
    )


def test_recursion_into_the_value_works() -> None:
    """Trees are fine: the value ends, so the recursion does."""
    tree = {"properties": {"children": {"items": {"$ref": "#"}}, "size": {"type": "integer"}}}
    assert answer(tree, {"size": 1, "children": [{"size": 2}, {"size": "x"}]}) == [
        '$.children[1].size: found "x"; allowed: integer'
    ]


@pytest.mark.parametrize("keyword", ["items", "not", "additionalProperties", "if"])
def test_deep_schemas_are_refused(keyword: str) -> None:
    """Ten thousand levels neither crash nor hang."""
    schema: dict[str, Any] = {}
    for _ in range(10_000):
        schema = {keyword: schema}
    assert refused(schema) == [f"{BASE}: found more than 128 levels of nesting; allowed: a flatter schema"]


def test_huge_schemas_are_refused() -> None:
    """So is one of a million values."""
    assert refused({"enum": list(range(1_000_000))}) == [
        f"{BASE}: found more than 100000 values; allowed: a smaller schema"
    ]


def test_references_that_multiply_are_refused() -> None:
    """Forty levels of two references each are a million million visits for a single number."""
    parts: dict[str, Any] = {"n0": {"type": "integer"}}
    for level in range(1, 41):
        parts[f"n{level}"] = {"allOf": [{"$ref": f"#/$defs/n{level - 1}"}] * 2}
    (problem,) = refused({"$defs": parts, "$ref": "#/$defs/n40"})
    assert "found more than 20000000 ways into its own parts; allowed: a schema that names each part once" in problem


def test_nested_unevaluated_keywords_are_refused() -> None:
    """Each of them goes through everything below again, which multiplies with the depth."""
    schema: dict[str, Any] = {"properties": {"a": {"type": "integer"}}}
    for _ in range(30):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    assert len(refused(schema)) == 1


def test_recursion_that_doubles_with_every_level_is_not_followed() -> None:
    """A value deep enough to take 2**100 visits is turned away; a shallow one is checked."""
    schema = {"allOf": [{"properties": {"a": {"$ref": "#"}}}] * 2, "maxProperties": 1}
    value: dict[str, Any] = {}
    for _ in range(5):
        value = {"a": value}
    assert answer(schema, value) == []
    for _ in range(95):
        value = {"a": value}
    assert answer(schema, value) == [TOO_LONG]


def test_large_enums_times_large_lists_are_not_compared() -> None:
    """Twenty thousand items against twenty thousand options took the validator 19 s."""
    schema = {"items": {"enum": [[number] for number in range(20_000)]}}
    assert answer(schema, [[number] for number in range(20_000)]) == [TOO_LONG]
    assert answer(schema, [[3], [19_999]]) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^(a+)+$"},
        {"pattern": "^(a|a)*$"},
        {"pattern": "(.*)*(.*)*(.*)*x$"},
        {"type": "string", "pattern": "^([a-z]+)*@"},
    ],
)
def test_patterns_run_in_linear_time(schema: dict[str, Any]) -> None:
    """Expressions that back-tracking engines take years for are answered at once."""
    started = time.monotonic()
    assert len(answer(schema, "a" * 50_000 + "!")) == 1
    assert time.monotonic() - started < 20


def test_key_patterns_run_in_linear_time() -> None:
    """`patternProperties` and `propertyNames` are matched by the same engine."""
    key = "a" * 50_000 + "!"
    started = time.monotonic()
    assert answer({"patternProperties": {"^(a+)+$": False}}, {key: 1}) == []
    assert len(answer({"propertyNames": {"pattern": "^(a+)+$"}}, {key: 1})) == 1
    assert time.monotonic() - started < 20


def test_costly_patterns_are_not_run_over_long_texts() -> None:
    """Linear time with a large expression is still long: such a text is turned away, a short one is answered."""
    schema = {"pattern": "^[a-z]*(a?){5000}a{5000}b$"}
    assert answer(schema, "a" * 100_000) == [TOO_LONG]
    assert answer(schema, "b") == [f'$: found "b"; allowed: a text that matches {schema["pattern"]}']


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(?<!a)b", "(", "((a{100}){100}){100}"])
@pytest.mark.parametrize("place", ["pattern", "patternProperties"])
def test_unsafe_patterns_are_refused_with_their_place(pattern: str, place: str) -> None:
    """Look-around, back-references, mistakes and giants are no patterns here."""
    schema = {"items": {place: pattern if place == "pattern" else {pattern: True}}}
    (problem,) = refused(schema)
    assert problem.startswith(f"{BASE}.items.{place}")
    assert problem.endswith(
        "allowed: a regular expression of moderate size without look-around and back-references, "
        "which no engine matches in bounded time"
    )


def test_schema_text_is_never_executed(tmp_path: Any) -> None:
    """Code in names, texts and defaults of a schema stays text, also for values that reach every branch."""
    marker = tmp_path / "executed"
    code = f"\"'{{}}\n__import__('pathlib').Path({str(marker)!r}).touch()\n#"
    for schema in (
        {"properties": {code: {"type": "integer", "default": code}}, "required": [code]},
        {"enum": [code, code + "x"]},
        {"const": code},
        {"title": code, "description": code, "$comment": code, "type": "object"},
        {"properties": {"a": {"title": code, "minimum": 1}}, "additionalProperties": False},
    ):
        validator = compile_schema(schema)
        for value in ({code: 1}, {code: "x"}, {}, code, {"a": 0}):
            validator.problems(value)
    assert not marker.exists()


def test_values_are_never_changed() -> None:
    """Defaults of a schema are remarks; a validated value stays as it was."""
    value: dict[str, Any] = {}
    assert answer({"properties": {"a": {"type": "integer", "default": 3}}}, value) == []
    assert value == {}


def test_formats_are_checked() -> None:
    """A declared format is a demand."""
    assert answer({"format": "date"}, "soon") == ['$: found "soon"; allowed: a text of format date']


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({"type": ["integer", "null"]}, "x", '$: found "x"; allowed: integer or null'),
        ({"enum": ["a", 1]}, "b", '$: found "b"; allowed: one of "a", 1'),
        ({"const": "a"}, "b", '$: found "b"; allowed: "a"'),
        ({"minimum": 3}, 2, "$: found 2; allowed: at least 3"),
        ({"exclusiveMaximum": 3}, 3, "$: found 3; allowed: less than 3"),
        ({"multipleOf": 2}, 3, "$: found 3; allowed: a multiple of 2"),
        ({"minLength": 2}, "a", '$: found "a"; allowed: at least 2 characters'),
        ({"maxItems": 1}, [1, 2], "$: found a list of 2; allowed: at most 1 items"),
        ({"minProperties": 1}, {}, "$: found an empty object; allowed: at least 1 keys"),
        ({"uniqueItems": True}, [1, 1], "$: found a list of 2; allowed: items that differ from each other"),
        ({"required": ["a"]}, {}, "$.a: found nothing; allowed: a value; it is required"),
        ({"additionalProperties": False}, {"a b": 1}, '$["a b"]: found an unknown key; allowed: no further keys here'),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, '$: found the key "ab"; allowed: at most 1 characters'),
        ({"properties": {"a": False}}, {"a": 1}, "$.a: found 1; allowed: nothing; no value may stand here"),
        ({"anyOf": [{"type": "null"}, {"minimum": 5}]}, 3, "$: found 3; allowed: null or at least 5"),
        ({"not": {"type": "null"}}, None, "$: found null; allowed: a value that the negated schema does not take"),
        ({"contains": {"const": 1}}, [2], "$: found a list of 1; allowed: a list with an item of the demanded kind"),
    ],
)
def test_problems_say_what_is_allowed(schema: dict[str, Any], value: Any, problem: str) -> None:
    """Every keyword that people use has its phrase."""
    assert answer(schema, value) == [problem]


def test_problems_are_counted_out() -> None:
    """A list of a hundred thousand wrong items is not a hundred thousand lines."""
    problems = answer({"items": {"type": "string"}}, list(range(100_000)))
    assert len(problems) == PROBLEM_LIMIT + 1
    assert problems[-1] == "$: found further problems; allowed: none; these are the first"


def test_only_the_first_problem_is_named_where_a_list_would_fill_the_memory() -> None:
    """Each problem carries a copy of what it is about: here two thousand options, four thousand times."""
    schema = {"items": {"enum": [[number] for number in range(2000)]}}
    (problem,) = answer(schema, [[-number] for number in range(1, 4000)])
    assert problem.startswith("$[0]: found a list of 1; allowed: one of a list of 1, ")
    (problem,) = answer({"anyOf": [schema, {"type": "null"}]}, [[-number] for number in range(1, 4000)])
    assert problem.endswith("with so many alternatives it is too large to say where it does not")


def test_secret_values_are_not_shown() -> None:
    """A wrong token is not printed."""
    validator = compile_schema({"properties": {"tokens": {"items": {"maxLength": 3}}}})
    (problem,) = validator.problems({"tokens": ["hidden"]}, secret={"tokens"})
    assert str(problem) == "$.tokens[0]: found a value that is not shown; allowed: at most 3 characters"


@pytest.mark.parametrize(
    "schema", [{"items": {"$ref": "#"}}, {"type": ["array", "null"], "minItems": 0, "pattern": "a"}]
)
def test_deep_values_get_an_answer(schema: dict[str, Any]) -> None:
    """A result nested ten thousand deep does not exhaust the stack."""
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    assert isinstance(answer(schema, value), list)


def test_half_a_surrogate_pair_gets_an_answer() -> None:
    """Python can hold a text that no encoder takes; it is a problem, not a crash."""
    assert answer({"pattern": "a"}, "\ud800") == [
        "$: found half of a surrogate pair in a text; allowed: whole characters"
    ]


def test_compiling_an_unusable_schema_is_refused() -> None:
    """`compile_schema` needs no caller who has checked before."""
    with pytest.raises(ManifestRefused, match="results schema is refused: 1 problem"):
        compile_schema({"type": "lst"}, source="the results schema")


@pytest.mark.parametrize(
    "draft", ["http://json-schema.org/draft-04/schema#", "https://json-schema.org/draft/2020-12/schema"]
)
def test_old_exclusive_bounds_are_understood(draft: str) -> None:
    """Draft 4 spells them as booleans, which the plain subset leaves to the validator of record."""
    old = "draft-04" in draft
    schema = {"$schema": draft, **({"minimum": 1, "exclusiveMinimum": True} if old else {"exclusiveMinimum": 1})}
    validator = compile_schema(schema)
    assert (validator.accepts(1), validator.accepts(2), validator.plain) == (False, True, not old)
