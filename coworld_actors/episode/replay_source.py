"""From what a person names - a file, an address, the directory of a run - to a replay as its game wrote it, and to its game.

What is compressed is unpacked into a directory of ours; nothing is believed about its size. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import SplitResult, unquote

import httpx
import msgspec

from coworld_actors.episode.workspace import FileRefused, is_role_file, read_role_file
from coworld_actors.manifest.address import split_address
from coworld_actors.manifest.load import LoadedManifest, ManifestOrigin, load_manifest
from coworld_protocol import contract
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused

__all__ = ["FETCH_LIMIT", "UNPACKED_LIMIT", "Played", "ReplaySource", "find_replay", "manifest_of"]

FETCH_LIMIT = 256 * 1024 * 1024
"""Bytes that are fetched from an address."""

UNPACKED_LIMIT = 1024 * 1024 * 1024
"""Bytes that a compressed replay may have when it is unpacked."""

FETCH_SECONDS = 300.0
"""For all of it; the host has `_ANSWER_SECONDS` for each part."""

_ANSWER_SECONDS = 30.0
_RECORD_LIMIT = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
"""0.1.0 of the public package wrote gzip under a name that ends in `.z`: the bytes say which of the two they are."""

_RECORD = "episode.json"
_HEADERS = {"User-Agent": "coworld-actors", "Accept-Encoding": "identity"}


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay's `episode.json` says about its game; later versions of that document may say more.

    Attributes:
        id: the episode.
        coworld: name of the game.
        game_version: version of the game.
        driver: where it ran.
        manifest: where the manifest was read.
    """

    id: str
    coworld: str
    game_version: str
    driver: str
    manifest: ManifestOrigin | None = None


class ReplaySource(msgspec.Struct, frozen=True, kw_only=True):
    """A replay that can be shown.

    Attributes:
        file: its bytes as the game wrote them; absolute.
        played: what the run beside it says; None when there is none.
        doubt: why the manifest that the run names is not used unless the caller names it, too: it says which programs are started
            here, so a record is believed only where its reader has made it. Empty where it is believed.
    """

    file: Path
    played: Played | None = None
    doubt: str = ""


def find_replay(source: str, scratch: Path) -> ReplaySource:
    """Find a replay and make it readable for its game.

    Args:
        source: a file, the directory of a single run or of one episode of a batch, or a `file://`, `http(s)://` or `s3://` address.
            What ends in `.z` or `.gz` is unpacked.
        scratch: an empty directory for what is fetched and unpacked.

    Raises:
        Refused: there is nothing to read, or it cannot be unpacked.
        PreconditionMissing: the host of the address does not answer, or there is no room.
    """
    split = split_address(source)
    played: Played | None = None
    doubt = ""
    if split is not None and split.scheme != "file":
        name, packed = split.path, _fetch(_address(source, split), scratch / "fetched", source)
    else:
        path = _local(source, split) if split is not None else Path(source)
        if _is_directory(path):
            doubt = _doubt_about(path)
            path, played = _in_run(path)
        else:
            played = _read_played(path.parent)
            doubt = "" if played is None else f"only the file was named, and {_RECORD} beside it may be anybody's"
        name, packed = path.name, _regular(path, source)
    if played is not None and played.manifest is not None and not _is_whole(played.manifest.place):
        doubt = doubt or f"{_RECORD} says {played.manifest.place}, and no run of ours writes a relative path"
    if name.endswith((".z", ".gz")):
        packed = _unpack(packed, scratch / contract.FILE_REPLAY, source)
        return ReplaySource(file=packed, played=played, doubt=doubt)
    if not packed.stat().st_size:
        raise Refused(f"{source} is empty", todo="give a replay that a game has written")
    return ReplaySource(file=packed, played=played, doubt=doubt)


def manifest_of(source: ReplaySource, given: str | None) -> tuple[LoadedManifest, tuple[str, ...]]:
    """The manifest of a replay's game.

    Args:
        source: the replay.
        given: what the caller says it is; None takes the one that the episode was played from.

    Returns:
        The manifest, and what the caller should know, a sentence each.

    Raises:
        Refused: nobody knows the manifest, or nobody to be believed does, or it is another game's now.
        PreconditionMissing: the host of its address does not answer.
    """
    played = source.played
    if given is not None:
        loaded = load_manifest(given)
    elif played is None:
        raise Refused(
            "nothing says which game this replay is of",
            evidence=f"there is no {_RECORD} beside it",
            todo="name the game's manifest with --manifest",
        )
    elif played.manifest is None:
        raise Refused(
            f"nothing says where the manifest of {played.coworld} {played.game_version} is",
            evidence=f"{_RECORD} of episode {played.id} does not name it",
            todo="name it with --manifest",
        )
    elif source.doubt:
        raise Refused(
            f"the manifest that {_RECORD} names is not used without being asked for: it says which programs run here",
            evidence=source.doubt,
            todo=f"if you trust {played.manifest.place}, name it with --manifest; or name the directory of a run of yours",
        )
    else:
        loaded = _as_played(played, played.manifest)
    game = loaded.manifest.game
    if played is None or (game.name, game.version) == (played.coworld, played.game_version):
        return loaded, ()
    difference = f"played with {played.coworld} {played.game_version}, {loaded.source} is {game.name} {game.version}"
    if given is None and game.name != played.coworld:
        raise Refused(
            "the manifest that this episode was played from is another game's now",
            evidence=difference,
            todo="name the right one with --manifest",
        )
    return loaded, (f"this is not the game of the replay: {difference}",)


def _as_played(played: Played, origin: ManifestOrigin) -> LoadedManifest:
    try:
        return load_manifest(origin.place)
    except (Refused, PreconditionMissing) as error:
        raise _kind_of(error)(
            f"the manifest that this episode was played from cannot be used any more: {error.what}",
            evidence=error.evidence,
            todo=f"name the manifest of {played.coworld} {played.game_version} with --manifest",
        ) from error


def _kind_of(error: CoworldError) -> type[CoworldError]:
    """The branch of the tree that an error is of."""
    return Refused if isinstance(error, Refused) else PreconditionMissing


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # A name that is too long, or a directory that may not be looked into: reading it says which.
        return False


def _is_whole(place: str) -> bool:
    """Whether a place is the same from wherever it is looked at."""
    return place.startswith(("http://", "https://")) or Path(place).is_absolute()


def _doubt_about(directory: Path) -> str:
    """Why what a run's directory says of its manifest is not to be believed; empty when it is."""
    try:
        owners = {directory.stat().st_uid, (directory / _RECORD).lstat().st_uid}
    except (OSError, ValueError):
        # Nothing there that could be believed.
        return ""
    return "" if owners == {os.geteuid()} else f"{directory} is another user's"


def _local(source: str, split: SplitResult) -> Path:
    if split.netloc not in {"", "localhost"}:
        raise Refused(
            f"{source} names another machine", evidence=f"host {split.netloc!r}", todo="write file:///absolute/path"
        )
    return Path(unquote(split.path))


def _in_run(directory: Path) -> tuple[Path, Played | None]:
    """The replay in a run's directory."""
    played = _read_played(directory)
    path = directory / contract.FILE_REPLAY
    if is_role_file(path):
        return path, played
    if played is None:
        batch = (directory / "batch.json").exists()
        raise Refused(
            f"{directory} is no run",
            evidence="it is a batch" if batch else f"it has neither {_RECORD} nor {contract.FILE_REPLAY}",
            todo="name the directory of one of its episodes" if batch else "name a run's directory or a replay",
        )
    raise Refused(
        f"episode {played.id} has left no replay",
        evidence=f"{path} is no regular file" if os.path.lexists(path) else f"no file {path}",
        todo="play it again; the game has to write one",
    )


def _read_played(directory: Path) -> Played | None:
    """What the record in a directory says, if there is one that can be read."""
    try:
        data = read_role_file(directory / _RECORD, _RECORD_LIMIT)
        return None if data is None else msgspec.json.decode(data, type=Played)
    except (FileRefused, ValueError, RecursionError):
        # Among them a name with a NUL, and what is no JSON.
        return None


def _regular(path: Path, source: str) -> Path:
    """The absolute path of a file that can be read to its end."""
    try:
        found = path.resolve(strict=True)
        # O_NONBLOCK: opening a pipe must not wait for a writer.
        descriptor = os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Refused(f"{source} is not there", todo="give a replay, or the directory of a run") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refused(f"{source} cannot be read", evidence=reason, todo="check its name and permissions") from error
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return found
    finally:
        os.close(descriptor)
    raise Refused(f"{source} is no regular file", todo="give a replay, or the directory of a run")


def _address(source: str, split: SplitResult) -> str:
    """An address that can be fetched."""
    if split.scheme == "s3" and split.netloc and split.path.strip("/"):
        return f"https://{split.netloc}.s3.amazonaws.com{split.path}"
    if split.scheme in {"http", "https"}:
        return source
    raise Refused(
        f"{source} cannot be read",
        evidence=f"scheme {split.scheme!r}",
        todo="give a path, or a file://, http://, https:// or s3:// address",
    )


def _fetch(url: str, target: Path, source: str) -> Path:
    cut = _Cut(FETCH_SECONDS)
    # The query of an address may be a key to it.
    shown = source.partition("?")[0]
    try:
        with (
            cut,
            httpx.Client(timeout=_ANSWER_SECONDS, follow_redirects=True, headers=_HEADERS) as client,
            client.stream("GET", url, extensions={"trace": cut.see}) as answer,
            target.open("xb") as file,
        ):
            if answer.status_code != 200:
                raise Refused(
                    f"{shown} gives no replay", evidence=f"status {answer.status_code}", todo="check the address"
                )
            # As it lies there: a host that says of a .gz file that it has encoded it would have it unpacked twice.
            for chunk in answer.iter_raw():
                file.write(chunk)
                if file.tell() > FETCH_LIMIT:
                    raise Refused(
                        f"{shown} is too large to be fetched",
                        evidence=f"more than {FETCH_LIMIT} bytes",
                        todo="download it and give the file",
                    )
            # What has no length of its own seems to end when it is cut.
            if cut.late:
                raise _too_slow(shown)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if cut.late:
            raise _too_slow(shown) from error
        raise PreconditionMissing(
            f"{shown} cannot be reached",
            evidence=str(error) or type(error).__name__,
            todo="check the address and the network",
        ) from error
    except OSError as error:
        raise _no_room(error, target) from error
    return target


def _too_slow(shown: str) -> PreconditionMissing:
    return PreconditionMissing(
        f"{shown} did not arrive in time",
        evidence=f"it was not there after {FETCH_SECONDS:g} s",
        todo="download it and give the file",
    )


class _Cut:
    """Ends a connection after some time, whatever is waited for on it: the heads of answers may drip, too.

    Attributes:
        late: whether that time is over.
    """

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.late = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def see(self, event: str, info: Mapping[str, Any]) -> None:
        """Told by the client what it does; a connection is another one when it is encrypted."""
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                late = self.late
            if late:
                self._end()

    def _end(self) -> None:
        with self._lock:
            self.late = True
            # One that has been closed cannot be shut down, and an encrypted one would say goodbye first.
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _unpack(packed: Path, target: Path, source: str) -> Path:
    """Unpack zlib or gzip.

    Raises:
        Refused: it is neither, ends too early, goes on after its end, or is too large.
        PreconditionMissing: there is no room.
    """
    shown = source.partition("?")[0]
    try:
        with packed.open("rb") as reader, target.open("xb") as writer:
            _inflate(reader, writer, shown)
            if not writer.tell():
                raise Refused(f"{shown} is empty when it is unpacked", todo="give a replay that a game has written")
    except zlib.error as error:
        raise Refused(
            f"{shown} cannot be unpacked",
            evidence=f"its name says zlib or gzip, its bytes do not: {error}",
            todo="give the file as it was written, or take the ending off its name if it is not compressed",
        ) from error
    except OSError as error:
        raise _no_room(error, target) from error
    return target


def _inflate(reader: IO[bytes], writer: IO[bytes], shown: str) -> None:
    inflating = zlib.decompressobj(_ZLIB_OR_GZIP)
    begun = False
    while chunk := reader.read(_CHUNK):
        while chunk:
            if inflating.eof:
                # gzip may be several in a row, and NULs may follow to the end of a block, of a tape for example.
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    break
                inflating = zlib.decompressobj(_ZLIB_OR_GZIP)
            begun = True
            writer.write(inflating.decompress(chunk, _CHUNK))
            if writer.tell() > UNPACKED_LIMIT:
                raise Refused(
                    f"{shown} is too large to be unpacked",
                    evidence=f"more than {UNPACKED_LIMIT} bytes",
                    todo="unpack it yourself and give the file, if it can be trusted",
                )
            chunk = inflating.unused_data if inflating.eof else inflating.unconsumed_tail
    if not inflating.eof:
        raise Refused(
            f"{shown} cannot be unpacked",
            evidence="it ends in the middle" if begun else "it is empty",
            todo="give the whole file",
        )


def _no_room(error: OSError, target: Path) -> PreconditionMissing:
    return PreconditionMissing(
        f"the replay cannot be written to {target.parent}: {error.strerror or error}",
        todo="free some space, or name another place with TMPDIR",
    )
