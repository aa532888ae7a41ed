"""Scripts for the fake driver: what a role does, as a coroutine, and the usual ones ready-made."""

from __future__ import annotations

import signal as signals
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias, final

import msgspec
import trio

from coworld_actors.actors.errors import root_cause
from coworld_drivers.driver import Address, ExitKind, ExitStatus, Launch, StartFailed
from coworld_protocol.errors import CoworldError, PreconditionMissing
from coworld_protocol.sdk.game import GameServer
from coworld_protocol.sdk.player import connect_player, player_url

__all__ = [
    "EndedAs",
    "FakeRole",
    "InTurn",
    "Refusal",
    "RoleRun",
    "exits",
    "hangs",
    "ignores_stop",
    "in_turn",
    "killed_by",
    "lost",
    "out_of_memory",
    "plays",
    "refuses_to_start",
    "serves",
]


class RoleRun(Protocol):
    """What a script sees of its own start: what a process would find around it.

    Attributes:
        launch: how it was started.
        env: its variables, the secret ones among them, and where it has to listen.
        number: which start of this name this is, from 1.
        connected: whether the site tells that it is connected to whatever address somebody asks about; the script sets it.
    """

    launch: Launch
    env: Mapping[str, str]
    number: int
    connected: bool

    @property
    def address(self) -> Address | None:
        """Where it has to listen, if it serves."""
        ...

    def print(self, text: str) -> None:
        """Write a line to its standard output."""
        ...

    def complain(self, text: str) -> None:
        """Write a line to its standard error."""
        ...

    def catch_stop(self) -> trio.Event:
        """From now on a stop sets this event and no longer ends the role: it catches SIGTERM. The end of the grace kills it."""
        ...


Script: TypeAlias = Callable[[RoleRun], Awaitable[int]]
"""Runs as a task; what it returns is the exit code; what it raises is exit code 1, with the traceback in its log."""


class EndedAs(Exception):
    """Raised by a script that ends otherwise than by an exit code.

    Attributes:
        status: how it ends.
    """

    def __init__(self, status: ExitStatus) -> None:
        super().__init__(str(status))
        self.status = status


@final
class Refusal:
    """A role that cannot be started at all; made by `refuses_to_start`."""

    def __init__(self, error: PreconditionMissing) -> None:
        self.error = error


@final
class InTurn:
    """Another script for each start of a name; made by `in_turn`."""

    def __init__(self, roles: tuple[FakeRole, ...]) -> None:
        self._roles = roles

    def pick(self, number: int) -> FakeRole:
        """The role of start `number`, from 1; the last one for all that come later."""
        return self._roles[min(number, len(self._roles)) - 1]


FakeRole: TypeAlias = Script | Refusal | InTurn
"""What a fake driver knows of a role."""


def exits(code: int = 0, *, after: float = 0.0, says: str = "", complains: str = "") -> FakeRole:
    """Ends by itself.

    Args:
        code: exit code, 0..255.
        after: seconds of life.
        says: a line on standard output, first thing.
        complains: a line on standard error, last thing.
    """

    async def script(run: RoleRun) -> int:
        if says:
            run.print(says)
        await trio.sleep(after)
        if complains:
            run.complain(complains)
        return code

    return script


def killed_by(signal: int | signals.Signals = signals.SIGSEGV, *, after: float = 0.0) -> FakeRole:
    """Dies of a signal that we did not send, after so many seconds."""
    return _ends(ExitStatus(kind=ExitKind.SIGNALLED, signal=int(signal)), after)


def out_of_memory(*, after: float = 0.0) -> FakeRole:
    """Is killed by the kernel for memory, after so many seconds."""
    return _ends(ExitStatus(kind=ExitKind.OOM, signal=int(signals.SIGKILL), detail="out of memory"), after)


def lost(*, after: float = 0.0) -> FakeRole:
    """Vanishes after so many seconds: nobody can tell how it ended."""
    return _ends(ExitStatus(kind=ExitKind.LOST, detail="the machine does not answer"), after)


def _ends(status: ExitStatus, after: float) -> FakeRole:
    async def script(run: RoleRun) -> int:
        del run
        await trio.sleep(after)
        raise EndedAs(status)

    return script


def hangs() -> FakeRole:
    """Does nothing for ever; a stop ends it at once, as SIGTERM ends a process that does not catch it."""

    async def script(run: RoleRun) -> int:
        del run
        await trio.sleep_forever()

    return script


def ignores_stop() -> FakeRole:
    """Does nothing for ever and does not listen: only the kill at the end of a stop's grace ends it."""

    async def script(run: RoleRun) -> int:
        run.catch_stop()
        await trio.sleep_forever()

    return script


def refuses_to_start(error: PreconditionMissing | None = None) -> FakeRole:
    """Cannot be started: the site's `start` raises.

    Args:
        error: what it raises; a `MachineFault` is not held against the role.
    """
    return Refusal(error or StartFailed("the role could not be started: no such program"))


def in_turn(*roles: FakeRole) -> FakeRole:
    """The first role for the first start of a name, the second for the second, the last for all that follow.

    Raises:
        ValueError: there is none.
    """
    if not roles:
        raise ValueError("in_turn() needs at least one role")
    return InTurn(roles)


def serves(server: GameServer[Any, Any]) -> FakeRole:
    """Is a game of the SDK's, on a real port of the loopback interface, in this process.

    What the server itself says goes to this process's own stdout: there is only one. A stop cancels it.
    """

    async def script(run: RoleRun) -> int:
        try:
            await server.run(run.env)
        except (CoworldError, BaseExceptionGroup) as failure:
            error = root_cause(failure)
            if not isinstance(error, CoworldError):
                raise
            run.complain("\n".join(error.lines()))
            return error.exit_code
        return 0

    return script


def plays(
    observation: type[Any],
    decide: Callable[[Any], msgspec.Struct | None],
    *,
    final: type[Any],
    welcome: type[Any] | None = None,
) -> FakeRole:
    """Is a player of the SDK's: takes its seat and answers each observation.

    Args:
        observation: tagged Struct of what the game shows.
        decide: the move for an observation; None makes none.
        final: tagged Struct of the game's last message.
        welcome: tagged Struct of the message that comes first, if the game has one.
    """

    async def script(run: RoleRun) -> int:
        async with connect_player(observation, final=final, welcome=welcome, url=player_url(run.env)) as player:
            run.connected = True
            async for seen in player:
                move = decide(seen)
                if move is not None:
                    await player.send(move)
        return 0

    return script
