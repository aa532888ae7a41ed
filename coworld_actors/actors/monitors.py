"""How an actor's or supervisor's final end is told: exactly one `Down` to everybody who asks, also afterwards."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, final

import msgspec

if TYPE_CHECKING:
    from coworld_actors.actors.children import Child

__all__ = ["Down", "DownReason", "Monitor"]


class DownReason(enum.StrEnum):
    """Why something is gone for good. `NORMAL` and `SHUTDOWN` are orderly; the others are abnormal ends."""

    NORMAL = "normal"
    """It ended by itself: `context.stop()`, or a supervisor's `auto_shutdown`."""
    SHUTDOWN = "shutdown"
    """It was stopped, by its supervisor or by hand, and ended within its grace."""
    KILLED = "killed"
    """It was cancelled: by hand, or because its grace was used up."""
    CRASHED = "crashed"
    """It raised."""
    START_FAILED = "start_failed"
    """It raised before it had started."""
    RESTART_LIMIT = "restart_limit"
    """Restarts were used up."""

    @property
    def orderly(self) -> bool:
        """Whether a `transient` child that ended so stays down."""
        return self in {DownReason.NORMAL, DownReason.SHUTDOWN}


class Down(msgspec.Struct, frozen=True, kw_only=True):
    """Something is gone for good: no restart will bring it back.

    Attributes:
        path: whose end this is.
        reason: why.
        cause: the exception behind an abnormal end, out of its groups.
        incarnation: which life was the last, from 0.
    """

    path: str
    reason: DownReason
    cause: BaseException | None = None
    incarnation: int = 0


@final
class Monitor:
    """A view of one actor's or supervisor's end. It sees through restarts, and it needs no closing."""

    __slots__ = ("_child",)

    def __init__(self, child: Child) -> None:
        self._child = child

    @property
    def down(self) -> Down | None:
        """The end, or None while it lives or is being restarted."""
        return self._child.down

    async def wait(self) -> Down:
        """Wait for the end. Every call returns the same `Down`, at once if it is known already."""
        return await self._child.wait_down()

    def __repr__(self) -> str:
        return f"<Monitor of {self._child.path or self._child.name}: {self._child.state}>"
