"""Calling a command-line client: few at a time, never for longer than said, nothing secret in its argv, nothing left of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

import msgspec
import trio

from coworld_drivers.lifeline import start_failed
from coworld_protocol.errors import PreconditionMissing

__all__ = ["Client", "Completed", "discard"]

MOST_CALLS = 16
"""Calls of one client at a time: each costs the machine a process of some 30 MB and the far end a request."""

OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer that are read; whoever says more is not the client we know."""

DRAIN_SECONDS = 2.0
"""For what a client has said before it ended."""

_CHUNK = 64 * 1024


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """A call that came to its end.

    Attributes:
        code: exit code; negative is the signal that ended it; None when we ended it, because its time was over.
        stdout: what it answered.
        stderr: what it complained about.
    """

    code: int | None
    stdout: bytes
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it ended with status 0."""
        return self.code == 0

    @property
    def text(self) -> str:
        """What it answered, as text without blanks around it."""
        return self.stdout.decode(errors="replace").strip()

    @property
    def complaint(self) -> str:
        """The end of its complaint in one line of at most 400 characters, or how it ended."""
        # About several things at once it says the same of each.
        lines = dict.fromkeys(" ".join(line.split()) for line in self.stderr.splitlines() if line.strip())
        said = " ".join(lines)[-400:]
        if said:
            return said
        return "no answer in time" if self.code is None else f"exit code {self.code}"


class Client:
    """A client program such as `docker`.

    Args:
        program: its absolute path.
        environ: its whole environment.
        most: calls at a time.
    """

    def __init__(self, program: str, environ: Mapping[str, str], *, most: int = MOST_CALLS) -> None:
        self.program = program
        self.environ = dict(environ)
        self.room = trio.CapacityLimiter(most)

    async def call(
        self, *args: str, timeout: float, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Completed:
        """One call from its start to its end.

        Args:
            args: words after the program's name; public, for they can be read by every user of the machine.
            timeout: seconds; then it is killed, and the answer has no exit code.
            stdin: what it reads; secrets may be in here.
            env: variables on top of the client's.

        Raises:
            MachineFault: the program cannot be started, or it answers without end.
        """
        async with self.room:
            process = await self.start(args, env=env, stdin=bool(stdin))
            out, err = bytearray(), bytearray()
            ended = False
            try:
                with trio.move_on_after(timeout):
                    async with trio.open_nursery() as pumps:
                        if process.stdin is not None:
                            pumps.start_soon(_feed, process.stdin, stdin)
                        assert process.stdout is not None
                        assert process.stderr is not None
                        pumps.start_soon(self._take, process.stdout, out)
                        pumps.start_soon(self._take, process.stderr, err)
                        await process.wait()
                        ended = True
                        # A process that it started and left behind can hold its pipes open.
                        pumps.cancel_scope.deadline = trio.current_time() + DRAIN_SECONDS
            finally:
                # Restores: no client of ours is left, cancelled or not.
                await discard(process)
        return Completed(
            code=process.returncode if ended else None, stdout=bytes(out), stderr=err.decode(errors="replace")
        )

    async def start(
        self, args: tuple[str, ...], *, env: Mapping[str, str] | None = None, stdin: bool = False
    ) -> trio.Process:
        """Start a call that somebody else follows, in a session of its own; both outputs are pipes.

        Raises:
            MachineFault: the program cannot be started.
        """
        try:
            return await trio.lowlevel.open_process(
                [self.program, *args],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env={**self.environ, **(env or {})},
            )
        except OSError as error:
            raise start_failed(os.path.basename(self.program), error, f"{self.program}: ", ours=True) from error  # noqa: PTH119
        except ValueError:
            # Without its cause, which has the value at fault, maybe a secret, in it.
            raise PreconditionMissing(
                f"{os.path.basename(self.program)} was not called: a word or variable cannot be passed to a process",  # noqa: PTH119
                todo="remove NUL characters and lone surrogates from `run` and `env`",
            ) from None

    async def _take(self, stream: trio.abc.ReceiveStream, into: bytearray) -> None:
        # What is beyond the limit is read and forgotten: a pipe that nobody reads would keep the client from ending.
        while data := await stream.receive_some(_CHUNK):
            if len(into) < OUTPUT_LIMIT:
                into += data


async def _feed(stream: trio.abc.SendStream, data: bytes) -> None:
    # A client that ends without reading has said why.
    with suppress(trio.BrokenResourceError):
        await stream.send_all(data)
        await stream.aclose()


KILL_SECONDS = 3.0
"""How long a killed client may take to be gone."""


async def discard(process: trio.Process) -> None:
    """End a client and everything that it started in its session, and close its pipes."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        # Restores: no zombie.
        with trio.move_on_after(KILL_SECONDS, shield=True):
            await process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if isinstance(stream, trio.lowlevel.FdStream):
            stream.close()
