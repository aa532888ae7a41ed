"""Requests and their replies. A reply reaches the asker through one slot and one reschedule, without a channel."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, final

import msgspec
import trio

__all__ = ["Deferred", "Envelope", "PendingAsk", "Request"]

R = TypeVar("R")


class Request(msgspec.Struct, Generic[R], frozen=True):
    """Base of messages that expect a reply of type `R`: `class Score(Request[int], frozen=True): seat: int`.

    What the receiver's `handle` returns is the reply; None is none, so a request whose answer may be absent needs a reply type
    that says so in words.
    """


class Envelope:
    """What the runtime puts into a mailbox around a message that needs more than being handled."""

    __slots__ = ("message",)

    def __init__(self, message: Any) -> None:
        self.message = message


@final
class PendingAsk(Envelope):
    """A request under way.

    Attributes:
        message: the request.
        open: neither settled nor given up by its asker.
        deferred: its handler has taken on to settle it later.
    """

    __slots__ = ("_asker", "_error", "_value", "deferred", "open")

    def __init__(self, request: Request[Any]) -> None:
        self.message = request
        self.open = True
        self.deferred = False
        self._asker: trio.lowlevel.Task | None = None
        self._value: Any = None
        self._error: BaseException | None = None

    def settle(self, value: Any, error: BaseException | None = None) -> bool:
        """Reply, or fail; False if nobody waits any more."""
        if not self.open:
            return False
        self.open = False
        self._value = value
        self._error = error
        if self._asker is not None:
            trio.lowlevel.reschedule(self._asker)
            self._asker = None
        return True

    async def settled(self) -> Any:
        """Wait for the reply; a cancelled asker gives up."""
        if self.open:
            self._asker = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
        if self._error is not None:
            try:
                raise self._error
            finally:
                # Breaks the cycle error -> traceback -> this frame -> error.
                self._error = None
        return self._value

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._asker = None
        return trio.lowlevel.Abort.SUCCEEDED


@final
class Deferred(Generic[R]):
    """A reply that comes later than its handler's return. It dies with the incarnation that deferred it."""

    __slots__ = ("_ask", "_outstanding")

    def __init__(self, ask: PendingAsk, outstanding: set[PendingAsk]) -> None:
        self._ask = ask
        self._outstanding = outstanding
        outstanding.add(ask)

    @property
    def wanted(self) -> bool:
        """Whether the asker still waits."""
        return self._ask.open

    def reply(self, value: R) -> bool:
        """Answer the request; False if its asker has given up or has been answered."""
        self._outstanding.discard(self._ask)
        return self._ask.settle(value)

    def fail(self, error: BaseException) -> bool:
        """Raise `error` where the request was made; False if nobody waits there any more."""
        self._outstanding.discard(self._ask)
        return self._ask.settle(None, error)
