"""The `docker` program: what its answers mean, which of them are worth another try, and many questions in one call."""

from __future__ import annotations

import enum
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import trio

from coworld_drivers.command import Client, Completed
from coworld_drivers.driver import MachineFault
from coworld_drivers.janitor import MARK
from coworld_protocol.errors import PreconditionMissing

__all__ = ["LOCAL", "Docker", "DockerRefused", "EngineGone", "Trouble", "find_docker", "trouble_of"]

LOCAL = "unix://"
"""How the address of an engine of this machine begins."""

CALL_SECONDS = 30.0
"""For one call; the slowest that was seen on a busy machine, a start, took 6 s."""

LOOK_SECONDS = 10.0
"""For one look at containers, which changes nothing and is repeated when it takes longer."""

PATIENCE = 20.0
"""Seconds for which an engine that is busy, or away for a restart, is asked again."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


_ENDPOINT = ("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")

MOST_STARTS = 16
"""Containers that are being started at a time; an engine works on a few at once, and its other callers wait meanwhile."""


class Trouble(enum.StrEnum):
    """What a complaint of the client means."""

    ENGINE_AWAY = "engine_away"
    """No engine answers."""
    FORBIDDEN = "forbidden"
    """An engine is there, and this user may not talk to it."""
    BUSY = "busy"
    """It may work in a moment."""
    NO_ANSWER = "no_answer"
    """The call did not end in its time."""
    NOT_FOUND = "not_found"
    """There is no such container, network or image."""
    CONFLICT = "conflict"
    """The name is taken, or the thing is being removed already."""
    OVERLAP = "overlap"
    """The subnet is somebody else's, or there is none left."""
    PORT_TAKEN = "port_taken"
    """A host port is somebody else's."""
    UNREADABLE = "unreadable"
    """The call ended well, and what it says makes no sense."""
    OTHER = "other"
    """Anything else; what was asked for cannot be done."""


_WORTH_ANOTHER_TRY = frozenset({Trouble.BUSY, Trouble.ENGINE_AWAY})

_WORTH_ANOTHER_LOOK = _WORTH_ANOTHER_TRY | {Trouble.NO_ANSWER, Trouble.UNREADABLE}
"""For questions and removals, which do no harm when the first one was heard after all."""

_SIGNS: Sequence[tuple[Trouble, re.Pattern[str]]] = tuple(
    (trouble, re.compile(text, re.IGNORECASE))
    for trouble, text in (
        (Trouble.FORBIDDEN, r"permission denied while trying to connect|dial unix \S+: connect: permission denied"),
        (
            Trouble.ENGINE_AWAY,
            (
                r"cannot connect to the docker daemon|is the docker daemon running|error during connect"
                r"|connection refused|connection reset by peer|unexpected EOF|: EOF\b|broken pipe|daemon is shutting down"
            ),
        ),
        (Trouble.PORT_TAKEN, r"port is already allocated|address already in use|ports are not available"),
        (
            Trouble.OVERLAP,
            (
                r"pool overlaps with other|could not find an available.*address pool|all predefined address pools"
                r"|conflicts with network|networks have overlapping"
            ),
        ),
        (Trouble.CONFLICT, r"is already in use by container|removal of container .* is already in progress"),
        (
            Trouble.BUSY,
            (
                r"device or resource busy|i/o timeout|TLS handshake timeout|context deadline exceeded|too many requests"
                r"|resource temporarily unavailable|timeout exceeded|try again|has active endpoints|server is busy"
                r"|error while removing network|failed to set up container networking.*timeout"
            ),
        ),
        (Trouble.NOT_FOUND, r"no such (container|image|network|object)|network \S+ not found|error: no such"),
    )
)


def trouble_of(done: Completed) -> Trouble:
    """What a call that did not end well has met with.

    Exit codes are no help: the client ends with 125 for each of them, and with a container's own code when that is 125.
    """
    if done.code is None:
        return Trouble.NO_ANSWER
    if done.code < 0:
        # Somebody else ended the client.
        return Trouble.BUSY
    return next((trouble for trouble, sign in _SIGNS if sign.search(done.stderr)), Trouble.OTHER)


class DockerRefused(MachineFault):
    """The engine did not do what was asked for.

    Attributes:
        trouble: what it met with.
    """

    def __init__(self, what: str, trouble: Trouble, *, evidence: str = "", todo: str = "") -> None:
        super().__init__(what, evidence=evidence, todo=todo or _TODO.get(trouble, "run `coworld-actors doctor`"))
        self.trouble = trouble


class EngineGone(DockerRefused):
    """No engine answers, or not in time: nobody's fault who plays."""


_TODO = {
    Trouble.ENGINE_AWAY: "start the engine (`systemctl start docker`, or `dockerd`), or set DOCKER_HOST; "
    "`coworld-actors doctor` looks at it",
    Trouble.FORBIDDEN: "add this user to the group `docker`, or set DOCKER_HOST to a rootless engine",
    Trouble.NO_ANSWER: "look at what the engine is doing (`docker info`, its log), then run again",
    Trouble.UNREADABLE: "look at what `docker` is on this PATH, and at what `docker info` says",
    Trouble.BUSY: "run fewer episodes at a time, or look at the engine's log",
    Trouble.OVERLAP: "remove networks that nobody needs (`coworld-actors gc`, `docker network prune`), "
    "or name a range that is free in COWORLD_ACTORS_SUBNETS",
    Trouble.PORT_TAKEN: "free that port, or leave the choice of the host port to us",
}


def find_docker(environ: Mapping[str, str]) -> str:
    """The path of the client.

    Raises:
        PreconditionMissing: there is none.
    """
    found = shutil.which("docker", path=environ.get("PATH", os.defpath))
    if found is None:
        raise PreconditionMissing(
            "the docker driver needs the `docker` program, and it is not on PATH",
            todo="install it (Debian: docker.io or docker-cli), or use --driver process",
        )
    return os.path.abspath(found)  # noqa: PTH100 - a link stays what it is: the client may look at its own name


class Docker:
    """An engine, as far as its client tells.

    Args:
        environ: our own environment: it says where the engine is.
        mark: with which the janitor finds calls that outlive us; empty for none.
        patience: seconds for which an engine that is busy or away is asked again.

    Attributes:
        starting: containers that are being started, each for seconds; apart from calls, which a start itself needs.
        times_away: answers so far that said that no engine is there; when it has not changed, the engine was never seen to be away.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, *, mark: str = "", patience: float = PATIENCE) -> None:
        client_environ = {**environ, "LC_ALL": "C", "DOCKER_CLI_HINTS": "false"}
        client_environ.pop(MARK, None)
        if mark:
            client_environ[MARK] = mark
        self.client = Client(find_docker(environ), client_environ)
        self.patience = patience
        self.times_away = 0
        # An engine that has been away for the whole of its patience is asked once more each time, and not waited for again.
        self._away_since: float | None = None
        self.starting = trio.CapacityLimiter(MOST_STARTS)
        self._inspecting = _Batch(self._inspect_all)
        self._removing = _Batch(self._remove_all)
        # Containers are removed while everything around is cancelled; `close` ends it.
        self._scope = trio.CancelScope(shield=True)

    async def endpoint(self) -> str:
        """Where the client finds its engine, such as `unix:///var/run/docker.sock`; empty when it does not say.

        Raises:
            MachineFault: the client cannot be started.
        """
        done = await self.client.call(*_ENDPOINT, timeout=LOOK_SECONDS)
        return done.text if done.ok else ""

    def pin(self, endpoint: str) -> None:
        """Stay with this engine, whatever a user's settings will say; every environment that was taken from here stays, too."""
        self.client.environ["DOCKER_HOST"] = endpoint
        self.client.environ.pop("DOCKER_CONTEXT", None)

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer `inspect` and `remove` until `close`. To be run once, as a task."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._inspecting.serve)
                nursery.start_soon(self._removing.serve)
                task_status.started()

    def close(self) -> None:
        """End `serve`; nobody may wait for an answer any more."""
        self._scope.cancel()

    async def ask(
        self,
        *args: str,
        what: str,
        timeout: float | None = None,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        patience: float | None = None,
        again: Callable[[Trouble], bool] = lambda trouble: trouble in _WORTH_ANOTHER_TRY,
        weigh: Callable[[Completed], Trouble | None] = lambda done: None if done.ok else trouble_of(done),
    ) -> Completed:
        """Call the client until it works, or what it says is no reason to try again.

        Args:
            args: as for `Client.call`.
            what: what cannot be done when it fails, as the beginning of a sentence.
            timeout: seconds for each call; None takes what is enough for every one.
            stdin: as for `Client.call`.
            env: as for `Client.call`.
            patience: seconds after which no further try is made; None takes that of this engine.
            again: whether a trouble is worth another try.
            weigh: what an answer has met with; None when it is what was asked for.

        Raises:
            EngineGone: no engine answers.
            DockerRefused: it was not done, with the reason.
        """
        timeout = CALL_SECONDS if timeout is None else timeout
        give_up = trio.current_time() + (self.patience if patience is None else patience)
        pause = _FIRST_PAUSE
        while True:
            done = await self.client.call(*args, timeout=timeout, stdin=stdin, env=env)
            trouble = weigh(done)
            self._note(trouble)
            if trouble is None:
                return done
            if self._away_since is not None:
                give_up = min(give_up, self._away_since + self.patience)
            if not again(trouble) or trio.current_time() + pause > give_up:
                away = trouble in {Trouble.ENGINE_AWAY, Trouble.NO_ANSWER, Trouble.FORBIDDEN, Trouble.UNREADABLE}
                evidence = "the client's answer cannot be read" if trouble is Trouble.UNREADABLE else done.complaint
                raise (EngineGone if away else DockerRefused)(what, trouble, evidence=evidence)
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _note(self, trouble: Trouble | None) -> None:
        if trouble is Trouble.ENGINE_AWAY:
            self.times_away += 1
            if self._away_since is None:
                self._away_since = trio.current_time()
        elif trouble not in {Trouble.NO_ANSWER, Trouble.UNREADABLE}:
            self._away_since = None

    async def inspect(self, container: str) -> Mapping[str, Any] | None:
        """What the engine knows of a container; None when there is no such one. Questions that come at once share a call.

        Raises:
            EngineGone: no engine answers.
            DockerRefused: it says something else than it should.
        """
        found: Mapping[str, Any] | None = await self._inspecting.of(container)
        return found

    async def remove(self, container: str) -> None:
        """Remove a container, running or not, with its anonymous volumes; one that is gone already is no error.

        Raises:
            EngineGone: no engine answers.
            DockerRefused: it is still there.
        """
        await self._removing.of(container)

    async def _inspect_all(self, names: Sequence[str]) -> Mapping[str, Any]:
        found: dict[str, Any] = {}

        def weigh(done: Completed) -> Trouble | None:
            trouble = None if done.ok else trouble_of(done)
            if trouble not in {None, Trouble.NOT_FOUND}:
                return trouble
            # Those that exist are on stdout beside the complaint about the others.
            try:
                seen = msgspec.json.decode(done.stdout, type=list[dict[str, Any]])
                found.update((str(each["Name"]).removeprefix("/"), each) for each in seen)
            except (msgspec.DecodeError, KeyError):
                return Trouble.UNREADABLE
            # Who is neither described nor missing was not looked for.
            spoken_of = all(name in found or name in done.stderr for name in names)
            return None if spoken_of else Trouble.UNREADABLE

        await self.ask(
            *("container", "inspect", *names),
            what="containers cannot be looked at",
            timeout=LOOK_SECONDS,
            again=lambda trouble: trouble in _WORTH_ANOTHER_LOOK,
            weigh=weigh,
        )
        return found

    async def _remove_all(self, names: Sequence[str]) -> Mapping[str, Any]:
        def again(trouble: Trouble) -> bool:
            # "removal already in progress": it is not gone yet.
            return trouble in _WORTH_ANOTHER_LOOK or trouble is Trouble.CONFLICT

        try:
            await self.ask(
                "rm", "--force", "--volumes", *names, what=f"{', '.join(names)} cannot be removed", again=again
            )
        except DockerRefused as refused:
            # Older clients complain about what is gone already, after having removed the rest.
            if refused.trouble is not Trouble.NOT_FOUND:
                raise
        return {}


class _Batch:
    """Questions about names: all that come while a call is under way are asked in the next one.

    Args:
        ask: asks about several names at once; a name without an answer is answered None.
    """

    def __init__(self, ask: Callable[[Sequence[str]], Awaitable[Mapping[str, Any]]]) -> None:
        self._ask = ask
        self._waiting: dict[str, list[_Answer]] = {}
        self._work = trio.Event()
        self._over = False

    async def of(self, name: str) -> Any:
        if self._over:
            raise _too_late()
        answer = _Answer()
        self._waiting.setdefault(name, []).append(answer)
        self._work.set()
        await answer.there.wait()
        if answer.error is not None:
            raise answer.error
        return answer.value

    async def serve(self) -> None:
        asked: dict[str, list[_Answer]] = {}
        try:
            while True:
                await self._work.wait()
                self._work = trio.Event()
                asked, self._waiting = self._waiting, {}
                found: Mapping[str, Any] = {}
                failure: PreconditionMissing | None = None
                try:
                    found = await self._ask(tuple(asked))
                except PreconditionMissing as error:
                    # Also a client that cannot be started for want of memory or descriptors.
                    failure = error
                _give(asked, found, failure)
        finally:
            self._over = True
            for answers in (asked, self._waiting):
                _give(answers, {}, _too_late())


class _Answer:
    def __init__(self) -> None:
        self.there = trio.Event()
        self.value: Any = None
        self.error: PreconditionMissing | None = None


def _give(
    asked: Mapping[str, Sequence[_Answer]], found: Mapping[str, Any], failure: PreconditionMissing | None
) -> None:
    for name, answers in asked.items():
        for answer in answers:
            if not answer.there.is_set():
                answer.value, answer.error = found.get(name), failure
                answer.there.set()


def _too_late() -> EngineGone:
    return EngineGone("the engine is not asked any more", Trouble.OTHER, evidence="the driver was left")
