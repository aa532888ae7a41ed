"""From scheduled episodes to plans: who sits where, called what, with which seed, and what cannot be planned."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from coworld_actors.batch.plans import Plans, fixture_entrants, plan_single, player_seed, prepare
from coworld_actors.batch.schedule import Scheduled, Seating, VariantSeats, make_schedule, shared_lineup
from coworld_actors.batch.specs import PlayerSpec, parse_spec
from coworld_actors.manifest.load import LoadedManifest, check_manifest, load_manifest
from coworld_actors.manifest.seats import EpisodePlan
from coworld_actors.manifest.variants import config_validator
from coworld_drivers.images import ImageMap, load_images
from coworld_protocol.errors import ManifestRefused, Refused
from coworld_protocol.switches import ENV_PLAYER_SEED
from tests.coworlds import scripted_manifest

ORCHARD = Path(__file__).parents[2] / "examples/orchard"
Raw = dict[str, Any]
NO_SEED = (
    "the game takes no seed (its config_schema declares no integer that is called one): episodes are not repeatable"
)


def world(**properties: Any) -> Raw:
    """The scripted game with two seats, players of the names "plays" and "crashes", and further keys in its schema."""
    raw = scripted_manifest(players=("plays", "crashes"), config={"players": [{}, {}]})
    raw["game"]["config_schema"]["properties"] |= {
        "players": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}},
        },
        **properties,
    }
    return raw


def specs_of(loaded: LoadedManifest, texts: Sequence[str], images: Sequence[str] = ("mine",)) -> list[PlayerSpec]:
    return [parse_spec(text, players=[each.id for each in loaded.manifest.player], images=images) for text in texts]


def plans_of(raw: Raw, *texts: str, images: ImageMap | None = None, **wishes: Any) -> Plans:
    loaded = check_manifest(raw, source="world.json")
    return prepare(loaded, images or ImageMap({}), specs_of(loaded, texts or ("plays", "crashes")), **wishes)


def episode(plans: Plans, seats: Sequence[int] = (0, 1), seed: int = 42, variant: str = "certification") -> EpisodePlan:
    return plans.plan(Scheduled(index=0, variant=variant, lineup=0, block=0, seed=seed, seats=tuple(seats)))


def said(call: Callable[[], Any]) -> list[str]:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.lines()


@pytest.fixture(scope="module")
def orchard() -> LoadedManifest:
    return load_manifest(ORCHARD)


def orchard_plans(orchard: LoadedManifest, *texts: str, **wishes: Any) -> Plans:
    images = load_images(orchard.directory, {})
    return prepare(orchard, images, specs_of(orchard, texts or ("greedy", "random")), **wishes)


@pytest.mark.parametrize("variant", [None, "duel", "crowd", "big", "arcade"])
def test_every_variant_of_orchard_is_planned(orchard: LoadedManifest, variant: str | None) -> None:
    """Seats by the schedule, names and seed in the configuration, which the game's own schema takes with tokens."""
    plans = orchard_plans(orchard, variants=[variant])
    (seats,) = plans.variants
    assert plans.seed_key == "seed"
    assert plans.notes == ()
    schedule = make_schedule(
        seed=7,
        variants=plans.variants,
        entrants=plans.names,
        lineups=shared_lineup([1, 1]),
        seating=Seating.SHUFFLE,
        rounds=5,
        blocks=False,
    )
    plans.check_seeds(7, 11)
    validator = config_validator(orchard.manifest)
    for scheduled in schedule.episodes:
        plan = plans.plan(scheduled)
        assert plan.variant_id == (variant or "certification")
        assert plan.game_config["seed"] == scheduled.seed
        assert [seat.player_id for seat in plan.seats] == [plans.names[entrant] for entrant in scheduled.seats]
        assert [seat.slot for seat in plan.seats] == list(range(seats.seats))
        names = [seat.name for seat in plan.seats]
        assert len(set(names)) == len(names)
        assert [player["name"] for player in plan.game_config["players"]] == names
        assert validator.accepts({**plan.game_config, "tokens": [f"t{slot}" for slot in range(seats.seats)]})
        for seat in plan.seats:
            assert seat.runnable.run[-1].endswith("greedy" if seat.player_id == "greedy" else "random_walk")
            assert seat.runnable.env[ENV_PLAYER_SEED] == str(player_seed(scheduled.seed, seat.slot))
        assert plan.request().players == tuple(seat.runnable for seat in plan.seats)


def test_plans_share_nothing_that_can_be_changed(orchard: LoadedManifest) -> None:
    """Whoever changes a plan changes no other, and not the manifest."""
    plans = orchard_plans(orchard, "greedy,env.X=1", "random", variants=["duel"])
    first, untouched = episode(plans, variant="duel"), episode(plans, variant="duel")
    first.game_config["players"][0]["name"] = "changed"
    first.game_config["seed"] = -1
    first.seats[0].runnable.env["X"] = "changed"
    assert episode(plans, variant="duel") == untouched
    assert untouched.game_config["players"][0]["name"] == "greedy"
    assert untouched.seats[0].runnable.env["X"] == "1"
    assert orchard.manifest.variants[0].game_config["seed"] == 1


def test_ten_thousand_plans_are_cheap(orchard: LoadedManifest) -> None:
    """CPU time of this thread, so that other work on the machine does not count: 3 s for 10,000, a tenth of it here."""
    plans = orchard_plans(orchard, variants=["crowd"])
    rounds = [random.Random(number).sample([0, 1] * 4, 8) for number in range(1000)]
    begin = time.thread_time()
    for number, seats in enumerate(rounds):
        episode(plans, seats, seed=number, variant="crowd")
    assert time.thread_time() - begin < 0.3


def test_player_seeds_differ_between_seats_and_episodes() -> None:
    """Spread over 32 bits, the same on every machine."""
    seeds = {player_seed(seed, slot) for seed in range(100) for slot in range(64)}
    assert len(seeds) > 6390
    assert max(seeds) < 2**32
    assert player_seed(42, 0) == 47736048


def test_an_entrant_has_its_own_variables_and_options() -> None:
    """The same player twice, told apart; what one is given the other is not."""
    plans = plans_of(world(), "plays,env.BEHAVIOUR=waits,arg.depth=3", "plays")
    assert plans.names == ("plays", "plays (2)")
    one, two = episode(plans).seats
    assert (one.name, one.runnable.env["BEHAVIOUR"], one.runnable.run[1:]) == (
        "plays",
        "waits",
        ("scripted_player.py", "--depth=3"),
    )
    assert (two.name, two.runnable.env["BEHAVIOUR"], two.runnable.run[1:]) == (
        "plays (2)",
        "plays",
        ("scripted_player.py",),
    )


def test_names_that_the_game_does_not_take_are_left_out() -> None:
    """A name is no reason not to play; the seat keeps it for our own pages."""
    plans = plans_of(world(), "plays,name=a long name", "crashes")
    plan = episode(plans)
    assert plan.seats[0].name == "a long name"
    assert plan.game_config["players"] == [{}, {}]
    plan = episode(plans, (1, 1))
    assert [seat.name for seat in plan.seats] == ["crashes", "crashes (2)"]
    assert plan.game_config["players"] == [{}, {}]
    assert episode(plans_of(world())).game_config["players"] == [{"name": "plays"}, {"name": "crashes"}]


def test_names_set_by_hand_stay() -> None:
    """`--set players...` wins over the entrants' names."""
    plan = episode(plans_of(world(), overrides=['players.0.name="Red"']))
    assert plan.game_config["players"] == [{"name": "Red"}, {}]
    assert [seat.name for seat in plan.seats] == ["plays", "crashes"]


def test_an_image_keeps_the_environment_and_command_of_its_seat() -> None:
    """As with one episode: the fixture's player of that seat lends both; `--run` is for images."""
    plans = plans_of(world(), "mine,env.X=1", "plays")
    for slot, behaviour in enumerate(("plays", "crashes")):
        seat = episode(plans, (0, 0)).seats[slot]
        assert seat.runnable.image == "mine"
        assert seat.runnable.run[1:] == ("scripted_player.py",)
        assert (seat.runnable.env["BEHAVIOUR"], seat.runnable.env["X"]) == (behaviour, "1")
    run = plans_of(world(), "mine,arg.x=1", "plays", run=("sh", "bot.sh"))
    assert [seat.runnable.run[:3] for seat in episode(run).seats] == [
        ("sh", "bot.sh", "--x=1"),
        ("python", "scripted_player.py"),
    ]


@pytest.mark.parametrize(
    ("properties", "wishes", "key", "notes", "config"),
    [
        ({}, {}, None, [NO_SEED], {}),
        ({"seed": {"type": "integer"}}, {}, "seed", [], {"seed": 42}),
        (
            {"seed": {"type": "integer"}},
            {"pins": ["seed=3"]},
            None,
            ["seed is fixed by --pin seed: every episode has the same one"],
            {"seed": 3},
        ),
        (
            {"seed": {"type": "integer"}},
            {"overrides": ["seed=3"], "seed_key": "seed"},
            None,
            ["seed is fixed by --set seed: every episode has the same one"],
            {"seed": 3},
        ),
        (
            {"map_seed": {"type": "integer"}, "luck_seed": {"type": "integer"}},
            {},
            "map_seed",
            ["the seed goes to map_seed; the game also declares luck_seed: see --seed-key"],
            {"map_seed": 42},
        ),
        ({"seed": {"type": "integer"}, "luck": {"type": "integer"}}, {"seed_key": "luck"}, "luck", [], {"luck": 42}),
        ({"rules": {"properties": {"seed": {"type": "integer"}}}}, {}, None, [NO_SEED], {}),
        (
            {"rules": {"properties": {"seed": {"type": "integer"}}}},
            {"overrides": ["rules={}"]},
            "rules.seed",
            [],
            {"rules": {"seed": 42}},
        ),
        (
            {"rules": {"properties": {"seed": {"type": "integer"}}}},
            {"overrides": ['rules={"seed":5}']},
            None,
            ["rules.seed is fixed by --set rules: every episode has the same one"],
            {"rules": {"seed": 5}},
        ),
        (
            {"rules": {"properties": {"seed": {"type": "integer"}}}},
            {"seed_key": "rules.seed"},
            "rules.seed",
            [],
            {"rules": {"seed": 42}},
        ),
        ({"map": {"type": "string"}}, {"pins": ["map=big"]}, None, [NO_SEED], {"map": "big"}),
    ],
)
def test_the_seed_goes_where_the_schema_has_a_place_for_it(
    properties: Raw, wishes: Raw, key: str | None, notes: list[str], config: Raw
) -> None:
    """Found by name or named; what the caller fixes stays fixed; nothing is implied that is not so."""
    plans = plans_of(world(**properties), **wishes)
    assert (plans.seed_key, plans.seed_applied, list(plans.notes)) == (key, key is not None, notes)
    plans.check_seeds(42, 42)
    found = episode(plans).game_config
    assert {name: found.get(name) for name in ("seed", "map_seed", "luck_seed", "luck", "rules", "map")} == {
        **dict.fromkeys(("seed", "map_seed", "luck_seed", "luck", "rules", "map")),
        **config,
    }


@pytest.mark.parametrize(
    ("seed", "first", "last", "lines"),
    [
        (
            {"minimum": 0, "maximum": 99},
            42,
            141,
            [
                "variant certification does not take seed 141; the schedule has 42 to 141",
                "evidence: $.seed: found 141; allowed: at most 99",
                "try: seed takes 0 to 99: choose --seed and the number of rounds so that all fit, or fix it with --pin seed=VALUE",
            ],
        ),
        (
            {"minimum": 50},
            42,
            60,
            [
                "variant certification does not take seed 42; the schedule has 42 to 60",
                "evidence: $.seed: found 42; allowed: at least 50",
                "try: seed takes at least 50: choose --seed and the number of rounds so that all fit, or fix it with --pin seed=VALUE",
            ],
        ),
        (
            {"not": {"const": 50}},
            42,
            60,
            [
                "variant certification does not take seed 50; the schedule has 42 to 60",
                "evidence: $.seed: found 50; allowed: a value that the negated schema does not take",
                "try: seed takes any integer: choose --seed and the number of rounds so that all fit, or fix it with --pin seed=VALUE",
            ],
        ),
    ],
)
def test_seeds_that_the_schema_refuses_are_refused_beforehand(
    seed: Raw, first: int, last: int, lines: list[str]
) -> None:
    """With the bounds; also one in the middle of the range."""
    plans = plans_of(world(seed={"type": "integer", **seed}))
    assert said(lambda: plans.check_seeds(first, last)) == lines
    plans.check_seeds(55, 60)


def test_seeds_of_a_game_that_takes_none_are_not_looked_at() -> None:
    """There is nothing to look at them with."""
    plans_of(world()).check_seeds(-1, 10**12)


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        (
            lambda: plans_of(world(), seed_key="sed"),
            [
                "--seed-key sed is not in the game's config_schema",
                "evidence: integer keys: ticks",
                "try: choose one of them, or leave --seed-key out",
            ],
        ),
        (
            lambda: plans_of(
                world(rules={"properties": {"seed": {"type": "integer"}}}), seed_key="rules.seed", overrides=["rules=3"]
            ),
            [
                "--seed-key rules.seed leads nowhere in the configuration of variant certification",
                "evidence: a part of the way is there and is no object",
                "try: name another key, or set the part above it with --set",
            ],
        ),
        (
            lambda: plans_of(world(), variants=[None, None]),
            ["variant certification is asked for twice", "try: name it once"],
        ),
        (
            lambda: prepare(check_manifest(world(), source="w"), ImageMap({}), []),
            ["a batch needs a player", "try: name at least one, or take `fixture_entrants`"],
        ),
        (
            lambda: plans_of(world(), run=("sh",)),
            ["--run needs an image", "evidence: players: plays, crashes", "try: name an image as a PLAYER"],
        ),
    ],
)
def test_what_cannot_be_planned_is_refused(call: Callable[[], Any], lines: list[str]) -> None:
    """Every message."""
    assert said(call) == lines


def test_a_configuration_that_breaks_the_schema_is_refused() -> None:
    """Before anything is planned, with the options that may be to blame."""
    with pytest.raises(ManifestRefused) as caught:
        plans_of(world(), overrides=["ticks=0"])
    assert caught.value.what == (
        "the game configuration of the certification fixture in world.json with --set ticks is refused: 1 problem"
    )


def test_several_variants_keep_their_seats(orchard: LoadedManifest) -> None:
    """In the order in which they are asked for, and each with its own configuration."""
    plans = orchard_plans(orchard, variants=["arcade", "duel"])
    assert plans.variants == (VariantSeats(id="arcade", seats=4), VariantSeats(id="duel", seats=2))
    assert episode(plans, (0, 1), variant="duel").game_config["max_ticks"] == 200
    assert episode(plans, (0, 1, 0, 1), variant="arcade").game_config["max_ticks"] == 480


def test_the_fixtures_players_are_a_batch_too(orchard: LoadedManifest) -> None:
    """Without named players everybody sits where the fixture has them, and one who is there twice is one entrant."""
    specs, lineups = fixture_entrants(orchard)
    assert [spec.ref for spec in specs] == ["greedy", "random", "plain"]
    assert list(lineups(4, 0)) == [(0, 1, 2, 0)]
    plans = prepare(orchard, load_images(orchard.directory, {}), specs)
    assert [seat.player_id for seat in episode(plans, lineups(4, 0)[0]).seats] == [
        "greedy",
        "random",
        "plain",
        "greedy",
    ]


def test_who_of_the_fixture_has_no_seat_is_no_entrant(orchard: LoadedManifest) -> None:
    """The variant with the most seats decides; a smaller one seats the first of them, as one episode does."""
    specs, lineups = fixture_entrants(orchard, variants=["duel"])
    assert [spec.ref for spec in specs] == ["greedy", "random"]
    assert list(lineups(2, 5)) == [(0, 1)]
    specs, lineups = fixture_entrants(orchard, variants=["duel", "crowd"])
    assert [spec.ref for spec in specs] == ["greedy", "random", "plain"]
    assert (*lineups(2, 0), *lineups(8, 0)) == ((0, 1), (0, 1, 2, 0, 0, 1, 2, 0))


def test_one_episode_is_planned_as_it_always_was(orchard: LoadedManifest) -> None:
    """Display names of the manifest, the configuration's own seed, no seed for players."""
    images = load_images(orchard.directory, {})
    plan, same = plan_single(orchard, images, specs_of(orchard, ["greedy", "random,share=3"]), variant="arcade")
    assert same is images
    assert [seat.name for seat in plan.seats] == ["Greedy", "Random walk", "Random walk (2)", "Random walk (3)"]
    assert [player["name"] for player in plan.game_config["players"]] == [seat.name for seat in plan.seats]
    assert plan.game_config["seed"] == 1
    assert not any(ENV_PLAYER_SEED in seat.runnable.env for seat in plan.seats)


def test_one_episode_without_players_seats_the_fixture(orchard: LoadedManifest) -> None:
    """With the fixture's names, and pins as well as overrides."""
    plan, _ = plan_single(orchard, load_images(orchard.directory, {}), [], overrides=["width=9"], pins=["seed=5"])
    assert [seat.name for seat in plan.seats] == ["Forager 1", "Forager 2", "Forager 3", "Forager 4"]
    assert (plan.game_config["width"], plan.game_config["seed"]) == (9, 5)


def test_one_episode_with_too_many_players_is_refused(orchard: LoadedManifest) -> None:
    """The ways out are named."""
    images = load_images(orchard.directory, {})
    specs = specs_of(orchard, ["greedy", "random", "plain"])
    assert said(lambda: plan_single(orchard, images, specs, variant="duel")) == [
        "2 seats cannot be shared like this: plain would get none",
        "evidence: shares: greedy 1, random 1, plain 1",
        "try: play a variant with at least 3 seats, or let all groups of players meet with --round-robin",
    ]


def test_players_share_the_seats_that_people_do_not_take(orchard: LoadedManifest) -> None:
    """In their order, by their shares; the game learns who is a person; a full house has no room for players."""
    images = load_images(orchard.directory, {})
    specs = specs_of(orchard, ["greedy", "random,share=2"])
    plan, _ = plan_single(orchard, images, specs, variant="arcade", people={1})
    assert [seat.player_id for seat in plan.seats] == ["greedy", "person", "random", "random"]
    assert [player["name"] for player in plan.game_config["players"]] == [
        "Greedy",
        "person",
        "Random walk",
        "Random walk (2)",
    ]
    assert said(lambda: plan_single(orchard, images, specs, people=range(4)))[:2] == [
        "there is no seat for greedy",
        "evidence: people have all seats",
    ]
    many = specs_of(orchard, ["greedy", "random", "plain", "greedy"])
    assert said(lambda: plan_single(orchard, images, many, people={0}))[0] == (
        "4 players for 3 seats: people have the other 1"
    )
    alone, _ = plan_single(orchard, images, [], variant="arcade", people={0})
    assert alone.seats[0].player_id == alone.game_config["players"][0]["name"] == "person"
    assert alone.people == {0}
