"""The first files of a game or a player: a small complete one that plays at once, to be changed into another."""

from __future__ import annotations

import json
import keyword
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import msgspec

from coworld_actors.manifest.load import LoadedManifest, load_manifest
from coworld_protocol.contract import MANIFEST_FILE
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from coworld_protocol.manifest import TextDoc
from coworld_protocol.printable import printable

__all__ = ["Begun", "Names", "init_game", "init_player", "names_of"]

SUFFIX: Final = ".tmpl"
"""What template files end in, so that nobody takes them for modules of ours."""

HIDDEN: Final = frozenset({"dockerignore", "gitignore"})
"""Files that get a dot: hidden ones are easily lost on the way into a package."""

ORCHARD: Final = "orchard"
CHECKOUT: Final = f"PATH_OF_A_CHECKOUT/examples/{ORCHARD}/{MANIFEST_FILE}"

KINDS: Final = ("any", "orchard", "sparrows")
"""The folders with a player each: for any game, for Orchard, and for a game of `init_game` that speaks as it did at first."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[ _-][A-Za-z0-9]+)*")
_LONGEST: Final = 60
_TAKEN: Final = frozenset(
    {"bot", "build", "coworld", "dist", "runs", "test", "tests", "wheels"}
    | {"coworld_actors", "coworld_bench", "coworld_drivers", "coworld_protocol"}
    | {"click", "fastjsonschema", "h11", "hdrh", "httpx", "jsonschema_rs", "msgspec", "packaging", "pytest", "rich"}
    | {"structlog", "trio", "websockets", "anyio", "attr", "attrs", "idna", "outcome", "sniffio", "sortedcontainers"}
)
"""A package of that name beside a role would be imported in the place of the one that is meant."""

_MARK: Final = re.compile(r"@(ident|manifest|more|name|opponent|title|where|world)@")


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """A name in its spellings.

    Attributes:
        name: as a manifest has it: `berry-race`.
        ident: as Python has it: `berry_race`.
        title: as people have it: `Berry Race`.
    """

    name: str
    ident: str
    title: str


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        directory: where.
        files: relative to it, sorted.
        commands: what can be done next, from where we are now.
    """

    directory: str
    files: tuple[str, ...]
    commands: tuple[str, ...]


def init_game(directory: Path, name: str | None = None) -> Begun:
    """Write a game with two players, pages, a manifest that is also the build's template, a Dockerfile and tests.

    Args:
        directory: new or empty.
        name: of the game; None takes the directory's.

    Raises:
        Refused: the directory has something in it, or the name cannot be used.
        PreconditionMissing: the directory cannot be written.
    """
    names = names_of(directory, name)
    if names.ident in _TAKEN or names.ident in sys.stdlib_module_names:
        raise Refused(
            f"a game cannot be called {names.name}",
            evidence=f"Python would take its package for another one, {names.ident}",
            todo=f"add for example --name {names.name}-game",
        )
    files = _read("game", {"name": names.name, "ident": names.ident, "title": names.title}, package=names.ident)
    place = shlex.quote(str(directory))
    return _write(
        directory,
        files,
        (
            f"coworld-actors run {shlex.quote(str(directory / MANIFEST_FILE))}",
            f"cd {place} && python -m pytest",
            f"coworld-actors build {place}",
        ),
    )


def init_player(directory: Path, name: str | None = None, manifest: str | None = None) -> Begun:
    """Write a player with a Dockerfile and a test: one that plays Orchard, or one for the game of a manifest.

    Args:
        directory: new or empty.
        name: of the player; None takes the directory's.
        manifest: path or address of the game's manifest; None for Orchard's.

    Raises:
        Refused: the directory has something in it, or the name or the manifest cannot be used.
        PreconditionMissing: the directory cannot be written, or the manifest's host does not answer.
    """
    names = names_of(directory, name)
    _refuse_occupied(directory)
    loaded = None if manifest is None else load_manifest(manifest)
    world = ORCHARD if loaded is None else loaded.manifest.game.name
    kind = _kind(loaded)
    opponent = "random" if loaded is None else loaded.manifest.player[0].id
    values = {
        "title": names.title,
        # It goes into a Python text and into prose: whatever could end either stays out.
        "world": re.sub(r"[^A-Za-z0-9 ._-]", "", world).strip()[:_LONGEST] or "a game",
        "opponent": shlex.quote(printable(opponent)),
        "manifest": shlex.quote(printable(_from_inside(directory, manifest))),
        "where": f"Orchard is in the source of coworld-actors, `examples/{ORCHARD}`." if loaded is None else "",
        "more": "" if loaded is None else "| `PROTOCOL.md` | the game's own words on what is said |\n",
    }
    files = {
        **_read("player", values, without=KINDS),
        **_read(f"player/{kind}", values),
    }
    if loaded is not None:
        files["PROTOCOL.md"] = _protocol(loaded)
    seen = CHECKOUT if manifest is None else manifest
    bot = shlex.quote(str(directory / "bot.py"))
    return _write(
        directory,
        files,
        (
            f"coworld-actors run {shlex.quote(seen)} {shlex.quote(f'cmd:python {bot}')} {values['opponent']}",
            f"cd {shlex.quote(str(directory))} && python -m pytest",
            f"coworld-actors build {shlex.quote(str(directory))}",
        ),
    )


def names_of(directory: Path, name: str | None = None) -> Names:
    """The spellings of a name; None takes the directory's.

    Raises:
        Refused: it is none that a package, an image and people can share.
    """
    text = directory.absolute().resolve().name if name is None else name
    ident = re.sub(r"[ -]", "_", text.lower())
    if len(text) > _LONGEST or not _NAME.fullmatch(text) or keyword.iskeyword(ident):
        raise Refused(
            f"{text[:_LONGEST]!r} is no name for a game or player",
            evidence=f"a name has letters, digits and single blanks, - or _ between them, at most {_LONGEST} in all",
            todo="add for example --name berry-race",
        )
    words = re.split(r"[ _-]", text)
    return Names(
        name="-".join(words).lower(), ident=ident, title=" ".join(word[:1].upper() + word[1:] for word in words)
    )


def _read(
    folder: str, values: Mapping[str, str], *, package: str = "", without: tuple[str, ...] = ()
) -> dict[str, str]:
    """The files of a template folder by their path, marks replaced; `package` is what `package/` will be called."""
    top = resources.files("coworld_actors.package") / "templates"
    for part in folder.split("/"):
        top /= part

    def value(match: re.Match[str]) -> str:
        return values[match[1]]

    return {
        _target(path, package): _MARK.sub(value, file.read_text(encoding="utf-8"))
        for path, file in _walk(top)
        if path[0] not in without
    }


def _target(path: tuple[str, ...], package: str) -> str:
    *folders, last = path
    last = last.removesuffix(SUFFIX)
    folders = [package if package and each == "package" else each for each in folders]
    return "/".join((*folders, f".{last}" if last in HIDDEN else last))


def _walk(place: Traversable, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Traversable]]:
    for entry in sorted(place.iterdir(), key=lambda each: each.name):
        if entry.is_dir():
            yield from _walk(entry, (*above, entry.name))
        elif entry.name.endswith(SUFFIX):
            yield (*above, entry.name), entry


def _kind(loaded: LoadedManifest | None) -> str:
    """Which of the players fits: one that knows the game, as long as the game says what it said when the player was written."""
    if loaded is None or loaded.manifest.game.name == ORCHARD:
        return "orchard"
    ours = json.loads(_read("game", {"name": "", "ident": "", "title": ""})[MANIFEST_FILE])["game"]["protocols"][
        "player"
    ]
    return "sparrows" if loaded.manifest.game.protocols.player == TextDoc(value=ours["value"]) else "any"


def _protocol(loaded: LoadedManifest) -> str:
    doc = loaded.manifest.game.protocols.player
    told = doc.value if isinstance(doc, TextDoc) else f"It is described at <{doc.value}>."
    return f"{told.rstrip()}\n"


def _from_inside(directory: Path, manifest: str | None) -> str:
    """A manifest's path or address as somebody in the new directory writes it."""
    if manifest is None or "://" in manifest:
        return CHECKOUT if manifest is None else manifest
    return os.path.relpath(Path(manifest).resolve(), directory.resolve())


def _refuse_occupied(directory: Path) -> None:
    try:
        occupied = next(iter(directory.iterdir()), None)
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise Refused(f"{directory} is a file", todo="name a directory that is new or empty") from error
    except (OSError, ValueError) as error:
        raise Refused(f"{directory} cannot be used", evidence=str(error), todo="name another directory") from error
    if occupied is not None:
        raise Refused(
            f"{directory} has something in it, and nothing is ever overwritten",
            evidence=occupied.name,
            todo="name a directory that is new or empty",
        )


def _write(directory: Path, files: Mapping[str, str], commands: tuple[str, ...]) -> Begun:
    _refuse_occupied(directory)
    made: list[Path] = []
    try:
        _make(directory, made)
        for name, text in files.items():
            path = directory / name
            _make(path.parent, made)
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
    except BaseException as error:
        _unmake(made)
        if isinstance(error, OSError):
            raise _unwritable(directory, error) from error
        raise
    return Begun(directory=str(directory), files=tuple(sorted(files)), commands=commands)


def _make(directory: Path, made: list[Path]) -> None:
    """A directory and those above it that are missing."""
    for each in (*reversed(directory.parents), directory):
        if not each.is_dir():
            each.mkdir()
            made.append(each)


def _unmake(made: list[Path]) -> None:
    for path in reversed(made):
        # A directory that somebody else has put something into stays.
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


def _unwritable(directory: Path, error: OSError) -> CoworldError:
    return PreconditionMissing(
        f"{directory} cannot be written", evidence=error.strerror or str(error), todo="name another directory"
    )
