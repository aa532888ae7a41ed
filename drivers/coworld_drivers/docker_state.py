"""What the engine says of a container: whether it runs, why it could not be started, how it ended, where its port is."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import msgspec

from coworld_drivers.driver import Address, ExitKind, ExitStatus, MachineFault, StartFailed

__all__ = ["State", "judge", "published", "refusal", "state_of"]

_NEVER = "0001-01-01T00:00:00Z"
"""What the engine says of a moment that has not come."""


_SIGNALS = frozenset(int(number) for number in signal.Signals)


class State(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What `inspect` says of a container's life; the engine's own names."""

    status: str = ""
    running: bool = False
    restarting: bool = False
    oom_killed: bool = msgspec.field(default=False, name="OOMKilled")
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str = _NEVER

    @property
    def started(self) -> bool:
        """Whether its first process ran at any time."""
        return self.started_at != _NEVER

    @property
    def over(self) -> bool:
        """Whether it has been started and does not run any more, or never will."""
        return not self.running and not self.restarting and (self.started or bool(self.error))


def state_of(seen: Mapping[str, Any]) -> State:
    """The life of an inspected container.

    Raises:
        MachineFault: the answer has not the shape that every engine's has.
    """
    try:
        return msgspec.convert(seen.get("State"), State, strict=False)
    except msgspec.ValidationError as error:
        raise MachineFault("the engine's description of a container cannot be read", evidence=str(error)) from error


_ROLES_OWN = ("no command specified", "chdir to cwd")
"""What an engine says when there is nothing to run, or the image's working directory is not for everybody; a program that is missing
is noticed in the container, by the init. Everything else is the engine's own trouble."""


def refusal(role: str, said: str) -> StartFailed:
    """Why a container was not started; a `MachineFault` unless its image or `run` is the reason.

    Args:
        role: the launch's name.
        said: by the engine, or by its client.
    """
    own = any(sign in said for sign in _ROLES_OWN)
    return (StartFailed if own else MachineFault)(
        f"{role} could not be started",
        evidence=said or "the engine gives no reason",
        todo="correct the manifest's `run`, or the image's entry point and working directory; with --trust it is its own user"
        if own
        else "run `coworld-actors doctor`, and look at the engine's log",
    )


def judge(state: State, *, asked: bool, killed: bool, engine_left: bool) -> ExitStatus:
    """The proven end of a container.

    Args:
        state: of the ended container.
        asked: we had told it to end while it ran.
        killed: we had killed it.
        engine_left: the engine was away while it ran: what it says now may be the engine's own doing.
    """
    if engine_left and state.exit_code != 0 and not asked:
        return ExitStatus(
            kind=ExitKind.LOST, detail=f"the engine went away while it ran, and says exit code {state.exit_code} now"
        )
    code = state.exit_code
    memory = state.oom_killed and not killed
    number = code - 128
    # An init passes on a death by signal as 128 + its number; a program that ends with such a code by itself is not told apart.
    if number in _SIGNALS:
        return ExitStatus(
            kind=ExitKind.OOM if memory and number == signal.SIGKILL else ExitKind.SIGNALLED,
            signal=number,
            stopped=asked,
            detail="it needed more memory than it may have" if memory else "",
        )
    if not 0 <= code <= 255:
        return ExitStatus(kind=ExitKind.LOST, stopped=asked, detail=f"the engine says exit code {code}")
    return ExitStatus(
        kind=ExitKind.EXITED,
        code=code,
        stopped=asked,
        detail="a process of it was killed for want of memory" if memory else "",
    )


def published(seen: Mapping[str, Any], port: int) -> Address:
    """Where a port of a container is on this machine, as an inspected container says.

    Raises:
        MachineFault: it is not published.
    """
    try:
        bindings = seen["NetworkSettings"]["Ports"][f"{port}/tcp"]
        return Address(host="127.0.0.1", port=int(bindings[0]["HostPort"]))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise MachineFault("the engine does not say where it has published the game's port") from error
