"""The runtime's end of the janitor's pipe."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from coworld_drivers import janitor
from coworld_drivers.driver import MachineFault, StartFailed
from coworld_drivers.forks import Owner

__all__ = ["Lifeline", "Will", "start_failed"]

CLOSE_SECONDS = 6.0
"""Longer than the janitor's own limit, so that it is killed only when it hangs."""


_SHORTAGES = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
)
"""What the kernel says when it is the machine, and not what is to be executed, that keeps a process from being started."""


def start_failed(who: str, error: OSError, where: str = "", *, ours: bool = False) -> StartFailed:
    """The kernel's refusal to start something, as an error with the next step: a `MachineFault` where it is the machine's.

    Args:
        who: what was to be started.
        error: the refusal.
        where: words before the kernel's.
        ours: it is a program of ours, so that no role is to blame whatever the kernel says.
    """
    short = error.errno in _SHORTAGES
    return (MachineFault if short or ours else StartFailed)(
        f"{who} could not be started",
        evidence=f"{where}{error.strerror}",
        todo="raise the limits (ulimit -n, ulimit -u, memory, disk) or run fewer episodes at a time"
        if short
        else "run that command by hand in that directory",
    )


class Will(msgspec.Struct, frozen=True, kw_only=True):
    """What the janitor is to do where there are no processes to end, when we are dead and could not do it.

    Attributes:
        list: a command that prints the names of what is there, separated by blanks or lines.
        remove: a command that removes it; the names are put after its words. What has gone meanwhile must not keep it from
            removing the rest.
        environ: the whole environment of both. It does not show in any argv.
    """

    list: tuple[str, ...]
    remove: tuple[str, ...]
    environ: Mapping[str, str]

    def __repr__(self) -> str:
        """Says nothing of the environment, which may hold secrets."""
        return f"Will(list={self.list!r}, remove={self.remove!r})"


class Lifeline:
    """Keeps one janitor informed of the process groups of a run; starts it with the first and again if somebody kills it.

    In a forked child it is dead: the child's copy of the pipe is closed, so that the janitor sees the end of this process and of
    no other, and nothing is said or ended from there.

    Args:
        mark: the run's mark, by which the janitor finds what left its group.
        wills: done in this order, again and again, if this process ends without `aclose`; a janitor is told them as they are when
            it is started.
        what: whose it is, as a noun without article.

    Attributes:
        owner: the process whose roles it guards.
    """

    def __init__(self, mark: str, wills: Sequence[Will] = (), *, what: str = "process driver") -> None:
        self.owner = Owner(what)
        self._mark = mark
        self._wills = tuple(wills)
        # Whether the janitor knows the wills, so that other lines may follow.
        self._told = False
        self._groups: set[int] = set()
        self._process: trio.Process | None = None
        self._pipe = -1
        self._starting = trio.Lock()
        _lifelines.add(self)

    @property
    def pid(self) -> int | None:
        """The janitor's process id; None before the first start and after the end."""
        return None if self._process is None else self._process.pid

    async def ensure(self) -> None:
        """Return when a janitor holds the lifeline.

        Raises:
            MachineFault: the janitor cannot be started.
            ForkedProcess: this is a forked child of the process that made it.
        """
        self.owner.require()
        async with self._starting:
            if self._process is not None:
                if self._process.poll() is None:
                    return
                self._forget()
            try:
                # Ours before anything else happens: a fork in between has to find it.
                read, self._pipe = os.pipe()
            except OSError as error:
                raise start_failed("the janitor", error, ours=True) from error
            os.set_blocking(self._pipe, False)
            try:
                # An empty environment: the janitor must not carry the mark of an outer run that sweeps us.
                self._process = await trio.lowlevel.open_process(
                    [sys.executable, "-I", "-S", "-E", str(Path(janitor.__file__)), self._mark, str(os.getpid())],
                    stdin=read,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    cwd="/",
                    env={},
                )
            except BaseException as error:
                self._forget()
                if isinstance(error, OSError):
                    raise start_failed("the janitor", error, f"{sys.executable}: ", ours=True) from error
                raise
            finally:
                os.close(read)
            await self._tell(self._process)
            for group in self._groups:
                self._say(f"+{group}\n")

    async def _tell(self, process: trio.Process) -> None:
        """Tell a new janitor the wills, which may be more than a pipe holds at once."""
        # Of ASCII only, without line ends: JSON escapes everything else, also the bytes of an environment that are no text.
        lines = (f"*{json.dumps(msgspec.to_builtins(will))}\n" for will in self._wills)
        rest = memoryview("".join(lines).encode())
        # Restores: no line begins within another one; a janitor that could not be told is gone.
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            while rest:
                try:
                    rest = rest[os.write(self._pipe, rest) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._pipe)
                except OSError:
                    break
            else:
                self._told = True
                return
        process.kill()
        # Restores: no zombie.
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await process.wait()
        self._forget()
        raise MachineFault(
            "the janitor could not be told what to remove",
            evidence="it does not read" if process.returncode is None else "it has ended",
            todo="look at what stops or kills the processes of this user",
        )

    def started(self, group: int) -> None:
        """A process group exists."""
        self._groups.add(group)
        self._say(f"+{group}\n")

    def ended(self, group: int) -> None:
        """A process group is gone."""
        self._groups.discard(group)
        self._say(f"-{group}\n")

    def bequeath(self) -> None:
        """Leave the wills to the janitor, as if this process had ended: something could not be removed yet. It ends by itself."""
        if self._process is not None and self.owner.here:
            # Nobody waits for its end; it is no zombie for as long as this trio run lasts.
            trio.lowlevel.spawn_system_task(self._process.wait, name="a janitor's end")
            self._forget()

    async def aclose(self) -> None:
        """End the janitor and reap it; it sweeps once more before it goes."""
        process = self._process
        if process is None or not self.owner.here:
            return
        self._say(".\n")
        os.close(self._pipe)
        self._pipe = -1
        self._told = False
        # Restores: no process of ours is left, cancelled or not.
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await process.wait()
        if process.poll() is None:
            process.kill()
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await process.wait()
        self._process = None

    def _say(self, text: str) -> None:
        if self._pipe >= 0 and self._told and self.owner.here:
            # A janitor that is dead is replaced by the next ensure(); what a full pipe loses, the mark finds.
            with suppress(OSError):
                os.write(self._pipe, text.encode())

    def _forget(self) -> None:
        pipe, self._pipe = self._pipe, -1
        self._process = None
        self._told = False
        if pipe >= 0:
            os.close(pipe)


_lifelines: weakref.WeakSet[Lifeline] = weakref.WeakSet()


def _cut_after_fork() -> None:
    for lifeline in tuple(_lifelines):
        with suppress(OSError):
            lifeline._forget()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_cut_after_fork)
