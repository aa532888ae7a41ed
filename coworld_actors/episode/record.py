"""What an episode leaves for readers: `events.jsonl` while it happens, `episode.json` and `error_info.json` at its end."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from coworld_actors.actors import EventStream, Record
from coworld_actors.actors.events import ActorCrashed
from coworld_actors.episode.events import Phase, PhaseEntered, RoleEnded, RoleStarted
from coworld_actors.episode.game import GameNotServing
from coworld_actors.episode.probes import ContractBroken
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd, SeatReport, Verdict
from coworld_actors.episode.workspace import FOR_READERS, Workspace, write_atomically
from coworld_actors.manifest.load import ManifestOrigin
from coworld_actors.traffic.report import TapReport
from coworld_drivers.driver import Usage
from coworld_protocol.contract import ErrorType
from coworld_protocol.errors import PreconditionMissing

__all__ = [
    "EXPECTED_CRASHES",
    "ActorTiming",
    "EpisodeRecord",
    "PhaseTiming",
    "Recorder",
    "SupportReport",
    "unplayed",
    "write_record",
]

RECORD_VERSION = 1
"""Version of `episode.json`; raised when a reader of the old one would misread the new one."""


_LINES = 16 * 1024
_PLAYING = PhaseEntered(phase=Phase.PLAYING)

EXPECTED_CRASHES = frozenset({GameNotServing.__name__, ContractBroken.__name__})
"""What an actor raises to say that its role, and not we, did something wrong."""


class PhaseTiming(msgspec.Struct, frozen=True, kw_only=True):
    """One phase: seconds since the episode's start at which it began, and how long it took."""

    phase: Phase
    start: float
    seconds: float


class ActorTiming(msgspec.Struct, frozen=True, kw_only=True):
    """One role's process and what it has used; the last one where a role was started again.

    Attributes:
        name: unique in the episode.
        role: the manifest's word for it.
        slot: seat number of a player.
        start: seconds since the episode's start.
        seconds: how long it lived; None when its end was not seen.
        cpu_seconds: processor time of it and of what it started; None where its place cannot tell.
        peak_memory: bytes that it held at most, of those moments that were looked at; None where its place cannot tell, or
            when it was over before anybody looked. `docs/drivers.md` says what each driver counts.
    """

    name: str
    role: str
    slot: int | None
    start: float
    seconds: float | None
    cpu_seconds: float | None = None
    peak_memory: int | None = None


class SupportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one reporter or grader.

    Attributes:
        role: `reporter` or `grader`.
        id: its id in the manifest.
        ok: whether its output is there and obeys the rules.
        message: what is wrong, if anything.
        evidence: exit code or signal, last line.
        output: path of its output relative to the run's directory.
        render: path of the page it wants shown, the same way.
        score: a grader's number.
    """

    role: str
    id: str
    ok: bool
    message: str = ""
    evidence: str = ""
    output: str = ""
    render: str = ""
    score: float | None = None


class EpisodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The document `episode.json`.

    Attributes:
        version: of this document.
        id: the episode.
        coworld: name of the game.
        game_version: version of the game.
        variant: id of the variant, or `certification` for the fixture.
        manifest: where the manifest was read, for whoever plays it again or shows its replay; None for one made in memory.
        driver: where it ran.
        started: wall-clock time, ISO 8601 in UTC.
        seconds: how long all of it took.
        verdict: whether it counts, why it ended, whose doing it was.
        seats: every seat's end.
        reports: reporters and graders.
        phases: where the time went.
        actors: every process's life.
        tap: what the tap saw; None without one.
        directory: where the files are; empty when there are none.
    """

    version: int = RECORD_VERSION
    id: str
    coworld: str
    game_version: str
    variant: str
    manifest: ManifestOrigin | None = None
    driver: str
    started: str
    seconds: float
    verdict: Verdict
    seats: tuple[SeatReport, ...]
    reports: tuple[SupportReport, ...]
    phases: tuple[PhaseTiming, ...]
    actors: tuple[ActorTiming, ...]
    tap: TapReport | None = None
    directory: str


def unplayed(spec: EpisodeSpec, driver: str, reason: str) -> EpisodeRecord:
    """The record of an episode that was called off before its turn came; it has no files."""
    game = spec.plan.manifest.game
    return EpisodeRecord(
        id=spec.id,
        coworld=game.name,
        game_version=game.version,
        variant=spec.plan.variant_id,
        manifest=spec.plan.origin,
        driver=driver,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        seconds=0.0,
        verdict=Verdict(
            good=False,
            reason=EndReason.CANCELLED,
            error_type=ErrorType.EPISODE_INCONCLUSIVE,
            message="the episode was called off before its turn came",
            evidence=reason,
            blame=Blame.CALLER,
        ),
        seats=tuple(
            SeatReport(slot=seat.slot, player=seat.player_id, name=seat.name, end=SeatEnd.NOT_STARTED, fault=False)
            for seat in spec.plan.seats
        ),
        reports=(),
        phases=(),
        actors=(),
        directory="",
    )


class Recorder:
    """A subscriber that writes one episode's events as they come and keeps its times.

    Args:
        workspace: where `events.jsonl` goes.
        stream: the system's events.
        scope: the episode's id.
        on_error: called once, when the file cannot be written any more.

    Attributes:
        write_error: why it cannot be written; None while all is well.
        crash: the first crash of an actor of ours that is no finding about a role, as `path: Type: text`.

    Raises:
        PreconditionMissing: the file cannot be made.
    """

    def __init__(
        self, workspace: Workspace, stream: EventStream, scope: str, *, on_error: Callable[[], None] = lambda: None
    ) -> None:
        self._path = workspace.events
        self._held = True
        self._lines = bytearray()
        self._on_error = on_error
        self._begin: float | None = None
        self._started = datetime.datetime.now(datetime.UTC)
        self._phases: list[tuple[Phase, float]] = []
        self._roles: dict[str, tuple[RoleStarted, float]] = {}
        self._ends: dict[str, tuple[float, Usage]] = {}
        self.write_error: OSError | None = None
        self.crash = ""
        try:
            self._file: BinaryIO = workspace.events.open("xb", buffering=0)
        except OSError as error:
            raise PreconditionMissing(
                f"events.jsonl cannot be written: {error.strerror}",
                todo="name a writable directory with --output",
                where=str(workspace.root),
            ) from error
        self._unsubscribe = stream.subscribe(self._on_record, scope=scope)

    def release(self) -> None:
        """Keep no descriptor from here on, for those who play more episodes at once than they may have descriptors.

        What comes is written when the play begins, when 16 KiB have come together, and at the end.
        """
        self._held = False
        self._file.close()

    def _on_record(self, record: Record) -> None:
        if self._begin is None:
            self._begin = record.at
        match record.event:
            case PhaseEntered(phase=phase):
                self._phases.append((phase, record.at))
            case RoleStarted() as event:
                self._roles[event.name] = (event, record.at)
                self._ends.pop(event.name, None)
            case RoleEnded(name=name, usage=usage):
                self._ends[name] = record.at, usage
            case ActorCrashed(error=error, message=message) if error not in EXPECTED_CRASHES:
                self.crash = self.crash or f"{record.actor}: {error}: {message}"
            case _:
                pass
        self._lines += msgspec.json.encode(record) + b"\n"
        if self._held or len(self._lines) > _LINES or record.event == _PLAYING:
            self._write()

    def _write(self) -> None:
        if self.write_error is None and self._lines:
            try:
                if self._held:
                    self._file.write(self._lines)
                else:
                    fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
                    with os.fdopen(fd, "wb", buffering=0) as file:
                        file.write(self._lines)
            except OSError as error:
                self.write_error = error
                self._on_error()
        self._lines.clear()

    def flush(self) -> None:
        """Write what has come so far."""
        self._write()

    def close(self) -> None:
        """Stop listening, write what waits and close the file."""
        self._unsubscribe()
        self._write()
        self._file.close()

    @property
    def started(self) -> str:
        """When the episode began, ISO 8601 in UTC."""
        return self._started.isoformat(timespec="milliseconds")

    def seconds(self, now: float) -> float:
        """Seconds since the first event."""
        return 0.0 if self._begin is None else now - self._begin

    def phases(self, now: float) -> tuple[PhaseTiming, ...]:
        """Every phase entered so far; the last one lasts until `now`."""
        begin = self._begin or 0.0
        ends = [at for _, at in self._phases[1:]] + [now]
        return tuple(
            PhaseTiming(phase=phase, start=round(at - begin, 6), seconds=round(end - at, 6))
            for (phase, at), end in zip(self._phases, ends, strict=False)
        )

    def actors(self) -> tuple[ActorTiming, ...]:
        """Every process started so far."""
        begin = self._begin or 0.0
        actors: list[ActorTiming] = []
        for name, (event, at) in self._roles.items():
            end, usage = self._ends.get(name, (None, Usage()))
            actors.append(
                ActorTiming(
                    name=name,
                    role=event.role,
                    slot=event.slot,
                    start=round(at - begin, 6),
                    seconds=None if end is None else round(end - at, 6),
                    cpu_seconds=None if usage.cpu_seconds is None else round(usage.cpu_seconds, 6),
                    peak_memory=usage.peak_memory,
                )
            )
        return tuple(actors)


def write_record(workspace: Workspace, record: EpisodeRecord) -> None:
    """Write `episode.json`, and `error_info.json` for an episode that does not count.

    Raises:
        PreconditionMissing: the directory cannot be written.
    """
    workspace.free(workspace.episode, workspace.error_info)
    write_atomically(workspace.episode, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n", FOR_READERS)
    if not record.verdict.good:
        info = {
            "error_type": record.verdict.error_type,
            "message": record.verdict.message,
            "failed_policy_index": _blamed_seat(record),
        }
        data = msgspec.json.format(msgspec.json.encode(info), indent=2) + b"\n"
        write_atomically(workspace.error_info, data, FOR_READERS)


def _blamed_seat(record: EpisodeRecord) -> int | None:
    """The contract has room for one seat: the first one, and only where players are to blame."""
    verdict = record.verdict
    return verdict.failed_seats[0] if verdict.blame is Blame.PLAYERS and verdict.failed_seats else None
