"""The one interface between the runtime and the place where a role runs.

A `Driver` belongs to a run; it opens one `Site` per episode; a site starts `Handle`s. Whatever differs between a local process,
a container and a pod (ports, paths, networks) is the site's business: the runtime asks it for URIs and addresses and never
builds them itself.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from coworld_protocol.errors import PreconditionMissing

__all__ = [
    "DEFAULT_LOG_LIMIT",
    "Address",
    "Connections",
    "Doorway",
    "Driver",
    "ExitKind",
    "ExitStatus",
    "ExtraPort",
    "Handle",
    "Insight",
    "Launch",
    "LogFailed",
    "MachineFault",
    "Mount",
    "Pull",
    "Resources",
    "Site",
    "StartFailed",
    "Usage",
    "Wanted",
]

DEFAULT_LOG_LIMIT = 16 * 1024 * 1024
"""Bytes kept of one output stream before it is cut with a marker."""


class ExitKind(enum.StrEnum):
    """How a role ended, as far as the driver can prove it."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    OOM = "oom"
    LOST = "lost"


class ExitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The proven end of a role; never guessed.

    Attributes:
        kind: `exited` (code is set), `signalled` or `oom` (signal is set), `lost` (neither is known).
        code: exit code, 0..255.
        signal: signal number.
        stopped: we asked for it: the role was still running when the driver was told to stop it.
        detail: what the place itself said about it, if anything.
    """

    kind: ExitKind
    code: int | None = None
    signal: int | None = None
    stopped: bool = False
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.kind is ExitKind.EXITED and self.code == 0

    def __str__(self) -> str:
        if self.kind is ExitKind.EXITED:
            text = f"exit code {self.code}"
        elif self.signal is not None:
            name = signal.Signals(self.signal).name if self.signal in set(signal.Signals) else f"signal {self.signal}"
            text = f"out of memory, {name}" if self.kind is ExitKind.OOM else f"killed by {name}"
        else:
            text = "end unknown"
        return f"{text} ({self.detail})" if self.detail else text


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP address.

    Attributes:
        host: name or IPv4 address.
        port: 1..65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A file or directory of this machine that a role may use.

    Attributes:
        path: where it is on this machine; absolute.
        at: where a role with a file system of its own finds it; absolute, of POSIX form. Where roles see this machine's files
            it is not used.
        writable: whether the role may write there; only for directories.
        hides: names of directories in `path` that the role is not to see. A place without file systems of its own cannot hide them.
    """

    path: Path
    at: str
    writable: bool = False
    hides: tuple[str, ...] = ()


class ExtraPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a game besides the contract's one (contract 2.8).

    Attributes:
        inside: the port that the game listens on, 1..65535.
        outside: the port of this machine's loopback address that leads to it; None leaves the choice to the driver.
    """

    inside: int
    outside: int | None = None


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a machine a role may use; None leaves the choice to the place.

    Attributes:
        cpus: processors, 0.5 is half of one.
        memory: bytes.
        disk: bytes.
    """

    cpus: float | None = None
    memory: int | None = None
    disk: int | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a role has used, as far as its place can tell.

    Attributes:
        cpu_seconds: processor time of it and of everything that it started.
        peak_memory: bytes; the most that it held at any moment that was looked at.
    """

    cpu_seconds: float | None = None
    peak_memory: int | None = None


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to start one role.

    Attributes:
        name: unique in the episode and safe in file and container names: `game`, `player-3`, `reporter-summary`.
        role: the manifest's word: `game`, `player`, `reporter`, ...
        image: the manifest's `image`.
        run: the manifest's `run`; empty means the image's default.
        env: variables, later ones of the contract already on top of the manifest's. Public.
        secret_env: variables that must not be written to a log, an event or an argv.
        serves: whether the role listens on the contract's port; its handle then has an address.
        extra_ports: further ports that a serving role wants to be reached at (contract 2.8).
        mounts: what of this machine the role may read and write. The first that is writable is its own: its HOME and TMPDIR.
        resources: how much of the machine it may use, where a place can limit that.
        stdout: file that receives standard output.
        stderr: file that receives standard error; None merges it into `stdout`.
        log_limit: bytes kept of each stream.
    """

    name: str
    role: str
    image: str
    run: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    secret_env: Mapping[str, str] = {}
    serves: bool = False
    extra_ports: tuple[ExtraPort, ...] = ()
    mounts: tuple[Mount, ...] = ()
    resources: Resources = Resources()
    stdout: Path
    stderr: Path | None = None
    log_limit: int = DEFAULT_LOG_LIMIT

    @property
    def home(self) -> Path | None:
        """The role's own directory."""
        return next((mount.path for mount in self.mounts if mount.writable), None)

    def __repr__(self) -> str:
        """Names what is secret, never its value."""
        hidden = ", ".join(sorted(self.secret_env))
        return f"Launch(name={self.name!r}, image={self.image!r}, run={self.run!r}, secret_env=<{hidden}>)"


class Wanted(NamedTuple):
    """One thing that a run is going to start.

    Attributes:
        image: the manifest's `image`.
        run: the manifest's `run`; empty means the image's default.
        role: how a message names who wants it: `game`, `player greedy`.
    """

    image: str
    run: tuple[str, ...]
    role: str = ""


class StartFailed(PreconditionMissing):
    """A role could not be started at all: no such executable, no such directory, no permission, no free port."""


class MachineFault(StartFailed):
    """A start failed for want of something that is not the role's: room, descriptors, a port, the place of its log.

    Whoever judges a role does not hold it against that role.
    """


class LogFailed(PreconditionMissing):
    """A role's output could not be written to its log: disk full, quota, directory gone. The role itself is not to blame."""


class Pull(enum.StrEnum):
    """When a registry is asked for an image."""

    MISSING = "missing"
    """When the engine does not have it."""
    NEVER = "never"
    ALWAYS = "always"
    """Before the run, also when the engine has it: it may have become another one."""


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """One look at who is connected to an address.

    Attributes:
        names: launches of which a process holds a connection, also one that has outlived its role.
        complete: whether the owner of every connection was found, so that who is not named was not connected at that moment.
    """

    names: frozenset[str] = frozenset()
    complete: bool


class Doorway(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server of this runtime has to listen so that the roles of a site can connect to it.

    Attributes:
        bind: IPv4 address of this machine to listen on.
        host: name or IPv4 address by which the roles reach it.
    """

    bind: str
    host: str


class Insight(Protocol):
    """What a site knows by itself about games that run on our own SDK within this process, so that nobody has to ask them by HTTP.

    Such a game shows what the SDK shows: health, pages and the refusal of a wrong token are the same code for every game, and its
    first frame for `/global` is encoded before its doors open.
    """

    async def serving(self, handle: Handle) -> bool:
        """Wait until a game of this site lets players in; False when it has ended without."""
        ...

    def on_arrival(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with a player's name, at once, when it connects for the first time: nobody connects unseen."""
        ...

    async def turn(self) -> None:
        """Wait before a step of some milliseconds, so that thousands of episodes in one loop take them one after the other."""
        ...

    def silence(self) -> float:
        """Seconds since a game of this site last sent anything to anybody; infinite before that."""
        ...


class Handle(Protocol):
    """One started role."""

    @property
    def name(self) -> str:
        """The launch's name."""
        ...

    @property
    def address(self) -> Address | None:
        """Where this runtime reaches the role's server; None when it does not serve."""
        ...

    @property
    def peer_address(self) -> Address | None:
        """Where other roles of the episode reach it."""
        ...

    @property
    def status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        ...

    @property
    def log_error(self) -> LogFailed | None:
        """Why its output is not complete on disk; None while all is well. It keeps running, `tail` keeps working."""
        ...

    @property
    def usage(self) -> Usage:
        """What it has used; final once it has ended."""
        ...

    async def wait(self) -> ExitStatus:
        """Wait until it has ended and its output is on disk. Any number of tasks may wait, any number of times."""
        ...

    async def stop(self, grace: float) -> ExitStatus:
        """Ask it to end, wait at most `grace` seconds, then kill it and everything it started; ends with the status."""
        ...

    async def owns_address(self) -> bool:
        """Whether what listens at `address` is this role and nobody else."""
        ...

    async def port_taken(self) -> bool:
        """Whether somebody who is not this role holds its port, or held it when the role ended: start it again elsewhere."""
        ...

    def tail(self, limit: int = 4000) -> str:
        """The last `limit` bytes of its output, as text, standard error preferred."""
        ...


class Site(Protocol):
    """The place where the roles of one episode run together."""

    def uri(self, path: Path, mounts: Sequence[Mount]) -> str:
        """The URI under which a role that is launched with these mounts finds `path` of this machine.

        Raises:
            InternalFault: no mount holds the path.
        """
        ...

    @property
    def sees_connections(self) -> bool:
        """Whether `connected` can be asked here."""
        ...

    @property
    def insight(self) -> Insight | None:
        """What the site knows of its games by itself; None where a game has to be asked over the network."""
        ...

    @property
    def doorway(self) -> Doorway | None:
        """Where roles reach a server of this runtime; None when they cannot."""
        ...

    async def connected(self, address: Address) -> Connections:
        """Who is connected to `address` at this moment; what cannot be looked at raises nothing, it makes the look incomplete."""
        ...

    async def start(self, launch: Launch) -> Handle:
        """Start a role.

        Raises:
            MachineFault: it cannot be started, and no role is to blame for that.
            StartFailed: it cannot be started; nothing is left of the attempt.
        """
        ...


class Driver(Protocol):
    """A kind of place, for the length of a run. Enter it as an async context manager; leaving ends whatever is left."""

    name: str

    async def check(self, launches: Sequence[Wanted]) -> None:
        """Check that everything wanted could be started.

        Raises:
            PreconditionMissing: with everything that is missing, not only the first.
        """
        ...

    def kill_all(self) -> None:
        """Kill every role of every site without waiting; for when there is no time for an orderly stop."""
        ...

    def open_site(self, episode: str, *, seats: int = 0, doorway: bool = False) -> AbstractAsyncContextManager[Site]:
        """A site for one episode; leaving it stops whatever still runs there.

        Args:
            episode: its id.
            seats: how many players it has.
            doorway: whether its roles have to reach a server of this runtime.
        """
        ...
