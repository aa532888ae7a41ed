"""The plain subset: what is in it, what is not, and that both validators say the same about it."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coworld_actors.manifest.schema_plain import compile_plain, plain_copy

RESULTS = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Results",
    "type": "object",
    "additionalProperties": False,
    "required": ["scores"],
    "properties": {
        "scores": {"type": "array", "minItems": 1, "items": {"type": "number"}},
        "ticks": {"type": "integer", "minimum": 0, "description": "of the clock", "default": 0},
    },
}


def test_a_typical_results_schema_is_plain() -> None:
    """What games usually write is in the subset; remarks are left out of the copy."""
    copy = plain_copy(RESULTS)
    assert copy is not None
    assert "title" not in copy
    assert "default" not in copy["properties"]["ticks"]
    accepts = compile_plain(copy)
    assert accepts is not None
    assert accepts({"scores": [1, 2.5], "ticks": 3})
    assert not accepts({"scores": []})
    assert not accepts({"scores": [True]})


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "a"},
        {"format": "date"},
        {"$ref": "#/$defs/a"},
        {"$defs": {}},
        {"prefixItems": []},
        {"items": [{}]},
        {"items": True},
        {"properties": {"a": True}},
        {"properties": {"a b": {}}},
        {"properties": {"{data}": {}}},
        {"properties": {'"': {}}},
        {"required": ["a\n"]},
        {"required": ["a" * 65]},
        {"enum": [1]},
        {"enum": ["a", None]},
        {"enum": ["a'"]},
        {"const": "a"},
        {"const": None},
        {"minimum": True},
        {"minimum": 2**60},
        {"minItems": -1},
        {"minItems": 1.0},
        {"type": "anything"},
        {"type": ["string", "string"]},
        {"unevaluatedProperties": False},
        {"dependentRequired": {}},
        {"allOf": [{}]},
        {"uniqueItems": True},
        {"multipleOf": 2},
        {"contains": {}},
        {"x-display": {}},
        True,
    ],
)
def test_everything_else_is_not(schema: Any) -> None:
    """The list is closed: what is not known to mean the same in both, or to be safe in source code, stays out."""
    assert plain_copy(schema) is None


def test_depth_and_size_are_bounded() -> None:
    """Generated source nests one loop per level, and Python allows twenty."""
    deep: dict[str, Any] = {"type": "integer"}
    for _ in range(7):
        deep = {"type": "array", "items": deep}
    copy = plain_copy(deep)
    assert copy is not None
    accepts = compile_plain(copy)
    assert accepts is not None
    assert accepts([[[[[[[1]]]]]]])
    assert plain_copy({"items": deep}) is None
    assert plain_copy({"properties": {f"p{number}": {"type": "null"} for number in range(1001)}}) is None


names = st.sampled_from(["a", "b", "scores", "A-b_9"])
bounds = st.integers(-3, 3) | st.floats(-3, 3)
types = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])
scalars = st.fixed_dictionaries(
    {},
    optional={
        "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
        "minimum": bounds,
        "maximum": bounds,
        "exclusiveMinimum": bounds,
        "exclusiveMaximum": bounds,
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(0, 3),
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "minProperties": st.integers(0, 2),
        "maxProperties": st.integers(0, 2),
        "required": st.lists(names, min_size=1, max_size=2, unique=True),
        "enum": st.lists(names, min_size=1, max_size=3, unique=True),
        "title": st.text(max_size=3),
    },
)
schemas = st.recursive(
    scalars,
    lambda inner: st.builds(
        lambda scalar, more: {**scalar, **more},
        scalars,
        st.fixed_dictionaries(
            {},
            optional={
                "properties": st.dictionaries(names, inner, max_size=3),
                "additionalProperties": st.booleans() | inner,
                "items": inner,
            },
        ),
    ),
    max_leaves=6,
)
numbers = (
    st.integers(-4, 4) | st.floats(-4, 4) | st.sampled_from([1.0, 0.0, -0.0, 2.0, 10**30, -(10**30), 1e300, 2**53 + 1])
)
values = st.recursive(
    st.none()
    | st.booleans()
    | numbers
    | names
    | st.text(max_size=4)
    | st.sampled_from(["é", "e\u0301", "👩‍🌾", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def impossible(schema: Any) -> bool:
    """Whether somewhere a closed object requires a key that it does not have."""
    if not isinstance(schema, dict):
        return False
    missing = set(schema.get("required", ())) - set(schema.get("properties", ()))
    parts = [*schema.get("properties", {}).values(), schema.get("additionalProperties"), schema.get("items")]
    return (schema.get("additionalProperties") is False and bool(missing)) or any(map(impossible, parts))


def test_a_schema_that_fastjsonschema_takes_for_a_mistake_is_left_to_the_other() -> None:
    """Valid, though no object obeys it."""
    copy = plain_copy({"required": ["a"], "additionalProperties": False})
    assert copy is not None
    assert compile_plain(copy) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=schemas, instances=st.lists(values, min_size=1, max_size=12))
def test_both_validators_agree_on_the_plain_subset(schema: dict[str, Any], instances: list[Any]) -> None:
    """The quick yes or no is that of the validator of record, for every draft since 6."""
    copy = plain_copy(schema)
    assert copy is not None
    accepts = compile_plain(copy)
    if accepts is None:
        assert impossible(schema)
        return
    for record in (
        jsonschema_rs.Draft202012Validator(schema, offline=True),
        jsonschema_rs.Draft201909Validator(schema, offline=True),
        jsonschema_rs.Draft7Validator(schema, offline=True),
        jsonschema_rs.Draft6Validator(schema, offline=True),
    ):
        assert [accepts(value) for value in instances] == [record.is_valid(value) for value in instances]
