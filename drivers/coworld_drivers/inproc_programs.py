"""From a role's command to what is run of it in this process: a game's server, a player's coroutine function."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from coworld_drivers.images import ImageMap, Resolved
from coworld_protocol.contract import Role
from coworld_protocol.errors import CoworldError, PreconditionMissing
from coworld_protocol.sdk.entry import entry_of, load_entry
from coworld_protocol.sdk.game import GameServer

__all__ = ["Program", "Programs"]

_ELSEWHERE = "use --driver process, or docker, for it"
_MODULE_WORDS = 2


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A role's code.

    Attributes:
        main: makes the coroutine that plays one episode.
        resolved: command, root and variables of its image.
    """

    main: Callable[[], Awaitable[object]]
    resolved: Resolved


class Programs:
    """What the images' commands mean in this process. Every module is imported once, whoever asks for it.

    Args:
        images: what image names mean here.
    """

    def __init__(self, images: ImageMap) -> None:
        self._images = images
        self._found: dict[tuple[str, tuple[str, ...], str], Program] = {}
        # The roots that images were found at, and the modules and packages that begin there.
        self._roots: dict[Path, set[str]] = {}

    def close(self) -> None:
        """Take the roots from the import path again; modules stay imported."""
        for root in self._roots:
            if str(root) in sys.path:
                sys.path.remove(str(root))
        self._roots.clear()
        self._found.clear()

    def find(self, image: str, run: tuple[str, ...], role: str, who: str = "") -> Program:
        """The program of a role.

        Args:
            image: the manifest's `image`.
            run: the manifest's `run`.
            role: the manifest's word: `game` or `player`.
            who: how a message names it.

        Raises:
            PreconditionMissing: it cannot be run in this process, or not found.
            Exception: whatever its module raises while it is imported.
        """
        key = (image, run, role)
        if key not in self._found:
            resolved = self._images.resolve(image, run, role=who)
            main = self._main(resolved, role, f"{who or role} ({image})")
            self._found[key] = Program(main=main, resolved=resolved)
        return self._found[key]

    def resolve(self, image: str, run: tuple[str, ...]) -> Resolved:
        """Command, root and variables of a role whose code cannot be imported.

        Raises:
            PreconditionMissing: its image is not mapped, or its directory or executable does not exist.
        """
        return self._images.resolve(image, run)

    def _main(self, resolved: Resolved, role: str, who: str) -> Callable[[], Awaitable[object]]:
        words = resolved.argv
        if Path(words[0]).parent != Path(sys.executable).parent or words[1:2] != ("-m",):
            raise _not_here(
                f"{who} is no module of the Python that runs this", f"its command is {' '.join(words)}", _ELSEWHERE
            )
        try:
            entry = entry_of(words)
            self._add_root(resolved.root, who)
            if entry is not None:
                main = load_entry(entry)
                function = main.func if isinstance(main, functools.partial) else main
                self._check_origin(entry.module, resolved.root, who)
                if role != Role.PLAYER or not inspect.iscoroutinefunction(function):
                    raise _not_here(
                        f"{entry.target} is no `async def`, which is what can play beside others in one process",
                        f"wanted for {who}",
                        f"make it one, or {_ELSEWHERE}",
                    )
                return main
        except PreconditionMissing:
            raise
        except CoworldError as error:
            raise _not_here(error.what, error.evidence, error.todo) from error
        if len(words) != _MODULE_WORDS + 1:
            raise _not_here(
                f"{who} is started with arguments, which only a process has",
                f"its command is {' '.join(words)}",
                f"give a player as py:module:function with arg.NAME=VALUE, or {_ELSEWHERE}",
            )
        module = importlib.import_module(words[2])
        self._check_origin(words[2], resolved.root, who)
        return _server(module, who) if role == Role.GAME else _player(module, who)

    def _add_root(self, root: Path, who: str) -> None:
        """Put a root on the import path, unless two modules of the same name could then be taken for each other.

        Raises:
            PreconditionMissing: they could.
        """
        if root in self._roots:
            return
        names = {each.name for each in pkgutil.iter_modules([str(root)])}
        for other, known in self._roots.items():
            if clash := sorted(names & known):
                raise _not_here(
                    f"two images have a module {clash[0]!r}, and one process can hold only one of them",
                    f"in {other} and, for {who}, in {root}",
                    "rename one of them, or use --driver process",
                )
        self._roots[root] = names
        if str(root) not in sys.path:
            sys.path.insert(0, str(root))

    def _check_origin(self, name: str, root: Path, who: str) -> None:
        """See that a module is the one of its root, and not another of the same name that was there before.

        Raises:
            PreconditionMissing: it is another.
        """
        top = name.partition(".")[0]
        file = getattr(sys.modules.get(top), "__file__", None)
        strange = (
            top in self._roots[root] and file is not None and not Path(file).resolve().is_relative_to(root.resolve())
        )
        if strange:
            raise _not_here(
                f"a module {top!r} of another place is already imported in this process",
                f"{file}; {who} means the one in {root}",
                "rename it, or use --driver process",
            )


def _server(module: ModuleType, who: str) -> Callable[[], Awaitable[object]]:
    servers: dict[int, GameServer[Any, Any]] = {
        id(value): value for value in vars(module).values() if isinstance(value, GameServer)
    }
    if len(servers) != 1:
        raise _not_here(
            f"module {module.__name__} has {len(servers)} GameServer objects at its top level where one is needed",
            f"wanted for {who}",
            f"write `game = GameServer(...)` in it, outside of any function, or {_ELSEWHERE}",
        )
    (server,) = servers.values()
    return server.run


def _player(module: ModuleType, who: str) -> Callable[[], Awaitable[object]]:
    main = getattr(module, "main", None)
    if not inspect.iscoroutinefunction(main):
        raise _not_here(
            f"module {module.__name__} has no `async def main()`",
            f"wanted for {who}",
            f"write one that plays an episode by `connect_player`, or {_ELSEWHERE}",
        )
    return main


def _not_here(what: str, evidence: str, todo: str) -> PreconditionMissing:
    return PreconditionMissing(what, evidence=evidence, todo=todo)
