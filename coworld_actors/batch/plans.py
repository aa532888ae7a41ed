"""From scheduled episodes to plans that can be started: each variant is looked at once, then only seats, names and seed change."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from coworld_actors.batch.commands import image_notes, refuse_idle_run, runnable_of, with_own_images
from coworld_actors.batch.schedule import EPISODE_LIMIT, Lineups, Scheduled, VariantSeats, seated_in_turn, shared_lineup
from coworld_actors.batch.specs import PlayerSpec, RefKind, entrant_names
from coworld_actors.manifest.load import LoadedManifest
from coworld_actors.manifest.overrides import Override
from coworld_actors.manifest.seats import (
    PERSONS_PART,
    EpisodePlan,
    Part,
    SeatPlan,
    build_plan,
    check_people,
    config_changes,
    seated,
    unique_names,
)
from coworld_actors.manifest.seed_keys import check_seed_key, describe_bounds, find_seed_keys, integer_bounds
from coworld_actors.manifest.variants import Stage, config_validator, refuse_wrong_config, set_stage
from coworld_drivers.images import ImageMap
from coworld_protocol.errors import Refused
from coworld_protocol.manifest import Runnable
from coworld_protocol.switches import ENV_PLAYER_SEED

__all__ = ["Plans", "fixture_entrants", "plan_single", "player_seed", "prepare"]


def player_seed(seed: int, slot: int) -> int:
    """What a seat of an episode finds in `switches.ENV_PLAYER_SEED`: 0 to 4294967295, from the episode's seed and the seat."""
    digest = hashlib.blake2b(f"{seed}/{slot}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


class Plans:
    """The plans of a batch. Made by `prepare`.

    Attributes:
        images: the caller's, with those that commands and functions need.
        names: of the entrants, unique.
        variants: what is played.
        seed_key: dotted key that takes the episode's seed; None where the game takes none or the caller has fixed it.
        notes: what the caller should know, a sentence each.
    """

    def __init__(
        self,
        *,
        images: ImageMap,
        specs: Sequence[PlayerSpec],
        stages: Mapping[str, Stage],
        run: tuple[str, ...],
        seed_key: str | None,
        notes: Sequence[str],
    ) -> None:
        self.images = images
        self.specs = tuple(specs)
        self.names = entrant_names(specs)
        self.variants = tuple(VariantSeats(id=name, seats=stage.seats) for name, stage in stages.items())
        self.seed_key = seed_key
        self.notes = tuple(notes)
        self._run = run
        self._stages = dict(stages)
        self._seed_path = tuple(seed_key.split(".")) if seed_key is not None else ()
        self._takes_names: dict[tuple[str, frozenset[str]], bool] = {}
        self._runnables: dict[tuple[str, int, int], tuple[str, Runnable]] = {}

    @property
    def seed_applied(self) -> bool:
        """Whether the games are given the episodes' seeds."""
        return self.seed_key is not None

    def plan(self, scheduled: Scheduled) -> EpisodePlan:
        """The episode, ready to be started. No two plans share a configuration or an environment."""
        stage = self._stages[scheduled.variant]
        names = unique_names([self.names[entrant] for entrant in scheduled.seats])
        seats: list[SeatPlan] = []
        for slot, entrant in enumerate(scheduled.seats):
            ref, runnable = self._runnable(scheduled.variant, slot, entrant)
            env = {**runnable.env, ENV_PLAYER_SEED: str(player_seed(scheduled.seed, slot))}
            seats.append(
                SeatPlan(
                    slot=slot, player_id=ref, name=names[slot], runnable=msgspec.structs.replace(runnable, env=env)
                )
            )
        return EpisodePlan(
            manifest=stage.manifest,
            variant_id=stage.variant_id,
            game_config=self._config(stage, names, scheduled.seed),
            seats=tuple(seats),
            origin=stage.origin,
        )

    def check_seeds(self, first: int, last: int) -> None:
        """Checks the seeds of a schedule against the game's schema, before anything starts. Nothing where no seed is applied.

        Raises:
            Refused: the schema does not accept one of them; its bounds are named.
        """
        if self.seed_key is None:
            return
        any_stage = next(iter(self._stages.values()))
        schema = any_stage.manifest.game.config_schema
        low, high, simple = integer_bounds(schema, self.seed_key)
        for variant, stage in self._stages.items():
            # Bounds leave no gap. Where the schema says more every seed is asked for, if there can be a schedule of so many.
            every = not simple and last - first < EPISODE_LIMIT
            for seed in range(first, last + 1) if every else (first, last):
                config = _fresh(stage.config)
                self._put_seed(config, seed)
                if not stage.accepts(config):
                    problems = stage.problems(config)
                    raise Refused(
                        f"variant {variant} does not take seed {seed}; the schedule has {first} to {last}",
                        evidence="; ".join(str(problem) for problem in problems[:3]),
                        todo=f"{self.seed_key} takes {describe_bounds(low, high)}: choose --seed and the number of rounds so that all fit,"
                        f" or fix it with --pin {self.seed_key}=VALUE",
                    )

    def _config(self, stage: Stage, names: list[str], seed: int) -> dict[str, Any]:
        """A configuration of its own, with the seats' names and the seed where the game takes them."""
        config: dict[str, Any] = _fresh(stage.config)
        if not stage.names_by_hand:
            # A schema looks at every name by itself, or whether they differ: who of them sits where is nothing to it.
            key = (stage.variant_id, frozenset(names))
            taken = self._takes_names.get(key)
            if taken is None:
                taken = self._takes_names[key] = stage.with_names(names) is not stage.config
            if taken:
                for entry, name in zip(config["players"], names, strict=True):
                    entry["name"] = name
        self._put_seed(config, seed)
        return config

    def _runnable(self, variant: str, slot: int, entrant: int) -> tuple[str, Runnable]:
        key = (variant, slot, entrant)
        found = self._runnables.get(key)
        if found is None:
            spec = self.specs[entrant]
            stage = self._stages[variant]
            found = spec.ref, runnable_of(spec, stage.entries[slot], stage.manifest, self._run, self.images)
            self._runnables[key] = found
        return found

    def _put_seed(self, config: dict[str, Any], seed: int) -> None:
        if self._seed_path:
            place = config
            for key in self._seed_path[:-1]:
                place = place.setdefault(key, {})
            place[self._seed_path[-1]] = seed


def prepare(
    loaded: LoadedManifest,
    images: ImageMap,
    specs: Sequence[PlayerSpec],
    *,
    variants: Sequence[str | None] = (None,),
    overrides: Sequence[str] = (),
    pins: Sequence[str] = (),
    seed_key: str | None = None,
    run: tuple[str, ...] = (),
) -> Plans:
    """Looks at everything that can be refused before an episode is played, but for the seeds (`Plans.check_seeds`) and for what
    the players' own files are like (`check_players`).

    Args:
        loaded: the manifest.
        images: what images mean on this machine.
        specs: the entrants.
        variants: ids; None is the certification fixture.
        overrides: `KEY=JSON` of `--set`.
        pins: `KEY=VALUE` of `--pin`, applied after them.
        seed_key: `--seed-key`; None looks for one by name.
        run: `--run`: command of the entrants that are images.

    Raises:
        Refused: wishes that cannot be met.
        ManifestRefused: a configuration breaks the game's schema.
    """
    if not specs:
        raise Refused("a batch needs a player", todo="name at least one, or take `fixture_entrants`")
    refuse_idle_run(specs, run)
    changes = config_changes(loaded, overrides, pins)
    stages = _stages(loaded, variants, changes)
    notes: list[str] = []
    key = _seed_key(loaded, stages, changes, seed_key, notes)
    notes.extend(image_notes(specs, images, run))
    plans = Plans(images=with_own_images(images, specs), specs=specs, stages=stages, run=run, seed_key=key, notes=notes)
    for spec in specs:
        for stage in stages.values():
            for entry in stage.entries:
                runnable_of(spec, entry, stage.manifest, run, plans.images)
    return plans


def fixture_entrants(
    loaded: LoadedManifest,
    *,
    variants: Sequence[str | None] = (None,),
    overrides: Sequence[str] = (),
    pins: Sequence[str] = (),
) -> tuple[list[PlayerSpec], Lineups]:
    """Who plays a batch for which no players are named: the fixture's, on the seats where one episode would have them.

    Args:
        loaded: the manifest.
        variants: as for `prepare`, which counts the seats; players of the fixture beyond them are left out.
        overrides: as for `prepare`.
        pins: as for `prepare`.

    Returns:
        The specs for `prepare` and the lineups for `make_schedule`. A player with several seats is one entrant.

    Raises:
        Refused: as `prepare`.
    """
    changes = config_changes(loaded, overrides, pins)
    validator = config_validator(loaded.manifest)
    most = max(set_stage(loaded, variant, changes, validator=validator).seats for variant in variants or (None,))
    fixture = [player.player_id for player in loaded.manifest.certification.players]
    distinct = list(dict.fromkeys(fixture[:most]))
    specs = [PlayerSpec(ref=each, kind=RefKind.PLAYER) for each in distinct]
    return specs, seated_in_turn([distinct.index(each) for each in fixture[:most]])


def plan_single(
    loaded: LoadedManifest,
    images: ImageMap,
    specs: Sequence[PlayerSpec],
    *,
    variant: str | None = None,
    overrides: Sequence[str] = (),
    pins: Sequence[str] = (),
    run: tuple[str, ...] = (),
    people: Collection[int] = (),
) -> tuple[EpisodePlan, ImageMap]:
    """One episode that belongs to no batch: nobody injects a seed, and without specs the fixture's players are seated.

    Args:
        loaded: the manifest.
        images: what images mean on this machine.
        specs: none, or players that share the seats.
        variant: id; None is the certification fixture.
        overrides: `KEY=JSON` of `--set`.
        pins: `KEY=VALUE` of `--pin`, applied after them.
        run: `--run`: command of the entrants that are images.
        people: seats that people take; the players share the others.

    Returns:
        The plan, and the images with those that commands and functions need.

    Raises:
        Refused: wishes that cannot be met.
        ManifestRefused: the configuration breaks the game's schema.
    """
    if not specs:
        plan = build_plan(
            loaded,
            variant=variant,
            overrides=overrides,
            pins=pins,
            run=run,
            known_images=images.names(),
            people=people,
        )
        return plan, images
    refuse_idle_run(specs, run)
    changes = config_changes(loaded, overrides, pins)
    stage = set_stage(loaded, variant, changes)
    check_people(stage, people)
    others = stage.seats - len(people)
    if not others:
        raise Refused(
            f"there is no seat for {specs[0].called}", evidence="people have all seats", todo="leave the players out"
        )
    if people and len(specs) > others:
        raise Refused(
            f"{len(specs)} players for {others} {'seat' if others == 1 else 'seats'}: people have the other {len(people)}",
            todo="name fewer players; they share the seats that are left",
        )
    (base,) = shared_lineup([spec.share for spec in specs], [spec.ref for spec in specs])(others, 0)
    own = with_own_images(images, specs)
    parts: list[Part] = []
    turn = iter(base)
    for slot, fixture in enumerate(stage.entries):
        if slot in people:
            parts.append(PERSONS_PART)
            continue
        spec = specs[next(turn)]
        entry = stage.manifest.find_player(spec.ref) if spec.kind is RefKind.PLAYER else None
        name = entry.name if entry is not None and not spec.name else spec.called
        parts.append((spec.ref, name, runnable_of(spec, fixture, stage.manifest, run, own)))
    refuse_wrong_config(loaded, stage, changes)
    return seated(stage, parts, chosen=True), own


def _stages(loaded: LoadedManifest, variants: Sequence[str | None], changes: Sequence[Override]) -> dict[str, Stage]:
    validator = config_validator(loaded.manifest)
    stages: dict[str, Stage] = {}
    for variant in variants or (None,):
        stage = set_stage(loaded, variant, changes, validator=validator)
        if stage.variant_id in stages:
            raise Refused(f"variant {stage.variant_id} is asked for twice", todo="name it once")
        refuse_wrong_config(loaded, stage, changes)
        stages[stage.variant_id] = stage
    return stages


def _seed_key(
    loaded: LoadedManifest,
    stages: Mapping[str, Stage],
    changes: Sequence[Override],
    wanted: str | None,
    notes: list[str],
) -> str | None:
    schema = loaded.manifest.game.config_schema
    if wanted is not None:
        check_seed_key(schema, wanted)
        found = [wanted]
    else:
        found = [
            key for key in find_seed_keys(schema) if all(_has_place(stage.config, key) for stage in stages.values())
        ]
    if not found:
        notes.append(
            "the game takes no seed (its config_schema declares no integer that is called one): episodes are not repeatable"
        )
        return None
    key = found[0]
    path = tuple(key.split("."))
    for change in changes:
        if _fixes(change, path):
            notes.append(f"{key} is fixed by {change.option} {change.name}: every episode has the same one")
            return None
    if wanted is not None:
        for variant, stage in stages.items():
            if not _has_place(stage.config, key, made=True):
                raise Refused(
                    f"--seed-key {key} leads nowhere in the configuration of variant {variant}",
                    evidence="a part of the way is there and is no object",
                    todo="name another key, or set the part above it with --set",
                )
    if len(found) > 1:
        notes.append(f"the seed goes to {key}; the game also declares {', '.join(found[1:])}: see --seed-key")
    return key


def _has_place(config: dict[str, Any], key: str, *, made: bool = False) -> bool:
    """Whether everything above a key is there, or with `made` at least could be."""
    place: Any = config
    for name in key.split(".")[:-1]:
        if made and name not in place:
            return True
        place = place.get(name)
        if not isinstance(place, dict):
            return False
    return True


def _fixes(change: Override, path: tuple[str, ...]) -> bool:
    """Whether a change says what stands at a path."""
    if change.keys != path[: len(change.keys)]:
        return False
    place = change.value
    for name in path[len(change.keys) :]:
        if not isinstance(place, dict) or name not in place:
            return False
        place = place[name]
    return True


def _fresh(value: Any) -> Any:
    """A copy of a JSON value that shares nothing that can be changed."""
    if isinstance(value, dict):
        return {key: _fresh(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_fresh(each) for each in value]
    return value
