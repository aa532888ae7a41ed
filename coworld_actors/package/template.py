"""A manifest template: JSON with `{{SERVICE_NAME_IMAGE}}` where an image's name will be, and mostly without a version.

Pure: it reads one file, builds nothing and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from packaging.version import InvalidVersion, Version

from coworld_actors.manifest.document import SIZE_LIMIT, describe, json_path, parse_json
from coworld_protocol.contract import MANIFEST_FILE
from coworld_protocol.errors import ManifestRefused, Problem, Refused

__all__ = ["Template", "check_version", "placeholder", "read_template"]

_PLACEHOLDER: Final = re.compile(r"\{\{([A-Z0-9_]{0,200}IMAGE)\}\}")

MOST_PLACEHOLDERS: Final = 10_000
"""Each may grow to the length of an image's name; the largest manifest seen has a dozen."""

Place = tuple[str | int, ...]


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A template that can be filled.

    Attributes:
        source: how errors name it.
        directory: where files beside it are.
        document: the parsed JSON, an object whose `game` is one.
        version: `game.version`, if it sets one.
        wanted: names of placeholders, each with the places that have it, in the document's order.
    """

    source: str
    directory: Path
    document: dict[str, Any]
    version: str | None
    wanted: Mapping[str, tuple[Place, ...]]

    def refuse_unknown(self, known: Mapping[str, str]) -> None:
        """Name every placeholder that nothing would fill, and every `image` that would be none afterwards.

        Args:
            known: what each placeholder is filled with, by name.

        Raises:
            ManifestRefused: there are such places; it says which placeholders there are.
        """
        allowed = ", ".join(f"{{{{{name}}}}}" for name in sorted(known)) or "no placeholder: nothing is built"
        problems = [
            Problem(path=json_path(place), found=f"{{{{{name}}}}}", allowed=allowed)
            for name, places in self.wanted.items()
            if name not in known
            for place in places
        ]
        problems += [
            Problem(path=json_path(place), found=describe(text), allowed=allowed)
            for place, text in _texts(self.document)
            if place[-1:] == ("image",) and ("{{" in (rest := _PLACEHOLDER.sub("", text)) or "}}" in rest)
        ]
        if problems:
            raise ManifestRefused(self.source, problems)

    def filled(self, known: Mapping[str, str], version: str | None) -> dict[str, Any]:
        """The manifest: placeholders filled in every text, the version set.

        Args:
            known: what each placeholder is filled with, by name; it has all that are wanted.
            version: None keeps the template's own.

        Raises:
            Refused: there is no version, or it is none.
        """
        document: dict[str, Any] = _filled(self.document, known)
        given = self.version if version is None else version
        if given is None:
            raise Refused(
                f"{self.source} has no version and none is given", todo="add for example --version 0.1.0 to the command"
            )
        game = document["game"]
        named = {"name": game["name"]} if "name" in game else {}
        document["game"] = {**named, "version": None, **game} | {"version": check_version(given)}
        return document


def read_template(path: Path) -> Template:
    """Read a template.

    A file named `coworld_manifest.json` may set `game.version`; any other template may not, for the version is the build's.

    Raises:
        Refused: there is nothing to read, it is no JSON object with a `game`, has no placeholder, or sets a version.
    """
    source = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refused(
            f"the template {source} cannot be read", evidence=reason, todo="name another one with --template"
        ) from error
    document = parse_json(data, source=source)
    if not isinstance(document, dict) or not isinstance(document.get("game"), dict):
        game = document.get("game") if isinstance(document, dict) else document
        place = "$.game" if isinstance(document, dict) else "$"
        raise ManifestRefused(source, [Problem(path=place, found=describe(game), allowed="an object")])
    version = document["game"].get("version")
    if version is not None and path.name != MANIFEST_FILE:
        raise Refused(
            f"the template {source} sets game.version, which the build does",
            evidence=f"$.game.version: {describe(version)}",
            todo="remove it there and give --version",
        )
    if version is not None and not isinstance(version, str):
        raise ManifestRefused(source, [Problem(path="$.game.version", found=describe(version), allowed="a text")])
    return Template(
        source=source,
        directory=path.absolute().parent,
        document=document,
        version=version,
        wanted=_wanted(document, source),
    )


def placeholder(name: str) -> str:
    """The placeholder of a service: `game-server` is filled in for `{{GAME_SERVER_IMAGE}}`."""
    return re.sub(r"[^A-Z0-9_]", "_", name.upper()) + "_IMAGE"


def check_version(text: str) -> str:
    """The text, if it is a version.

    Raises:
        Refused: PEP 440 does not know it.
    """
    try:
        Version(text)
    except InvalidVersion as error:
        raise Refused(
            f"{text!r} is no version", evidence="PEP 440 does not know it", todo="write one like 1.2.0 or 1.2.0rc1"
        ) from error
    return text


def _wanted(document: dict[str, Any], source: str) -> dict[str, tuple[Place, ...]]:
    found: dict[str, list[Place]] = {}
    count = 0
    for place, text in _texts(document):
        for match in _PLACEHOLDER.finditer(text):
            found.setdefault(match[1], []).append(place)
            count += 1
            if count > MOST_PLACEHOLDERS:
                raise Refused(
                    f"{source} has too many placeholders",
                    evidence=f"more than {MOST_PLACEHOLDERS}",
                    todo="name images in the entries only",
                )
    if not found:
        raise Refused(
            f"{source} has no placeholder, so nothing that is built would be in the manifest",
            todo='write "image": "{{SERVICE_NAME_IMAGE}}", or "{{IMAGE}}" for a single Dockerfile',
        )
    return {name: tuple(dict.fromkeys(places)) for name, places in found.items()}


def _texts(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    # `parse_json` has bounded the depth.
    match value:
        case str():
            yield place, value
        case dict():
            for key, inner in value.items():
                yield from _texts(inner, (*place, key))
        case list():
            for index, inner in enumerate(value):
                yield from _texts(inner, (*place, index))
        case _:
            pass


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    match value:
        case str():
            return _PLACEHOLDER.sub(lambda match: known[match[1]], value)
        case dict():
            return {key: _filled(inner, known) for key, inner in value.items()}
        case list():
            return [_filled(inner, known) for inner in value]
        case _:
            return value
