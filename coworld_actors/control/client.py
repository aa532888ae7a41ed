"""The other side of control sockets: find the runtimes of this user, and talk to them."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar, final

import trio

from coworld_actors.control.lines import Lines, LineTooLong, send
from coworld_actors.control.messages import (
    PROTOCOL,
    AnyReply,
    End,
    Events,
    Failure,
    Hello,
    Lost,
    RecordLine,
    Reply,
    Request,
    encode,
    read_reply,
)
from coworld_actors.control.place import looks_like, peer, remove_dead, sockets
from coworld_actors.control.prefixes import Ambiguous, Unknown, candidates, matching
from coworld_protocol.errors import CoworldError, InternalFault, PreconditionMissing, Refused

__all__ = ["ANSWER_SECONDS", "Connection", "NoRuntime", "RuntimeGone", "choose_one", "connect", "open_runtimes"]

ANSWER_SECONDS = 10.0
"""How long a runtime may take to answer. One that does not has stopped running, or something blocks its event loop."""
REPLY_LIMIT = 64 * 1024 * 1024
"""Bytes of a reply; 5,000 actors are about 1 MB."""

AnswerType = TypeVar("AnswerType", bound=Reply)


class NoRuntime(CoworldError):
    """No runtime of this user has a control socket."""

    exit_code = 3


class RuntimeGone(CoworldError):
    """A runtime did not say goodbye: its process was killed, or has crashed."""

    exit_code = 3


@final
class Connection:
    """A conversation with one runtime, one request after the other.

    Attributes:
        path: its socket.
        hello: what it said of itself when it was connected.
    """

    def __init__(self, path: Path, stream: trio.SocketStream) -> None:
        self.path = path
        self.hello = Hello(
            protocol=PROTOCOL, version="", name="", pid=0, seconds=0, parallel=0, paused=False, running=0, queued=0
        )
        self._stream = stream
        self._lines = Lines(stream, REPLY_LIMIT)

    @property
    def title(self) -> str:
        """Which runtime, for sentences."""
        return f"{self.hello.name} (pid {self.hello.pid})" if self.hello.pid else str(self.path)

    async def greet(self) -> None:
        """Read what it says first."""
        hello = await self._answer()
        if not isinstance(hello, Hello):
            raise self._nonsense("it did not say hello")
        if hello.protocol != PROTOCOL:
            raise PreconditionMissing(
                f"runtime {hello.name} (pid {hello.pid}) speaks protocol {hello.protocol}, and this program {PROTOCOL}",
                todo=f"use the coworld-actors of that runtime, version {hello.version}",
            )
        self.hello = hello

    async def ask(self, request: Request, answer: type[AnswerType]) -> AnswerType:
        """Ask, and wait for the answer.

        Raises:
            Refused, PreconditionMissing, InternalFault: the runtime said so.
            PreconditionMissing: it did not answer in time.
            RuntimeGone: it went away instead.
        """
        await self._say(request)
        reply = await self._answer()
        if not isinstance(reply, answer):
            raise self._nonsense(f"it answered with {type(reply).__name__}")
        return reply

    async def events(self, request: Events) -> AsyncIterator[RecordLine | Lost | End]:
        """Everything up to and including the `End`.

        Raises:
            RuntimeGone: it went away without one.
        """
        await self._say(request)
        while True:
            reply = await self._answer(patient=request.follow)
            if not isinstance(reply, RecordLine | Lost | End):
                raise self._nonsense(f"it sent {type(reply).__name__}")
            yield reply
            if isinstance(reply, End):
                return

    async def _say(self, request: Request) -> None:
        try:
            await send(self._stream, encode(request), ANSWER_SECONDS)
        except trio.TooSlowError:
            raise self._silent() from None
        except (trio.BrokenResourceError, OSError):
            # Its last words, if there are any, are still to be read.
            pass

    async def _answer(self, *, patient: bool = False) -> AnyReply:
        try:
            with trio.fail_after(float("inf") if patient else ANSWER_SECONDS):
                line = await self._lines.next()
        except trio.TooSlowError:
            raise self._silent() from None
        except LineTooLong:
            raise self._nonsense(f"it sent more than {REPLY_LIMIT} bytes") from None
        except (trio.BrokenResourceError, OSError):
            line = None
        if line is None:
            raise RuntimeGone(
                f"runtime {self.title} is gone: the connection ended without a goodbye",
                evidence="its process was killed or has crashed" if self.hello.pid else "it did not even say hello",
                todo="coworld-actors ctl list shows what is running",
            )
        try:
            reply = read_reply(line)
        except ValueError as error:
            raise self._nonsense(str(error)) from None
        if isinstance(reply, Failure):
            raise _error(reply)
        return reply

    def _silent(self) -> PreconditionMissing:
        pid = self.hello.pid or peer(self._stream)[0]
        return PreconditionMissing(
            f"runtime {self.title} does not answer within {ANSWER_SECONDS:g} s",
            evidence="its process is stopped, or something blocks its event loop",
            todo=f"py-spy dump --pid {pid} shows what it does" if pid else "look at its process",
            where=str(self.path),
        )

    def _nonsense(self, why: str) -> PreconditionMissing:
        return PreconditionMissing(
            f"what listens at {self.path} does not speak the control protocol: {why}",
            todo="use the coworld-actors that the runtime was started with",
        )


def _error(failure: Failure) -> CoworldError:
    kinds: dict[int, type[CoworldError]] = {2: Refused, 3: PreconditionMissing}
    kind = kinds.get(failure.exit_code, InternalFault)
    return kind(failure.what, evidence=failure.evidence, todo=failure.todo)


@asynccontextmanager
async def connect(path: Path) -> AsyncGenerator[Connection]:
    """Talk to the runtime at a socket for the time of a block.

    Raises:
        PreconditionMissing: nobody of this user listens there, or it does not answer, or speaks another language.
    """
    todo = "coworld-actors ctl list shows the runtimes that can be talked to"
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):  # noqa: ASYNC240 - a look at one name on this machine
            raise PreconditionMissing(f"{path} is no socket", todo=todo)
        with trio.fail_after(ANSWER_SECONDS):
            stream = await trio.open_unix_socket(path)
    except ConnectionRefusedError:
        raise NoRuntime(f"nobody listens at {path} any more", todo=todo) from None
    except trio.TooSlowError:
        raise PreconditionMissing(f"{path} takes no connection within {ANSWER_SECONDS:g} s", todo=todo) from None
    except OSError as error:
        raise PreconditionMissing(f"{path} cannot be opened: {error.strerror or error}", todo=todo) from error
    except ValueError as error:
        raise PreconditionMissing(f"{path} cannot be opened: {error}", todo=todo) from error
    async with stream:
        uid = peer(stream)[1]
        if uid != os.geteuid():
            raise PreconditionMissing(
                f"what listens at {path} belongs to user {uid}, not to {os.geteuid()}", todo="run this as that user"
            )
        connection = Connection(path, stream)
        await connection.greet()
        yield connection


@asynccontextmanager
async def open_runtimes(
    *, path: Path | None = None, which: str = ""
) -> AsyncGenerator[tuple[list[Connection], list[CoworldError]]]:
    """Talk to all runtimes of this user for the time of a block. What dead ones have left is removed.

    Args:
        path: a socket, to talk to that one only.
        which: a process id, or the beginning of a name; only those. Sockets that look like it are tried first, and if it is
            among them, the others are not: one that hangs holds up nobody who has asked for another.

    Yields:
        The connections, in the order of their sockets' names, and what was wrong with other sockets.

    Raises:
        PreconditionMissing: the runtime at `path` cannot be talked to.
        NoRuntime: there is none.
        PreconditionMissing, RuntimeGone: the one that looks like `which` cannot be talked to.
        Unknown: there are some, and none of them is meant by `which`.
    """
    async with AsyncExitStack() as stack:
        if path is not None:
            yield [await stack.enter_async_context(connect(path))], []
            return
        paths, troubles = sockets()
        likely = [each for each in paths if looks_like(each, which)] if which else paths
        connections, silent = await _connect_all(stack, likely)
        chosen = _chosen(connections, which)
        if not chosen and not silent:
            others, more = await _connect_all(stack, [each for each in paths if each not in likely])
            connections += others
            troubles += more
            chosen = _chosen(others, which)
        troubles += silent
        if not connections or (not chosen and silent):
            raise _none(troubles)
        if not chosen:
            raise Unknown(
                f"no runtime has the process id {which} or a name that begins with it",
                evidence=f"there are: {candidates([each.title for each in connections])}",
                todo="coworld-actors ctl list shows them",
            )
        yield chosen, troubles


async def _connect_all(stack: AsyncExitStack, paths: list[Path]) -> tuple[list[Connection], list[CoworldError]]:
    """Those that answer, and what is wrong with the others; all at once, for each may hang. Dead sockets are removed."""
    connections: dict[Path, Connection] = {}
    troubles: dict[Path, CoworldError] = {}

    async def connect_one(path: Path) -> None:
        try:
            connections[path] = await stack.enter_async_context(connect(path))
        except NoRuntime:
            remove_dead(path)
        except CoworldError as error:
            troubles[path] = error

    async with trio.open_nursery() as nursery:
        for each in paths:
            nursery.start_soon(connect_one, each)
    return [connections[each] for each in paths if each in connections], [
        troubles[each] for each in paths if each in troubles
    ]


def _none(troubles: list[CoworldError]) -> CoworldError:
    if len(troubles) == 1:
        return troubles[0]
    return NoRuntime(
        "no runtime of this user can be talked to" if troubles else "no runtime of this user is running",
        evidence="; ".join(trouble.what for trouble in troubles),
        todo="start one: coworld-actors run; or open_runtime(driver, attach=[open_control()]); or name one with --socket",
    )


def _chosen(connections: list[Connection], which: str) -> list[Connection]:
    if not which:
        return connections
    by_pid = [each for each in connections if str(each.hello.pid) == which]
    names = set(matching(which, [each.hello.name for each in connections]))
    return by_pid or [each for each in connections if each.hello.name in names]


def choose_one(connections: list[Connection]) -> Connection:
    """The one runtime that something is to be done to.

    Raises:
        Ambiguous: there are several.
    """
    if len(connections) > 1:
        raise Ambiguous(
            f"{len(connections)} runtimes are running, and this is done to exactly one",
            evidence=candidates([each.title for each in connections]),
            todo="name it: --runtime NAME, --runtime PID or --socket PATH",
        )
    return connections[0]
