"""Keys that a schema declares: found through references and alternatives, and what is said about those that are not there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.manifest.schema import compile_schema
from coworld_actors.manifest.seed_keys import (
    check_pin_key,
    check_seed_key,
    declared_keys,
    describe_bounds,
    find_declared,
    find_seed_keys,
    integer_bounds,
    integer_keys,
)
from coworld_protocol.errors import Refused

Raw = dict[str, Any]
INTEGER: Raw = {"type": "integer"}


def of(**properties: Any) -> Raw:
    return {"type": "object", "properties": properties}


SCHEMA: Raw = {
    **of(
        tokens={"type": "array", "items": {"type": "string"}},
        players={"type": "array", "items": of(name={"type": "string"}, seed=INTEGER)},
        width=INTEGER,
        speed={"type": "number"},
        map={"$ref": "#/$defs/the map~1s"},
        optional={"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]},
        several={"type": ["null", "integer"]},
        tree={"$ref": "#/$defs/tree"},
        whole={"$ref": "#"},
        everything=True,
    ),
    "allOf": [of(extra=INTEGER), {"$ref": "#/$defs/more"}],
    "$defs": {
        "the map/s": of(seed={"$ref": "#/$defs/whole number"}, kind={"enum": ["a", "b"]}),
        "whole number": {"type": "integer", "minimum": 0},
        "more": of(beyond={"allOf": [{"$ref": "#/$defs/whole number"}, {"maximum": 9}]}),
        "tree": of(left={"$ref": "#/$defs/tree"}, depth=INTEGER),
        "loop": {"$ref": "#/$defs/loop"},
    },
}


@pytest.mark.parametrize(
    ("key", "integer"),
    [
        ("width", True),
        ("speed", False),
        ("map", False),
        ("map.seed", True),
        ("map.kind", False),
        ("optional", True),
        ("several", True),
        ("extra", True),
        ("beyond", True),
        ("tree.left.left.depth", True),
        ("players.0.seed", True),
        ("players.0.name", False),
    ],
)
def test_declared_keys_are_found(key: str, integer: bool) -> None:
    """Behind `$ref`, in `allOf` and `anyOf`, in nested objects and in the items of lists."""
    assert find_declared(SCHEMA, key)
    if integer:
        check_seed_key(SCHEMA, key)
    else:
        with pytest.raises(Refused):
            check_seed_key(SCHEMA, key)


@pytest.mark.parametrize(
    "key", ["", "depth", "map.size", "players.seed", "width.0", "players.x.seed", "map..seed", "properties"]
)
def test_what_is_not_declared_is_not_found(key: str) -> None:
    """A key has to be named on every level."""
    assert not find_declared(SCHEMA, key)


def test_a_key_of_any_kind_is_declared() -> None:
    """`true` takes everything; it may be pinned, although nothing is known about it."""
    check_pin_key(SCHEMA, "everything")
    with pytest.raises(Refused):
        check_seed_key(SCHEMA, "everything")


def test_listings_end_although_schemas_recur() -> None:
    """A tree of trees and a schema that holds itself are listed to a depth; tokens are not ours to name."""
    keys = declared_keys(SCHEMA)
    assert len(keys) == len(set(keys)) < 1000
    assert keys[:4] == ["players", "width", "speed", "map"]
    assert {"map.seed", "tree.left.left.depth", "extra", "beyond"} <= set(keys)
    assert not any(key == "tokens" or key.startswith("tokens.") for key in keys)
    assert {"width", "optional", "several", "extra", "beyond", "map.seed"} <= set(integer_keys(SCHEMA))


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        ({"width": INTEGER}, []),
        ({"seed": {"type": "string"}}, []),
        ({"seed": {"type": "number"}}, []),
        ({"seed": INTEGER}, ["seed"]),
        ({"map_seed": INTEGER, "seed": INTEGER}, ["seed", "map_seed"]),
        ({"map_seed": INTEGER, "rng-seed": INTEGER}, ["map_seed", "rng-seed"]),
        ({"rngSeed": INTEGER, "seeds": INTEGER, "reseed": INTEGER, "seed_count": INTEGER}, ["rngSeed"]),
        ({"rules": of(seed=INTEGER)}, ["rules.seed"]),
        ({"rules": of(map_seed=INTEGER, seed=INTEGER), "b_seed": INTEGER}, ["b_seed", "rules.seed", "rules.map_seed"]),
        ({"rules": of(deeper=of(seed=INTEGER))}, []),
        ({"seed": {"anyOf": [INTEGER, {"type": "null"}]}}, ["seed"]),
    ],
)
def test_a_seed_key_is_found_by_its_name(properties: Raw, found: list[str]) -> None:
    """`seed` before `*_seed` before the same one level below; integers only."""
    assert find_seed_keys(of(**properties)) == found


@pytest.mark.parametrize(
    ("schema", "key", "lines"),
    [
        (
            of(seed=INTEGER, width=INTEGER),
            "sede",
            [
                "--seed-key sede is not in the game's config_schema",
                "evidence: integer keys: seed, width",
                "try: did you mean seed?",
            ],
        ),
        (
            of(seed=INTEGER, width=INTEGER),
            "xyz",
            [
                "--seed-key xyz is not in the game's config_schema",
                "evidence: integer keys: seed, width",
                "try: choose one of them, or leave --seed-key out",
            ],
        ),
        (
            of(seed={"type": "string"}),
            "seed",
            [
                "--seed-key seed is no integer in the game's config_schema",
                "evidence: it is string; integer keys: none",
                "try: leave --seed-key out; the game takes no seed",
            ],
        ),
        (
            of(seed={"anyOf": [{"type": "string"}, {"type": ["null", "number"]}]}, width=INTEGER),
            "seed",
            [
                "--seed-key seed is no integer in the game's config_schema",
                "evidence: it is null or number or string; integer keys: width",
                "try: choose one of them, or leave --seed-key out",
            ],
        ),
        (
            of(seed={"enum": [1, 2]}),
            "seed",
            [
                "--seed-key seed is no integer in the game's config_schema",
                "evidence: it is of no declared type; integer keys: none",
                "try: leave --seed-key out; the game takes no seed",
            ],
        ),
    ],
)
def test_a_seed_key_that_cannot_be_used_is_refused(schema: Raw, key: str, lines: list[str]) -> None:
    """With the integer keys that there are."""
    with pytest.raises(Refused) as caught:
        check_seed_key(schema, key)
    assert caught.value.lines() == lines


def test_a_pin_that_is_not_declared_is_refused() -> None:
    """With the keys that there are, the first twenty of them."""
    with pytest.raises(Refused) as caught:
        check_pin_key(of(**{f"key{number}": INTEGER for number in range(30)}), "zzz")
    listed = ", ".join(f"key{number}" for number in range(20))
    assert caught.value.lines() == [
        "--pin zzz is not in the game's config_schema",
        f"evidence: keys: {listed}, ...",
        "try: choose one of them; --set takes other keys if the schema does",
    ]


@pytest.mark.parametrize(
    ("key_schema", "bounds", "words"),
    [
        ({}, (None, None, True), "any integer"),
        ({"minimum": 0}, (0, None, True), "at least 0"),
        ({"maximum": 7.5}, (None, 7, True), "at most 7"),
        ({"minimum": 0.5, "exclusiveMaximum": 8}, (1, 7, True), "1 to 7"),
        ({"exclusiveMinimum": 2, "exclusiveMaximum": 8.5}, (3, 8, True), "3 to 8"),
        ({"multipleOf": 5, "minimum": 0}, (0, None, False), "at least 0"),
        ({"enum": [1, 2, 3]}, (None, None, False), "any integer"),
        ({"allOf": [{"minimum": 1, "maximum": 9}, {"minimum": 3, "maximum": 12}]}, (3, 9, True), "3 to 9"),
        ({"not": {"const": 4}}, (None, None, False), "any integer"),
    ],
)
def test_bounds_are_read(key_schema: Raw, bounds: tuple[int | None, int | None, bool], words: str) -> None:
    """With whether they are all there is to know."""
    found = integer_bounds(of(seed={"type": "integer", **key_schema}), "seed")
    assert found == bounds
    assert describe_bounds(*found[:2]) == words


@given(
    st.dictionaries(
        st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
        st.integers(1, 40) | st.floats(0.5, 40).map(lambda value: round(value, 2)),
    ),
    st.integers(-5, 50),
)
def test_bounds_agree_with_the_validator(key_schema: Raw, value: int) -> None:
    """Where the bounds are all, they accept what the schema accepts; everywhere they accept no less."""
    low, high, simple = integer_bounds(of(seed={"type": "integer", **key_schema}), "seed")
    within = (low is None or value >= low) and (high is None or value <= high)
    accepted = compile_schema(of(seed={"type": "integer", **key_schema})).accepts({"seed": value})
    assert within if accepted else not (simple and within)


def test_a_loop_of_references_ends() -> None:
    """Schemas like this are refused elsewhere; here they only have to end."""
    schema = of(seed={"$ref": "#/$defs/loop"}, other={"$ref": "#/nowhere/2"})
    schema["$defs"] = {"loop": {"$ref": "#/$defs/loop", "allOf": [{"$ref": "#/properties/seed"}]}}
    assert declared_keys(schema) == ["seed", "other"]
    assert find_seed_keys(schema) == []
