"""The episodes in a directory, whatever left them there: a batch, runs of single episodes, or one episode."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from coworld_actors.batch.lines import WORKER_LOST
from coworld_actors.batch.records import EpisodeLine, Status
from coworld_actors.batch.store import BatchHead, read_batch
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.verdict import EndReason, Verdict
from coworld_actors.episode.workspace import FileRefused, read_role_file
from coworld_protocol.errors import PreconditionMissing, Refused

__all__ = [
    "OPEN",
    "RECORD_LIMIT",
    "STATUSES",
    "Browsed",
    "EpisodeFilter",
    "EpisodeView",
    "Kind",
    "SeatView",
    "browse",
    "find",
    "read_record",
    "select",
]

OPEN = "open"
"""Status of an episode that has files and no end: it is being played, or whoever played it was killed."""

STATUSES = (*map(str, Status), OPEN)
"""All that an episode's status may be."""

RECORD_LIMIT = 64 * 1024 * 1024
"""Bytes of an `episode.json` that are read."""

_RECORD = "episode.json"
_EVENTS = "events.jsonl"
_NAMED = 8
"""Names that an error lists at most."""
_REASONS = (*map(str, EndReason), WORKER_LOST)
_NUMBERED = re.compile(r".*-e(\d+)-s-?\d+(-try\d+)?")
"""The directory of a batch's episode, as `BatchStore.place` calls it."""
_MACHINE = frozenset({EndReason.INFRASTRUCTURE, EndReason.INTERNAL, EndReason.CANCELLED})


class Kind(enum.StrEnum):
    """What a directory is."""

    BATCH = "batch"
    RUNS = "runs"
    """A directory of directories of single episodes."""
    EPISODE = "episode"


class SeatView(msgspec.Struct, frozen=True, kw_only=True):
    """One seat of an episode; its number is its place.

    Attributes:
        player: name of who sat there.
        score: as the results name it.
        end: how it ended.
        fault: whether that is the player's own doing.
        evidence: what that rests on.
    """

    player: str
    score: float | None = None
    end: str = ""
    fault: bool = False
    evidence: str = ""


class EpisodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One episode.

    Attributes:
        index: in the schedule of its batch; else its place in the list, from 0.
        id: name of its directory; `e0007` for one that left none.
        coworld: name and version of the game.
        variant: id of the variant.
        block: of its batch; None for a single one.
        seed: None where it is not known.
        seed_applied: whether the game was given it.
        status: one of `STATUSES`.
        reason: why it ended.
        blame: whose doing it was.
        message: one sentence; empty for a good one.
        seats: in slot order.
        started: wall-clock time, ISO 8601 in UTC.
        seconds: it took; None while it is open.
        attempts: how often it was started.
        overload: what shows that the machine was choking.
        directory: of its files, relative to the directory that was looked at; `.` for that one, empty when there are none.
    """

    index: int
    id: str
    coworld: str = ""
    variant: str = ""
    block: int | None = None
    seed: int | None = None
    seed_applied: bool = False
    status: str = OPEN
    reason: str = ""
    blame: str = ""
    message: str = ""
    seats: tuple[SeatView, ...] = ()
    started: str = ""
    seconds: float | None = None
    attempts: int = 1
    overload: str = ""
    directory: str = ""


class Browsed(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a directory.

    Attributes:
        directory: that was looked at.
        kind: what it is.
        head: of a batch.
        episodes: by index.
        troubles: what could not be read, a sentence each.
    """

    directory: Path
    kind: Kind
    head: BatchHead | None = None
    episodes: tuple[EpisodeView, ...] = ()
    troubles: tuple[str, ...] = ()

    def path(self, episode: EpisodeView) -> Path | None:
        """Where the files of an episode are; None when there are none, or are said to be somewhere else."""
        place = PurePosixPath(episode.directory)
        if not episode.directory or place.is_absolute() or ".." in place.parts:
            return None
        return self.directory / place


class EpisodeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which episodes are wanted: those that fit every field that is not empty, and one of the values of each.

    Attributes:
        status: of `STATUSES`.
        players: beginnings of names.
        reasons: why they ended.
        variants: ids.
        seat_fault: only those in which a seat ended by its own fault.
    """

    status: Collection[str] = ()
    players: Collection[str] = ()
    reasons: Collection[str] = ()
    variants: Collection[str] = ()
    seat_fault: bool = False


def browse(directory: Path) -> Browsed:
    """Look at a directory. Nobody is disturbed who plays there.

    Raises:
        Refused: there are no episodes of ours in it.
        PreconditionMissing: it cannot be read.
    """
    try:
        names = sorted(each.name for each in directory.iterdir())
    except NotADirectoryError:
        raise Refused(f"{directory} is no directory", todo="name the directory of a batch or of a run") from None
    except FileNotFoundError:
        raise Refused(
            f"there is no directory {directory}",
            todo="name the directory of a batch or of a run; runs/ has those of `run`",
        ) from None
    except OSError as error:
        raise PreconditionMissing(f"{directory} cannot be read: {error.strerror}", todo="make it readable") from error
    if "batch.json" in names:
        return _browse_batch(directory)
    if _RECORD in names or (_EVENTS in names and "logs" in names):
        view, trouble = _single(directory, 0, directory.resolve().name, ".")
        return Browsed(directory=directory, kind=Kind.EPISODE, episodes=(view,), troubles=(trouble,) if trouble else ())
    return _browse_runs(directory, names)


def select(browsed: Browsed, wanted: EpisodeFilter) -> list[EpisodeView]:
    """The episodes that fit, by index.

    Raises:
        Refused: there is nobody and nothing of such a name in the directory.
    """
    names = sorted({seat.player for episode in browsed.episodes for seat in episode.seats})
    names += [name for name in (browsed.head.entrants if browsed.head is not None else ()) if name not in names]
    players = {name for text in wanted.players for name in _matching(text, names, "player")}
    variants = dict.fromkeys(episode.variant for episode in browsed.episodes if episode.variant)
    for variant in wanted.variants:
        if variant not in variants:
            raise Refused(
                f"there is no episode of variant {variant}",
                evidence=_listed("there are", [*variants]),
                todo="choose one of them",
            )
    for reason in wanted.reasons:
        if reason not in _REASONS and all(reason != episode.reason for episode in browsed.episodes):
            raise Refused(f"{reason} is no reason for an end", evidence=", ".join(_REASONS), todo="choose one of them")
    return [
        episode
        for episode in browsed.episodes
        if (not wanted.status or episode.status in wanted.status)
        and (not wanted.players or any(seat.player in players for seat in episode.seats))
        and (not wanted.reasons or episode.reason in wanted.reasons)
        and (not wanted.variants or episode.variant in wanted.variants)
        and (not wanted.seat_fault or any(seat.fault for seat in episode.seats))
    ]


def find(browsed: Browsed, text: str) -> EpisodeView:
    """One episode, by its index or the beginning of its id; a number is an index first.

    Raises:
        Refused: there is none, or more than one.
    """
    if text.isascii() and text.isdigit():
        found = [episode for episode in browsed.episodes if episode.index == int(text)]
        if found:
            return found[0]
        head = browsed.head
        if head is not None and int(text) < head.episodes:
            raise Refused(
                f"episode {text} has not been played yet",
                evidence=f"{len(browsed.episodes)} of {head.episodes} episodes have left something",
                todo=f"go on with --resume {browsed.directory}",
            )
    found = [episode for episode in browsed.episodes if episode.id.startswith(text)]
    exact = [episode for episode in found if episode.id == text]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise Refused(
            f"more than one episode begins with {text}",
            evidence=_listed("candidates:", [episode.id for episode in found]),
            todo="write more of it, or its index",
        )
    raise Refused(
        f"there is no episode {text}",
        evidence=_listed("there are", [str(episode.index) for episode in browsed.episodes]),
        todo=f"coworld-actors episodes {browsed.directory} lists them",
    )


def read_record(path: Path) -> tuple[EpisodeRecord | None, str]:
    """An episode's `episode.json`, or what is wrong with it.

    Args:
        path: the episode's directory.
    """
    try:
        data = read_role_file(path / _RECORD, RECORD_LIMIT)
    except FileRefused as error:
        return None, error.what
    if data is None:
        return None, f"{_RECORD} is not there: the episode is being played, or whoever played it was killed"
    try:
        return msgspec.json.decode(data, type=EpisodeRecord), ""
    except msgspec.MsgspecError as error:
        return None, f"{_RECORD} cannot be read: {error}"


def _browse_batch(directory: Path) -> Browsed:
    head, lines = read_batch(directory)
    names = head.entrants
    coworld = f"{head.coworld} {head.game_version}"
    views = [_of_line(line, coworld, names) for line in lines]
    views += _open_ones(directory, coworld, {line.index for line in lines})
    return Browsed(
        directory=directory, kind=Kind.BATCH, head=head, episodes=tuple(sorted(views, key=lambda view: view.index))
    )


def _of_line(line: EpisodeLine, coworld: str, names: Sequence[str]) -> EpisodeView:
    return EpisodeView(
        index=line.index,
        id=PurePosixPath(line.directory).name or f"e{line.index:04d}",
        coworld=coworld,
        variant=line.variant,
        block=line.block,
        seed=line.seed,
        seed_applied=line.seed_applied,
        status=line.status,
        reason=line.reason,
        blame=line.blame,
        message=line.message,
        seats=tuple(
            SeatView(
                player=names[seat.entrant] if 0 <= seat.entrant < len(names) else f"player {seat.entrant}",
                score=seat.score,
                end=seat.end,
                fault=seat.fault,
                evidence=seat.evidence,
            )
            for seat in line.seats
        ),
        started=line.started,
        seconds=line.seconds,
        attempts=line.attempts,
        overload=line.overload,
        directory=line.directory,
    )


def _open_ones(directory: Path, coworld: str, settled: Collection[int]) -> list[EpisodeView]:
    """Episodes that have files and no line; of several attempts the last one."""
    found: dict[int, EpisodeView] = {}
    try:
        names = sorted(each.name for each in (directory / "episodes").iterdir())
    except OSError:
        return []
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is not None and (index := int(match[1])) not in settled:
            attempt = int(match[2].removeprefix("-try")) if match[2] else 1
            if index not in found or found[index].attempts < attempt:
                found[index] = EpisodeView(
                    index=index, id=name, coworld=coworld, attempts=attempt, directory=f"episodes/{name}"
                )
    return list(found.values())


def _browse_runs(directory: Path, names: Iterable[str]) -> Browsed:
    views: list[EpisodeView] = []
    troubles: list[str] = []
    batches: list[str] = []
    for name in names:
        place = directory / name
        # `latest` is a link to one of the others.
        if place.is_symlink() or not place.is_dir():
            continue
        if (place / "batch.json").exists():
            batches.append(name)
        elif (place / _RECORD).exists() or ((place / _EVENTS).exists() and (place / "logs").exists()):
            view, trouble = _single(place, len(views), name, name)
            views.append(view)
            troubles += [f"{name}: {trouble}"] if trouble else []
    if not views:
        raise Refused(
            f"{directory} has no episodes in it",
            evidence=_listed("batches:", batches)
            if batches
            else "it has neither batch.json nor episode.json, and no directory in it has",
            todo=f"name one of the batches: {directory / batches[0]}"
            if batches
            else "name the directory of a batch or of a run; runs/ has those of `run`",
        )
    troubles += [f"{name} is a batch: coworld-actors episodes {directory / name}" for name in batches]
    return Browsed(directory=directory, kind=Kind.RUNS, episodes=tuple(views), troubles=tuple(troubles))


def _single(place: Path, index: int, name: str, directory: str) -> tuple[EpisodeView, str]:
    record, trouble = read_record(place)
    if record is None:
        return EpisodeView(index=index, id=name, directory=directory), trouble
    verdict = record.verdict
    view = EpisodeView(
        index=index,
        id=name,
        coworld=f"{record.coworld} {record.game_version}",
        variant=record.variant,
        status=_status(verdict),
        reason=verdict.reason,
        blame=verdict.blame,
        message="" if verdict.good else verdict.message,
        seats=tuple(
            SeatView(player=seat.name, score=seat.score, end=seat.end, fault=seat.fault, evidence=seat.evidence)
            for seat in record.seats
        ),
        started=record.started,
        seconds=record.seconds,
        directory=directory,
    )
    return view, ""


def _status(verdict: Verdict) -> str:
    if verdict.reason in _MACHINE:
        return Status.INFRASTRUCTURE
    return Status.GOOD if verdict.good else Status.FAILED


def _matching(text: str, names: Sequence[str], what: str) -> list[str]:
    """The name that it is, else all that begin so."""
    begins = [name for name in names if name.startswith(text)]
    if not begins:
        raise Refused(f"there is no {what} {text}", evidence=_listed("there are", names), todo="choose one of them")
    return [name for name in begins if name == text] or begins


def _listed(lead: str, names: Sequence[str]) -> str:
    if not names:
        return "there are none"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{lead} {', '.join(names[:_NAMED])}{more}"
