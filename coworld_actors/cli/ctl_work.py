"""Behind `coworld-actors ctl`: ask the runtimes, show what they say."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import trio

from coworld_actors.cli import ctl_view as view
from coworld_actors.cli.exits import Exit, Interrupted, Outcome, complain, handling
from coworld_actors.cli.streams import Stream, encodable
from coworld_actors.control.client import Connection, choose_one, open_runtimes
from coworld_actors.control.messages import (
    Anomalies,
    AnomaliesFound,
    Cancel,
    Done,
    End,
    EpisodeList,
    Episodes,
    Events,
    Lost,
    Pause,
    RecordLine,
    Reply,
    Request,
    Resume,
    SetParallel,
    Statistics,
    StatisticsReply,
    Tree,
    TreeReply,
)
from coworld_actors.control.prefixes import Ambiguous, Unknown, candidates, matching
from coworld_protocol.errors import CoworldError, alone
from coworld_protocol.printable import printable

__all__ = [
    "Target",
    "cancel",
    "pause",
    "resume",
    "set_parallel",
    "show_anomalies",
    "show_episodes",
    "show_events",
    "show_list",
    "show_statistics",
    "show_tree",
    "until_sigterm",
]

AnswerType = TypeVar("AnswerType", bound=Reply)
Answer = Mapping[str, object]


class Target(NamedTuple):
    """Which runtimes, and how to answer.

    Attributes:
        which: a process id or the beginning of a name; empty for all.
        path: a control socket; None for all.
        as_json: whether stdout belongs to the JSON document.
    """

    which: str
    path: Path | None
    as_json: bool


class _Talk(NamedTuple):
    """What a command works with.

    Attributes:
        target: as above.
        connections: at least one.
        troubles: of runtimes that could not be talked to; more can be added.
        stdout: for what was asked for.
    """

    target: Target
    connections: list[Connection]
    troubles: list[CoworldError]
    stdout: Stream

    def head(self, connection: Connection) -> None:
        """Say which runtime the next lines are about, where that is not clear."""
        if len(self.connections) > 1 and not self.target.as_json:
            self.stdout.write(f"{printable(connection.title)}:\n")

    async def ask_all(self, request: Request, answer: type[AnswerType]) -> list[tuple[Connection, AnswerType]]:
        """The answers of all that answer."""
        found: list[tuple[Connection, AnswerType]] = []
        for connection in self.connections:
            try:
                found.append((connection, await connection.ask(request, answer)))
            except CoworldError as error:
                self.troubles.append(error)
        return found


def _identity(connection: Connection) -> dict[str, object]:
    hello = connection.hello
    return {"name": hello.name, "pid": hello.pid, "version": hello.version, "socket": encodable(str(connection.path))}


def _run(target: Target, work: Callable[[_Talk], Awaitable[list[Answer]]], *, lines: bool = False) -> Outcome:
    """Talk to the runtimes and say how that went; the document has what `work` returns, a mapping for each runtime."""
    stdout = Stream(sys.stdout)
    answers: list[Answer] = []
    errors: list[CoworldError] = []
    terminated = False

    async def talk() -> None:
        nonlocal terminated
        with until_sigterm() as scope:
            async with open_runtimes(path=target.path, which=target.which) as (connections, troubles):
                answers.extend(await work(_Talk(target, connections, troubles, stdout)))
                errors.extend(troubles)
        terminated = scope.cancelled_caught

    try:
        trio.run(talk)
    except (CoworldError, BaseExceptionGroup) as failure:
        found = alone(failure)
        if not isinstance(found, CoworldError):
            raise
        errors = [found]
    stdout.flush()
    for another in errors[1:]:
        complain(another.lines())
    error = errors[0] if errors else stdout.trouble("stdout")
    if terminated and not lines:
        error = Interrupted("stopped by SIGTERM before there was an outcome")
    code = error.exit_code if error is not None else Exit.GOOD
    return Outcome(
        exit_code=Exit.TERMINATED if terminated else code,
        error=error,
        fields={} if lines else {"runtimes": answers},
        lines=lines,
    )


@contextlib.contextmanager
def until_sigterm() -> Generator[trio.CancelScope]:
    """A scope that SIGTERM cancels: trio keeps SIGINT's exception out of its own workings, and no other signal's."""
    token = trio.lowlevel.current_trio_token()

    def cancel(*_: object) -> None:
        token.run_sync_soon(scope.cancel, idempotent=True)

    with trio.CancelScope() as scope, handling(signal.SIGTERM, cancel):
        yield scope


# Reading.


def show_list(target: Target) -> Outcome:
    """Who is running."""

    async def work(talk: _Talk) -> list[Answer]:
        await trio.lowlevel.checkpoint()
        if not target.as_json:
            view.show(view.runtime_sheet(talk.connections), talk.stdout)
        return [
            {
                **_identity(each),
                "seconds": each.hello.seconds,
                "running": each.hello.running,
                "queued": each.hello.queued,
                "parallel": each.hello.parallel,
                "paused": each.hello.paused,
            }
            for each in talk.connections
        ]

    return _run(target, work)


def show_tree(target: Target, prefix: str) -> Outcome:
    """Who lives."""

    async def work(talk: _Talk) -> list[Answer]:
        answers = await talk.ask_all(Tree(prefix=prefix), TreeReply)
        if prefix and answers and not any(reply.actors for _, reply in answers):
            raise Unknown(f"no actor's path begins with {prefix!r}", todo="coworld-actors ctl tree shows all of them")
        for connection, reply in answers:
            if not target.as_json:
                talk.head(connection)
                view.show(view.actor_sheet(reply.actors), talk.stdout)
                if reply.left_out:
                    talk.stdout.write(f"and {reply.left_out} more; ctl tree PREFIX shows a part\n")
        return [{**_identity(each), "actors": reply.actors, "left_out": reply.left_out} for each, reply in answers]

    return _run(target, work)


def show_episodes(target: Target, prefix: str) -> Outcome:
    """Which episodes run or wait."""

    async def work(talk: _Talk) -> list[Answer]:
        answers = await talk.ask_all(Episodes(), EpisodeList)
        ids = [status.id for _, reply in answers for status in reply.episodes]
        wanted = set(matching(prefix, ids))
        if prefix and answers and not wanted:
            raise _unknown_episode(prefix, ids)
        shown = [(each, [status for status in reply.episodes if status.id in wanted]) for each, reply in answers]
        for connection, statuses in shown:
            if not target.as_json:
                talk.head(connection)
                view.show(view.episode_sheet(statuses), talk.stdout)
        return [{**_identity(each), "episodes": statuses} for each, statuses in shown]

    return _run(target, work)


def _unknown_episode(prefix: str, ids: list[str]) -> Unknown:
    return Unknown(
        f"no episode that runs or waits has an id that begins with {prefix!r}",
        evidence=f"there are: {candidates(ids)}" if ids else "there is none at this moment",
        todo="coworld-actors ctl episodes lists them",
    )


def show_statistics(target: Target) -> Outcome:
    """Counters."""

    async def work(talk: _Talk) -> list[Answer]:
        answers = await talk.ask_all(Statistics(), StatisticsReply)
        for connection, reply in answers:
            if not target.as_json:
                talk.head(connection)
                view.show(view.statistics_sheet(reply.runtime, reply.control), talk.stdout)
        return [{**_identity(each), "statistics": reply.runtime, "control": reply.control} for each, reply in answers]

    return _run(target, work)


def show_anomalies(target: Target, over: float) -> Outcome:
    """What is still running, and what looks wrong."""

    async def work(talk: _Talk) -> list[Answer]:
        answers = await talk.ask_all(Anomalies(over=over), AnomaliesFound)
        for connection, reply in answers:
            if not target.as_json:
                talk.head(connection)
                if reply.running:
                    view.show(view.episode_sheet(reply.running), talk.stdout)
                else:
                    talk.stdout.write(f"no episode has been there for more than {view.duration(over)}\n")
                for line in view.finding_lines(reply.findings, reply.left_out) or ["nothing looks wrong"]:
                    talk.stdout.write(f"{printable(line)}\n")
        return [
            {**_identity(each), "running": reply.running, "findings": reply.findings, "left_out": reply.left_out}
            for each, reply in answers
        ]

    return _run(target, work)


# Events.


def show_events(target: Target, *, follow: bool, episode: str, after: int) -> Outcome:
    """What has happened, and what happens."""
    request = Events(follow=follow, after=after, episode=episode)

    async def work(talk: _Talk) -> list[Answer]:
        async with trio.open_nursery() as nursery:
            for connection in talk.connections:
                nursery.start_soon(_copy_events, talk, connection, request)
        return []

    try:
        return _run(target, work, lines=True)
    except BaseException as stopped:
        if isinstance(alone(stopped), KeyboardInterrupt):
            # The usual way out of --follow: what was asked for was shown.
            return Outcome(exit_code=Exit.INTERRUPTED, fields={}, lines=True)
        raise


async def _copy_events(talk: _Talk, connection: Connection, request: Events) -> None:
    coloured = talk.stdout.isatty() and not os.environ.get("NO_COLOR")
    named = len(talk.connections) > 1
    try:
        async for reply in connection.events(request):
            if talk.target.as_json:
                talk.stdout.write_utf8(_event_object(connection, reply))
            elif isinstance(reply, RecordLine):
                line = view.event_line(bytes(reply.record), coloured=coloured)
                talk.stdout.write(f"{printable(connection.title)}  {line}\n" if named else f"{line}\n")
            elif isinstance(reply, Lost):
                warning = f"{reply.count} events of runtime {connection.title} are missing: they came too fast"
                Stream(sys.stderr).write(f"warning: {printable(warning)}\n")
            talk.stdout.flush()
            if talk.stdout.failure is not None:
                # Nobody reads any more.
                return
    except CoworldError as error:
        talk.troubles.append(error)


def _event_object(connection: Connection, reply: RecordLine | Lost | End) -> bytes:
    fields = {**msgspec.structs.asdict(reply), "runtime": connection.hello.name, "pid": connection.hello.pid}
    kind = str(reply.__struct_config__.tag)
    return msgspec.json.encode({"type": kind, **fields}) + b"\n"


# Changing.


def cancel(target: Target, prefix: str, reason: str) -> Outcome:
    """Call one episode off, wherever it is."""

    async def work(talk: _Talk) -> list[Answer]:
        answers = await talk.ask_all(Episodes(), EpisodeList)
        there = [(status.id, connection) for connection, reply in answers for status in reply.episodes]
        ids = [name for name, _ in there]
        wanted = set(matching(prefix, ids))
        meant = [(name, connection) for name, connection in there if name in wanted]
        if not meant:
            if talk.troubles:
                # It may be where nobody answered.
                return []
            raise _unknown_episode(prefix, ids)
        if len(meant) > 1:
            raise Ambiguous(
                f"{len(meant)} episodes have an id that begins with {prefix!r}, and one at a time is called off",
                evidence=candidates([f"{name} of {connection.title}" for name, connection in meant]),
                todo="give more of the id" + ("" if len(wanted) > 1 else ", and --runtime"),
            )
        ((name, connection),) = meant
        return [await _do(talk, connection, Cancel(id=name, reason=reason))]

    return _run(target, work)


def pause(target: Target) -> Outcome:
    """Begin no further episode."""
    return _change(target, Pause())


def resume(target: Target) -> Outcome:
    """Begin those that wait."""
    return _change(target, Resume())


def set_parallel(target: Target, parallel: int) -> Outcome:
    """Change how many episodes run at once."""
    return _change(target, SetParallel(parallel=parallel))


def _change(target: Target, request: Request) -> Outcome:
    async def work(talk: _Talk) -> list[Answer]:
        if talk.troubles and not target.which:
            raise Ambiguous(
                "this is done to exactly one runtime, and there may be another one that cannot be talked to",
                evidence=talk.troubles[0].what,
                todo="name the one that is meant: --runtime NAME, --runtime PID or --socket PATH",
            )
        return [await _do(talk, choose_one(talk.connections), request)]

    return _run(target, work)


async def _do(talk: _Talk, connection: Connection, request: Request) -> Answer:
    done = await connection.ask(request, Done)
    # What is wrong with other runtimes is nobody's business here.
    talk.troubles.clear()
    if not talk.target.as_json:
        talk.stdout.write(f"{printable(done.what)}\n")
    return {**_identity(connection), "done": done.what, "changed": done.changed}
