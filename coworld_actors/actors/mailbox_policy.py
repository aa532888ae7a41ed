"""How much a mailbox holds, and what it does with one message more."""

from __future__ import annotations

import enum

import msgspec

from coworld_actors.actors.errors import SpecRefused
from coworld_actors.actors.refusals import refuse_other_kind, refuse_other_number

__all__ = ["MailboxPolicy", "Overflow"]


class Overflow(enum.StrEnum):
    """What a full mailbox does with one more message."""

    BACKPRESSURE = "backpressure"
    """`tell` and `ask` wait for room; `tell_nowait` raises `MailboxFull`."""
    REFUSE = "refuse"
    """Every sender gets `MailboxFull`."""
    DROP_OLDEST = "drop_oldest"
    """The oldest message in the queue becomes a dead letter."""
    DROP_NEWEST = "drop_newest"
    """The message itself becomes a dead letter."""


class MailboxPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes:
    capacity: messages that wait in the queue at most; the one in hand is not among them.
    overflow: what happens beyond that.

    Raises:
        SpecRefused: a capacity that is no whole number of at least 1, or an overflow that is no `Overflow`.
    """

    capacity: int = 1024
    overflow: Overflow = Overflow.BACKPRESSURE

    def __post_init__(self) -> None:
        refuse_other_kind("a mailbox", "overflow", self.overflow, Overflow)
        refuse_other_number("a mailbox", "capacity", self.capacity)
        refuse_other_kind("a mailbox", "capacity", self.capacity, int)
        if self.capacity < 1:
            raise SpecRefused(f"a mailbox cannot hold {self.capacity} messages; its capacity is at least 1")
