"""What a batch and its worker processes say to each other: length-prefixed msgpack over a socket that both have from birth.

Down go `Hello` once, then `World`s, `Play`s and `Cancel`s, then `Stop`; up come `Ready`, then `Playing`, `Played`, `NotPlayed`
and, all the time, `Beat`. A manifest travels once and is a number from then on: with it, a spec of Orchard's `duel` would be 14 KB
and take 33 us to write and read, without it it is 0.7 KB and takes 11 us; Paint Arena's manifest is five times as long.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import msgspec
import trio

from coworld_actors.episode.dialect import Compat
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec, Limits, TapSpec
from coworld_actors.manifest.load import ManifestOrigin
from coworld_actors.manifest.seats import EpisodePlan, SeatPlan
from coworld_actors.runtime.admission import RuntimeFull
from coworld_actors.runtime.runtime import RuntimeClosed
from coworld_drivers.driver import LogFailed, MachineFault, StartFailed
from coworld_drivers.images import Image
from coworld_protocol.errors import CoworldError, InternalFault, PreconditionMissing, Refused
from coworld_protocol.manifest import Manifest

__all__ = [
    "FRAME_LIMIT",
    "Beat",
    "Broken",
    "Cancel",
    "Failure",
    "Hello",
    "Line",
    "NotPlayed",
    "Play",
    "Played",
    "Playing",
    "Ready",
    "Stop",
    "ToParent",
    "ToWorker",
    "World",
    "frame",
    "from_parent",
    "from_worker",
    "play_of",
    "spec_of",
]

FRAME_LIMIT = 256 * 1024 * 1024
"""Bytes of one message; a manifest may have 8 MiB, and the record of 64 seats has 60 KB. What is longer is no message of ours."""

_HEAD = struct.Struct(">I")
_CHUNK = 256 * 1024

M = TypeVar("M")


class Broken(Exception):
    """What came is no message of the other side."""


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """The first message down: what kind of worker this is.

    Attributes:
        name: of the worker, for sentences.
        driver: `process`, `inproc`, or `module:function`, which is called with the image map and returns a driver.
        images: what image names mean.
        local_file: the file to name when an image is missing.
        path: where modules are looked for.
        beat: seconds between signs of life.
        stop_deadline: seconds that episodes have to end in order once the worker is stopped.
    """

    name: str
    driver: str
    images: Mapping[str, Image]
    local_file: Path | None
    path: tuple[str, ...]
    beat: float
    stop_deadline: float


class World(msgspec.Struct, frozen=True, kw_only=True, tag="world"):
    """A manifest, which `Play` names by its number from now on."""

    number: int
    manifest: Manifest


class Play(msgspec.Struct, frozen=True, kw_only=True, tag="play"):
    """An episode to be played: `EpisodeSpec` with a number for the manifest. Fields as there and in `EpisodePlan`."""

    id: str
    world: int
    variant_id: str
    game_config: dict[str, Any]
    seats: tuple[SeatPlan, ...]
    origin: ManifestOrigin | None
    directory: Path
    limits: Limits
    verify_replay: bool
    reports: bool
    probe: bool
    role_env: Mapping[str, str]
    tap: TapSpec | None
    secret_env: Mapping[str, str]
    compat: Compat

    def __repr__(self) -> str:
        return f"Play(id={self.id!r})"


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel"):
    """Call an episode off in order; with an empty id all of them."""

    id: str
    reason: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Call everything off and end."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The first message up: the driver is open."""

    pid: int


class Playing(msgspec.Struct, frozen=True, kw_only=True, tag="playing"):
    """An episode has got through its start-up."""

    id: str


class Played(msgspec.Struct, frozen=True, kw_only=True, tag="played"):
    """An episode is over."""

    id: str
    record: EpisodeRecord


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error on its way to another process.

    Attributes:
        kinds: names of its type and the types above it, down to `CoworldError`; empty for what is none of ours.
        what: as in `CoworldError`.
        evidence: as there.
        todo: as there.
        where: as there.
    """

    kinds: tuple[str, ...]
    what: str
    evidence: str = ""
    todo: str = ""
    where: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """An error as values."""
        if not isinstance(error, CoworldError):
            return cls(
                kinds=(),
                what=_sayable(f"a defect of this program ended a worker's task: {type(error).__name__}: {error}"),
                todo="run the same command with --debug and report what it prints",
            )
        kinds = tuple(kind.__name__ for kind in type(error).__mro__ if issubclass(kind, CoworldError))
        lines = error.lines()
        # A subclass may say more than the four values hold, a broken manifest's problems for example.
        extra = [line.strip() for line in lines[1:] if not line.startswith(("evidence: ", "try: ", "files: "))]
        evidence = "; ".join(filter(None, (error.evidence, *extra)))
        what, evidence, todo, where = map(_sayable, (error.what, evidence, error.todo, error.where))
        return cls(kinds=kinds, what=what, evidence=evidence, todo=todo, where=where)

    def error(self) -> CoworldError:
        """The error again, of the nearest type that is known here; its exit code is the same."""
        kind = next((_KINDS[name] for name in self.kinds if name in _KINDS), InternalFault)
        return kind(self.what, evidence=self.evidence, todo=self.todo, where=self.where)


def _sayable(text: str) -> str:
    """The text, with half surrogate pairs, as names of files may have, escaped: a failure always travels."""
    return text.encode(errors="backslashreplace").decode()


_KINDS: Mapping[str, type[CoworldError]] = {
    kind.__name__: kind
    for kind in (
        InternalFault,
        LogFailed,
        MachineFault,
        PreconditionMissing,
        Refused,
        RuntimeClosed,
        RuntimeFull,
        StartFailed,
    )
}


class NotPlayed(msgspec.Struct, frozen=True, kw_only=True, tag="not_played"):
    """An episode could not be played. With an empty id it is the worker that cannot work."""

    id: str
    failure: Failure


class Beat(msgspec.Struct, frozen=True, kw_only=True, tag="beat"):
    """A sign of life from the worker's event loop.

    Attributes:
        lag: seconds that the loop was late at the worst since the last beat.
        episodes: how many are being played.
    """

    lag: float
    episodes: int


ToWorker = Hello | World | Play | Cancel | Stop
ToParent = Ready | Playing | Played | NotPlayed | Beat


def play_of(spec: EpisodeSpec, world: int) -> Play:
    """A spec without its manifest."""
    plan = spec.plan
    return Play(
        id=spec.id,
        world=world,
        variant_id=plan.variant_id,
        game_config=plan.game_config,
        seats=plan.seats,
        origin=plan.origin,
        directory=spec.directory.absolute(),
        limits=spec.limits,
        verify_replay=spec.verify_replay,
        reports=spec.reports,
        probe=spec.probe,
        role_env=spec.role_env,
        tap=spec.tap,
        secret_env=spec.secret_env,
        compat=spec.compat,
    )


def spec_of(play: Play, manifest: Manifest) -> EpisodeSpec:
    """The spec again."""
    return EpisodeSpec(
        plan=EpisodePlan(
            manifest=manifest,
            variant_id=play.variant_id,
            game_config=play.game_config,
            seats=play.seats,
            origin=play.origin,
        ),
        directory=play.directory,
        id=play.id,
        limits=play.limits,
        verify_replay=play.verify_replay,
        reports=play.reports,
        probe=play.probe,
        role_env=play.role_env,
        tap=play.tap,
        secret_env=play.secret_env,
        compat=play.compat,
    )


def _to_wire(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"a {type(value).__name__} does not travel")


def _off_wire(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"a {kind.__name__} does not travel")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_to_wire)


def frame(message: ToWorker | ToParent) -> bytes:
    """A message with its length in front.

    Raises:
        Refused: it holds something that cannot travel: an integer beyond 64 bits, a text with half of a surrogate pair.
    """
    try:
        body = _ENCODER.encode(message)
    except (OverflowError, ValueError, TypeError, NotImplementedError) as error:
        raise Refused(
            "an episode cannot be handed to a worker process",
            evidence=str(error),
            todo="look at the game configuration for integers beyond 64 bits, or play without --workers",
        ) from error
    return _HEAD.pack(len(body)) + body


@final
class Line(Generic[M]):
    """Reads messages from a socket; made by `from_worker` and `from_parent`."""

    def __init__(self, stream: trio.abc.ReceiveStream, decode: Callable[[bytes | memoryview], M]) -> None:
        self._stream = stream
        self._decode = decode
        self._buffer = bytearray()

    async def batch(self) -> list[M]:
        """Wait for a message, then take all that are there; an empty list is the end.

        Raises:
            Broken: what came is no message.
        """
        found: list[M] = []
        while not found:
            try:
                data = await self._stream.receive_some(_CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return []
            if not data:
                return []
            self._buffer += data
            found = self._take()
        return found

    def _take(self) -> list[M]:
        found: list[M] = []
        buffer, at = self._buffer, 0
        while len(buffer) - at >= _HEAD.size:
            (length,) = _HEAD.unpack_from(buffer, at)
            if length > FRAME_LIMIT:
                raise Broken(f"a message of {length} bytes")
            end = at + _HEAD.size + length
            if len(buffer) < end:
                break
            try:
                found.append(self._decode(bytes(buffer[at + _HEAD.size : end])))
            except (msgspec.DecodeError, CoworldError) as error:
                raise Broken(str(error)) from error
            at = end
        del buffer[:at]
        return found


def from_worker(stream: trio.abc.ReceiveStream) -> Line[ToParent]:
    """What a worker says."""
    return Line(stream, msgspec.msgpack.Decoder(ToParent, dec_hook=_off_wire).decode)


def from_parent(stream: trio.abc.ReceiveStream) -> Line[ToWorker]:
    """What a worker is told."""
    return Line(stream, msgspec.msgpack.Decoder(ToWorker, dec_hook=_off_wire).decode)
