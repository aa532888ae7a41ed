"""The bound on a validator's work: generous for honest documents, firm for others."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.manifest.schema_graph import build_graph
from coworld_actors.manifest.schema_work import WORK_LIMIT, WorkMeter


def meter(schema: dict[str, Any], **pattern_weight: int) -> WorkMeter:
    graph = build_graph(schema)
    assert graph.problems == []
    return WorkMeter(graph, {pattern: pattern_weight.get("each", 1) for _, pattern in graph.pattern_paths})


def chain(levels: int) -> dict[str, Any]:
    """Two ways into each level: a value costs `2 ** levels`."""
    parts: dict[str, Any] = {"n0": {}}
    for level in range(1, levels + 1):
        parts[f"n{level}"] = {"allOf": [{"$ref": f"#/$defs/n{level - 1}"}] * 2}
    return {"$defs": parts, "$ref": f"#/$defs/n{levels}"}


def test_doubling_levels_are_counted_and_not_followed() -> None:
    """Ten levels are affordable, thirty are not even for a number; a thousand are counted as quickly."""
    assert meter(chain(10)).within(WORK_LIMIT, 1)
    assert meter(chain(10)).hopeless() is None
    assert not meter(chain(30)).within(WORK_LIMIT, 1)
    assert meter(chain(30)).hopeless() is not None
    assert meter(chain(1000)).hopeless() is not None


def test_large_honest_results_are_affordable() -> None:
    """A million scores under an ordinary schema."""
    schema = {"properties": {"scores": {"items": {"type": "number", "minimum": 0}}}, "additionalProperties": False}
    assert meter(schema).within(WORK_LIMIT, {"scores": [1.5] * 1_000_000})


def test_linear_recursion_is_affordable() -> None:
    """Each node of a tree is visited once, whatever the depth."""
    schema = {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    value: dict[str, Any] = {}
    for _ in range(100):
        value = {"left": value, "right": {}}
    assert meter(schema).within(WORK_LIMIT, value)


def test_doubling_recursion_is_bounded_by_depth() -> None:
    """Two ways into one child double with each level."""
    schema = {"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}
    value: list[Any] = []
    for _ in range(10):
        value = [value]
    assert meter(schema).within(WORK_LIMIT, value)
    for _ in range(30):
        value = [value]
    assert not meter(schema).within(WORK_LIMIT, value)


def test_characters_count_where_patterns_are() -> None:
    """Texts and keys meet regular expressions at a price per character."""
    text = "a" * 1000
    price = WORK_LIMIT // 1000 + 1
    assert meter({"pattern": "a"}, each=1).within(WORK_LIMIT, text)
    assert not meter({"pattern": "a"}, each=price).within(WORK_LIMIT, text)
    assert not meter({"patternProperties": {"a": True}}, each=price).within(WORK_LIMIT, {text: 1})
    assert not meter({"propertyNames": {"pattern": "a"}}, each=price).within(WORK_LIMIT, {text: 1})
    assert meter({"properties": {"b": {"pattern": "a"}}}, each=price).within(WORK_LIMIT, {"a": text, "b": ""})


_schemas = st.recursive(
    st.sampled_from([{}, {"$ref": "#"}, {"type": "integer"}, {"enum": [1, 2]}]),
    lambda inner: (
        st.dictionaries(st.sampled_from(["items", "additionalProperties", "propertyNames"]), inner, max_size=2)
        | st.builds(lambda parts: {"properties": {"a": {"anyOf": parts}}}, st.lists(inner, min_size=1, max_size=3))
    ),
    max_leaves=8,
)
_values = st.recursive(
    st.integers() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=12,
)


def visits(graph: Any, number: int, value: Any) -> int:
    """The definition: one visit, and those of every subschema it leads to."""
    here = graph.locations[number]
    total = here.weight + sum(visits(graph, each, value) for each in here.here)
    if isinstance(value, dict):
        for key, part in value.items():
            total += sum(visits(graph, each, part) for each in [*here.named.get(key, ()), *here.keyed])
            total += sum(visits(graph, each, key) for each in here.names)
    elif isinstance(value, list):
        total += sum(visits(graph, each, part) for part in value for each in here.items)
    return int(total)


@settings(deadline=None)
@given(schema=_schemas, value=_values)
def test_the_exact_count_is_the_definition(schema: dict[str, Any], value: Any) -> None:
    """Sending ways down the value gives the number that following each of them gives."""
    graph = build_graph({"properties": {"a": schema}, "items": schema})
    assert graph.problems == []
    counted = WorkMeter(graph, {}).count(value)
    assert counted == visits(graph, 0, value)
