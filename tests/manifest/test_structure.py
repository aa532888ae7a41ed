"""The walk that names every deviation from a Struct says the same as msgspec, only more of it."""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.manifest.structure import compare
from coworld_protocol.manifest import Manifest


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Round(msgspec.Struct, tag_field="type", tag="round"):
    radius: Annotated[int, msgspec.Meta(ge=1, le=9)]


class Named(msgspec.Struct, tag_field="type", tag="named"):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=3, pattern="^[a-z]")]


class Sample(msgspec.Struct, rename={"odd": "$odd"}):
    shape: Round | Named
    colour: Colour
    numbers: Annotated[tuple[int, ...], msgspec.Meta(min_length=1)]
    table: dict[str, str] = {}
    odd: str | None = None
    one: Literal[1] | None = None
    anything: Any = None


GOOD: dict[str, Any] = {"shape": {"type": "round", "radius": 3}, "colour": "red", "numbers": [1]}


def found(value: Any) -> list[str]:
    return [str(problem) for problem in compare(value, Sample).problems]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"shape": 1}, "$.shape: found 1; allowed: an object with `type` and `value`"),
        ({"shape": {}}, '$.shape.type: found nothing; allowed: one of "round", "named"'),
        ({"shape": {"type": "flat"}}, '$.shape.type: found "flat"; allowed: one of "round", "named"'),
        (
            {"shape": {"type": "round", "radius": 10}},
            "$.shape.radius: found 10; allowed: a whole number from 1 to 9",
        ),
        ({"shape": {"type": "round"}}, "$.shape.radius: found nothing; allowed: a whole number"),
        (
            {"shape": {"type": "named", "name": "abcd"}},
            '$.shape.name: found "abcd"; allowed: a text of at most 3 characters',
        ),
        ({"shape": {"type": "named", "name": "A"}}, '$.shape.name: found "A"; allowed: a text that matches ^[a-z]'),
        ({"colour": "green"}, '$.colour: found "green"; allowed: one of "red", "blue"'),
        ({"numbers": []}, "$.numbers: found an empty list; allowed: a list of at least 1"),
        ({"numbers": [1, True]}, "$.numbers[1]: found true; allowed: a whole number"),
        ({"table": {"a b": 1}}, '$.table["a b"]: found 1; allowed: a text'),
        ({"$odd": 1}, '$["$odd"]: found 1; allowed: a text'),
        ({"one": 2}, "$.one: found 2; allowed: one of 1"),
        ({"one": True}, "$.one: found true; allowed: one of 1"),
    ],
)
def test_deviations_are_named(change: dict[str, Any], problem: str) -> None:
    """Each kind of field has its sentence."""
    expected = problem.replace('$["$odd"]', "$.$odd")
    assert found({**GOOD, **change}) == [expected]


def test_missing_fields_are_all_named() -> None:
    """Every required field that is not there, with what it would be."""
    assert found({}) == [
        "$.shape: found nothing; allowed: an object with `type` and `value`",
        '$.colour: found nothing; allowed: one of "red", "blue"',
        "$.numbers: found nothing; allowed: a list of at least 1",
    ]


def test_unknown_keys_are_kept_apart() -> None:
    """Whether an unknown key matters is the caller's decision."""
    result = compare({**GOOD, "colr": 1, "shape": {"type": "round", "radius": 3, "x": 1}}, Sample)
    assert result.problems == ()
    assert [str(each) for each in result.unknown] == [
        "$.shape.x: found an unknown key; allowed: one of radius, type",
        "$.colr: found an unknown key; allowed: `colour`",
    ]


JUNK = st.sampled_from([None, True, 0, 1, -1, 1.5, "", "x", "player", "text", [], ["a"], {}, {"type": "text"}])


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _places(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _places(part, (*path, index))


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    text = {"type": "text", "value": "words"}
    role = {"id": "a", "name": "A", "description": "d", "image": "i", "type": "player", "env": {"A": "b"}}
    resources = {"requests": {"cpu": "1", "gpu": 1}, "limits": {"memory": "1Gi"}}
    page = {"id": "p", "title": "t", "content": {"type": "uri", "value": "https://example.org"}}
    return {
        "apiVersion": "coworld.softmax.com/v1",
        "game": {
            "name": "n",
            "version": "1",
            "description": "d",
            "owner": "o",
            "config_schema": {},
            "results_schema": {},
            "runnable": {"type": "game", "image": "i", "run": ["a"], "resources": resources},
            "protocols": {"player": text, "global": text},
            "docs": {"readme": text, "pages": [page]},
            "player_runtime": "platform-hosted",
        },
        "player": [{**role, "startup": {"port": 2000}}],
        "variants": [{"id": "v", "name": "", "description": "d", "game_config": {}}],
        "certification": {"game_config": {}, "players": [{"player_id": "a"}]},
        "players_per_user": 1,
        "tags": ["a", "b", "c"],
        "episode_timeout_minutes": 5,
    }


@settings(deadline=None)
@given(data=st.data())
def test_no_problems_exactly_when_msgspec_converts(manifest: dict[str, Any], data: st.DataObject) -> None:
    """The walk and msgspec agree on every manifest with up to three values replaced or removed."""
    changed = copy.deepcopy(manifest)
    for _ in range(data.draw(st.integers(0, 3))):
        path = data.draw(st.sampled_from([each for each in _places(changed) if each]))
        place = changed
        for key in path[:-1]:
            place = place[key]
        if data.draw(st.booleans()):
            place[path[-1]] = copy.deepcopy(data.draw(JUNK))
        else:
            del place[path[-1]]
    try:
        msgspec.convert(changed, Manifest)
        converts = True
    except msgspec.ValidationError:
        converts = False
    assert (compare(changed, Manifest).problems == ()) is converts
