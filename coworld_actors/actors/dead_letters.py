"""Messages that were accepted and will not be handled: counted by reason, published, the latest kept for a look."""

from __future__ import annotations

import enum
from collections import Counter, deque
from typing import final

import msgspec

from coworld_actors.actors import events
from coworld_actors.actors.errors import in_words
from coworld_actors.actors.stream import EventStream

__all__ = ["DeadLetterReason", "DeadLetters", "Undeliverable"]

RECENT = 64
"""How many of the latest are kept with their message."""


class DeadLetterReason(enum.StrEnum):
    """Why an accepted message was not handled."""

    STOPPED = "stopped"
    """It was queued when its receiver was stopped or had ended."""
    CRASHED = "crashed"
    """It was in hand when its receiver crashed."""
    KILLED = "killed"
    """It was in hand when its receiver was cancelled."""
    DROPPED_OLDEST = "dropped_oldest"
    """The mailbox was full, and it made room for a newer one."""
    DROPPED_NEWEST = "dropped_newest"
    """The mailbox was full."""
    EXPIRED = "expired"
    """It was a queued request whose asker had given up."""


class Undeliverable(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter.

    Attributes:
        recipient: path of the actor that had accepted it.
        message: the message.
        reason: why it is dead.
        cause: the crash behind `CRASHED`.
    """

    recipient: str
    message: object
    reason: DeadLetterReason
    cause: BaseException | None = None


@final
class DeadLetters:
    """The dead letters of one system.

    Attributes:
        by_reason: how many there were, by reason.
        recent: the latest of them, oldest first.
    """

    def __init__(self, stream: EventStream) -> None:
        self.by_reason: Counter[DeadLetterReason] = Counter()
        self.recent: deque[Undeliverable] = deque(maxlen=RECENT)
        self._stream = stream

    @property
    def count(self) -> int:
        """How many there were."""
        return self.by_reason.total()

    def add(self, letter: Undeliverable, *, incarnation: int, scope: str) -> None:
        """Count, keep and publish one."""
        self.by_reason[letter.reason] += 1
        self.recent.append(letter)
        if self._stream:
            event = events.DeadLetter(
                message=type(letter.message).__name__, reason=letter.reason, cause=in_words(letter.cause)
            )
            self._stream.publish(event, actor=letter.recipient, incarnation=incarnation, scope=scope)
