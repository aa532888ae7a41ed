"""A role that is a task of this process: its life, its end, its output."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from coworld_drivers.driver import Address, ExitKind, ExitStatus, LogFailed, Usage
from coworld_drivers.inproc_output import STREAMS, RoleOutput, RoleStream
from coworld_protocol.errors import CoworldError, InternalFault, alone, leaves
from coworld_protocol.sdk.environment import ENVIRONMENT
from coworld_protocol.sdk.memory import RESIDENCE, Residence

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["InprocHandle"]


class InprocHandle:
    """One role; made by `InprocSite.start`.

    Args:
        name: the launch's name.
        outputs: its logs: standard output, and standard error unless that is merged.
        address: where it serves, if it does.
        residence: where it lives.
    """

    def __init__(self, name: str, outputs: Sequence[RoleOutput], address: Address | None, residence: Residence) -> None:
        self._name = name
        self._outputs = outputs
        self._address = address
        self._residence = residence
        self._scope = trio.CancelScope()
        self._asked = False
        self._status: ExitStatus | None = None
        self._ended = trio.Event()
        self._opened = False
        self._open_or_over = trio.Event()

    @property
    def name(self) -> str:
        """The launch's name."""
        return self._name

    @property
    def address(self) -> Address | None:
        """Where the role is found in its house, which no network knows; None when it does not serve."""
        return self._address

    @property
    def peer_address(self) -> Address | None:
        """The same."""
        return self._address

    @property
    def status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        return self._status

    @property
    def log_error(self) -> LogFailed | None:
        """Why its output is not complete on disk; None while all is well."""
        return next((output.log.error for output in self._outputs if output.log.error is not None), None)

    @property
    def usage(self) -> Usage:
        """Unknown: all roles share one process."""
        return Usage()

    async def wait(self) -> ExitStatus:
        """Wait until it has ended and its output is on disk."""
        await self._ended.wait()
        if self._status is None:
            raise InternalFault(f"the end of {self._name} was not recorded")
        return self._status

    async def stop(self, grace: float) -> ExitStatus:
        """Cancel it. A task cannot be killed: what is not gone after `grace` seconds is recorded as `lost`."""
        if self._status is None:
            self.kill()
            with trio.move_on_after(grace):
                await self._ended.wait()
                return await self.wait()
            self.abandon()
        return await self.wait()

    def kill(self) -> None:
        """Cancel it, now; its end is recorded as asked for."""
        if self._status is None:
            self._asked = True
            # First: a process that is killed says no good-bye, which a task being cancelled would.
            self._residence.house.cut(self._residence.name)
            self._scope.cancel(reason="the role was stopped")

    def abandon(self) -> None:
        """Wait for it no more."""
        if self._status is None:
            detail = "its task does not end: it is shielded from being cancelled"
            self._finish(ExitStatus(kind=ExitKind.LOST, stopped=True, detail=detail))

    async def owns_address(self) -> bool:
        """Always: an address in memory is given to one role only."""
        return self._address is not None

    async def port_taken(self) -> bool:
        """Never."""
        return False

    def tail(self, limit: int = 4000) -> str:
        """The last `limit` bytes of its output, as text, standard error preferred."""
        for output in reversed(self._outputs):
            if text := output.tail(limit):
                return text.decode(errors="replace")
        return ""

    def opened(self) -> None:
        """It lets players in."""
        self._opened = True
        self._open_or_over.set()

    async def serving(self) -> bool:
        """Wait until it lets players in; False when it has ended without."""
        await self._open_or_over.wait()
        return self._opened

    async def live(self, main: Callable[[], Awaitable[object]], environ: Mapping[str, str]) -> None:
        """Be the role's task; whatever it does, its end is told."""
        out = RoleStream(self._outputs[0])
        err = RoleStream(self._outputs[-1])
        ENVIRONMENT.set(environ)
        RESIDENCE.set(self._residence)
        STREAMS.set((out, err))
        code = 0
        try:
            with self._scope:
                try:
                    await main()
                except BaseException as error:  # noqa: BLE001 - what is not the role's is raised again below
                    cancelled = _cancelled(error)
                    if cancelled is not error:
                        code = _exit_code(error, err)
                    if cancelled is not None:
                        raise cancelled from None
        except BaseException:
            # Somebody cancels the whole driver, or interrupts the program: it is not the role's doing.
            self._asked = True
            self._finish(self._signalled())
            raise
        if self._scope.cancelled_caught and not code:
            self._finish(self._signalled())
        else:
            self._finish(ExitStatus(kind=ExitKind.EXITED, code=code, stopped=self._asked))

    def _signalled(self) -> ExitStatus:
        return ExitStatus(kind=ExitKind.SIGNALLED, signal=signal.SIGTERM, stopped=self._asked, detail="as a task")

    def _finish(self, status: ExitStatus) -> None:
        if self._status is None:
            for output in self._outputs:
                output.close()
            self._status = status
            self._ended.set()
            self._open_or_over.set()


def _cancelled(error: BaseException) -> BaseException | None:
    """What of an exception is trio's cancellation or the user's interrupt, which are not the role's."""
    if isinstance(error, trio.Cancelled | KeyboardInterrupt):
        return error
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup((trio.Cancelled, KeyboardInterrupt))
    return None


def _exit_code(error: BaseException, stderr: TextIO | RoleStream) -> int:
    """The status with which a process would end on this exception; prints what it would print."""
    if isinstance(error, BaseExceptionGroup):
        own = error.split((trio.Cancelled, KeyboardInterrupt))[1]
        error = alone(own) if own is not None else error
    exits = [each for each in leaves(error) if isinstance(each, SystemExit)]
    if exits:
        code = exits[0].code
        if code is None or isinstance(code, int):
            return (code or 0) & 0xFF
        print(code, file=stderr)
        return 1
    if isinstance(error, CoworldError):
        print(*error.lines(), sep="\n", file=stderr)
        return error.exit_code
    traceback.print_exception(error, file=stderr)
    return 1
