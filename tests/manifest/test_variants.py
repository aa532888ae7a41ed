"""A variant before anybody sits down; what a caller is told about it is in test_seats.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coworld_actors.manifest.load import LoadedManifest
from coworld_actors.manifest.overrides import parse_override, parse_pin
from coworld_actors.manifest.variants import FIXTURE, config_validator, refuse_wrong_config, set_stage
from coworld_protocol.errors import ManifestRefused

Load = Callable[[], LoadedManifest]


def test_a_stage_has_the_fixtures_player_for_every_seat(load: Load) -> None:
    """Repeated in turn; the fixture itself has no variant's name."""
    stage = set_stage(load(), "trio")
    assert (stage.variant_id, stage.seats) == ("trio", 3)
    assert [entry.id for entry in stage.entries] == ["ada", "bob", "ada"]
    assert set_stage(load(), None).variant_id == FIXTURE


def test_names_are_put_into_a_copy(load: Load) -> None:
    """Where the game takes them; else the configuration comes back as it is."""
    stage = set_stage(load(), "trio")
    assert stage.with_names(["a", "b", "c"]) == {"players": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}
    assert stage.config == {"players": [{}, {}, {}]}
    assert stage.with_names(["a", "b", "c" * 21]) is stage.config
    assert set_stage(load(), None).with_names(["a", "b"]) == {}


def test_a_validator_can_be_shared(load: Load) -> None:
    """Compiling a schema is the slow part of a stage."""
    loaded = load()
    validator = config_validator(loaded.manifest)
    assert set_stage(loaded, "trio", validator=validator).validator is validator


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([parse_override("width=1")], " with --set width"),
        ([parse_pin("width=1"), parse_pin("num_agents=x")], " with --pin width, num_agents"),
        (
            [parse_override("width=1"), parse_pin("num_agents=x"), parse_override("depth=1")],
            " with --set width, depth and --pin num_agents",
        ),
    ],
)
def test_the_changes_are_named_when_the_schema_refuses(load: Load, changes: list[Any], said: str) -> None:
    """By the option with which each was said."""
    loaded = load()
    stage = set_stage(loaded, "trio", changes)
    with pytest.raises(ManifestRefused) as caught:
        refuse_wrong_config(loaded, stage, changes)
    assert caught.value.what.startswith(f"the game configuration of variant trio in world.json{said} is refused: ")
