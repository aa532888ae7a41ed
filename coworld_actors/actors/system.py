"""A system: one tree of supervisors and actors, with its stream, registry and dead letters, for the time of a block.

    async with open_system("batch") as system:
        game = await system.start_actor(ChildSpec(name="game", start=Game))

The tree runs shielded from the block's cancellation: when the block is left, by return, exception or cancellation, the root
is stopped in order, and what is not done by the shutdown deadline is cancelled and reported.
"""

from __future__ import annotations

import random as random_module
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, final

import trio

from coworld_actors.actors import events
from coworld_actors.actors.children import Child, ChildInfo, Exit, Intent
from coworld_actors.actors.dead_letters import DeadLetters
from coworld_actors.actors.deadlines import Deadlines
from coworld_actors.actors.monitors import DownReason
from coworld_actors.actors.ref import ActorRef, SupervisorRef
from coworld_actors.actors.registry import Registry
from coworld_actors.actors.restarts import Restart, RestartWindow
from coworld_actors.actors.specs import ChildSpec, SupervisorSpec
from coworld_actors.actors.stream import EventStream
from coworld_actors.actors.supervisor import Supervisor

__all__ = ["ActorSystem", "open_system"]


@final
class _Root(Supervisor):
    """The top of a tree. Its children are strangers to each other, so each has a restart window of its own and ends alone."""

    __slots__ = ("_windows",)

    def __init__(self, system: ActorSystem, name: str) -> None:
        super().__init__(system, None, ChildSpec(name=name, start=SupervisorSpec(), restart=Restart.TEMPORARY))
        self._windows: dict[str, RestartWindow] = {}

    def _window_of(self, child: Child) -> RestartWindow:
        return self._windows.setdefault(child.name, RestartWindow(self._plan.restarts))

    def _give_up(self, child: Child, last: Exit) -> None:
        self._publish_limit(child, last)
        self.discard(child, Exit(DownReason.RESTART_LIMIT, last.cause))

    def discard(self, child: Child, ended: Exit) -> None:
        self._windows.pop(child.name, None)
        super().discard(child, ended)


@final
class ActorSystem:
    """What an open system offers.

    Attributes:
        name: for sentences and events.
        events: everything that happens in it.
        registry: who lives in it, by path.
        dead_letters: messages that were accepted and not handled.
        deadlines: those of the asks that are under way.
        seed: drawn from the given source of randomness; each supervisor's jitter comes from it and from its path alone.
        root: the supervisor of everything that is started here.
    """

    def __init__(self, name: str, random: random_module.Random) -> None:
        self.name = name
        self.events = EventStream()
        self.registry = Registry()
        self.dead_letters = DeadLetters(self.events)
        self.deadlines = Deadlines()
        self.seed = random.getrandbits(64)
        self._block: trio.CancelScope | None = None
        self._interrupt: BaseException | None = None
        self._root = _Root(self, name)

    @property
    def root(self) -> SupervisorRef:
        """The top of the tree: one_for_one, and a crash below it never leaves it."""
        return self._root.ref

    async def start_actor(self, spec: ChildSpec) -> ActorRef[Any]:
        """Start an actor under the root; see `SupervisorRef.start_child`."""
        return await self.root.start_actor(spec)

    async def start_supervisor(
        self, name: str, spec: SupervisorSpec | None = None, *, restart: Restart = Restart.TEMPORARY
    ) -> SupervisorRef:
        """Start a supervisor under the root; see `SupervisorRef.start_child`."""
        return await self.root.start_supervisor(name, spec, restart=restart)

    def tree(self) -> list[ChildInfo]:
        """All that lives, nested, in start order."""
        return self.root.children()

    def interrupt(self, error: BaseException) -> None:
        """Close the system and raise `error` from its block: for `KeyboardInterrupt` and `SystemExit` out of an actor."""
        if self._interrupt is None:
            self._interrupt = error
        if self._block is not None:
            self._block.cancel(reason=f"an actor raised {type(error).__name__}")

    def __repr__(self) -> str:
        return f"<ActorSystem {self.name}: {self._root.state}, {len(self.registry)} living>"

    @asynccontextmanager
    async def _opened(self, shutdown_deadline: float) -> AsyncGenerator[None]:
        left_by: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_tree)
            try:
                with trio.CancelScope() as self._block:
                    await self._root.wait_first_start()
                    self.events.publish(events.SystemStarted(name=self.name))
                    yield
            except BaseException as error:  # noqa: BLE001
                # Restores: the tree stops in order before anything leaves the block; raised below, bare, not in a group.
                left_by = error
            killed = await self._close(shutdown_deadline)
        self.events.publish(events.SystemStopped(name=self.name, killed=killed))
        self.events.close()
        if left_by is None:
            left_by = self._interrupt
        if left_by is not None:
            raise left_by

    async def _run_tree(self) -> None:
        # This shield needs no deadline: `_close` bounds it, by cancelling every actor once the shutdown deadline has passed.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.deadlines.run, name=f"{self.name} deadlines")
                self._root.launch(nursery)
                await self._root.wait_down()
                nursery.cancel_scope.cancel(reason="the tree is down, and there is nobody left to ask")

    async def _close(self, deadline: float) -> tuple[str, ...]:
        """Stop the tree; returns the paths of what had to be cancelled."""
        try:
            with trio.move_on_after(deadline, shield=True):
                await self._root.wait_first_start()
                self._root.request(Intent.STOP)
                await self._root.wait_down()
        except BaseException:
            # Restores: the tree's shield ends, also when a `KeyboardInterrupt` strikes in here.
            self._root.request(Intent.KILL)
            raise
        if self._root.down is not None:
            return ()
        overdue = tuple(path for path in self.registry if isinstance(self.registry[path], ActorRef))
        self._root.request(Intent.KILL)
        return overdue


@asynccontextmanager
async def open_system(
    name: str = "system", *, random: random_module.Random | None = None, shutdown_deadline: float = 30.0
) -> AsyncGenerator[ActorSystem]:
    """Open a system for the time of a block. Nothing of it outlives the block.

    Args:
        name: for sentences and events.
        random: source of jitter; a seeded one makes runs repeatable.
        shutdown_deadline: seconds that the ordered stop may take when the block is left; then all that still lives is cancelled.
    """
    system = ActorSystem(name, random or random_module.Random())  # noqa: S311 - jitter is no secret
    async with system._opened(shutdown_deadline):  # noqa: SLF001
        yield system
