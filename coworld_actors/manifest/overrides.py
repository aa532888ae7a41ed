"""`--set KEY=JSON` and `--pin KEY=VALUE`: changes to a game configuration, one dotted path each."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import msgspec

from coworld_actors.manifest.document import describe, parse_json
from coworld_protocol.errors import Refused

__all__ = ["Override", "apply_overrides", "parse_override", "parse_pin"]


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """One change.

    Attributes:
        keys: the path; a number is an index where a list is met.
        value: what stands there afterwards.
        option: how the caller said so.
    """

    keys: tuple[str, ...]
    value: Any
    option: str = "--set"

    @property
    def name(self) -> str:
        """The path as it was written."""
        return ".".join(self.keys)


def parse_override(text: str) -> Override:
    """Reads `players.0.name="Ada"`.

    Raises:
        Refused: it is not of that form, or would set tokens.
    """
    key, equals, value = text.partition("=")
    keys = tuple(key.split("."))
    if not equals or not all(keys):
        raise Refused(f"--set {text} is not KEY=JSON", todo="write for example --set max_ticks=50")
    if keys[0] == "tokens":
        raise Refused("--set cannot change tokens", todo="leave them out; each episode gets fresh ones")
    try:
        parsed = parse_json(value.encode("utf-8", "surrogatepass"), source=f"the value of --set {key}")
    except Refused as error:
        raise Refused(
            error.what, evidence=error.evidence, todo=f"""write JSON; a text needs quotes: --set '{key}="text"'"""
        ) from error
    return Override(keys=keys, value=parsed)


def parse_pin(text: str) -> Override:
    """Reads `map=12` or `map=small`: JSON where it is JSON, else a text.

    Raises:
        Refused: it is not of that form, or would set tokens.
    """
    key, equals, value = text.partition("=")
    keys = tuple(key.split("."))
    if not equals or not all(keys):
        raise Refused(f"--pin {text} is not KEY=VALUE", todo="write for example --pin map=12")
    if keys[0] == "tokens":
        raise Refused("--pin cannot change tokens", todo="leave them out; each episode gets fresh ones")
    try:
        parsed = parse_json(value.encode("utf-8", "surrogatepass"), source="the value")
    except Refused:
        parsed = value
    return Override(keys=keys, value=parsed, option="--pin")


def apply_overrides(config: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """A changed copy of a configuration; later changes see earlier ones. Objects on the way are made, list items are not.

    Raises:
        Refused: a path leads through something that has no such part.
    """
    changed = copy.deepcopy(config)
    for override in overrides:
        place: Any = changed
        for depth, key in enumerate(override.keys):
            last = depth == len(override.keys) - 1
            if isinstance(place, dict):
                if last:
                    place[key] = copy.deepcopy(override.value)
                else:
                    place = place.setdefault(key, {})
            elif isinstance(place, list):
                index = int(key) if key.isascii() and key.isdigit() and len(key) < 10 else len(place)
                if index >= len(place):
                    raise _no_such_part(override, depth, place, f"an index below {len(place)}")
                if last:
                    place[index] = copy.deepcopy(override.value)
                else:
                    place = place[index]
            else:
                raise _no_such_part(override, depth, place, "an object or a list")
    return changed


def _no_such_part(override: Override, depth: int, place: Any, wanted: str) -> Refused:
    above = ".".join(override.keys[:depth]) or "the configuration"
    return Refused(
        f"{override.option} {override.name} leads nowhere",
        evidence=f"{above} is {describe(place)}; `{override.keys[depth]}` would need {wanted}",
        todo="set the part above it as a whole",
    )
