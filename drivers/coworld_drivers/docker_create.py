"""The words of `docker create` for one role: what it may see, use and do. Pure; nothing secret is among them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from coworld_drivers.driver import ExtraPort, Launch, Mount, Resources, StartFailed
from coworld_drivers.labels import as_options
from coworld_protocol import contract
from coworld_protocol.errors import InternalFault

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "DEFAULTS",
    "PIDS",
    "Confinement",
    "Joined",
    "Variables",
    "bounded",
    "container_uri",
    "create_words",
    "role_variables",
    "variables",
]

DEFAULTS = Resources(cpus=1.0, memory=1 << 30, disk=2 << 30)
"""For roles whose manifest entry wishes nothing; processors and memory as in 0.1.64 of the public package."""

FLOOR = Resources(cpus=0.01, memory=6 << 20, disk=1 << 20)
"""Less than that no engine accepts; as in 0.1.64."""

PIDS = 512
"""Processes and threads of one role: a numerical library alone starts one thread for each core of a large machine."""

SCRATCH = "rw,exec,nosuid,nodev,mode=1777,size=256m"
"""Options of the memory that stands in for /tmp and its like where the root cannot be written; it counts as the role's memory."""

SCRATCH_PLACES = ("/tmp", "/var/tmp", "/run")  # noqa: S108 - in the container

STOP_SECONDS = 5
"""What the engine gives a role that somebody else stops."""

LOG_OPTIONS = ("max-size=64m", "max-file=1", "compress=false", "mode=blocking")
"""What the engine itself keeps of a role's output, for when our reader of it is lost; four times what we keep of one stream. All are
said, for an engine that has others by default merges them with ours, and refuses some mixtures."""

_LINE_LIMIT = 60_000
"""Bytes of one line of a file with variables; the client reads lines of at most 65536."""

_WORD_LIMIT = 128 * 1024 - 1
"""Bytes of one word or variable that a process can be started with (Linux, MAX_ARG_STRLEN)."""

_CLIENTS_OWN = re.compile(
    r"DOCKER_.*|BUILDKIT_.*|BUILDX_.*|(HTTPS?|NO|ALL|FTP)_PROXY|HOME|PATH|LC_.*|LANG|XDG_.*|SSH_.*|TMPDIR"
    r"|LD_.*|GLIBC_.*|MALLOC_.*|GCONV_PATH|LOCPATH|NLSPATH|RES_OPTIONS|LOCALDOMAIN|HOSTALIASES|TZ|TZDIR"
    r"|GO[A-Z0-9]+|SSL_CERT_.*|OTEL_.*|COWORLD_ACTORS_.*",
    re.IGNORECASE,
)
"""Variables that the client itself, its loader or its libraries would obey if they were given them."""


class Confinement(msgspec.Struct, frozen=True, kw_only=True):
    """How far a role is kept from the machine.

    Attributes:
        user: `uid:gid` that it runs as; empty leaves that to the image.
        capabilities: whether it keeps those that the engine gives by default, and may gain privileges.
        writable_root: whether it may write to the file system of its image.
        user_namespace: value of `--userns`; empty leaves that to the engine.
        swap: whether the engine can limit swap.
        pids: whether the engine can limit processes.
        memory: whether the engine can limit memory.
        cpus: processors of the engine's machine, the most that can be asked for; 0 when it cannot limit them.
        labelled: whether SELinux on the engine's machine keeps roles from directories that are not labelled for them.
    """

    user: str = ""
    capabilities: bool = False
    writable_root: bool = False
    user_namespace: str = ""
    swap: bool = True
    pids: bool = True
    memory: bool = True
    cpus: float = 1.0
    labelled: bool = False


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """The network that a container is created in.

    Attributes:
        network: its name, or `none`.
        ip: the container's address there; empty leaves the choice to the engine.
        publishes: whether the contract's port and the extra ones are reached from this machine's loopback.
        names: whether names are looked up as usual; otherwise none is.
    """

    network: str = "none"
    ip: str = ""
    publishes: bool = False
    names: bool = False


class Variables(msgspec.Struct, frozen=True, kw_only=True):
    """A role's variables, split by how the client can be told of them without argv.

    Attributes:
        lines: for `--env-file`.
        named: for the client's own environment, with `--env NAME`.
        spoken: for `--env NAME=VALUE`; public ones only.
    """

    lines: bytes
    named: Mapping[str, str]
    spoken: Mapping[str, str]


def bounded(wanted: Resources, confinement: Confinement) -> Resources:
    """What a role gets: its wish or the default, not below the floor and not above what the machine has."""

    def pick(wish: float | None, default: float | None, floor: float | None) -> float:
        assert default is not None
        assert floor is not None
        return max(default if wish is None else wish, floor)

    cpus = pick(wanted.cpus, DEFAULTS.cpus, FLOOR.cpus)
    return Resources(
        cpus=min(cpus, confinement.cpus) if confinement.cpus else cpus,
        memory=int(pick(wanted.memory, DEFAULTS.memory, FLOOR.memory)),
        disk=int(pick(wanted.disk, DEFAULTS.disk, FLOOR.disk)),
    )


def container_uri(path: Path, mounts: Sequence[Mount]) -> str:
    """The `file://` URI under which a role with these mounts finds `path`; the innermost mount that holds it decides.

    Raises:
        InternalFault: no mount holds it.
    """
    path = path.absolute()
    holding = [mount for mount in mounts if path.is_relative_to(mount.path.absolute())]
    if not holding:
        raise InternalFault(f"{path.name} is in none of the directories that the role sees")
    mount = max(holding, key=lambda each: len(each.path.parts))
    seen = PurePosixPath(mount.at) / path.relative_to(mount.path.absolute()).as_posix()
    return "file://" + quote(bytes(seen))


def role_variables(launch: Launch, extra: Mapping[str, str], *, own_home: bool) -> dict[str, str]:
    """Everything that we add to the variables of a role's image; of our own environment there is nothing.

    Args:
        launch: its variables win over ours, the secret ones over the public ones.
        extra: those that depend on the place, such as those of extra ports; they win over all but where to listen.
        own_home: whether its own directory is its home.
    """
    env = {"PYTHONUNBUFFERED": "1"}
    home = next((mount.at for mount in launch.mounts if mount.writable), None)
    if own_home:
        env |= {"HOME": home or "/tmp", "TMPDIR": "/tmp"}  # noqa: S108 - in the container
    env |= launch.env
    env |= launch.secret_env
    env |= extra
    if launch.serves:
        env[contract.ENV_HOST] = contract.CONTAINER_HOST
        env[contract.ENV_PORT] = str(contract.CONTAINER_PORT)
    return env


def variables(env: Mapping[str, str], who: str, secret: Collection[str] = ()) -> Variables:
    """Split variables by how the client is told of them.

    A file of variables knows no line breaks and no long lines. What has them and is secret goes by the client's own environment, which
    never holds anything else: whoever writes a manifest could make the client, a program of this machine, do what they want. The rest
    is as public as the manifest that it comes from, and goes by argv.

    Args:
        env: all of a role's.
        who: how messages name the role.
        secret: names of those that nobody else on this machine may see.

    Raises:
        StartFailed: one of them can be passed in no way; named without its value.
    """
    lines: list[str] = []
    named: dict[str, str] = {}
    spoken: dict[str, str] = {}
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise _unpassable(who, name)
        line = f"{name}={value}"
        try:
            size = len(line.encode())
        except UnicodeEncodeError:
            raise _unpassable(who, name) from None
        plain = re.fullmatch(r"[^\s#=\ufeff][^\s=]*", name) is not None
        if not plain or size > _WORD_LIMIT:
            raise _unpassable(who, name)
        if size <= _LINE_LIMIT and not re.search(r"[\r\n]", value):
            lines.append(line)
        elif name not in secret:
            spoken[name] = value
        elif not _CLIENTS_OWN.fullmatch(name):
            named[name] = value
        else:
            raise _unpassable(who, name)
    return Variables(lines="".join(f"{line}\n" for line in lines).encode(), named=named, spoken=spoken)


def _unpassable(who: str, name: str) -> StartFailed:
    return StartFailed(
        f"{who} could not be started: its variable {name!r} cannot be passed to a container",
        todo="use a name without blanks and '=', a value of less than 128 KiB, and for secrets that are called like PATH, HOME or "
        "LD_PRELOAD one without line breaks",
    )


def _passable(run: Sequence[str], who: str) -> Sequence[str]:
    """The words of a role's command.

    Raises:
        StartFailed: no process can be started with them.
    """
    if run and not run[0]:
        raise StartFailed(
            f"{who} could not be started: its `run` begins with an empty word", todo="name a program there"
        )
    for word in run:
        try:
            passable = "\0" not in word and len(word.encode()) <= _WORD_LIMIT
        except UnicodeEncodeError:
            passable = False
        if not passable:
            raise StartFailed(
                f"{who} could not be started: a word of its `run` cannot be passed to a process",
                todo="remove NUL characters and lone surrogates, and put what has 128 KiB or more into a file",
            )
    return run


def create_words(
    launch: Launch,
    *,
    name: str,
    image: str,
    labels: Mapping[str, str],
    joined: Joined,
    ports: Sequence[ExtraPort],
    resources: Resources,
    confinement: Confinement,
    variables: Variables,
) -> list[str]:
    """The client's words, `create` first; those variables that are not among them come in by stdin and environment.

    Args:
        launch: the role.
        name: the container's.
        image: the launch's, by a name that nobody gives to another one meanwhile.
        labels: the container's.
        joined: where it is in the network.
        ports: further ports to publish; each with its outside.
        resources: what it gets; all set.
        confinement: how far it is kept from the machine.
        variables: the role's.

    Raises:
        StartFailed: no process can be started with its `run`.
    """
    run = _passable(launch.run, launch.name)
    words = ["create", "--name", name, "--hostname", launch.name[:63].rstrip("-.")]
    words += as_options(labels)
    # An init: without one, a first process that handles no SIGTERM cannot be stopped and reaps no orphans.
    words += ["--init", "--restart", "no", "--stop-timeout", str(STOP_SECONDS), "--pull", "never", "--no-healthcheck"]
    # Not `json-file`: it changes what is not UTF-8, and a line of 8 bytes takes 80 of the limit.
    words += ["--log-driver", "local", *(word for option in LOG_OPTIONS for word in ("--log-opt", option))]
    words += ["--network", joined.network]
    if joined.ip:
        words += ["--ip", joined.ip]
    if not joined.names and joined.network != "none":
        # The engine's own resolver would ask the host's on behalf of a container that cannot reach anybody.
        words += ["--dns", "127.0.0.1", "--dns-option", "timeout:1", "--dns-option", "attempts:1"]
    if joined.publishes:
        words += ["--publish", f"127.0.0.1::{contract.CONTAINER_PORT}"]
        for port in ports:
            words += ["--publish", f"127.0.0.1:{port.outside or ''}:{port.inside}"]
    words += _limits(resources, confinement)
    words += _confinement(confinement)
    for mount in launch.mounts:
        words += ["--mount", _bind(mount)]
        for hidden in mount.hides:
            if (mount.path / hidden).is_dir():
                place = str(PurePosixPath(mount.at) / hidden)
                words += ["--mount", _fields(["type=tmpfs", f"dst={place}", "tmpfs-size=4096", "tmpfs-mode=0555"])]
    words += ["--env-file", "/dev/stdin"]
    for variable in (*variables.named, *(f"{key}={value}" for key, value in variables.spoken.items())):
        words += ["--env", variable]
    if run:
        words += ["--entrypoint", run[0]]
    return [*words, image, *run[1:]]


def _limits(resources: Resources, confinement: Confinement) -> list[str]:
    words: list[str] = []
    if confinement.memory:
        words += ["--memory", str(resources.memory)]
        if confinement.swap:
            words += ["--memory-swap", str(resources.memory)]
    if confinement.cpus:
        words += ["--cpus", f"{resources.cpus:.2f}"]
    if confinement.pids:
        words += ["--pids-limit", str(PIDS)]
    # No single file is larger than the whole may be; the sum is watched while the role runs.
    return [*words, "--ulimit", f"fsize={resources.disk}", "--ulimit", "core=0"]


def _confinement(confinement: Confinement) -> list[str]:
    words: list[str] = []
    if confinement.user:
        words += ["--user", confinement.user]
    if confinement.user_namespace:
        words += ["--userns", confinement.user_namespace]
    if confinement.labelled:
        words += ["--security-opt", "label=disable"]
    if not confinement.capabilities:
        words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    if not confinement.writable_root:
        words.append("--read-only")
        for place in SCRATCH_PLACES:
            words += ["--tmpfs", f"{place}:{SCRATCH}"]
    return words


def _bind(mount: Mount) -> str:
    fields = ["type=bind", f"src={mount.path.absolute()}", f"dst={mount.at}"]
    return _fields(fields if mount.writable else [*fields, "readonly"])


def _fields(fields: Sequence[str]) -> str:
    """One value of `--mount`, which the client reads as a line of CSV: a path may hold a comma or a quote."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
