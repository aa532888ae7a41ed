r"""What a player on the command line says: `REF[,name=..][,share=N][,env.K=V][,arg.K=V]`, read without looking at anything else.

    greedy                                      a player of the manifest
    greedy,name=careful,env.DEPTH=3             with a name and a variable of its own
    my-bot:latest,share=2                       an image, on twice as many seats
    cmd:"python bot.py --weights 1,2"           a command in our working directory
    py:bots.careful:main,arg.depth=3            a function, called with depth="3"

A comma inside double quotes belongs to the text; a field's value that is quoted as a whole loses the quotes, and inside them
`\"` and `\\` stand for themselves.
"""

from __future__ import annotations

import enum
import math
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

import msgspec

from coworld_actors.manifest.seats import image_name, refuse_non_image, unique_names
from coworld_protocol.contract import RUNTIME_VARIABLES
from coworld_protocol.errors import Refused
from coworld_protocol.printable import printable
from coworld_protocol.sdk.entry import parse_target
from coworld_protocol.switches import ENV_PLAYER_SEED, ENV_UNIX_SOCKET

__all__ = ["COMMAND_PREFIX", "FUNCTION_PREFIX", "PlayerSpec", "RefKind", "entrant_names", "parse_spec"]

COMMAND_PREFIX: Final = "cmd:"
FUNCTION_PREFIX: Final = "py:"

_FORM: Final = "REF[,name=..][,share=N][,env.K=V][,arg.K=V]"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPTION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PYTHON: Final = re.compile(r"python(3(\.\d+)?)?")
_WEIGHTS: Final = frozenset({"count", "n", "proportion", "seats", "shares", "weight"})
"""What others call a share."""
_NAME_LIMIT: Final = 200
_RESERVED: Final = RUNTIME_VARIABLES | {ENV_PLAYER_SEED, ENV_UNIX_SOCKET}


class RefKind(enum.StrEnum):
    """What a reference names."""

    PLAYER = "player"
    """A player of the manifest, by its id."""
    IMAGE = "image"
    """An image, mapped or not."""
    COMMAND = "command"
    """`cmd:...`: a command line in our working directory."""
    FUNCTION = "function"
    """`py:module:function`: a function on the import path that begins with our working directory."""


class PlayerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One player as the caller wants it.

    Attributes:
        ref: the reference, without quotes around it.
        kind: what it names.
        name: how it is called; empty for a name made from the reference.
        share: weight when seats are shared out, above 0.
        env: variables of its own, on top of the manifest's.
        args: `--KEY=VALUE` behind its command, or keyword arguments of its function.
    """

    ref: str
    kind: RefKind
    name: str = ""
    share: float = 1.0
    env: Mapping[str, str] = {}
    args: Mapping[str, str] = {}

    @property
    def options(self) -> tuple[str, ...]:
        """What goes behind the command: `--depth=3`."""
        return tuple(f"--{key}={value}" for key, value in self.args.items())

    @property
    def argv(self) -> tuple[str, ...]:
        """The command with its options (`cmd:`), or `module:function` with its `key=value` (`py:`); empty for the rest."""
        match self.kind:
            case RefKind.COMMAND:
                return (*shlex.split(self.ref.removeprefix(COMMAND_PREFIX)), *self.options)
            case RefKind.FUNCTION:
                words = (f"{key}={value}" for key, value in self.args.items())
                return (self.ref.removeprefix(FUNCTION_PREFIX), *words)
            case _:
                return ()

    @property
    def called(self) -> str:
        """Its name, or what the reference makes one; a function called `main` is called by its module."""
        if self.name:
            return self.name
        match self.kind:
            case RefKind.PLAYER:
                found = self.ref
            case RefKind.IMAGE:
                found = image_name(self.ref)
            case RefKind.COMMAND:
                found = _program(shlex.split(self.ref.removeprefix(COMMAND_PREFIX)))
            case RefKind.FUNCTION:
                found = self.ref.removeprefix(FUNCTION_PREFIX).removesuffix(":main")
        return printable(found[:_NAME_LIMIT])


def entrant_names(specs: Sequence[PlayerSpec]) -> tuple[str, ...]:
    """Names that differ: `greedy`, `greedy (2)`."""
    return tuple(unique_names([spec.called for spec in specs]))


def parse_spec(text: str, *, players: Collection[str], images: Collection[str]) -> PlayerSpec:
    """Reads one player.

    Args:
        text: one word of the command line.
        players: ids of the manifest's players.
        images: names of known images.

    Raises:
        Refused: it cannot be read; the error says what would have been right.
    """
    if "\0" in text:
        raise Refused(f"player {printable(text)} has a NUL in it", todo="leave it out")
    ref, *fields = _parts(text)
    ref = _unquoted(ref)
    kind = _kind(ref, players, images)
    name, share = "", 1.0
    env: dict[str, str] = {}
    args: dict[str, str] = {}
    seen: set[str] = set()
    for field in fields:
        key, sign, quoted = field.partition("=")
        value = _unquoted(quoted)
        if not sign:
            raise _no_field(text, field, players)
        if key in seen:
            raise Refused(f"player {text} says {key} twice", todo=f"say {key}= once")
        seen.add(key)
        space, dot, inner = key.partition(".")
        if key == "name":
            name = _name(text, value)
        elif key == "share":
            share = _share(text, value)
        elif dot and space == "env":
            env[_variable(text, inner)] = value
        elif dot and space == "arg":
            args[_argument(text, kind, inner)] = value
        else:
            raise _unknown_field(text, key, value)
    return PlayerSpec(ref=ref, kind=kind, name=name, share=share, env=env, args=args)


def _parts(text: str) -> list[str]:
    """The text at its commas, those inside double quotes left alone; quotes and backslashes are kept."""
    parts, current, inside, skip = [""], 0, False, False
    for each in text:
        if each == "," and not inside:
            parts.append("")
            current += 1
            continue
        parts[current] += each
        if skip:
            skip = False
        elif inside and each == "\\":
            skip = True
        elif each == '"':
            inside = not inside
    if inside:
        raise Refused(
            f"player {text} has a double quote that is not closed",
            evidence=f"open since {parts[-1]}",
            todo='close it; a quote inside quotes is written \\"',
        )
    return parts


def _unquoted(text: str) -> str:
    """What stands between quotes that enclose all of a text; `cmd:"..."` and `py:"..."` count as enclosed."""
    prefix = next((each for each in (COMMAND_PREFIX, FUNCTION_PREFIX) if text.startswith(each)), "")
    whole = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', text[len(prefix) :], re.DOTALL)
    return text if whole is None else prefix + re.sub(r'\\(["\\])', r"\1", whole[1])


def _kind(ref: str, players: Collection[str], images: Collection[str]) -> RefKind:
    if ref in players:
        return RefKind.PLAYER
    if ref in images:
        return RefKind.IMAGE
    if ref.startswith(COMMAND_PREFIX):
        _check_command(ref)
        return RefKind.COMMAND
    if ref.startswith(FUNCTION_PREFIX):
        parse_target(ref.removeprefix(FUNCTION_PREFIX), prefix=FUNCTION_PREFIX)
        return RefKind.FUNCTION
    _check_image(ref, players, images)
    return RefKind.IMAGE


def _check_command(ref: str) -> None:
    text = ref.removeprefix(COMMAND_PREFIX)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Refused(
            f"{ref} cannot be split into words",
            evidence=f"{error}",
            todo=f'quote it as a shell wants it; a comma of the command needs double quotes around all of it: {COMMAND_PREFIX}"..."',
        ) from error
    if not words or not words[0]:
        raise Refused(f"{ref} names no command", todo=f'write for example {COMMAND_PREFIX}"python bot.py"')


def _check_image(ref: str, players: Collection[str], images: Collection[str]) -> None:
    listing = f"players: {', '.join(players)}"
    if not ref:
        raise Refused("a player without a reference", evidence=listing, todo=f"write {_FORM}")
    key, sign, _ = ref.partition("=")
    if sign and (key in {"name", "share"} or key.startswith(("env.", "arg."))):
        raise Refused(
            f"{ref} stands where the player has to be",
            evidence=listing,
            todo=f"begin with the player: {next(iter(players), 'PLAYER')},{ref}",
        )
    before, colon, behind = ref.rpartition(":")
    if colon and before in players and _is_number(behind):
        raise Refused(f"{ref} is no player", evidence=listing, todo=f"a share is written {before},share={behind}")
    if re.search(r"\s", ref):
        raise Refused(
            f"{printable(ref)} is no player and no image: it has spaces in it",
            evidence=listing,
            todo=f'a command is written {COMMAND_PREFIX}"{printable(ref)}"',
        )
    if ref.endswith(".py"):
        raise Refused(
            f"{ref} is a file, no player and no image",
            evidence=listing,
            todo=f'a script is written {COMMAND_PREFIX}"python {ref}"',
        )
    refuse_non_image(ref, players=players, images=images, game="the manifest")


def _no_field(text: str, field: str, players: Collection[str]) -> Refused:
    if not field:
        return Refused(f"player {text} has a comma too many", todo=f"write {_FORM}")
    if field in players:
        todo = f"{field} is a player of its own: put a space before it instead of the comma"
    elif _is_number(field):
        todo = f"a share is written share={field}"
    else:
        todo = f"write {_FORM}; a text with a comma in it needs double quotes"
    return Refused(f"player {text}: {field!r} is not KEY=VALUE", todo=todo)


def _unknown_field(text: str, key: str, value: str) -> Refused:
    if key in {"env", "arg"}:
        todo = f"write {key}.NAME={value}"
    elif key in _WEIGHTS:
        todo = f"write share={value}"
    elif key.partition(".")[0] in {"args", "kw", "kwargs"} and "." in key:
        todo = f"write arg.{key.partition('.')[2]}={value}"
    else:
        todo = (
            f"a variable is written env.{key}={value}, an option of the command arg.{key}={value};"
            " a text with a comma in it needs double quotes"
        )
    return Refused(f"player {text}: there is no field {key!r}", evidence="fields: name, share, env.K, arg.K", todo=todo)


def _name(text: str, value: str) -> str:
    if not value.strip() or printable(value) != value or len(value) > _NAME_LIMIT:
        raise Refused(
            f"player {printable(text[:_NAME_LIMIT])}: this name cannot be shown",
            evidence=f"a name has 1 to {_NAME_LIMIT} visible characters",
            todo="write for example name=careful, or leave it out",
        )
    return value


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _share(text: str, value: str) -> float:
    if not _is_number(value) or float(value) <= 0:
        raise Refused(
            f"player {text}: {value or 'nothing'} is no share",
            evidence="a share is a number above 0",
            todo="write for example share=2 for twice as many seats",
        )
    return float(value)


def _variable(text: str, name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise Refused(
            f"player {text}: {name!r} is no name of a variable",
            evidence="letters, digits and _, the first one no digit",
            todo="write for example env.DEPTH=3",
        )
    if name in _RESERVED:
        raise Refused(f"player {text}: the variable {name} is set by the runtime", todo="leave it out")
    return name


def _argument(text: str, kind: RefKind, name: str) -> str:
    if kind is RefKind.FUNCTION:
        if not name.isidentifier():
            raise Refused(
                f"player {text}: {name!r} is no name of a parameter",
                evidence="letters, digits and _, the first one no digit",
                todo="write for example arg.depth=3",
            )
    elif not _OPTION.fullmatch(name):
        raise Refused(
            f"player {text}: {name!r} is no name of an option",
            evidence="letters, digits, - and _, the first one a letter or digit",
            todo="write for example arg.depth=3, which becomes --depth=3",
        )
    return name


def _program(words: Sequence[str]) -> str:
    """What a command is called: its script or module where an interpreter runs one, else its program."""
    first, *rest = words
    if rest[:1] == ["-m"] and len(rest) > 1 and _PYTHON.fullmatch(PurePosixPath(first).name):
        return rest[1]
    if rest and not rest[0].startswith("-") and PurePosixPath(rest[0]).suffix:
        return PurePosixPath(rest[0]).name
    return PurePosixPath(first).name or first
