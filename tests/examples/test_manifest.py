"""`examples/orchard/coworld_manifest.json`: it says what the code does."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest
from orchard.grader import GRADER_ID
from orchard.messages import Results
from orchard.reporter import REPORTER_ID
from orchard.rules import OrchardConfig

HERE = Path(__file__).parents[2] / "examples" / "orchard"
MANIFEST = json.loads((HERE / "coworld_manifest.json").read_text())
CONFIGS = {variant["id"]: variant["game_config"] for variant in MANIFEST["variants"]}
CONFIGS["certification"] = MANIFEST["certification"]["game_config"]
RUNNABLES = [
    MANIFEST["game"]["runnable"],
    *(role for section in ("player", "reporter", "grader") for role in MANIFEST[section]),
]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (MANIFEST["game"]["docs"]["readme"], "README.md"),
        (MANIFEST["game"]["protocols"]["player"], "docs/player_protocol.md"),
        (MANIFEST["game"]["protocols"]["global"], "docs/global_protocol.md"),
    ],
)
def test_the_texts_are_the_files_beside_it(value, name):
    """The documents in the manifest are those in the repository, word for word."""
    assert value == {"type": "text", "value": (HERE / name).read_text()}


def with_tokens(config):
    return config | {"tokens": [f"t{slot}" for slot in range(len(config["players"]))]}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_variant_fits_the_schema_and_the_game(name):
    """Schema and game agree that each configuration is good."""
    config = with_tokens(CONFIGS[name])
    jsonschema_rs.validator_for(MANIFEST["game"]["config_schema"]).validate(config)
    assert msgspec.convert(config, OrchardConfig).seed == config["seed"]


def test_the_variants_have_their_seats():
    """Duel is for 2, crowd for 8, big for 64; certification seats every kind of player."""
    seats = {name: len(config["players"]) for name, config in CONFIGS.items()}
    assert seats == {"duel": 2, "crowd": 8, "big": 64, "arcade": 4, "certification": 4}
    fixture = [seat["player_id"] for seat in MANIFEST["certification"]["players"]]
    assert len(fixture) == 4
    assert set(fixture) == {player["id"] for player in MANIFEST["player"]}


def test_schema_and_game_know_the_same_keys_and_defaults():
    """Every key of the schema is one of the game's, with the same default, and the other way round."""
    properties = MANIFEST["game"]["config_schema"]["properties"]
    fields = {field.name: field for field in msgspec.structs.fields(OrchardConfig)}
    assert set(properties) == set(fields)
    defaults = {name: prop["default"] for name, prop in properties.items() if "default" in prop}
    assert defaults == {name: fields[name].default for name in defaults}
    assert set(properties) - set(defaults) == {"tokens", "players"}


@pytest.mark.parametrize(
    "change",
    [
        {"width": 3},
        {"height": 65},
        {"max_ticks": 0},
        {"tree_share": 0.6},
        {"regrow_ticks": 0},
        {"seed": -1},
        {"mode": "x"},
        {"tick_rate": -1},
        {"tick_timeout_seconds": 0},
        {"surprise": 1},
        {"tokens": ["a"]},
        {"players": [{}]},
    ],
)
def test_what_the_schema_refuses_the_game_refuses(change):
    """A runner that checks the schema and a game that checks its type come to the same verdict."""
    config = with_tokens(CONFIGS["duel"]) | change
    assert not jsonschema_rs.validator_for(MANIFEST["game"]["config_schema"]).is_valid(config)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(config, OrchardConfig)


@pytest.mark.parametrize("winner", [None, 1])
def test_results_fit_the_results_schema(winner):
    """What the game writes is what the manifest promises."""
    results = msgspec.to_builtins(Results(scores=[1, 2], ticks=3, winner=winner, contested=0))
    jsonschema_rs.validator_for(MANIFEST["game"]["results_schema"]).validate(results)


def test_every_runnable_is_a_module_and_its_image_is_mapped():
    """Each entry runs a module that exists, and the local map knows its image."""
    images = tomllib.loads((HERE / "coworld_local.toml").read_text())["images"]
    for runnable in RUNNABLES:
        assert runnable["run"][:2] == ["python", "-m"]
        assert importlib.util.find_spec(runnable["run"][2]) is not None
        assert (HERE / images[runnable["image"]]["root"] / "orchard").is_dir()


def test_the_roles_sign_with_their_ids():
    """Reporter and grader write the ids under which the manifest lists them."""
    assert [role["id"] for role in MANIFEST["reporter"]] == [REPORTER_ID]
    assert [role["id"] for role in MANIFEST["grader"]] == [GRADER_ID]
