"""What distinguishes one template from another, and which commands can be warmed at all. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from coworld_drivers.environment import unpassable
from coworld_drivers.janitor import MARK

__all__ = ["VARYING", "VARYING_PREFIXES", "Recipe", "recipe"]

VARYING = frozenset({"HOME", "TMPDIR", MARK})
"""Variables that differ from start to start of the same role."""

VARYING_PREFIXES = ("COGAME_", "COGAMES_", "COWORLD_")
"""What the names of the contract's variables, and of ours, begin with; their values differ from start to start."""

_INTERPRETER = re.compile(r"python(3(\.\d+)?)?")
_FLAGS = re.compile(r"-[bBEIOPqsSu]+")
_X_OPTIONS = frozenset({"dev", "utf8", "utf8=0", "utf8=1", "no_debug_ranges"})


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What one template can start.

    Attributes:
        argv: the whole command.
        options: those of the interpreter.
        kind: `module`, `script` or `code`.
        what: the module, the file, the code.
        root: working directory.
        static: the variables that are the same for all its children, in order.
    """

    argv: tuple[str, ...]
    options: tuple[str, ...]
    kind: str
    what: str
    root: str
    static: tuple[tuple[str, str], ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the role finds in `sys.argv` after the first."""
        used = 1 + len(self.options) + (1 if self.kind == "script" else 2)
        return self.argv[used:]


def recipe(argv: Sequence[str], root: Path, env: Mapping[str, str]) -> Recipe | str:
    """What a template for this start would be; a string that says why there can be none.

    Args:
        argv: the command; the first word is the absolute path of the executable.
        root: working directory.
        env: the whole environment.
    """
    if not _INTERPRETER.fullmatch(Path(argv[0]).name):
        return "not a Python interpreter"
    if unpassable(argv, env):
        return "a command or a variable that cannot be passed on"
    end = _options(argv)
    if end is None:
        return "unknown options of the interpreter"
    options = tuple(argv[1:end])
    rest = argv[end:]
    if not rest or rest[0] == "-":
        return "nothing to run"
    if rest[0] in ("-m", "-c"):
        if len(rest) < 2:
            return "nothing to run"
        kind, what = ("module" if rest[0] == "-m" else "code"), rest[1]
    elif rest[0].endswith(".py") and not rest[0].startswith("-") and (root / rest[0]).is_file():
        kind, what = "script", rest[0]
    else:
        return "neither a module nor a script"
    static = tuple((name, value) for name, value in env.items() if not _varies(name))
    return Recipe(argv=tuple(argv), options=options, kind=kind, what=what, root=str(root), static=static)


def _varies(name: str) -> bool:
    return name in VARYING or name.startswith(VARYING_PREFIXES)


def _options(argv: Sequence[str]) -> int | None:
    """Where the interpreter's options end; None when there is one that is not known to be harmless."""
    at = 1
    while at < len(argv) and argv[at].startswith("-") and argv[at] not in ("-", "-m", "-c"):
        word = argv[at]
        if word in ("-W", "-X"):
            if at + 1 >= len(argv) or (word == "-X" and argv[at + 1] not in _X_OPTIONS):
                return None
            at += 2
        elif _FLAGS.fullmatch(word) or word.startswith("-W") or (word.startswith("-X") and word[2:] in _X_OPTIONS):
            at += 1
        else:
            return None
    return at
