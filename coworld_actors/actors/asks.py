"""Requests and their replies. A reply reaches the asker through one slot and one reschedule, without a channel."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, final

import msgspec
import trio

from coworld_actors.actors.errors import AskTimeout
from coworld_actors.actors.parking import wake

__all__ = ["EXPIRED", "Deferred", "Envelope", "PendingAsk", "Request"]

R = TypeVar("R")

EXPIRED = AskTimeout("the deadline has passed")
"""Never raised: tells the asker, who knows what to say, that its time is up."""


class Request(msgspec.Struct, Generic[R], frozen=True):
    """Base of messages that expect a reply of type `R`: `class Score(Request[int], frozen=True): seat: int`.

    What the receiver's `handle` returns is the reply; None is none, so a request whose answer may be absent needs a reply type
    that says so in words.
    """


class Envelope(msgspec.Struct, eq=False):
    """What the runtime puts into a mailbox around a message that needs more than being handled."""

    message: Any


@final
class PendingAsk(Envelope, eq=False):
    """A request under way.

    Attributes:
        message: the request.
        open: neither settled nor given up by its asker.
        deferred: its handler has taken on to settle it later.
        asker: the task that is parked until this is settled.
        value: the reply.
        error: what is raised where the request was made, instead of a reply.
    """

    open: bool = True
    deferred: bool = False
    asker: trio.lowlevel.Task | None = None
    value: Any = None
    error: BaseException | None = None

    def settle(self, value: Any, error: BaseException | None = None) -> bool:
        """Reply, or fail; False if nobody waits any more."""
        if not self.open:
            return False
        self.open = False
        self.value = value
        self.error = error
        return self.asker is None or wake(self.asker, self)

    def expire(self) -> None:
        """Its deadline has passed."""
        self.settle(None, EXPIRED)


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
