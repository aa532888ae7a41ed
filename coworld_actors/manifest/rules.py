"""What one field of a manifest means for another: the rules that no shape can say.

Each rule reads the raw document defensively and says nothing about what has the wrong type; that has been said by the
comparison with the Structs. So all rules run on every document, and a refusal names everything at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from coworld_actors.manifest.document import describe, json_path
from coworld_actors.manifest.resources import resource_problems
from coworld_actors.manifest.schema import Validator, check_schema, compile_schema
from coworld_actors.manifest.slots import placeholder_tokens, seat_count, token_bounds
from coworld_protocol.contract import ENV_LOCAL_EXTRA_PORTS, HOSTED_IMAGE_ID, Role, is_safe_id
from coworld_protocol.errors import Problem
from coworld_protocol.extra_ports import BadExtraPorts, wished_ports
from coworld_protocol.manifest import ROLE_SECTIONS

__all__ = ["CHECK_SEATS_LIMIT", "check_rules", "notes_of"]

Raw = dict[str, Any]

CHECK_SEATS_LIMIT: Final = 10_000
"""Seats for which placeholder tokens are made; a schema may allow more, an episode here has no use for them."""


def check_rules(raw: Raw, *, later: bool) -> list[Problem]:
    """Every broken rule.

    Args:
        raw: the manifest, an object.
        later: whether it is read as 0.1.64; `coworld_protocol.manifest` says when.
    """
    return [problem for rule in _RULES for problem in rule(raw, later)]


def notes_of(raw: Raw) -> list[str]:
    """What is allowed but will surprise: a sentence each."""
    results = _object(_object(raw, "game"), "results_schema")
    if "scores" in _object(results, "properties"):
        return []
    return ["$.game.results_schema: declares no `scores`; standings and tables read one number per seat from there"]


def _object(value: Any, key: str) -> Raw:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _objects(value: Any, key: str) -> Iterator[tuple[int, Raw]]:
    items = value.get(key) if isinstance(value, dict) else None
    for index, each in enumerate(items if isinstance(items, list) else []):
        if isinstance(each, dict):
            yield index, each


def _problem(path: tuple[str | int, ...], found: str, allowed: str) -> Problem:
    return Problem(path=json_path(path), found=found, allowed=allowed)


def _version(raw: Raw, _later: bool) -> Iterator[Problem]:
    version = _object(raw, "game").get("version")
    if isinstance(version, str) and version:
        try:
            Version(version)
        except InvalidVersion:
            yield _problem(("game", "version"), describe(version), "a PEP 440 version such as `0.1.0`")


def _types(raw: Raw, _later: bool) -> Iterator[Problem]:
    kind = _object(_object(raw, "game"), "runnable").get("type")
    if kind in list(Role) and kind != Role.GAME:
        yield _problem(("game", "runnable", "type"), describe(kind), '"game"')
    for section in ROLE_SECTIONS:
        for index, entry in _objects(raw, section):
            kind = entry.get("type")
            if kind in list(Role) and kind != section:
                yield _problem((section, index, "type"), describe(kind), f"{describe(section.value)}, like its section")


def _ids(raw: Raw, _later: bool) -> Iterator[Problem]:
    for section in (*ROLE_SECTIONS, "variants"):
        first: dict[str, int] = {}
        for index, entry in _objects(raw, section):
            name = entry.get("id")
            if not isinstance(name, str) or not name:
                continue
            path = (section, index, "id")
            if not is_safe_id(name):
                yield _problem(path, describe(name), "letters, digits, `.`, `_` and `-`, because it names a directory")
            elif name in first:
                yield _problem(path, describe(name), f"an id that {section}[{first[name]}] does not have")
            first.setdefault(name, index)


def _images(raw: Raw, later: bool) -> Iterator[Problem]:
    runnable = _object(_object(raw, "game"), "runnable")
    entries: list[tuple[tuple[str | int, ...], Raw]] = [(("game", "runnable"), runnable)] if runnable else []
    for section in ROLE_SECTIONS:
        for index, entry in _objects(raw, section):
            if section is Role.REPORTER and ("reporter" in entry or "wasm" in entry):
                continue
            if section is Role.PLAYER and later and entry.get("file") is not None:
                if entry.get("image") is not None:
                    yield _problem((section, index), "both `image` and `file`", "exactly one of them")
                continue
            if entry.get("image") is None:
                yield _problem((section, index, "image"), "nothing", "an image reference")
                continue
            entries.append(((section, index), entry))
    for path, entry in entries:
        image = entry.get("image")
        if image == "":
            yield _problem((*path, "image"), describe(image), "an image reference")
        elif isinstance(image, str) and HOSTED_IMAGE_ID.fullmatch(image):
            yield _problem(
                (*path, "image"),
                describe(image),
                "an image reference; this is an id of the hosted platform, not resolved",
            )


def _resources(raw: Raw, later: bool) -> Iterator[Problem]:
    places: list[tuple[tuple[str | int, ...], Raw]] = [
        (("game", "runnable"), _object(_object(raw, "game"), "runnable"))
    ]
    places += [((section, index), entry) for section in ROLE_SECTIONS for index, entry in _objects(raw, section)]
    for path, entry in places:
        resources = entry.get("resources")
        if isinstance(resources, dict):
            if not later and "requests" not in resources:
                yield _problem((*path, "resources", "requests"), "nothing", "an object")
            yield from resource_problems(resources, (*path, "resources"))


def _extra_ports(raw: Raw, _later: bool) -> Iterator[Problem]:
    wish = _object(_object(_object(raw, "game"), "runnable"), "env").get(ENV_LOCAL_EXTRA_PORTS)
    if isinstance(wish, str):
        try:
            wished_ports(wish)
        except BadExtraPorts as error:
            yield _problem(("game", "runnable", "env", ENV_LOCAL_EXTRA_PORTS), describe(error.found), error.allowed)


def _legacy_names(raw: Raw, _later: bool) -> Iterator[Problem]:
    base = ("game", "config_schema", "properties")
    properties = _object(_object(_object(raw, "game"), "config_schema"), "properties")
    if "player_names" in properties:
        yield _problem((*base, "player_names"), "a list of names apart", "names in `players[].name`")
    if "name" in _object(_object(_object(properties, "slots"), "items"), "properties"):
        yield _problem((*base, "slots", "items", "properties", "name"), "names in `slots`", "names in `players[].name`")


def _tokens(raw: Raw, _later: bool) -> Iterator[Problem]:
    schema = _object(raw, "game").get("config_schema")
    if not isinstance(schema, dict):
        return
    base = ("game", "config_schema")
    required = schema.get("required")
    if not isinstance(required, list) or "tokens" not in required:
        found = "nothing" if required is None else describe(required)
        yield _problem((*base, "required"), found, "a list with `tokens` in it")
    tokens = _object(schema, "properties").get("tokens")
    at = (*base, "properties", "tokens")
    if not isinstance(tokens, dict):
        found = "nothing" if tokens is None else describe(tokens)
        yield _problem(at, found, "a schema for a list of texts with `minItems` and `maxItems`")
        return
    if tokens.get("type") != "array":
        yield _problem((*at, "type"), describe(tokens.get("type")), '"array"')
    item_type = _object(tokens, "items").get("type")
    if item_type != "string":
        yield _problem((*at, "items", "type"), describe(item_type), '"string"')
    whole = True
    for key in ("minItems", "maxItems"):
        bound = tokens.get(key)
        if not isinstance(bound, int) or isinstance(bound, bool):
            whole = False
            yield _problem((*at, key), "nothing" if bound is None else describe(bound), "a whole number")
    if whole and tokens["minItems"] > tokens["maxItems"]:
        allowed = f"at least `minItems`, which is {describe(tokens['minItems'])}"
        yield _problem((*at, "maxItems"), describe(tokens["maxItems"]), allowed)


def _schemas(raw: Raw, _later: bool) -> Iterator[Problem]:
    game = _object(raw, "game")
    for name in ("config_schema", "results_schema"):
        if isinstance(game.get(name), dict):
            yield from check_schema(game[name], f"$.game.{name}")


def _usable_config_schema(raw: Raw) -> Validator | None:
    schema = _object(raw, "game").get("config_schema")
    if not isinstance(schema, dict) or check_schema(schema):
        return None
    return compile_schema(schema)


def _configs(raw: Raw, _later: bool) -> Iterator[Problem]:
    """Variants and the fixture: no tokens of their own, and valid once they have some."""
    validator = _usable_config_schema(raw)
    bounds = token_bounds(_object(raw, "game").get("config_schema"))
    configs: list[tuple[tuple[str | int, ...], Raw, int | None]] = []
    for index, variant in _objects(raw, "variants"):
        config = variant.get("game_config")
        if isinstance(config, dict):
            count = seat_count(config, bounds)
            configs.append(
                (("variants", index), config, count if count is not None or bounds is None else bounds.least)
            )
    fixture = raw.get("certification")
    if isinstance(fixture, dict) and isinstance(fixture.get("game_config"), dict):
        players = fixture.get("players")
        count = len(players) if isinstance(players, list) and players else None
        configs.append((("certification",), fixture["game_config"], count))
        named = fixture["game_config"].get("players")
        if count is not None and isinstance(named, list) and len(named) != count:
            yield _problem(
                ("certification", "game_config", "players"),
                describe(named),
                f"as many as `certification.players` has, {count}",
            )
    for path, config, count in configs:
        at = (*path, "game_config")
        if "tokens" in config:
            yield _problem((*at, "tokens"), "tokens", "none; the runner makes them for each episode")
        elif validator is not None and count is not None:
            if count > CHECK_SEATS_LIMIT:
                yield _problem(at, f"{count} seats", f"at most {CHECK_SEATS_LIMIT}")
                continue
            yield from validator.problems({**config, "tokens": placeholder_tokens(count)}, json_path(at))


def _fixture_players(raw: Raw, _later: bool) -> Iterator[Problem]:
    declared = [entry.get("id") for _, entry in _objects(raw, "player")]
    for index, player in _objects(raw.get("certification"), "players"):
        name = player.get("player_id")
        if isinstance(name, str) and name and name not in declared:
            known = ", ".join(describe(each) for each in declared if isinstance(each, str)) or "none is declared"
            yield _problem(
                ("certification", "players", index, "player_id"), describe(name), f"a declared player: {known}"
            )


_RULES: Final[tuple[Callable[[Raw, bool], Iterator[Problem]], ...]] = (
    _version,
    _types,
    _ids,
    _images,
    _resources,
    _extra_ports,
    _legacy_names,
    _tokens,
    _schemas,
    _configs,
    _fixture_players,
)
