"""From a manifest and a caller's wishes to what is played: a configuration without tokens and a runnable for every seat."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from coworld_actors.manifest.document import printable
from coworld_actors.manifest.load import LoadedManifest
from coworld_actors.manifest.overrides import Override, parse_override, parse_pin
from coworld_actors.manifest.seed_keys import check_pin_key
from coworld_actors.manifest.shares import largest_remainder
from coworld_actors.manifest.variants import FIXTURE, Stage, declares_named_players, refuse_wrong_config, set_stage
from coworld_protocol.contract import HOSTED_IMAGE_ID, Role
from coworld_protocol.errors import Refused
from coworld_protocol.manifest import EpisodeRequest, Manifest, RoleEntry, Runnable

__all__ = [
    "FIXTURE",
    "EpisodePlan",
    "SeatPlan",
    "build_plan",
    "config_changes",
    "declares_named_players",
    "image_name",
    "image_runnable",
    "player_runnable",
    "refuse_non_image",
    "seated",
    "unique_names",
]


class SeatPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Who sits where.

    Attributes:
        slot: seat number, from 0.
        player_id: the player's id in the manifest, or the image as it was given.
        name: display name, unique among the seats.
        runnable: what to start.
    """

    slot: int
    player_id: str
    name: str
    runnable: Runnable


class EpisodePlan(msgspec.Struct, frozen=True, kw_only=True):
    """An episode that can be started.

    Attributes:
        manifest: the world.
        variant_id: the variant played, or `FIXTURE`.
        game_config: the configuration without tokens; it obeys `config_schema` with one token per seat.
        seats: in slot order.
    """

    manifest: Manifest
    variant_id: str
    game_config: dict[str, Any]
    seats: tuple[SeatPlan, ...]

    def request(self) -> EpisodeRequest:
        """The plan in the contract's form, without ids and names."""
        return EpisodeRequest(
            manifest=self.manifest, game_config=self.game_config, players=tuple(seat.runnable for seat in self.seats)
        )


def build_plan(
    loaded: LoadedManifest,
    *,
    players: Sequence[str] = (),
    variant: str | None = None,
    overrides: Sequence[str] = (),
    pins: Sequence[str] = (),
    run: Sequence[str] = (),
    known_images: Collection[str] = (),
) -> EpisodePlan:
    """Chooses configuration and seats.

    Seats start as the fixture's players, repeated in turn until every seat has one; `players` then replaces them.

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

    Raises:
        Refused: an unknown variant or player, more players than seats, a world that cannot be played here.
        ManifestRefused: the configuration breaks the game's schema; every problem is named.
    """
    manifest = loaded.manifest
    changes = config_changes(loaded, overrides, pins)
    stage = set_stage(loaded, variant, changes)
    chosen = _spread(players, stage.seats)
    known = [_find(manifest, text, known_images) for text in chosen]
    if run and not any(entry is None for entry in known):
        raise Refused(
            "--run needs an image",
            evidence="every seat has a player of the manifest",
            todo="name an image as the PLAYER",
        )
    parts: list[Part] = []
    for slot, fixture in enumerate(stage.entries):
        entry = known[slot] if chosen else fixture
        if entry is None:
            parts.append((chosen[slot], image_name(chosen[slot]), image_runnable(fixture, chosen[slot], run)))
        else:
            parts.append((entry.id, entry.name, player_runnable(entry)))
    refuse_wrong_config(loaded, stage, changes)
    return seated(stage, parts, chosen=bool(chosen))


Part = tuple[str, str, Runnable]
"""What sits on a seat: reference, display name, what to start."""


def seated(stage: Stage, parts: Sequence[Part], *, chosen: bool) -> EpisodePlan:
    """A plan with every seat taken.

    Args:
        stage: the variant.
        parts: in slot order.
        chosen: the caller has named the players, so that their names count and not those of the configuration.
    """
    given = [name for _, name, _ in parts]
    if chosen and not stage.names_by_hand:
        names = unique_names(given)
        config = stage.with_names(names)
    else:
        names = unique_names([stage.configured_name(slot) or name for slot, name in enumerate(given)])
        config = stage.config
    seats = tuple(
        SeatPlan(slot=slot, player_id=player_id, name=names[slot], runnable=runnable)
        for slot, (player_id, _, runnable) in enumerate(parts)
    )
    return EpisodePlan(manifest=stage.manifest, variant_id=stage.variant_id, game_config=config, seats=seats)


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
        seats = "1 seat" if slots == 1 else f"{slots} seats"
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
