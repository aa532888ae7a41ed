"""What a variant is before anybody sits down: its configuration with the caller's changes, and the fixture's player of each seat."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from typing import Any

import msgspec

from coworld_actors.manifest.document import printable
from coworld_actors.manifest.load import LoadedManifest, ManifestOrigin
from coworld_actors.manifest.overrides import Override, apply_overrides
from coworld_actors.manifest.rules import CHECK_SEATS_LIMIT
from coworld_actors.manifest.schema import Validator, compile_schema
from coworld_actors.manifest.slots import placeholder_tokens, seat_count, token_bounds
from coworld_protocol.errors import ManifestRefused, Problem, Refused
from coworld_protocol.manifest import Manifest, RoleEntry

__all__ = ["FIXTURE", "Stage", "config_validator", "declares_named_players", "refuse_wrong_config", "set_stage"]

FIXTURE = "certification"
"""`variant_id` of a plan that plays the certification fixture because no variant was named."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A variant whose seats are still empty. Made by `set_stage`.

    Attributes:
        manifest: the world.
        variant_id: the variant, or `FIXTURE`.
        config: the configuration with the caller's changes, without tokens.
        entries: per seat the fixture's player, repeated in turn.
        validator: of `config_schema`.
        names_by_hand: a change of the caller's is about `players`.
        origin: where the manifest was read.
    """

    manifest: Manifest
    variant_id: str
    config: dict[str, Any]
    entries: tuple[RoleEntry, ...]
    validator: Validator
    names_by_hand: bool = False
    origin: ManifestOrigin | None = None

    @property
    def seats(self) -> int:
        """How many there are."""
        return len(self.entries)

    def problems(self, config: dict[str, Any]) -> list[Problem]:
        """What the game's schema has against a configuration with one token per seat."""
        return self.validator.problems(self._with_tokens(config))

    def accepts(self, config: dict[str, Any]) -> bool:
        """Whether the game's schema takes a configuration with one token per seat."""
        return self.validator.accepts(self._with_tokens(config))

    def configured_name(self, slot: int) -> str | None:
        """The name that the configuration gives a seat."""
        players = self.config.get("players")
        entry = players[slot] if isinstance(players, list) and slot < len(players) else None
        name = entry.get("name") if isinstance(entry, dict) else None
        return name if isinstance(name, str) and name else None

    def with_names(self, names: Sequence[str]) -> dict[str, Any]:
        """The configuration with the seats' names, where the game takes names and takes these; else as it is."""
        players = self.config.get("players")
        if not isinstance(players, list) or not declares_named_players(self.manifest.game.config_schema):
            return self.config
        if not all(isinstance(entry, dict) for entry in players):
            return self.config
        named = copy.deepcopy(self.config)
        for entry, name in zip(named["players"], names, strict=False):
            entry["name"] = name
        return named if self.accepts(named) else self.config

    def _with_tokens(self, config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "tokens": placeholder_tokens(self.seats)}


def config_validator(manifest: Manifest) -> Validator:
    """The compiled `config_schema` of a world."""
    return compile_schema(manifest.game.config_schema, source="$.game.config_schema")


def set_stage(
    loaded: LoadedManifest, variant: str | None, changes: Sequence[Override] = (), *, validator: Validator | None = None
) -> Stage:
    """Finds a variant's configuration and seats.

    Args:
        loaded: the manifest.
        variant: id of the variant; None for the certification fixture.
        changes: of the caller's, applied in order.
        validator: `config_validator` of the manifest, if there is one already.

    Raises:
        Refused: an unknown variant, a world that cannot be played here, or no telling how many seats there are.
    """
    manifest = loaded.manifest
    if manifest.game.player_runtime == "game-hosted":
        raise Refused(
            f"{printable(manifest.game.name)} starts its players itself",
            evidence='$.game.player_runtime is "game-hosted"',
            todo="play a world whose players are images",
        )
    config = apply_overrides(_base_config(manifest, variant), changes)
    return Stage(
        manifest=manifest,
        variant_id=FIXTURE if variant is None else variant,
        config=config,
        entries=tuple(_fixture_entry(manifest, slot) for slot in range(_slots(manifest, config, variant))),
        validator=validator or config_validator(manifest),
        names_by_hand=any(change.keys[0] == "players" for change in changes),
        origin=loaded.origin,
    )


def refuse_wrong_config(loaded: LoadedManifest, stage: Stage, changes: Sequence[Override]) -> None:
    """Checks the configuration against the game's schema.

    Raises:
        ManifestRefused: it breaks the schema; every problem is named.
    """
    problems = stage.problems(stage.config)
    if problems:
        what = "the certification fixture" if stage.variant_id == FIXTURE else f"variant {stage.variant_id}"
        options: dict[str, list[str]] = {}
        for change in changes:
            options.setdefault(change.option, []).append(change.name)
        said = " and ".join(f"{option} {', '.join(names)}" for option, names in options.items())
        changed = f" with {said}" if said else ""
        raise ManifestRefused(f"the game configuration of {what} in {loaded.source}{changed}", problems)


def declares_named_players(config_schema: dict[str, Any]) -> bool:
    """Whether a game takes its players' display names: `players` is a list of objects with a text `name`."""
    players = _part(config_schema, config_schema, "properties", "players")
    items = _part(config_schema, players, "items")
    name = _part(config_schema, items, "properties", "name")
    return players.get("type") == "array" and items.get("type") == "object" and name.get("type") == "string"


def _base_config(manifest: Manifest, variant: str | None) -> dict[str, Any]:
    if variant is None:
        return manifest.certification.game_config
    found = manifest.find_variant(variant)
    if found is None:
        ids = [each.id for each in manifest.variants]
        near = difflib.get_close_matches(variant, ids, n=1)
        raise Refused(
            f"{printable(manifest.game.name)} has no variant {variant!r}",
            evidence=f"variants: {', '.join(ids)}",
            todo=f"did you mean {near[0]}?" if near else "choose one of them",
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
