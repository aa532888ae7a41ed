"""From a manifest and a caller's wishes to what is played: a configuration without tokens and a runnable for every seat."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from coworld_actors.manifest.document import printable
from coworld_actors.manifest.load import LoadedManifest
from coworld_actors.manifest.overrides import apply_overrides, parse_override
from coworld_actors.manifest.rules import CHECK_SEATS_LIMIT
from coworld_actors.manifest.schema import Validator, compile_schema
from coworld_actors.manifest.slots import placeholder_tokens, seat_count, token_bounds
from coworld_protocol.contract import HOSTED_IMAGE_ID, Role
from coworld_protocol.errors import ManifestRefused, Refused
from coworld_protocol.manifest import EpisodeRequest, Manifest, RoleEntry, Runnable

__all__ = ["FIXTURE", "EpisodePlan", "SeatPlan", "build_plan", "declares_named_players", "unique_names"]

FIXTURE = "certification"
"""`variant_id` of a plan that plays the certification fixture because no variant was named."""


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
    run: Sequence[str] = (),
    known_images: Collection[str] = (),
) -> EpisodePlan:
    """Chooses configuration and seats.

    Seats start as the fixture's players, repeated in turn until every seat has one; `players` then replaces them.

    Args:
        loaded: the manifest.
        players: none, one for every seat, or one per seat. Each is a player id of the manifest or an image; an image keeps the
            environment of the seat it takes, and its `run` unless `run` is given (so does the reference).
        variant: id of the variant; None plays the certification fixture.
        overrides: `KEY=JSON`, applied in order.
        run: command of every seat that got an image.
        known_images: names of images that are known although they look like ids.

    Raises:
        Refused: an unknown variant or player, a wrong number of players, a world that cannot be played here.
        ManifestRefused: the configuration breaks the game's schema; every problem is named.
    """
    manifest = loaded.manifest
    if manifest.game.player_runtime == "game-hosted":
        raise Refused(
            f"{printable(manifest.game.name)} starts its players itself",
            evidence='$.game.player_runtime is "game-hosted"',
            todo="play a world whose players are images",
        )
    changes = [parse_override(text) for text in overrides]
    config = apply_overrides(_base_config(manifest, variant), changes)
    slots = _slots(manifest, config, variant)
    entries = [_fixture_entry(manifest, slot) for slot in range(slots)]
    chosen = _spread(players, slots)
    known = [_find(manifest, text, known_images) for text in chosen]
    if run and not any(entry is None for entry in known):
        raise Refused(
            "--run needs an image",
            evidence="every seat has a player of the manifest",
            todo="name an image as the PLAYER",
        )
    parts: list[tuple[str, str, Runnable]] = []
    for slot, fixture in enumerate(entries):
        entry = known[slot] if chosen else fixture
        if entry is None:
            parts.append((chosen[slot], _image_name(chosen[slot]), _with_image(fixture, chosen[slot], run)))
        else:
            parts.append((entry.id, entry.name, _runnable(entry)))
    validator = compile_schema(manifest.game.config_schema, source="$.game.config_schema")
    problems = validator.problems({**config, "tokens": placeholder_tokens(slots)})
    if problems:
        what = f"variant {variant}" if variant is not None else "the certification fixture"
        changed = f" with --set {', '.join(change.name for change in changes)}" if changes else ""
        raise ManifestRefused(f"the game configuration of {what} in {loaded.source}{changed}", problems)
    given = [name for _, name, _ in parts]
    by_hand = any(change.keys[0] == "players" for change in changes)
    if chosen and not by_hand:
        names = unique_names(given)
        config = _with_names(manifest, validator, config, names)
    else:
        names = unique_names([_configured_name(config, slot) or name for slot, name in enumerate(given)])
    seats = tuple(
        SeatPlan(slot=slot, player_id=player_id, name=names[slot], runnable=runnable)
        for slot, (player_id, _, runnable) in enumerate(parts)
    )
    return EpisodePlan(manifest=manifest, variant_id=variant or FIXTURE, game_config=config, seats=seats)


def declares_named_players(config_schema: dict[str, Any]) -> bool:
    """Whether a game takes its players' display names: `players` is a list of objects with a text `name`."""
    players = _part(config_schema, config_schema, "properties", "players")
    items = _part(config_schema, players, "items")
    name = _part(config_schema, items, "properties", "name")
    return players.get("type") == "array" and items.get("type") == "object" and name.get("type") == "string"


def unique_names(names: Sequence[str]) -> list[str]:
    """Display names that differ: `bot`, `bot (2)`, `bot (3)`."""
    taken = set(names)
    seen: set[str] = set()
    result: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in seen or (number > 1 and candidate in taken):
            number += 1
            candidate = f"{name} ({number})"
        seen.add(candidate)
        result.append(candidate)
    return result


def _base_config(manifest: Manifest, variant: str | None) -> dict[str, Any]:
    if variant is None:
        return manifest.certification.game_config
    found = manifest.find_variant(variant)
    if found is None:
        ids = [each.id for each in manifest.variants]
        raise Refused(
            f"{printable(manifest.game.name)} has no variant {variant!r}",
            evidence=f"variants: {', '.join(ids)}",
            todo=_nearest(variant, ids),
        )
    return found.game_config


def _slots(manifest: Manifest, config: dict[str, Any], variant: str | None) -> int:
    bounds = token_bounds(manifest.game.config_schema)
    if variant is None and not isinstance(config.get("players"), list):
        slots: int | None = len(manifest.certification.players)
    else:
        slots = seat_count(config, bounds)
    if slots is None:
        limits = f"{bounds.least} to {bounds.most}" if bounds is not None else "unknown"
        raise Refused(
            f"variant {variant} does not say how many seats it has",
            evidence=f"no `players` list in its configuration; the game takes {limits}",
            todo="give the list: --set 'players=[...]'",
        )
    if not 1 <= slots <= CHECK_SEATS_LIMIT:
        raise Refused(
            f"the configuration has {slots} seats",
            evidence=f"an episode has 1 to {CHECK_SEATS_LIMIT}",
            todo="change `players` with --set or choose another variant",
        )
    return slots


def _fixture_entry(manifest: Manifest, slot: int) -> RoleEntry:
    fixture = manifest.certification.players
    entry = manifest.find_player(fixture[slot % len(fixture)].player_id)
    assert entry is not None, "the loader checks that fixture players are declared"
    return entry


def _spread(players: Sequence[str], slots: int) -> list[str]:
    if len(players) == 1:
        return [players[0]] * slots
    if len(players) not in {0, slots}:
        seats = "1 seat" if slots == 1 else f"{slots} seats"
        raise Refused(
            f"{len(players)} players for {seats}",
            evidence=f"given: {', '.join(players)}",
            todo="name one player for all seats" + ("" if slots == 1 else f" or {slots}, one per seat"),
        )
    return list(players)


def _find(manifest: Manifest, text: str, known_images: Collection[str]) -> RoleEntry | None:
    """The player of that id, or None for an image."""
    entry = manifest.find_player(text)
    if entry is not None:
        return entry
    ids = [each.id for each in manifest.player]
    listing = f"players: {', '.join(ids)}"
    if HOSTED_IMAGE_ID.fullmatch(text):
        raise Refused(
            f"{text} is an id of the hosted platform, not an image",
            evidence=listing,
            todo="give an image reference or a player",
        )
    if text not in known_images and re.search(r"[/:@.]", text) is None:
        raise Refused(
            f"{printable(manifest.game.name)} has no player {text!r}",
            evidence=listing,
            todo=f"{_nearest(text, ids)}; if it is an image, write a tag behind it ({text or 'NAME'}:latest) or map it with --image",
        )
    return None


def _runnable(entry: RoleEntry) -> Runnable:
    if entry.image is None:
        raise Refused(
            f"player {entry.id} cannot be started here",
            evidence="it is a file, not an image",
            todo="choose another player",
        )
    return entry.runnable()


def _with_image(fixture: RoleEntry, image: str, run: Sequence[str]) -> Runnable:
    return Runnable(
        type=Role.PLAYER, image=image, run=tuple(run) or fixture.run, env=fixture.env, resources=fixture.resources
    )


def _image_name(image: str) -> str:
    """The last part of a reference without tag and digest."""
    return image.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0] or image


def _configured_name(config: dict[str, Any], slot: int) -> str | None:
    players = config.get("players")
    entry = players[slot] if isinstance(players, list) and slot < len(players) else None
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and name else None


def _with_names(manifest: Manifest, validator: Validator, config: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The configuration with the seats' names, where the game takes names and takes these."""
    players = config.get("players")
    if not isinstance(players, list) or not declares_named_players(manifest.game.config_schema):
        return config
    named = copy.deepcopy(config)
    for slot, entry in enumerate(named["players"]):
        if not isinstance(entry, dict):
            return config
        entry["name"] = names[slot]
    accepted = validator.accepts({**named, "tokens": placeholder_tokens(len(names))})
    return named if accepted else config


def _part(root: dict[str, Any], start: Any, *keys: str) -> dict[str, Any]:
    """A subschema by its keys, with `#/...` references followed; an empty one where there is none."""
    place = start
    for key in (*keys, None):
        # As many references as anybody chains; a loop of them ends here too.
        for _ in range(8):
            reference = place.get("$ref") if isinstance(place, dict) else None
            if not isinstance(reference, str) or not reference.startswith("#/"):
                break
            place = root
            for token in reference[2:].split("/"):
                place = place.get(token.replace("~1", "/").replace("~0", "~")) if isinstance(place, dict) else None
        if key is not None:
            place = place.get(key) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else {}


def _nearest(text: str, options: list[str]) -> str:
    near = difflib.get_close_matches(text, options, n=1)
    return f"did you mean {near[0]}?" if near else "choose one of them"
