"""The background tasks of one incarnation: a nursery that is opened by the first of them and costs idle actors nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, final

import trio

from coworld_actors.actors.current import RUNNING

if TYPE_CHECKING:
    from coworld_actors.actors.incarnation import Incarnation

__all__ = ["Background"]


@final
class Background:
    """Tasks that begin and end within an incarnation.

    Args:
        host: the supervisor's nursery, in which the task that holds ours runs.
        life: the incarnation.
        crashed: called once, with the group of what they raised, as soon as one has raised and all have ended.

    Attributes:
        name: the actor's path.
    """

    __slots__ = ("_crashed", "_life", "_nursery", "_over", "_pending", "_scope", "name")

    def __init__(self, host: trio.Nursery, life: Incarnation, crashed: Callable[[BaseException], None]) -> None:
        self.name = life.place.path
        self._life = life
        self._crashed = crashed
        self._scope = trio.CancelScope()
        self._over = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._pending: list[tuple[Callable[..., Awaitable[object]], tuple[object, ...]]] = []
        host.start_soon(self._run, name=f"{self.name} background")

    def spawn(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        """Start a task; at the latest when the host task has had its first turn."""
        if self._nursery is None:
            self._pending.append((function, args))
        else:
            self._nursery.start_soon(self._task, function, args, name=function)

    async def _run(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    for function, args in self._pending:
                        self.spawn(function, args)
                    # Keeps the nursery open for later tasks when those of now have ended.
                    await trio.sleep_forever()
        except BaseException as error:  # noqa: BLE001
            # Restores: nothing is raised into the supervisor's nursery; the incarnation reports this as its own crash.
            self._crashed(error)
        finally:
            self._over.set()

    async def _task(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        # Set here too: `spawn` may be called from a task that is not the actor's.
        RUNNING.set(self._life)
        awaitable = function(*args)
        if not isinstance(awaitable, Awaitable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not check types
            raise TypeError(f"{self.name} spawned {function!r}, which is not async; make it an async function")
        await awaitable

    async def close(self) -> None:
        """Cancel all of them and wait until they have returned."""
        self._scope.cancel(reason="the actor has ended")
        await self._over.wait()
