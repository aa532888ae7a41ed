"""Every rule that no shape can say, with the sentence its breaker reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coworld_actors.manifest.load import LoadedManifest

Raw = dict[str, Any]
Load = Callable[[], LoadedManifest]
Refusal = Callable[[], list[str]]


def test_smallest_manifest_keeps_every_rule(load: Load) -> None:
    """The base that the other tests change is accepted, without a warning."""
    assert load().warnings == ()


def test_version_is_pep_440(raw: Raw, refusal: Refusal) -> None:
    """Versions that installers cannot order are refused."""
    raw["game"]["version"] = "first"
    assert refusal() == ['$.game.version: found "first"; allowed: a PEP 440 version such as `0.1.0`']


@pytest.mark.parametrize("version", ["1", "0.1.0rc1", "2024.1.post2", "1!2.0+local"])
def test_pep_440_versions_are_taken(raw: Raw, load: Load, version: str) -> None:
    """The whole of PEP 440 is allowed, not only three numbers."""
    raw["game"]["version"] = version
    assert load().manifest.game.version == version


def test_game_type_is_game(raw: Raw, refusal: Refusal) -> None:
    """The game's runnable may not claim another role."""
    raw["game"]["runnable"]["type"] = "player"
    assert refusal() == ['$.game.runnable.type: found "player"; allowed: "game"']


def test_type_is_the_sections_name(raw: Raw, refusal: Refusal) -> None:
    """A role entry in the wrong section is refused."""
    raw["grader"] = [{**raw["player"][0], "type": "reporter"}]
    assert refusal() == ['$.grader[0].type: found "reporter"; allowed: "grader", like its section']


@pytest.mark.parametrize("section", ["player", "reporter", "commissioner", "grader", "diagnoser", "optimizer"])
def test_role_ids_are_unique_in_their_section(raw: Raw, refusal: Refusal, section: str) -> None:
    """Two entries of one id would share a directory, in whichever section."""
    entry = {**raw["player"][0], "type": section, "id": "twin"}
    raw[section] = [*raw.get(section, []), entry, entry]
    last = len(raw[section]) - 1
    assert refusal() == [
        f'$.{section}[{last}].id: found "twin"; allowed: an id that {section}[{last - 1}] does not have'
    ]


def test_one_id_in_two_sections_is_fine(raw: Raw, load: Load) -> None:
    """Ids are unique per section, not over all of them."""
    raw["grader"] = [{**raw["player"][0], "type": "grader"}]
    assert load().manifest.grader[0].id == "ada"


def test_variant_ids_are_unique(raw: Raw, refusal: Refusal) -> None:
    """A variant is asked for by its id."""
    raw["variants"].append(raw["variants"][0])
    assert refusal() == ['$.variants[1].id: found "trio"; allowed: an id that variants[0] does not have']


@pytest.mark.parametrize("name", ["../up", "a/b", "..", ".", "a b", "ä", "a\n"])
def test_ids_are_safe_directory_names(raw: Raw, refusal: Refusal, name: str) -> None:
    """Ids become directories; none may lead out of the run's own."""
    raw["player"].append({**raw["player"][0], "id": name})
    assert len(refusal()) == 1
    assert refusal()[0].startswith("$.player[2].id: found ")
    assert refusal()[0].endswith("letters, digits, `.`, `_` and `-`, because it names a directory")


@pytest.mark.parametrize("place", ["game", "player"])
def test_hosted_image_ids_are_refused(raw: Raw, refusal: Refusal, place: str) -> None:
    """An image id of the hosted platform is nothing that can be started."""
    image = "img_01234567-89ab-cdef-0123-456789abcdef"
    entry, path = (raw["game"]["runnable"], "$.game.runnable") if place == "game" else (raw["player"][1], "$.player[1]")
    entry["image"] = image
    assert refusal() == [
        f'{path}.image: found "{image}"; allowed: an image reference; this is an id of the hosted platform, not resolved'
    ]


def test_image_that_only_looks_like_a_hosted_id_is_taken(raw: Raw, load: Load) -> None:
    """`img_game:latest` is an ordinary name."""
    raw["player"][0]["image"] = "img_game:latest"
    assert load().manifest.player[0].image == "img_game:latest"


@pytest.mark.parametrize(("image", "found"), [("", '""'), (None, "nothing")])
def test_every_role_has_an_image(raw: Raw, refusal: Refusal, image: str | None, found: str) -> None:
    """A role without an image cannot be started."""
    raw["player"][0]["image"] = image
    assert refusal() == [f"$.player[0].image: found {found}; allowed: an image reference"]


def test_resources_have_requests(raw: Raw, refusal: Refusal) -> None:
    """0.1.26 knows nothing else to write there."""
    raw["player"][0]["resources"] = {}
    assert refusal() == ["$.player[0].resources.requests: found nothing; allowed: an object"]


def test_player_names_apart_are_refused(raw: Raw, refusal: Refusal) -> None:
    """Rule 1: the configuration's schema has no `player_names`."""
    raw["game"]["config_schema"]["properties"]["player_names"] = {"type": "array"}
    assert refusal() == [
        "$.game.config_schema.properties.player_names: found a list of names apart; allowed: names in `players[].name`"
    ]


def test_names_in_slots_are_refused(raw: Raw, refusal: Refusal) -> None:
    """Rule 2: the configuration's schema has no `slots[].name`."""
    raw["game"]["config_schema"]["properties"]["slots"] = {"items": {"properties": {"name": {"type": "string"}}}}
    assert refusal() == [
        (
            "$.game.config_schema.properties.slots.items.properties.name: found names in `slots`; "
            "allowed: names in `players[].name`"
        )
    ]


@pytest.mark.parametrize(("required", "found"), [(["width"], "a list of 1"), (None, "nothing"), ([], "an empty list")])
def test_tokens_are_required(raw: Raw, refusal: Refusal, required: list[str] | None, found: str) -> None:
    """Rule 3: a game cannot do without tokens."""
    raw["variants"][0]["game_config"]["width"] = 8
    raw["certification"]["game_config"]["width"] = 8
    raw["game"]["config_schema"]["required"] = required
    if required is None:
        del raw["game"]["config_schema"]["required"]
    assert refusal() == [f"$.game.config_schema.required: found {found}; allowed: a list with `tokens` in it"]


def test_tokens_have_a_schema(raw: Raw, refusal: Refusal) -> None:
    """Rule 4: `properties.tokens` is an object."""
    raw["game"]["config_schema"]["properties"]["tokens"] = True
    assert refusal() == [
        (
            "$.game.config_schema.properties.tokens: found true; "
            "allowed: a schema for a list of texts with `minItems` and `maxItems`"
        )
    ]


def test_properties_are_an_object(raw: Raw, refusal: Refusal) -> None:
    """Rule 4: without properties there are no tokens, and the schema is none either."""
    raw["game"]["config_schema"] = {"required": ["tokens"], "properties": 3}
    assert (
        "$.game.config_schema.properties.tokens: found nothing; "
        "allowed: a schema for a list of texts with `minItems` and `maxItems`"
    ) in refusal()


def test_tokens_are_a_list_of_texts(raw: Raw, refusal: Refusal) -> None:
    """Rule 5: both types are said in so many words."""
    tokens = raw["game"]["config_schema"]["properties"]["tokens"]
    del tokens["type"]
    tokens["items"] = {"minLength": 1}
    assert refusal() == [
        '$.game.config_schema.properties.tokens.type: found null; allowed: "array"',
        '$.game.config_schema.properties.tokens.items.type: found null; allowed: "string"',
    ]


def test_tokens_have_both_bounds(raw: Raw, refusal: Refusal) -> None:
    """Rule 6: seats are counted, so both bounds are whole numbers."""
    tokens = raw["game"]["config_schema"]["properties"]["tokens"]
    del tokens["minItems"]
    tokens["maxItems"] = 8.5
    assert refusal()[:2] == [
        "$.game.config_schema.properties.tokens.minItems: found nothing; allowed: a whole number",
        "$.game.config_schema.properties.tokens.maxItems: found 8.5; allowed: a whole number",
    ]


def test_token_bounds_are_in_order(raw: Raw, refusal: Refusal) -> None:
    """Rule 6: the lower bound is not the larger one."""
    raw["game"]["config_schema"]["properties"]["tokens"]["maxItems"] = 1
    assert (
        "$.game.config_schema.properties.tokens.maxItems: found 1; allowed: at least `minItems`, which is 2"
        in refusal()
    )


def test_variant_has_no_tokens(raw: Raw, refusal: Refusal) -> None:
    """Rule 8: tokens are made by the runner."""
    raw["variants"][0]["game_config"]["tokens"] = ["a", "b"]
    assert refusal() == [
        "$.variants[0].game_config.tokens: found tokens; allowed: none; the runner makes them for each episode"
    ]


def test_fixture_has_no_tokens(raw: Raw, refusal: Refusal) -> None:
    """Rule 11: nor does the certification fixture."""
    raw["certification"]["game_config"]["tokens"] = ["a", "b"]
    assert refusal() == [
        "$.certification.game_config.tokens: found tokens; allowed: none; the runner makes them for each episode"
    ]


def test_variants_obey_the_schema(raw: Raw, refusal: Refusal) -> None:
    """Rule 9: with tokens put in, each variant is valid; all that is wrong is named."""
    raw["variants"][0]["game_config"] = {"width": 3, "depth": 1}
    assert sorted(refusal()) == [
        "$.variants[0].game_config.depth: found an unknown key; allowed: no further keys here",
        "$.variants[0].game_config.width: found 3; allowed: at least 4",
    ]


@pytest.mark.parametrize("seats", [1, 9])
def test_a_variants_seats_fit_the_tokens(raw: Raw, refusal: Refusal, seats: int) -> None:
    """Rule 9: a variant with more or fewer players than the game takes tokens is refused."""
    raw["variants"][0]["game_config"]["players"] = [{}] * seats
    (problem,) = refusal()
    assert problem.startswith(f"$.variants[0].game_config.tokens: found a list of {seats}; allowed: at ")


def test_variant_without_players_is_checked_with_the_fewest_tokens(raw: Raw, load: Load) -> None:
    """Rule 9: where nothing says the number of seats, `minItems` does."""
    raw["variants"][0]["game_config"] = {"width": 8}
    assert load().manifest.variants[0].game_config == {"width": 8}


def test_fixture_names_as_many_players_as_it_seats(raw: Raw, refusal: Refusal) -> None:
    """Rule 10: two lists of players, one length."""
    raw["certification"]["game_config"]["players"] = [{}, {}, {}]
    assert refusal() == [
        "$.certification.game_config.players: found a list of 3; allowed: as many as `certification.players` has, 2"
    ]


def test_fixture_obeys_the_schema_with_its_own_seats(raw: Raw, refusal: Refusal) -> None:
    """Rule 11: the fixture is checked with exactly one token per seat."""
    raw["certification"]["players"] = [{"player_id": "ada"}]
    assert refusal() == ["$.certification.game_config.tokens: found a list of 1; allowed: at least 2 items"]


def test_fixture_players_are_declared(raw: Raw, refusal: Refusal) -> None:
    """Rule 13: a seat's player exists; the ids that do are listed."""
    raw["certification"]["players"][1]["player_id"] = "eve"
    assert refusal() == ['$.certification.players[1].player_id: found "eve"; allowed: a declared player: "ada", "bob"']


def test_results_schema_is_checked_before_any_episode(raw: Raw, refusal: Refusal) -> None:
    """A broken results schema would otherwise surface after a whole episode."""
    raw["game"]["results_schema"]["properties"]["scores"]["type"] = "lst"
    assert refusal() == [
        (
            '$.game.results_schema.properties.scores.type: found "lst"; allowed: one of "array", "boolean", "integer", '
            '"null", "number", "object", "string" or array'
        )
    ]


@pytest.mark.parametrize("name", ["config_schema", "results_schema"])
def test_remote_references_are_refused(raw: Raw, refusal: Refusal, name: str) -> None:
    """Neither schema may make us fetch anything."""
    raw["game"][name]["properties"]["more"] = {"$ref": "http://127.0.0.1:9/schema.json"}
    assert refusal() == [
        (
            f'$.game.{name}.properties.more.$ref: found "http://127.0.0.1:9/schema.json"; '
            "allowed: a reference into the same schema (`#/$defs/...`); others are never fetched"
        )
    ]


def test_absurd_seat_counts_are_refused(raw: Raw, refusal: Refusal) -> None:
    """A manifest cannot make us build a billion placeholder tokens."""
    raw["game"]["config_schema"]["properties"]["tokens"].update(minItems=10**9, maxItems=10**9)
    raw["variants"][0]["game_config"] = {}
    assert "$.variants[0].game_config: found 1000000000 seats; allowed: at most 10000" in refusal()


def test_results_without_scores_draw_a_warning(raw: Raw, load: Load) -> None:
    """Nothing forbids them, but every table will be empty."""
    raw["game"]["results_schema"] = {"type": "object"}
    (warning,) = load().warnings
    assert warning.startswith("$.game.results_schema: declares no `scores`")


def test_broken_rules_are_all_named_together_with_broken_shapes(raw: Raw, refusal: Refusal) -> None:
    """One refusal names everything, whichever check found it."""
    raw["game"]["version"] = "x"
    raw["game"]["owner"] = 5
    raw["certification"]["players"][0]["player_id"] = "eve"
    raw["variants"][0]["game_config"]["width"] = 99
    raw["surprise"] = True
    assert [problem.partition(":")[0] for problem in refusal()] == [
        "$.game.owner",
        "$.surprise",
        "$.game.version",
        "$.variants[0].game_config.width",
        "$.certification.players[0].player_id",
    ]


def test_extra_ports_mean_something(raw: Raw, refusal: Refusal) -> None:
    """Before anything is started; only the game's count."""
    raw["player"][0]["env"]["COWORLD_LOCAL_EXTRA_PORTS"] = "nonsense"
    raw["game"]["runnable"]["env"] = {"COWORLD_LOCAL_EXTRA_PORTS": "3724,3725/udp"}
    place = "$.game.runnable.env.COWORLD_LOCAL_EXTRA_PORTS"
    right = "CONTAINER[:HOST][/tcp], such as 3724, 3724:0 or 3724:3724/tcp"
    assert refusal() == [f'{place}: found "3725/udp"; allowed: {right}']


@pytest.mark.parametrize("wish", ["", " ", "3724", "3724:0,3725:9000/tcp"])
def test_extra_ports_of_the_contract_are_taken(raw: Raw, load: Load, wish: str) -> None:
    """Blank means none."""
    raw["game"]["runnable"]["env"] = {"COWORLD_LOCAL_EXTRA_PORTS": wish}
    assert load().warnings == ()
