"""From a manifest and a caller's wishes to what is played: a configuration without tokens and a runnable for every seat."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from coworld_actors.manifest.document import printable
from coworld_actors.manifest.load import LoadedManifest, ManifestOrigin
from coworld_actors.manifest.overrides import Override, parse_override, parse_pin
from coworld_actors.manifest.seed_keys import check_pin_key
from coworld_actors.manifest.shares import largest_remainder
from coworld_actors.manifest.variants import FIXTURE, Stage, declares_named_players, refuse_wrong_config, set_stage
from coworld_protocol.contract import HOSTED_IMAGE_ID, Role
from coworld_protocol.errors import Refused
from coworld_protocol.manifest import EpisodeRequest, Manifest, RoleEntry, Runnable

__all__ = [
    "FIXTURE",
    "PERSON",
    "PERSONS_PART",
    "EpisodePlan",
    "Part",
    "SeatPlan",
    "build_plan",
    "check_people",
    "config_changes",
    "declares_named_players",
    "image_name",
    "image_runnable",
    "player_runnable",
    "refuse_non_image",
    "seated",
    "unique_names",
]


PERSON = "person"
"""`player_id` and display name of a seat that a person takes."""


class SeatPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Who sits where.

    Attributes:
        slot: seat number, from 0.
        player_id: the player's id in the manifest, or the image as it was given; `PERSON` for a person.
        name: display name, unique among the seats.
        runnable: what to start; None where a person plays, who comes with a browser or a program of their own.
    """

    slot: int
    player_id: str
    name: str
    runnable: Runnable | None


class EpisodePlan(msgspec.Struct, frozen=True, kw_only=True):
    """An episode that can be started.

    Attributes:
        manifest: the world.
        variant_id: the variant played, or `FIXTURE`.
        game_config: the configuration without tokens; it obeys `config_schema` with one token per seat.
        seats: in slot order.
        origin: where the manifest was read; None for one that was made in memory.
    """

    manifest: Manifest
    variant_id: str
    game_config: dict[str, Any]
    seats: tuple[SeatPlan, ...]
    origin: ManifestOrigin | None = None

    @property
    def people(self) -> frozenset[int]:
        """The seats that people take."""
        return frozenset(seat.slot for seat in self.seats if seat.runnable is None)

    def request(self) -> EpisodeRequest:
        """The plan in the contract's form, without ids and names.

        Raises:
            Refused: a person has a seat, which the contract's form cannot say.
        """
        players = tuple(seat.runnable for seat in self.seats if seat.runnable is not None)
        if len(players) < len(self.seats):
            raise Refused("a plan with people in it cannot be sent", todo="give every seat a player")
        return EpisodeRequest(manifest=self.manifest, game_config=self.game_config, players=players)


def build_plan(
    loaded: LoadedManifest,
    *,
    players: Sequence[str] = (),
    variant: str | None = None,
    overrides: Sequence[str] = (),
    pins: Sequence[str] = (),
    run: Sequence[str] = (),
    known_images: Collection[str] = (),
    people: Collection[int] = (),
) -> EpisodePlan:
    """Chooses configuration and seats.

    Seats start as the fixture's players, repeated in turn until every seat has one; `players` then replaces them where no person
    sits.

    Args:
        loaded: the manifest.
        players: none, or at most one per seat; fewer share the seats by largest remainder, in their order. Each is a player id of
            the manifest or an image; an image keeps the environment of the seat it takes, and its `run` unless `run` is given (so
            does the reference).
        variant: id of the variant; None plays the certification fixture.
        overrides: `KEY=JSON`, applied in order.
        pins: `KEY=VALUE` for keys that the game declares, applied after them.
        run: command of every seat that got an image.
        known_images: names of images that are known although they look like ids.
        people: seats that people take.

    Raises:
        Refused: an unknown variant, player or seat, more players than seats, a world that cannot be played here.
        ManifestRefused: the configuration breaks the game's schema; every problem is named.
    """
    manifest = loaded.manifest
    changes = config_changes(loaded, overrides, pins)
    stage = set_stage(loaded, variant, changes)
    check_people(stage, people)
    chosen = _spread(players, stage.seats - len(people))
    known = [_find(manifest, text, known_images) for text in chosen]
    if run and not any(entry is None for entry in known):
        raise Refused(
            "--run needs an image",
            evidence="every seat has a player of the manifest",
            todo="name an image as the PLAYER",
        )
    parts: list[Part] = []
    others = iter(range(len(chosen)))
    for slot, fixture in enumerate(stage.entries):
        if slot in people:
            parts.append(PERSONS_PART)
            continue
        turn = next(others, None)
        entry = fixture if turn is None else known[turn]
        if entry is None:
            assert turn is not None, "a fixture's player is there"
            parts.append((chosen[turn], image_name(chosen[turn]), image_runnable(fixture, chosen[turn], run)))
        else:
            parts.append((entry.id, entry.name, player_runnable(entry)))
    refuse_wrong_config(loaded, stage, changes)
    return seated(stage, parts, chosen=bool(chosen))


Part = tuple[str, str, Runnable | None]
"""What sits on a seat: reference, display name, what to start."""

PERSONS_PART: Part = (PERSON, PERSON, None)


def check_people(stage: Stage, people: Collection[int]) -> None:
    """Checks that the seats of people are there.

    Raises:
        Refused: one is not.
    """
    wrong = sorted(slot for slot in people if not 0 <= slot < stage.seats)
    if wrong:
        seats = "seat 0 alone" if stage.seats == 1 else f"seats 0 to {stage.seats - 1}"
        raise Refused(
            f"there is no seat {wrong[0]}",
            evidence=f"{stage.variant_id} has {seats}",
            todo="name one of them, or play another variant",
        )


def seated(stage: Stage, parts: Sequence[Part], *, chosen: bool) -> EpisodePlan:
    """A plan with every seat taken.

    Args:
        stage: the variant.
        parts: in slot order.
        chosen: the caller has named the players, so that their names count and not those of the configuration.
    """
    given = [name for _, name, _ in parts]
    people = {slot for slot, (_, _, runnable) in enumerate(parts) if runnable is None}
    if (chosen or people) and not stage.names_by_hand:
        if not chosen:
            given = [name if slot in people else stage.configured_name(slot) or name for slot, name in enumerate(given)]
        names = unique_names(given)
        config = stage.with_names(names)
    else:
        names = unique_names([stage.configured_name(slot) or name for slot, name in enumerate(given)])
        config = stage.config
    seats = tuple(
        SeatPlan(slot=slot, player_id=player_id, name=names[slot], runnable=runnable)
        for slot, (player_id, _, runnable) in enumerate(parts)
    )
    return EpisodePlan(
        manifest=stage.manifest, variant_id=stage.variant_id, game_config=config, seats=seats, origin=stage.origin
    )


def config_changes(loaded: LoadedManifest, overrides: Sequence[str], pins: Sequence[str]) -> list[Override]:
    """What the caller changes in the configuration, in the order in which it applies.

    Raises:
        Refused: one is not of its form, a pin is for a key that the game does not declare, or both are for the same key.
    """
    changes = [parse_override(text) for text in overrides]
    for text in pins:
        pin = parse_pin(text)
        check_pin_key(loaded.manifest.game.config_schema, pin.name)
        for other in changes:
            if other.keys == pin.keys:
                raise Refused(f"--pin {pin.name} is also said with {other.option}", todo="say it once")
        changes.append(pin)
    return changes


def unique_names(names: Sequence[str]) -> list[str]:
    """Display names that differ: `bot`, `bot (2)`, `bot (3)`."""
    taken = set(names)
    seen: set[str] = set()
    last: dict[str, int] = {}
    result: list[str] = []
    for name in names:
        candidate, number = name, 1
        if candidate in seen:
            # `seen` only grows: what was taken the last time is taken still.
            number = last.get(name, 1)
            while candidate in seen or candidate in taken:
                number += 1
                candidate = f"{name} ({number})"
            last[name] = number
        seen.add(candidate)
        result.append(candidate)
    return result


def refuse_non_image(text: str, *, players: Collection[str], images: Collection[str], game: str) -> None:
    """Checks that what is no player of the manifest can be an image: a known one, or a reference that no id looks like.

    Args:
        text: as the caller wrote it.
        players: ids of the manifest's players.
        images: names of known images.
        game: what the world is called.

    Raises:
        Refused: it is an id of the hosted platform, or most likely a player's id with a slip in it.
    """
    listing = f"players: {', '.join(players)}"
    if HOSTED_IMAGE_ID.fullmatch(text):
        raise Refused(
            f"{text} is an id of the hosted platform, not an image",
            evidence=listing,
            todo="give an image reference or a player",
        )
    if text not in images and re.search(r"[/:@.]", text) is None:
        near = difflib.get_close_matches(text, players, n=1)
        meant = f"did you mean {near[0]}?" if near else "choose one of them"
        raise Refused(
            f"{game} has no player {text!r}",
            evidence=listing,
            todo=f"{meant}; if it is an image, write a tag behind it ({text or 'NAME'}:latest) or map it with --image",
        )


def player_runnable(entry: RoleEntry) -> Runnable:
    """How a player of the manifest is started.

    Raises:
        Refused: it is a file.
    """
    if entry.image is None:
        raise Refused(
            f"player {entry.id} cannot be started here",
            evidence="it is a file, not an image",
            todo="choose another player",
        )
    return entry.runnable()


def image_runnable(fixture: RoleEntry, image: str, run: Sequence[str]) -> Runnable:
    """How an image is started that takes the seat of a fixture's player: with its environment, and its command if `run` is empty."""
    return Runnable(
        type=Role.PLAYER, image=image, run=tuple(run) or fixture.run, env=fixture.env, resources=fixture.resources
    )


def image_name(image: str) -> str:
    """The last part of a reference without tag and digest."""
    return image.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0] or image


def _spread(players: Sequence[str], slots: int) -> list[str]:
    if len(players) > slots:
        seats = "1 seat" if slots == 1 else f"{slots or 'no'} seats"
        raise Refused(
            f"{len(players)} players for {seats}",
            evidence=f"given: {', '.join(players)}",
            todo=f"play a variant with at least {len(players)} seats, or let all groups of {slots} meet with --round-robin",
        )
    counts = largest_remainder(slots, [1.0] * len(players)) if players else []
    return [player for player, count in zip(players, counts, strict=True) for _ in range(count)]


def _find(manifest: Manifest, text: str, known_images: Collection[str]) -> RoleEntry | None:
    """The player of that id, or None for an image."""
    entry = manifest.find_player(text)
    if entry is None:
        ids = [each.id for each in manifest.player]
        refuse_non_image(text, players=ids, images=known_images, game=printable(manifest.game.name))
    return entry
