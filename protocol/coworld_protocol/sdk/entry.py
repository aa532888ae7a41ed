"""A function as a player: `python -m coworld_protocol.sdk.entry module:function [key=value]...`.

The function is called with the texts as keyword arguments. An `async def` runs under trio; a plain function runs as it is and
may return an exit status. A failure ends the program as `sdk.player.run_player` does: one to four lines on stderr and the error's
exit status.

    async def main(depth: str = "2") -> None:
        async with connect_player(Observation, final=Final) as player: ...

With `--check` in front, nothing is called: the module is imported, and that the function is there and takes the arguments is
looked at.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused

__all__ = [
    "CHECK",
    "ENTRY_MODULE",
    "Entry",
    "entry_of",
    "load_entry",
    "main",
    "parse_entry",
    "parse_target",
    "run_entry",
]

ENTRY_MODULE: Final = "coworld_protocol.sdk.entry"
CHECK: Final = "--check"
"""The word that makes `main` look and not call."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A function to call.

    Attributes:
        module: dotted name.
        function: name in the module; dotted for something inside a class.
        arguments: keyword arguments, all texts.
    """

    module: str
    function: str
    arguments: dict[str, str] = {}

    @property
    def target(self) -> str:
        """`module:function`."""
        return f"{self.module}:{self.function}"


def parse_target(text: str, *, prefix: str = "") -> tuple[str, str]:
    """Module and function of `module:function`.

    Args:
        text: without the prefix.
        prefix: what stands before it in messages.

    Raises:
        Refused: it is not of that form; the error has the nearest that is.
    """
    module, colon, function = text.partition(":")
    if _dotted(module) and _dotted(function):
        return module, function
    wanted = module.removesuffix(".py").replace(os.sep, ".").strip(".")
    if not _dotted(wanted):
        wanted = "module"
    function = function.removesuffix("()")
    if not _dotted(function):
        inner = wanted.rpartition(".")
        # `bots.careful.main` is most likely a function in the manner of an import.
        wanted, function = (inner[0], inner[2]) if not colon and inner[0] and module == wanted else (wanted, "main")
    raise Refused(
        f"{prefix}{text} is not of the form {prefix}module:function",
        evidence="module and function are dotted names",
        todo=f"write {prefix}{wanted}:{function}",
    )


def parse_entry(words: Sequence[str]) -> Entry:
    """Reads `module:function [key=value]...`.

    Raises:
        Refused: a word is not of its form, or a key comes twice.
    """
    if not words:
        raise Refused(
            "there is no function to call", todo=f"write python -m {ENTRY_MODULE} module:function [key=value]..."
        )
    module, function = parse_target(words[0])
    arguments: dict[str, str] = {}
    for word in words[1:]:
        key, sign, value = word.partition("=")
        if not sign or not key.isidentifier():
            raise Refused(
                f"{word!r} is no keyword argument",
                evidence="a key has letters, digits and _, the first one no digit",
                todo=f"write for example {words[0]} depth=3",
            )
        if key in arguments:
            raise Refused(f"the keyword argument {key} comes twice", todo="give it once")
        arguments[key] = value
    return Entry(module=module, function=function, arguments=arguments)


def entry_of(argv: Sequence[str]) -> Entry | None:
    """The function that a command calls, or None where it is no `python -m` of this module.

    Args:
        argv: interpreter first; nothing but `-m` and this module's name may stand between it and the function.

    Raises:
        Refused: it is one, and cannot be read.
    """
    words = list(argv[1:])
    if words[:2] != ["-m", ENTRY_MODULE]:
        return None
    return parse_entry(words[2:])


def load_entry(entry: Entry) -> Callable[[], Any]:
    """Imports the module and binds the arguments; nothing is called yet.

    Raises:
        PreconditionMissing: there is no such module.
        Refused: it has no such function, or the function does not take the arguments.
        Exception: whatever the module's own code raises while it is imported.
    """
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        # Another module that this one misses is the author's affair and keeps its traceback.
        if error.name is None or not f"{entry.module}.".startswith(f"{error.name}."):
            raise
        raise PreconditionMissing(
            f"there is no module {entry.module}",
            evidence=f"looked for in {', '.join(list(dict.fromkeys(each or os.curdir for each in sys.path))[:3])} and further",
            todo="check its name, and start in the directory that holds it",
        ) from error
    place: Any = module
    for name in entry.function.split("."):
        if not hasattr(place, name):
            functions = [each for each, value in vars(place).items() if callable(value) and not each.startswith("_")]
            near = difflib.get_close_matches(name, functions, n=1)
            raise Refused(
                f"module {entry.module} has no function {entry.function}",
                evidence=f"it has {', '.join(functions[:10]) or 'none'}",
                todo=f"did you mean {near[0]}?" if near else "choose one of them",
            )
        place = getattr(place, name)
    if not callable(place):
        raise Refused(
            f"{entry.target} is {type(place).__name__}, no function", todo="name a function that plays one episode"
        )
    _check_arguments(entry, place)
    return functools.partial(place, **entry.arguments)


def run_entry(entry: Entry) -> int:
    """Calls the function and returns the exit status: its own, 0, that of its error, or 130 for an interrupt."""
    from coworld_protocol.sdk.player import run_player  # noqa: PLC0415 - `specs` only wants the parser

    try:
        call = load_entry(entry)
        if _is_async(call):
            return run_player(call)
        result = call()
        if inspect.isawaitable(result):
            return run_player(functools.partial(_await, result))
    except KeyboardInterrupt:
        return 130
    except CoworldError as error:
        _say(error)
        return error.exit_code
    return result if isinstance(result, int) else 0


def main(words: Sequence[str] | None = None) -> int:
    """The program.

    Args:
        words: the command line behind the module's name; None takes it from the process.
    """
    given = list(sys.argv[1:] if words is None else words)
    look = given[:1] == [CHECK]
    try:
        entry = parse_entry(given[1:] if look else given)
        if look:
            load_entry(entry)
            return 0
    except CoworldError as error:
        _say(error)
        return error.exit_code
    return run_entry(entry)


def _check_arguments(entry: Entry, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # written in C; calling it will tell
    try:
        signature.bind(**entry.arguments)
    except TypeError as error:
        raise Refused(
            f"{entry.target} does not take these arguments",
            evidence=f"{error}; it is called as {entry.function.rpartition('.')[2]}{signature}",
            todo="give key=value for every parameter without a default, and for no other",
        ) from error


def _is_async(call: Callable[[], Any]) -> bool:
    function = call.func if isinstance(call, functools.partial) else call
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def _await(result: Any) -> None:
    await result


def _dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _say(error: CoworldError) -> None:
    print(*error.lines(), sep="\n", file=sys.stderr, flush=True)  # noqa: T201 - a player's stderr is its log


if __name__ == "__main__":
    raise SystemExit(main())
