"""The error tree: what can be caught by what, and how groups are taken apart."""

from __future__ import annotations

import pytest
import trio

from coworld_actors.actors import errors
from coworld_actors.actors.errors import (
    ActorError,
    ActorStopped,
    AskFailed,
    AskTimeout,
    MailboxFull,
    SpecRefused,
    StartFailed,
    Undelivered,
    UnknownMessage,
    root_cause,
)
from coworld_protocol.errors import CoworldError


def test_every_error_is_one_of_the_projects_errors():
    """One `except CoworldError` catches whatever the runtime raises."""
    found = [value for name in errors.__all__ if isinstance(value := getattr(errors, name), type)]
    assert len(found) > 10
    assert all(issubclass(kind, CoworldError) and issubclass(kind, ActorError) for kind in found)


@pytest.mark.parametrize("kind", [ActorStopped, MailboxFull, UnknownMessage])
def test_an_error_that_refuses_a_message_hands_it_back(kind):
    """`Undelivered.message` is the very message."""
    message = object()
    error = kind("no", message)
    assert isinstance(error, Undelivered)
    assert error.message is message


def test_the_builtin_bases_hold():
    """Code that does not know this package can catch what it knows."""
    assert issubclass(UnknownMessage, TypeError)
    assert issubclass(SpecRefused, ValueError)
    assert issubclass(AskTimeout, TimeoutError)
    assert issubclass(AskTimeout, AskFailed)


def test_start_failed_shows_its_cause():
    """The cause is an attribute and the evidence line."""
    cause = OSError("no such file")
    failed = StartFailed("game did not start", cause)
    assert failed.cause is cause
    assert failed.lines() == ["game did not start", "evidence: OSError: no such file"]
    assert StartFailed("stopped").lines() == ["stopped"]


def test_the_root_cause_is_the_first_leaf_that_is_no_cancellation():
    """Trio's own Cancelled never hides what went wrong; a group of nothing else is told as it is."""
    cancelled: list[BaseException] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                cancelled.append(error)
                raise

    trio.run(main)
    failure = ValueError("it")
    assert root_cause(BaseExceptionGroup("g", [cancelled[0], failure])) is failure
    assert root_cause(BaseExceptionGroup("g", cancelled)) is cancelled[0]
