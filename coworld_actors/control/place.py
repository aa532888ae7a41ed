"""Where a control socket is, who may be there, and how it appears and goes.

    $XDG_RUNTIME_DIR/coworld-actors/NAME-PID.sock        or, where that is not ours or not set,
    /run/user/UID/coworld-actors/NAME-PID.sock           or, where that is not,
    TMPDIR/coworld-actors-UID/NAME-PID.sock

A socket is bound under a hidden name, made its owner's alone, set to listen, and only then linked to its own name. So a name
that ends in `.sock` has listened from its first moment on, and one that refuses a connection is dead for certain.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import stat
import struct
import tempfile
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import trio

from coworld_protocol.errors import CoworldError, PreconditionMissing

__all__ = [
    "PATH_LIMIT",
    "SUFFIX",
    "check_directory",
    "directories",
    "is_dead",
    "listening",
    "looks_like",
    "peer",
    "remove_dead",
    "sockets",
    "stale",
]

SUFFIX = ".sock"
PATH_LIMIT = 107
"""Bytes of a Unix socket's path: `sun_path` has 108, one of them ends it (unix(7))."""
NAME_LIMIT = 40
"""Characters of the runtime's name that its socket's has at most, fewer in a long path. The socket itself tells the whole name."""

_BACKLOG = 64
_CREDENTIALS = struct.Struct("3i")
_SAME_NAME = 64
_ATTEMPTS = 16
_FOLDER = "coworld-actors"
_HIDDEN = re.compile(r"\.(\d+)-[0-9a-f]{8}\.new")
_NAMED = re.compile(r"(?P<name>.+?)(\.\d+)?-(?P<pid>\d+)\.sock")


def directories() -> list[Path]:
    """Where sockets may be, the first place first. They need not be there."""
    uid = os.geteuid()
    bases = [Path("/run/user") / str(uid)]
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    # A relative one is to be ignored, says the XDG Base Directory Specification.
    if Path(given).is_absolute():
        bases.insert(0, Path(given))
    found = [base / _FOLDER for base in dict.fromkeys(bases) if _is_own(base)]
    with contextlib.suppress(FileNotFoundError):
        found.append(Path(tempfile.gettempdir()) / f"{_FOLDER}-{uid}")
    return found


def _is_own(base: Path) -> bool:
    try:
        status = base.stat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def check_directory(directory: Path) -> None:
    """Make sure that nobody else can put a socket there, or take ours away.

    Raises:
        PreconditionMissing: it is a link or no directory, somebody else's, or others may write to it; or it is not there.
    """
    todo = "use a directory of your own that nobody else may write to; XDG_RUNTIME_DIR names one"
    try:
        status = directory.lstat()
    except OSError as error:
        raise PreconditionMissing(
            f"{directory} cannot be used for control sockets: {error.strerror}", todo="make it, or name another place"
        ) from error
    fault = ""
    if stat.S_ISLNK(status.st_mode):
        fault = "it is a link"
    elif not stat.S_ISDIR(status.st_mode):
        fault = "it is no directory"
    elif status.st_uid != os.geteuid():
        fault = f"it belongs to user {status.st_uid}, not to {os.geteuid()}"
    elif status.st_mode & 0o022:
        fault = f"others may write to it: its mode is {stat.S_IMODE(status.st_mode):04o}"
        todo = f"chmod go-w {directory}"
    if fault:
        raise PreconditionMissing(f"{directory} cannot be used for control sockets: {fault}", todo=todo)


def peer(stream: trio.SocketStream) -> tuple[int, int]:
    """Process and user at the other end of a connection, as the kernel noted when it was made (unix(7), SO_PEERCRED)."""
    data = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(data)
    return pid, uid


def _named(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.name.endswith(SUFFIX))


def sockets(among: Callable[[Path], Iterable[Path]] = _named) -> tuple[list[Path], list[CoworldError]]:
    """Sockets of this user's runtimes; and what is wrong with places where there might be more.

    Args:
        among: those of a directory; by default all, dead ones too.
    """
    found: list[Path] = []
    troubles: list[CoworldError] = []
    for directory in directories():
        if not os.path.lexists(directory):
            continue
        try:
            check_directory(directory)
            found += among(directory)
        except PreconditionMissing as error:
            troubles.append(error)
        except OSError as error:
            troubles.append(PreconditionMissing(f"{directory} cannot be read: {error.strerror}", todo="look at it"))
    return found, troubles


def is_dead(path: Path) -> bool:
    """Whether this is a socket at which nobody listens any more."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            # With a full queue a connection would have to wait: somebody is there.
            probe.setblocking(False)
            probe.connect(str(path))
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def remove_dead(path: Path) -> bool:
    """Remove a socket if it is dead; returns whether it was."""
    dead = is_dead(path)
    if dead:
        with contextlib.suppress(OSError):
            path.unlink()
    return dead


@contextlib.contextmanager
def listening(path: Path | None, name: str) -> Generator[tuple[socket.socket, Path]]:
    """Listen while the block runs. The socket's file is its owner's alone, and goes with the block if it is still the same.

    Args:
        path: the socket; None for the default place. Its directory has to be there, and nobody else's.
        name: the runtime's, for the default place.

    Yields:
        The listening socket, which is whoever's takes it to close, and where it is.

    Raises:
        PreconditionMissing: the place is not safe, is taken, or cannot be used; or the path is too long.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        place = _listen_by_default(server, name) if path is None else _listen_at(server, path)
        identity = _identity(place)
    except BaseException:
        # Restores: what nobody can reach is not left open.
        server.close()
        raise
    try:
        yield server, place
    finally:
        server.close()
        if _identity(place) == identity:
            with contextlib.suppress(OSError):
                place.unlink()
        if path is None:
            # Only an empty one goes; whoever lists it meanwhile makes it again.
            with contextlib.suppress(OSError):
                place.parent.rmdir()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")


def looks_like(path: Path, which: str) -> bool:
    """Whether a socket's name is one that a runtime with this process id, or a name that begins so, would give it."""
    found = _NAMED.fullmatch(path.name)
    if found is None:
        return False
    clean = _clean(which)
    # A long name was cut.
    return found["pid"] == which or found["name"].startswith(clean) or clean.startswith(found["name"])


def _listen_by_default(server: socket.socket, name: str) -> Path:
    places = directories()
    if not places:
        raise PreconditionMissing(
            "there is no directory for control sockets", todo="set XDG_RUNTIME_DIR to a directory of your own"
        )
    directory = places[0]
    room = PATH_LIMIT - len(os.fsencode(directory)) - len(f"/.{_SAME_NAME}-{os.getpid()}{SUFFIX}")
    clean = _clean(name)[: max(min(room, NAME_LIMIT), 1)] or "runtime"
    names = [clean, *(f"{clean}.{number}" for number in range(2, _SAME_NAME))]
    for _ in range(_ATTEMPTS):
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            if not os.path.lexists(directory):
                raise PreconditionMissing(
                    f"{directory} cannot be made: {error.strerror}",
                    todo="set XDG_RUNTIME_DIR to a directory of your own",
                ) from error
        check_directory(directory)
        _sweep(directory)
        try:
            with _hidden(server, directory) as hidden:
                for each in names:
                    place = directory / f"{each}-{os.getpid()}{SUFFIX}"
                    if _link(hidden, place):
                        return place
        except FileNotFoundError:
            # Another runtime was the last to leave, and took the directory along.
            continue
        raise PreconditionMissing(
            f"{len(names)} runtimes of this process have the name {name!r} already", todo="give them names of their own"
        )
    raise PreconditionMissing(f"{directory} is removed again and again", todo="find out by whom")


def _listen_at(server: socket.socket, path: Path) -> Path:
    place = path.parent.resolve() / path.name
    check_directory(place.parent)
    try:
        with _hidden(server, place.parent, place) as hidden:
            if _link(hidden, place):
                return place
    except FileNotFoundError as error:
        raise PreconditionMissing(f"{place.parent} is gone", todo="make it, or name another place") from error
    raise PreconditionMissing(
        f"no control socket can be made at {place}: something is there",
        evidence="somebody listens at it" if place.is_socket() else "it is no socket",
        todo="name another place, or remove what is there",
    )


@contextlib.contextmanager
def _hidden(server: socket.socket, directory: Path, place: Path | None = None) -> Generator[Path]:
    """Bind to a hidden name for the time of the block, and listen."""
    hidden = directory / f".{os.getpid()}-{secrets.token_hex(4)}.new"
    longest = max((hidden, place or hidden), key=lambda path: len(os.fsencode(path)))
    if len(os.fsencode(longest)) > PATH_LIMIT:
        raise PreconditionMissing(
            f"a control socket cannot be in {directory}: its path may have {PATH_LIMIT} bytes",
            evidence=f"{longest} has {len(os.fsencode(longest))}",
            todo="set XDG_RUNTIME_DIR to a directory with a shorter path, or name a place with one",
        )
    try:
        server.bind(str(hidden))
        try:
            # Nobody can connect before `listen`, so nobody has seen it with another mode.
            hidden.chmod(0o600)
            server.listen(_BACKLOG)
            yield hidden
        finally:
            with contextlib.suppress(OSError):
                hidden.unlink()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PreconditionMissing(
            f"no control socket can be made in {directory}: {error.strerror}", todo="name another place for it"
        ) from error


def _link(hidden: Path, place: Path) -> bool:
    """Give a listening socket its name; False if somebody who lives has it."""
    if len(os.fsencode(place)) > PATH_LIMIT:
        raise PreconditionMissing(
            f"{place} is too long for a socket: {len(os.fsencode(place))} bytes, and {PATH_LIMIT} are possible",
            todo="set XDG_RUNTIME_DIR to a directory with a shorter path, or give the runtime a shorter name",
        )
    remove_dead(place)
    try:
        os.link(hidden, place, follow_symlinks=False)
    except FileExistsError:
        return False
    return True


def stale(directory: Path) -> list[Path]:
    """What dead processes have left there: sockets, also those that had no name yet.

    Raises:
        OSError: it cannot be read.
    """
    found: list[Path] = []
    for path in sorted(directory.iterdir()):
        hidden = _HIDDEN.fullmatch(path.name)
        # A hidden one of the living may not listen yet.
        ours = path.name.endswith(SUFFIX) or (hidden is not None and not _lives(int(hidden[1])))
        if ours and is_dead(path):
            found.append(path)
    return found


def _sweep(directory: Path) -> None:
    """Remove what dead processes have left."""
    with contextlib.suppress(OSError):
        for path in stale(directory):
            remove_dead(path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
