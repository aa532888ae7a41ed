"""What can go wrong between actors.

    ActorError
      Undelivered           a message was not taken; the error hands it back as `message`
        ActorStopped        ... because its receiver has ended, or is about to
        MailboxFull         ... because there was no room
        UnknownMessage      ... because the receiver does not take messages of this type (also a TypeError)
      AskFailed             a request was taken, and there will be no reply
        AskTimeout          ... within its deadline
        ActorCrashed        ... because its receiver crashed over it; the crash is chained as `__cause__`
        NoReply             ... because its handler returned None and deferred nothing
      WouldDeadlock         an actor was about to wait for itself
      StartFailed           a child did not start; nothing of it is left
      NameTaken             a sibling has this name already
      SpecRefused           a specification contradicts itself (also a ValueError)

`Undelivered` is the caller's to act on: the message had no effect. After `AskFailed` it may have had one.
"""

from __future__ import annotations

import trio

from coworld_protocol.errors import CoworldError, leaves

__all__ = [
    "ActorCrashed",
    "ActorError",
    "ActorStopped",
    "AskFailed",
    "AskTimeout",
    "MailboxFull",
    "NameTaken",
    "NoReply",
    "SpecRefused",
    "StartFailed",
    "Undelivered",
    "UnknownMessage",
    "WouldDeadlock",
    "in_words",
    "root_cause",
]


class ActorError(CoworldError):
    """Root of what the actor runtime raises."""


class Undelivered(ActorError):
    """A message was not taken.

    Attributes:
        message: the message, for the sender to use otherwise.
    """

    def __init__(self, what: str, message: object, *, todo: str = "") -> None:
        super().__init__(what, todo=todo)
        self.message = message


class ActorStopped(Undelivered):
    """The receiver has ended, or refuses messages because it is about to; for an ask also: it ended before it replied."""


class MailboxFull(Undelivered):
    """The receiver's mailbox has no room, and its policy or the kind of send says not to wait for any."""


class UnknownMessage(Undelivered, TypeError):
    """The message's type is not in the union that the receiver's class names."""


class AskFailed(ActorError):
    """A request was taken, and there will be no reply."""


class AskTimeout(AskFailed, TimeoutError):
    """The deadline of an ask passed. The request may still have its effect, unless it was waiting in the mailbox."""


class ActorCrashed(AskFailed):
    """The receiver crashed before it replied; what it raised is chained as `__cause__`."""


class NoReply(AskFailed):
    """The handler of a request returned None without `context.defer()`: a defect of the receiver's code."""


class WouldDeadlock(ActorError):
    """An actor was about to wait for something that cannot happen before it has returned."""


class StartFailed(ActorError):
    """A child did not start.

    Attributes:
        cause: what its `on_start`, or the start of one of its own children, raised; None if it was stopped first.
    """

    def __init__(self, what: str, cause: BaseException | None = None) -> None:
        super().__init__(what, evidence=in_words(cause))
        self.cause = cause


class NameTaken(ActorError):
    """A living sibling has this name already."""


class SpecRefused(ActorError, ValueError):
    """A specification contradicts itself; raised where it is constructed."""


def in_words(error: BaseException | None) -> str:
    """`Type: text`, or nothing for None. It never raises, and it can be written as UTF-8 whatever the exception is."""
    if error is None:
        return ""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - whoever reports a crash must not crash over its text
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}".encode(errors="backslashreplace").decode()


def root_cause(error: BaseException) -> BaseException:
    """The first leaf that is not trio's own cancellation, or the first leaf if all are."""
    found = list(leaves(error))
    return next((leaf for leaf in found if not isinstance(leaf, trio.Cancelled)), found[0])
