"""The background tasks of one incarnation: a nursery that is opened by the first of them and costs idle actors nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

import trio

__all__ = ["Background"]


@final
class Background:
    """Tasks that begin and end within an incarnation.

    Args:
        host: the supervisor's nursery, in which the task that holds ours runs.
        name: for the names of tasks.
        crashed: called once, with the group of what they raised, as soon as one has raised and all have ended.
    """

    __slots__ = ("_crashed", "_nursery", "_over", "_pending", "_scope")

    def __init__(self, host: trio.Nursery, name: str, crashed: Callable[[BaseException], None]) -> None:
        self._crashed = crashed
        self._scope = trio.CancelScope()
        self._over = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._pending: list[tuple[Callable[..., Awaitable[object]], tuple[object, ...]]] = []
        host.start_soon(self._run, name=f"{name} background")

    def spawn(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        """Start a task; at the latest when the host task has had its first turn."""
        if self._nursery is None:
            self._pending.append((function, args))
        else:
            self._nursery.start_soon(function, *args)

    async def _run(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    for function, args in self._pending:
                        nursery.start_soon(function, *args)
                    # Keeps the nursery open for later tasks when those of now have ended.
                    await trio.sleep_forever()
        except BaseException as error:  # noqa: BLE001
            # Restores: nothing is raised into the supervisor's nursery; the incarnation reports this as its own crash.
            self._crashed(error)
        finally:
            self._over.set()

    async def close(self) -> None:
        """Cancel all of them and wait until they have returned."""
        self._scope.cancel(reason="the actor has ended")
        await self._over.wait()
