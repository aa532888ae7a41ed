"""A schema taken apart: which subschemas look at the same value, which at its parts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.manifest.schema_graph import Graph, build_graph


def targets(graph: Graph, kind: str) -> list[tuple[Any, ...]]:
    numbers: list[int] = getattr(graph.locations[0], kind)
    return sorted(graph.locations[number].pointer for number in numbers)


def test_edges_are_told_apart() -> None:
    """Applicators to the same value, to any item, to any key, to one key, to the keys themselves."""
    graph = build_graph(
        {
            "allOf": [True],
            "not": {},
            "dependentSchemas": {"k": {}},
            "dependencies": {"k": ["a"], "l": {}},
            "items": {},
            "prefixItems": [{}],
            "additionalProperties": {},
            "patternProperties": {"^a": {}},
            "propertyNames": {},
            "properties": {"$ref": {}, "b": True},
            "enum": [1, [2]],
        }
    )
    assert graph.problems == []
    assert targets(graph, "here") == [
        ("allOf", 0),
        ("dependencies", "l"),
        ("dependentSchemas", "k"),
        ("not",),
    ]
    assert targets(graph, "items") == [("items",), ("prefixItems", 0)]
    assert targets(graph, "keyed") == [("additionalProperties",), ("patternProperties", "^a")]
    assert targets(graph, "names") == [("propertyNames",)]
    assert list(graph.locations[0].named) == ["$ref", "b"]
    assert graph.locations[0].weight == 5
    assert graph.pattern_paths == [(("patternProperties", "^a"), "^a")]


@pytest.mark.parametrize(
    ("reference", "pointer"),
    [
        ("#/$defs/a~1b", ("$defs", "a/b")),
        ("#/$defs/c~0d", ("$defs", "c~d")),
        ("#/$defs/e%20f", ("$defs", "e f")),
        ("#/x-aside/0", ("x-aside", 0)),
        ("#here", ("$defs", "e f")),
        ("#", ()),
    ],
)
def test_references_find_their_place(reference: str, pointer: tuple[Any, ...]) -> None:
    """Escapes, percent codes, anchors, and places that no keyword leads to."""
    graph = build_graph(
        {
            "items": {"$ref": reference},
            "$defs": {"a/b": {}, "c~d": {}, "e f": {"$anchor": "here"}},
            "x-aside": [{"items": {"$ref": "#/$defs/a~1b"}}],
        }
    )
    assert graph.problems == []
    (source,) = (each for each in graph.locations if each.pointer == ("items",))
    assert [graph.locations[number].pointer for number in source.here] == [pointer]


def test_places_reached_by_reference_only_are_checked_too() -> None:
    """A remote reference cannot hide where only another reference leads."""
    graph = build_graph({"items": {"$ref": "#/x-aside"}, "x-aside": {"not": {"$ref": "http://127.0.0.1:9/"}}})
    assert [problem.path for problem in graph.problems] == ["$.x-aside.not.$ref".replace(".x-aside", '["x-aside"]')]


_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["#", "#/$defs/a", "#/items", "#x", "http://h/", "^a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "$ref",
                    "$dynamicRef",
                    "$id",
                    "$anchor",
                    "$defs",
                    "a",
                    "allOf",
                    "items",
                    "properties",
                    "not",
                    "enum",
                    "pattern",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(_junk)
def test_anything_can_be_taken_apart(schema: Any) -> None:
    """No value of JSON makes the builder fail or loop; all edges lead somewhere."""
    graph = build_graph(schema)
    for location in graph.locations:
        assert all(0 <= number < len(graph.locations) for number in location.edges())
