"""What we write on everything of ours that lives on an engine, and whether the process that made it still does.

    coworld.run       the driver that made it
    coworld.mark      ... and the mark of its processes, below that of a run that started us
    coworld.episode   ... for this episode
    coworld.role      the manifest's word: `game`, `player`, ...
    coworld.actor     the launch's name: `game`, `player-3`, ...
    coworld.owner     the process that made it, HOST:BOOT:PID:START:NAMESPACE:INSTALLATION
    coworld.version   our version

An owner is told by more than its process id, for an engine may serve several machines and a machine may have many namespaces:
the kernel's boot id, the time of its start in clock ticks after the boot, the namespaces in which id and time mean something
(pid_namespaces(7), time_namespaces(7)), and a fingerprint of the machine's installation (machine-id(5)), by which an earlier boot
is known. What cannot be decided counts as alive.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

__all__ = [
    "ACTOR",
    "EPISODE",
    "MARK",
    "OWNER",
    "ROLE",
    "RUN",
    "VERSION",
    "Owner",
    "as_options",
    "as_owner",
    "having",
    "is_alive",
    "name_prefix",
    "of_role",
    "of_run",
    "of_this_run",
    "owner_label",
]

RUN = "coworld.run"
MARK = "coworld.mark"
EPISODE = "coworld.episode"
ROLE = "coworld.role"
ACTOR = "coworld.actor"
OWNER = "coworld.owner"
VERSION = "coworld.version"

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NUMBER = re.compile(r"[0-9]{1,20}")
_PROC = Path("/proc")


def of_run(run: str, mark: str = "") -> dict[str, str]:
    """What everything of a run carries, made by the calling process.

    Args:
        run: the driver's own name.
        mark: by which the processes of the run are found; empty when it has none.
    """
    return {RUN: run, **({MARK: mark} if mark else {}), OWNER: owner_label(), VERSION: _version()}


def of_role(episode: str, role: str, actor: str) -> dict[str, str]:
    """What a role's container carries besides."""
    return {EPISODE: episode, ROLE: role, ACTOR: actor}


def as_options(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Labels as words of a `create`."""
    return tuple(word for name, value in labels.items() for word in ("--label", f"{name}={value}"))


def name_prefix(run: str) -> str:
    """How the name of every container and network of a run begins."""
    return f"coworld-{run[:12]}-"


def of_this_run(run: str) -> tuple[str, ...]:
    """Words of a listing that shows only what a run has made.

    By label and name: an image that was made of a container of ours has our labels, and gives them to containers of other names.
    """
    return (*having(RUN, run), "--filter", f"name={name_prefix(run)}")


def having(label: str, value: str | None = None) -> tuple[str, ...]:
    """Words of a listing that shows only what carries a label, with this value or with any."""
    return ("--filter", f"label={label}" if value is None else f"label={label}={value}")


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """A process, anywhere.

    Attributes:
        host: its machine's name.
        boot: the boot id of the kernel that it runs on.
        pid: its id in its namespace.
        start: clock ticks from the boot to its start.
        namespace: numbers of its PID and time namespaces; empty when they are not told.
        installation: fingerprint of its machine's installation; empty where there is none.
    """

    host: str
    boot: str
    pid: int
    start: int
    namespace: str = ""
    installation: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.boot}:{self.pid}:{self.start}:{self.namespace}:{self.installation}"

    @property
    def title(self) -> str:
        """It in words for people: `process 4711 of host`."""
        return f"process {self.pid} of {self.host}"


def owner_label() -> str:
    """The calling process, as the value of `coworld.owner`.

    Raises:
        OSError: /proc cannot be read.
    """
    _, start, _ = _stat("self")
    host, boot, namespace, installation = _machine()
    return str(
        Owner(host=host, boot=boot, pid=os.getpid(), start=start, namespace=namespace, installation=installation)
    )


def as_owner(label: str) -> Owner | None:
    """The owner that a label's value names; None when it is no such value, or that of a version that writes it in another way."""
    parts = label.split(":")
    if len(parts) not in {4, 6} or not (_NUMBER.fullmatch(parts[2]) and _NUMBER.fullmatch(parts[3])):
        return None
    host, boot, pid, start, *rest = parts
    namespace, installation = rest or ("", "")
    if not host or not boot or int(pid) == 0:
        return None
    return Owner(host=host, boot=boot, pid=int(pid), start=int(start), namespace=namespace, installation=installation)


def is_alive(owner: str, *, engine_is_here: bool = False) -> bool | None:
    """Whether an owner still lives; None when that cannot be seen from here.

    Args:
        owner: the value of a label `coworld.owner`.
        engine_is_here: what carries the label is on an engine of this very machine. An owner from another boot of this
            installation is then one from before a restart, and dead. Elsewhere it may be a copy of this machine that runs.
    """
    known = as_owner(owner)
    if known is None:
        return None
    try:
        host, boot, namespace, installation = _machine()
    except OSError:
        return None
    if known.host != host:
        return None
    if known.boot != boot:
        before = engine_is_here and known.installation != "" and known.installation == installation
        return False if before else None
    if known.namespace == namespace != "":
        return _runs(known.pid, known.start)
    # The process of another namespace has another id here, or none.
    return True if known.namespace == "" and _runs(known.pid, known.start) else None


def _runs(pid: int, start: int) -> bool:
    """Whether the process with this id is there, began then, and is more than a corpse that nobody has fetched."""
    try:
        state, began, threads = _stat(pid)
    except FileNotFoundError:
        return _hidden(pid)
    except ProcessLookupError:
        # It went while its file was read.
        return False
    except OSError:
        return True
    # The first thread of a process may end before the others: it stays a zombie until they have.
    return began == start and (state not in {"Z", "X"} or threads > 1)


def _hidden(pid: int) -> bool:
    """Whether there is a process that /proc does not show: it may be mounted with `hidepid` (proc(5))."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _stat(pid: int | str) -> tuple[str, int, int]:
    """State, start time and number of threads: fields 3, 22 and 20 of /proc/PID/stat (proc_pid_stat(5))."""
    # The second field, the command in brackets, may hold anything, brackets and blanks too.
    fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[19]), int(fields[17])


def _machine() -> tuple[str, str, str, str]:
    """Host, boot, namespace and installation of the calling process.

    Raises:
        OSError: /proc cannot be read.
    """
    host = _UNSAFE.sub("_", socket.gethostname()) or "localhost"
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return host, boot, _namespace(), _installation()


def _namespace() -> str:
    with suppress(OSError):
        # A /proc that was mounted in another namespace has the ids of that one.
        if (_PROC / "self").readlink() == Path(str(os.getpid())):
            links = [_PROC / "self/ns/pid", _PROC / "self/ns/time"]
            # Kernels before 5.6 have no time namespaces.
            return "-".join(str(link.stat().st_ino) for link in links if link.exists())
    return ""


@cache
def _installation() -> str:
    # The id itself is not to leave the machine, says machine-id(5); a hash of it that is ours alone may.
    with suppress(OSError):
        found = Path("/etc/machine-id").read_bytes().strip()
        if found:
            return hashlib.sha256(b"coworld-actors owner\0" + found).hexdigest()[:16]
    return ""


@cache
def _version() -> str:
    try:
        return importlib.metadata.version("coworld-actors")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
