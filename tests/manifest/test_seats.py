"""Who sits where, with what configuration, and what a caller is told whose wish cannot be met."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coworld_actors.manifest.load import LoadedManifest, ManifestOrigin, load_manifest
from coworld_actors.manifest.seats import FIXTURE, PERSON, EpisodePlan, build_plan, declares_named_players, unique_names
from coworld_protocol.contract import MANIFEST_FILE, Role
from coworld_protocol.errors import ManifestRefused, Refused
from coworld_protocol.manifest import Runnable

Raw = dict[str, Any]
Load = Callable[[], LoadedManifest]


def ids(plan: EpisodePlan) -> list[str]:
    return [seat.player_id for seat in plan.seats]


def lines(loaded: LoadedManifest, **wishes: Any) -> list[str]:
    with pytest.raises(Refused) as caught:
        build_plan(loaded, **wishes)
    assert caught.value.exit_code == 2
    return caught.value.lines()


def test_the_fixture_is_played_when_nothing_is_asked_for(load: Load) -> None:
    """No variant and no players: the certification fixture with its own."""
    plan = build_plan(load())
    assert (plan.variant_id, plan.game_config, ids(plan)) == (FIXTURE, {}, ["ada", "bob"])
    assert plan.seats[0].runnable == Runnable(
        type=Role.PLAYER, image="demo-player:1", run=("python", "ada.py"), env={"MODE": "a"}
    )


def test_a_variant_seats_the_fixtures_players_in_turn(load: Load) -> None:
    """Seats beyond the fixture's start over with its first player."""
    plan = build_plan(load(), variant="trio")
    assert (plan.variant_id, ids(plan)) == ("trio", ["ada", "bob", "ada"])
    assert [seat.slot for seat in plan.seats] == [0, 1, 2]


def test_num_agents_seats_a_variant(raw: Raw, load: Load) -> None:
    """The count that the later version reads is read."""
    raw["variants"][0]["game_config"] = {"num_agents": 5}
    assert len(build_plan(load(), variant="trio").seats) == 5


def test_fixed_bounds_seat_a_variant(raw: Raw, load: Load) -> None:
    """A game that takes exactly four players has four seats."""
    raw["game"]["config_schema"]["properties"]["tokens"].update(minItems=4, maxItems=4)
    raw["variants"][0]["game_config"] = {}
    raw["certification"]["players"] *= 2
    assert len(build_plan(load(), variant="trio").seats) == 4


def test_a_variant_that_says_no_number_is_refused(raw: Raw, load: Load) -> None:
    """Between two and eight seats there is nothing to choose by."""
    raw["variants"][0]["game_config"] = {}
    assert lines(load(), variant="trio") == [
        "variant trio does not say how many seats it has",
        "evidence: no `players` list in its configuration; the game takes 2 to 8",
        "try: give the list: --set 'players=[...]'",
    ]


def test_the_players_list_can_be_set(raw: Raw, load: Load) -> None:
    """The next step of the former refusal works."""
    raw["variants"][0]["game_config"] = {}
    plan = build_plan(load(), variant="trio", overrides=["players=[{},{},{},{}]"])
    assert ids(plan) == ["ada", "bob", "ada", "bob"]


def test_one_player_fills_every_seat(load: Load) -> None:
    """One id stands for all."""
    assert ids(build_plan(load(), variant="trio", players=["bob"])) == ["bob", "bob", "bob"]


def test_one_player_per_seat(load: Load) -> None:
    """As many as there are seats, in seat order."""
    assert ids(build_plan(load(), variant="trio", players=["bob", "ada", "bob"])) == ["bob", "ada", "bob"]


@pytest.mark.parametrize(
    ("players", "seated"),
    [
        (["ada", "bob"], ["ada", "ada", "bob"]),
        (["bob", "ada"], ["bob", "bob", "ada"]),
        (["ada", "mine:1"], ["ada", "ada", "mine:1"]),
    ],
)
def test_fewer_players_share_the_seats(load: Load, players: list[str], seated: list[str]) -> None:
    """By largest remainder, in their order; the earlier one gets the odd seat."""
    assert ids(build_plan(load(), variant="trio", players=players)) == seated


def test_more_players_than_seats_are_refused(load: Load) -> None:
    """The number of seats is said, and the two ways out."""
    assert lines(load(), variant="trio", players=["ada"] * 4) == [
        "4 players for 3 seats",
        "evidence: given: ada, ada, ada, ada",
        "try: play a variant with at least 4 seats, or let all groups of 3 meet with --round-robin",
    ]


def test_unknown_player_is_refused_with_the_known(load: Load) -> None:
    """A slip of the pen gets the nearest id and all of them."""
    assert lines(load(), players=["adda"]) == [
        "demo has no player 'adda'",
        "evidence: players: ada, bob",
        "try: did you mean ada?; if it is an image, write a tag behind it (adda:latest) or map it with --image",
    ]


@pytest.mark.parametrize("image", ["mine:1", "host/mine", "mine@sha256:00", "mine.local"])
def test_what_cannot_be_an_id_is_an_image(load: Load, image: str) -> None:
    """An image takes the seat and keeps its environment and, like in the reference, its command."""
    plan = build_plan(load(), players=[image])
    assert ids(plan) == [image, image]
    assert plan.seats[0].runnable == Runnable(
        type=Role.PLAYER, image=image, run=("python", "ada.py"), env={"MODE": "a"}
    )


def test_a_known_image_may_look_like_an_id(load: Load) -> None:
    """A mapped image needs no tag."""
    assert ids(build_plan(load(), players=["mine", "ada"], known_images={"mine"})) == ["mine", "ada"]


def test_run_replaces_the_command_of_image_seats_only(load: Load) -> None:
    """A player of the manifest keeps its own command."""
    plan = build_plan(load(), players=["ada", "mine:1"], run=["sh", "-c", "play"])
    assert [seat.runnable.run for seat in plan.seats] == [("python", "ada.py"), ("sh", "-c", "play")]


@pytest.mark.parametrize("players", [[], ["ada"]])
def test_run_without_an_image_is_refused(load: Load, players: list[str]) -> None:
    """There is no seat whose command it could be."""
    assert lines(load(), players=players, run=["x"])[0] == "--run needs an image"


def test_hosted_image_id_is_refused(load: Load) -> None:
    """It would pass for a file name of a tag-less image."""
    image = "img_01234567-89ab-cdef-0123-456789abcdef"
    assert lines(load(), players=[image])[0] == f"{image} is an id of the hosted platform, not an image"


def test_unknown_variant_is_refused_with_the_known(load: Load) -> None:
    """The nearest one is proposed."""
    assert lines(load(), variant="tri") == [
        "demo has no variant 'tri'",
        "evidence: variants: trio",
        "try: did you mean trio?",
    ]


def test_set_is_validated_against_the_games_schema(load: Load) -> None:
    """All that the schema refuses is named, and which wish it was."""
    with pytest.raises(ManifestRefused) as caught:
        build_plan(load(), variant="trio", overrides=["width=2", "depth=1"])
    assert caught.value.what == (
        "the game configuration of variant trio in world.json with --set width, depth is refused: 2 problems"
    )
    assert sorted(map(str, caught.value.problems)) == [
        "$.depth: found an unknown key; allowed: no further keys here",
        "$.width: found 2; allowed: at least 4",
    ]


def test_too_many_seats_by_set_are_refused(load: Load) -> None:
    """The token bounds hold for what the caller sets as well."""
    with pytest.raises(ManifestRefused) as caught:
        build_plan(load(), variant="trio", overrides=["players=[{},{},{},{},{},{},{},{},{}]"])
    assert [str(problem) for problem in caught.value.problems] == [
        "$.tokens: found a list of 9; allowed: at most 8 items"
    ]


def test_no_seats_at_all_are_refused(load: Load) -> None:
    """An empty list of players is no episode."""
    assert lines(load(), variant="trio", overrides=["players=[]"])[:2] == [
        "the configuration has 0 seats",
        "evidence: an episode has 1 to 10000",
    ]


def test_manifest_stays_as_it_was(raw: Raw, load: Load) -> None:
    """Overrides and names go into a copy."""
    loaded = load()
    build_plan(loaded, variant="trio", players=["bob"], overrides=["width=9"])
    assert loaded.manifest.variants[0].game_config == {"players": [{}, {}, {}]}
    assert raw["variants"][0]["game_config"] == {"players": [{}, {}, {}]}


def test_game_hosted_worlds_are_refused(raw: Raw, load: Load) -> None:
    """Their players are files that the game starts."""
    raw["game"]["player_runtime"] = "game-hosted"
    raw["player"][0].update(file="bot.zip", image=None)
    assert lines(load())[0] == "demo starts its players itself"


def test_player_file_is_refused_when_it_takes_a_seat(raw: Raw, load: Load) -> None:
    """Declared, but nothing that could be started."""
    raw["player"][0].update(file="bot.zip", image=None)
    assert lines(load())[:2] == ["player ada cannot be started here", "evidence: it is a file, not an image"]
    assert ids(build_plan(load(), players=["bob"])) == ["bob", "bob"]


def test_names_come_from_the_configuration(raw: Raw, load: Load) -> None:
    """Who plays as the manifest says is called what the manifest says; without a name, like the player."""
    raw["variants"][0]["game_config"]["players"] = [{"name": "Red"}, {}, {"name": "Red"}]
    plan = build_plan(load(), variant="trio")
    assert [seat.name for seat in plan.seats] == ["Red", "Bob", "Red (2)"]
    assert plan.game_config["players"] == [{"name": "Red"}, {}, {"name": "Red"}]


def test_chosen_players_bring_their_names(load: Load) -> None:
    """A game that takes names gets those of the players who really sit there, with repeats told apart."""
    plan = build_plan(load(), variant="trio", players=["bob", "registry.test:5000/team/mine:1", "bob"])
    assert [seat.name for seat in plan.seats] == ["Bob", "mine", "Bob (2)"]
    assert plan.game_config["players"] == [{"name": "Bob"}, {"name": "mine"}, {"name": "Bob (2)"}]


def test_names_set_by_hand_are_kept(load: Load) -> None:
    """`--set players...` wins over the players' own names."""
    plan = build_plan(load(), variant="trio", players=["bob"], overrides=['players.0.name="X"'])
    assert [seat.name for seat in plan.seats] == ["X", "Bob", "Bob (2)"]
    assert plan.game_config["players"] == [{"name": "X"}, {}, {}]


def test_names_that_the_schema_refuses_are_not_written(raw: Raw, load: Load) -> None:
    """A name is no reason not to play."""
    raw["player"][1]["name"] = "B" * 30
    plan = build_plan(load(), variant="trio", players=["bob"])
    assert plan.game_config["players"] == [{}, {}, {}]
    assert plan.seats[0].name == "B" * 30


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({}, False),
        ({"properties": {"players": {"type": "array", "items": {"type": "object"}}}}, False),
        (
            {
                "properties": {"players": {"$ref": "#/$defs/all~1players"}},
                "$defs": {
                    "all/players": {"type": "array", "items": {"$ref": "#/$defs/one"}},
                    "one": {"type": "object", "properties": {"name": {"$ref": "#/$defs/name"}}},
                    "name": {"type": "string"},
                },
            },
            True,
        ),
        ({"properties": {"players": {"$ref": "#/properties/players"}}}, False),
    ],
)
def test_named_players_are_found_through_references(schema: Raw, named: bool) -> None:
    """Declarations behind `$ref` count; a loop of references ends."""
    assert declares_named_players(schema) is named


def test_plan_becomes_the_contracts_request(load: Load) -> None:
    """The request has runnables without identity and a configuration without tokens."""
    plan = build_plan(load(), variant="trio")
    request = plan.request()
    assert [player.type for player in request.players] == ["player"] * 3
    assert request.game_config == plan.game_config
    assert request.manifest == plan.manifest


def test_pins_change_declared_keys_after_the_overrides(raw: Raw, load: Load) -> None:
    """A value that is no JSON is a text; both are checked by the schema."""
    raw["game"]["config_schema"]["properties"]["map"] = {"type": "string"}
    plan = build_plan(load(), variant="trio", overrides=["width=5"], pins=["map=small"])
    assert plan.game_config == {"players": [{}, {}, {}], "width": 5, "map": "small"}
    with pytest.raises(ManifestRefused) as caught:
        build_plan(load(), variant="trio", overrides=["width=2"], pins=["map=3"])
    assert caught.value.what == (
        "the game configuration of variant trio in world.json with --set width and --pin map is refused: 2 problems"
    )


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (
            {"pins": ["fruit=1"]},
            [
                "--pin fruit is not in the game's config_schema",
                "evidence: keys: players, num_agents, width",
                "try: choose one of them; --set takes other keys if the schema does",
            ],
        ),
        (
            {"pins": ["widht=1"]},
            [
                "--pin widht is not in the game's config_schema",
                "evidence: keys: players, num_agents, width",
                "try: did you mean width?",
            ],
        ),
        ({"pins": ["width=5"], "overrides": ["width=5"]}, ["--pin width is also said with --set", "try: say it once"]),
        ({"pins": ["width=5", "width=6"]}, ["--pin width is also said with --pin", "try: say it once"]),
        ({"pins": ["width"]}, ["--pin width is not KEY=VALUE", "try: write for example --pin map=12"]),
        (
            {"pins": ["tokens=[]"]},
            ["--pin cannot change tokens", "try: leave them out; each episode gets fresh ones"],
        ),
        (
            {"pins": ["players.7.name=x"]},
            [
                "--pin players.7.name leads nowhere",
                "evidence: players is a list of 3; `7` would need an index below 3",
                "try: set the part above it as a whole",
            ],
        ),
    ],
)
def test_a_pin_that_cannot_be_used_is_refused(load: Load, wishes: Any, said: list[str]) -> None:
    """Every message, with what would have been right."""
    assert lines(load(), variant="trio", **wishes) == said


def test_many_equal_names_are_told_apart_quickly() -> None:
    """Ten thousand seats of one player are numbered through; the rule is the one for two."""
    names = unique_names(["bot"] * 10_000 + ["bot (2)"])
    assert (names[0], names[1], names[-2], names[-1]) == ("bot", "bot (3)", "bot (10001)", "bot (2)")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["bot", "bot (2)", "bot (3)", "ada", ""]), max_size=12))
def test_unique_names_are_unique_and_keep_the_first(names: list[str]) -> None:
    """Every seat is told apart, the first of a name keeps it, and each repeat shows whose name it is."""
    result = unique_names(names)
    assert len(set(result)) == len(names)
    for index, name in enumerate(names):
        assert result[index].startswith(name)
        if name not in names[:index]:
            assert result[index] == name


def test_people_take_their_seats_and_players_the_others(load: Load) -> None:
    """Named players share what is left; the fixture's stay where they are; nothing is started for a person."""
    plan = build_plan(load(), variant="trio", people={1})
    assert ids(plan) == ["ada", PERSON, "ada"]
    assert [seat.runnable is None for seat in plan.seats] == [False, True, False]
    assert plan.people == {1}
    assert plan.seats[1].name == PERSON
    assert ids(build_plan(load(), variant="trio", players=["bob"], people={0, 2})) == [PERSON, "bob", PERSON]
    everybody = build_plan(load(), people={0, 1})
    assert [seat.name for seat in everybody.seats] == [PERSON, f"{PERSON} (2)"]
    with pytest.raises(Refused, match="people"):
        everybody.request()


def test_a_person_needs_a_seat_that_is_there(load: Load) -> None:
    """Seats beyond the variant's are refused with those that there are, and so are players without a seat."""
    assert lines(load(), people={2}) == [
        "there is no seat 2",
        "evidence: certification has seats 0 to 1",
        "try: name one of them, or play another variant",
    ]
    assert "for no seats" in lines(load(), people={0, 1}, players=["bob"])[0]


def test_a_plan_knows_where_its_manifest_was_read(load: Load, tmp_path: Path) -> None:
    """For the record of its episode; one that was made in memory was read nowhere."""
    loaded = load()
    assert build_plan(loaded).origin is loaded.origin is None
    (tmp_path / MANIFEST_FILE).write_bytes(msgspec.json.encode(loaded.raw))
    origin = build_plan(load_manifest(tmp_path)).origin
    assert origin == ManifestOrigin(source=str(tmp_path), place=str(tmp_path / MANIFEST_FILE))
