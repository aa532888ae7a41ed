"""From what a batch is asked for to everything that is known before the first episode: plans, schedule, head, the test."""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from coworld_actors.batch.commands import check_players, refuse_local
from coworld_actors.batch.options import BatchKind, BatchOptions
from coworld_actors.batch.plans import Plans, fixture_entrants, prepare
from coworld_actors.batch.schedule import (
    Lineups,
    Schedule,
    Seating,
    make_schedule,
    pickup_lineups,
    round_robin,
    shared_lineup,
)
from coworld_actors.batch.specs import PlayerSpec, parse_spec
from coworld_actors.batch.statistics.comparison import Comparison
from coworld_actors.batch.store import BatchHead, digest_of
from coworld_actors.episode.launches import wanted
from coworld_actors.episode.spec import EpisodeSpec, Limits, TapSpec, new_id
from coworld_actors.manifest.load import LoadedManifest, load_manifest
from coworld_actors.manifest.seats import EpisodePlan
from coworld_actors.observe.trace_context import trace_variables
from coworld_actors.runtime.driver_choice import choose_driver
from coworld_drivers.driver import Pull, Wanted
from coworld_drivers.images import load_images
from coworld_protocol.errors import Refused

__all__ = ["Prepared", "check_machine", "prepare_batch"]


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known before the first episode.

    Attributes:
        options: what was asked for.
        loaded: the manifest.
        plans: of the episodes.
        schedule: all of them.
        head: of the batch's directory.
        comparison: the test of `compare`.
    """

    options: BatchOptions
    loaded: LoadedManifest
    plans: Plans
    schedule: Schedule
    head: BatchHead
    comparison: Comparison | None = None

    @property
    def title(self) -> str:
        """What is played, for a headline."""
        game = self.loaded.manifest.game
        variants = ", ".join(variant.id for variant in self.schedule.variants)
        return f"{game.name} {game.version}  {variants}"

    def spec_maker(self, secret_env: Mapping[str, str]) -> Callable[[str, EpisodePlan, Path], EpisodeSpec]:
        """Makes the spec of an episode from its id, plan and directory."""
        options = self.options
        limits = Limits(timeout=options.timeout)
        tap = TapSpec.parse(budget=options.budget, chaos=options.chaos) if options.taps else None
        role_env = trace_variables(os.environ)

        def make(id: str, plan: EpisodePlan, directory: Path) -> EpisodeSpec:  # noqa: A002 - the word of the spec
            recording = None if options.record is None else directory / options.record
            return EpisodeSpec(
                id=id,
                plan=plan,
                directory=directory,
                limits=limits,
                verify_replay=options.verify_replay,
                reports=options.reports,
                role_env=role_env,
                tap=None if tap is None else msgspec.structs.replace(tap, recording=recording),
                secret_env=secret_env,
                compat=options.compat,
            )

        return make


def prepare_batch(options: BatchOptions) -> Prepared:
    """Look at everything that could be refused, before anything is written; `check_machine` looks at the machine.

    Raises:
        Refused, ManifestRefused: what was asked for cannot be played.
        PreconditionMissing: something that it needs is not on this machine.
    """
    loaded = load_manifest(options.manifest)
    images = load_images(loaded.directory, options.images)
    ids = [each.id for each in loaded.manifest.player]
    known = images.names()
    texts = (*options.players, *options.pool)
    specs = [parse_spec(text, players=ids, images=known) for text in texts]
    refuse_local(specs, options.images, options.driver)
    variants = options.variants or (None,)
    own: Lineups | None = None
    if not specs:
        specs, own = fixture_entrants(loaded, variants=variants, overrides=options.overrides, pins=options.pins)
    plans = prepare(
        loaded,
        images,
        specs,
        variants=variants,
        overrides=options.overrides,
        pins=options.pins,
        seed_key=options.seed_key,
        run=options.run,
    )
    _check_seating(options, plans)
    plans.check_seeds(options.seed, options.seed + options.rounds - 1)
    schedule = make_schedule(
        seed=options.seed,
        variants=plans.variants,
        entrants=plans.names,
        lineups=_lineups(options, specs, plans.names, own),
        seating=options.seating,
        rounds=options.rounds,
        blocks=options.blocks,
    )
    head = BatchHead(
        id=new_id(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        coworld=loaded.manifest.game.name,
        game_version=loaded.manifest.game.version,
        manifest=hashlib.sha256(msgspec.json.encode(loaded.raw, order="deterministic")).hexdigest(),
        schedule=digest_of(schedule),
        episodes=len(schedule.episodes),
        entrants=plans.names,
        seed_key=plans.seed_key,
        options=options,
    )
    comparison = None
    if options.kind is BatchKind.COMPARE:
        assert options.bounds is not None, "every comparison has bounds"
        comparison = Comparison(schedule, options.bounds, lower_is_better=options.lower_is_better)
    check_players(specs, plans.images)
    return Prepared(options=options, loaded=loaded, plans=plans, schedule=schedule, head=head, comparison=comparison)


def _lineups(options: BatchOptions, specs: Sequence[PlayerSpec], names: Sequence[str], own: Lineups | None) -> Lineups:
    if options.kind is BatchKind.PICKUP:
        return pickup_lineups(0, range(1, len(specs)))
    shares = [spec.share for spec in specs]
    if options.round_robin:
        if len(set(shares)) > 1:
            raise Refused(
                "--round-robin and share= do not go together",
                evidence="every choice of players is played equally often",
                todo="leave one of them out",
            )
        return round_robin(len(specs))
    if own is not None:
        return own
    return shared_lineup(shares, names)


def _check_seating(options: BatchOptions, plans: Plans) -> None:
    if options.kind is not BatchKind.COMPARE:
        return
    if options.seating is Seating.FIXED:
        raise Refused(
            "compare swaps the seats, and --seating fixed would keep them",
            todo="use --seating rotate or shuffle, or run with --blocks",
        )
    seats = {variant.id: variant.seats for variant in plans.variants}
    if len(set(seats.values())) > 1:
        raise Refused(
            "compare needs variants with the same number of seats: the blocks of a test are all alike",
            evidence=", ".join(f"{name} has {count}" for name, count in seats.items()),
            todo="compare in one after the other",
        )
    if min(seats.values()) < 2:
        raise Refused(
            "compare needs two seats at least",
            evidence=", ".join(f"{name} has {count}" for name, count in seats.items()),
            todo="play a variant with more seats",
        )


async def check_machine(
    prepared: Prepared,
    secret_env: Mapping[str, str],
    *,
    pull: Pull = Pull.MISSING,
    note: Callable[[str], None] = lambda _: None,
) -> None:
    """Whether everything could be started that the schedule names: a batch begins with none of it missing.

    Args:
        prepared: the batch.
        secret_env: variables for players that are written nowhere.
        pull: when a registry is asked for an image.
        note: takes a sentence that a user should see, such as how far a pull has come.

    Raises:
        PreconditionMissing: with everything that is missing.
    """
    driver = choose_driver(prepared.options.place(pull), prepared.plans.images, note)
    make = prepared.spec_maker(secret_env)
    seen: set[tuple[str, int]] = set()
    needed: dict[Wanted, None] = {}
    for scheduled in prepared.schedule.episodes:
        pairs = {(scheduled.variant, entrant) for entrant in scheduled.seats}
        if not pairs <= seen:
            seen |= pairs
            spec = make("check", prepared.plans.plan(scheduled), Path("check"))
            needed |= dict.fromkeys(wanted(spec))
        if len(seen) == len(prepared.schedule.variants) * len(prepared.schedule.entrants):
            break
    async with driver:
        await driver.check(list(needed))
