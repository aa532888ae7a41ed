"""Warm starts: templates of Python roles, kept as long as they are of use.

The first start of a role is cold. At the second its template is begun, a bare interpreter; the next start is a child of that one
and is recorded: the names of what it imports. With those the template is begun again, and from then on starts are forks of a
process that has imported everything. Whatever cannot be warmed starts cold, as does everything while its template is not ready.
A template's first child is always recorded, up to a few generations, in case it imports what the ones before it did not.

What all children of one template share, other than processes that were started by themselves, is the interpreter's hash seed
(`PYTHONHASHSEED`), and with it the order of sets of strings.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import trio

from coworld_drivers.janitor import MARK
from coworld_drivers.lifeline import Lifeline
from coworld_drivers.warm_process import WarmProcess
from coworld_drivers.warm_recipe import Recipe, recipe
from coworld_drivers.warm_template import ForkFailed, Tainted, Template, Unfit

__all__ = ["WarmStarts", "WarmStatistics"]

TEMPLATES = 16
"""Templates kept at most."""

IDLE_SECONDS = 60.0
"""How long the one that was not used for longest has to have been idle to make room for another. With more roles than templates in
use some start cold, where all would if each took the place of the next."""

SEEN = 256
"""Roles remembered at most that have no template."""

GENERATIONS = 3
"""How often a template is begun again because a child has imported more than it had."""

ROUNDS = 6
"""How often it is begun again because of what may not be imported beforehand; what leads to more is not understood."""

_RECORD = 1 << 18
"""Bytes for the names of what a child imports."""


class WarmStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How the roles of a driver were started.

    Attributes:
        warm: forked from a template that had imported what they import.
        bare: forked from a template that had imported nothing yet.
        cold: started by themselves, by reason.
        left_out: modules that were left to every child, and why, by the command that imports them.
    """

    warm: int = 0
    bare: int = 0
    cold: Mapping[str, int] = {}
    left_out: Mapping[str, Mapping[str, str]] = {}


class _Entry:
    """One role and its template."""

    def __init__(self, role: Recipe) -> None:
        self.recipe = role
        self.template: Template | None = None
        self.building = False
        self.hopeless = ""
        self.names: dict[str, None] = {}
        self.left_out: dict[str, str] = {}
        self.generation = 0
        self.recording = False
        self.recorded = False
        self.forgotten = False
        self.used = 0.0


class WarmStarts:
    """The templates of one driver. Enter it as an async context manager; leaving ends all of them.

    Args:
        mark: value of the mark variable of all templates.
        lifeline: told of every template.
    """

    def __init__(self, mark: str, lifeline: Lifeline) -> None:
        self._mark = mark
        self._lifeline = lifeline
        self._entries: dict[Recipe, _Entry] = {}
        self._warm = 0
        self._bare = 0
        self._cold: collections.Counter[str] = collections.Counter()
        self._nursery: trio.Nursery | None = None
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None

    async def __aenter__(self) -> Self:
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._manager is not None
        assert self._nursery is not None
        # Restores: no template is left. Shielded, and without the body's exception, so that this one leaves as it came; every task
        # in there ends within the deadlines of `Template.aclose`.
        self._nursery.cancel_scope.shield = True
        self._nursery.cancel_scope.cancel(reason="the driver is left")
        await self._manager.__aexit__(None, None, None)
        self._nursery = None

    @property
    def statistics(self) -> WarmStatistics:
        """How everything was started until now."""
        return WarmStatistics(
            warm=self._warm,
            bare=self._bare,
            cold=dict(self._cold),
            left_out={
                " ".join(entry.recipe.argv[1:]): dict(entry.left_out)
                for entry in self._entries.values()
                if entry.left_out
            },
        )

    async def start(
        self, argv: tuple[str, ...], root: Path, env: Mapping[str, str], *, merged: bool
    ) -> WarmProcess | None:
        """Start a role by a fork; None when it has to be started in the usual way.

        Args:
            argv: the command.
            root: working directory.
            env: the whole environment.
            merged: whether standard error goes the way of standard output.

        Raises:
            OSError: there is no descriptor left.
        """
        entry, template, reason = self._ready(argv, root, env)
        if entry is None or template is None:
            self._cold[reason] += 1
            return None
        record = entry.generation < GENERATIONS and not entry.recorded and not entry.recording
        entry.recording = entry.recording or record
        try:
            process = await _fork(template, env, merged, self._recorder(entry) if record else None)
        except BaseException as error:
            if record:
                entry.recording = False
            if not isinstance(error, ForkFailed):
                raise
            self._cold[str(error)] += 1
            return None
        if template.modules:
            self._warm += 1
        else:
            self._bare += 1
        return process

    def _ready(
        self, argv: tuple[str, ...], root: Path, env: Mapping[str, str]
    ) -> tuple[_Entry | None, Template | None, str]:
        """The template for a start, or the reason why there is none."""
        role = recipe(argv, root, env)
        if isinstance(role, str):
            return None, None, role
        entry = self._entries.pop(role, None)
        if entry is None:
            self._entries[role] = _Entry(role)
            self._forget_the_oldest()
            return None, None, "its first start"
        # The last is the one used last.
        self._entries[role] = entry
        entry.used = trio.current_time()
        if entry.hopeless:
            return entry, None, entry.hopeless
        if entry.template is None:
            if not entry.building:
                if not self._room():
                    return entry, None, "as many templates as are kept are in use"
                self._begin(entry, env)
            return entry, None, "its template is not ready yet"
        if entry.template.stale():
            entry.template.retire()
            entry.template = None
            entry.left_out.clear()
            entry.generation = 0
            if not entry.building:
                self._begin(entry, env)
            return entry, None, "its source has changed"
        return entry, entry.template, ""

    def _recorder(self, entry: _Entry) -> Callable[[bytes, Mapping[str, str]], None]:
        def done(names: bytes, env: Mapping[str, str]) -> None:
            entry.recording = False
            entry.recorded = True
            main = f"{entry.recipe.what}.__main__" if entry.recipe.kind == "module" else ""
            # A last name without its newline was cut off.
            found = [name.decode(errors="replace") for name in names.split(b"\n")[:-1]]
            new = [name for name in found if name and name != main and name not in entry.names]
            if not new or entry.forgotten or entry.building or entry.hopeless or self._nursery is None:
                return
            entry.names.update(dict.fromkeys(new))
            entry.generation += 1
            self._begin(entry, env)

        return done

    def _begin(self, entry: _Entry, env: Mapping[str, str]) -> None:
        assert self._nursery is not None
        entry.building = True
        self._nursery.start_soon(self._keep, entry, {**env, MARK: self._mark}, name="template")

    async def _keep(self, entry: _Entry, env: Mapping[str, str]) -> None:
        """Begin a template, put it in its place, and stay with it to its end."""
        try:
            template = await self._build(entry, env)
        finally:
            entry.building = False
        if template is None:
            return
        try:
            if entry.forgotten:
                return
            before, entry.template = entry.template, template
            entry.recorded = False
            if before is not None:
                before.retire()
            await template.wait()
            if entry.template is template and not template.retired:
                entry.template = None
                entry.hopeless = template.fate
        finally:
            # Restores: no process of ours is left. Bounded inside.
            await template.aclose()

    async def _build(self, entry: _Entry, env: Mapping[str, str]) -> Template | None:
        reason = "its imports cannot be told apart"
        for _ in range(ROUNDS):
            names = [name for name in entry.names if name not in entry.left_out]
            try:
                return await Template.open(
                    entry.recipe, env, self._lifeline, modules=names, leave_out=list(entry.left_out)
                )
            except Tainted as tainted:
                entry.left_out.update(tainted.modules)
            except (Unfit, OSError) as error:
                reason = str(error)
                break
        if entry.template is None:
            entry.hopeless = reason
        return None

    def _room(self) -> bool:
        """Whether one more template may begin; lets go of one that is idle if that makes the room."""
        kept = [entry for entry in self._entries.values() if entry.template is not None or entry.building]
        if len(kept) < TEMPLATES:
            return True
        if trio.current_time() - kept[0].used < IDLE_SECONDS:
            return False
        self._forget(kept[0])
        return True

    def _forget_the_oldest(self) -> None:
        without = [entry for entry in self._entries.values() if entry.template is None and not entry.building]
        for entry in without[: max(0, len(without) - SEEN)]:
            self._forget(entry)

    def _forget(self, entry: _Entry) -> None:
        entry.forgotten = True
        del self._entries[entry.recipe]
        if entry.template is not None:
            entry.template.retire()


async def _fork(
    template: Template,
    env: Mapping[str, str],
    merged: bool,
    recorded: Callable[[bytes, Mapping[str, str]], None] | None,
) -> WarmProcess:
    ours: list[int] = []
    theirs: list[int] = []
    memory = -1
    try:
        for _ in range(1 if merged else 2):
            read, write = os.pipe()
            ours.append(read)
            theirs.append(write)
        if merged:
            theirs.append(theirs[0])
        if recorded is not None:
            memory = os.memfd_create("imports")
            os.ftruncate(memory, _RECORD)
            theirs.append(memory)
        pid = await template.fork(env, theirs)
    except BaseException:
        for number in ours:
            os.close(number)
        if memory >= 0:
            os.close(memory)
        raise
    finally:
        for number in {*theirs} - {memory}:
            os.close(number)

    def reaped() -> None:
        if recorded is not None:
            names = os.pread(memory, _RECORD, 0)
            os.close(memory)
            recorded(names.rstrip(b"\0"), env)

    streams = [trio.lowlevel.FdStream(number) for number in ours]
    return WarmProcess(pid, streams[0], None if merged else streams[1], reaped)
