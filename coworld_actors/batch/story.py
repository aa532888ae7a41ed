"""One episode from its own files: what happened when, where it failed, what everybody wrote last, and what to do next."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from coworld_actors.batch.browse import Browsed, EpisodeView, read_record
from coworld_actors.episode.advice import next_step
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.verdict import Blame
from coworld_actors.episode.workspace import FileRefused, open_role_file
from coworld_protocol import contract

__all__ = ["LogTail", "Moment", "Story", "event_records", "tell"]

MOMENTS = 100
"""Moments that are told; the rest is counted."""

TAIL_LINES = 10
TAIL_BYTES = 4096

_EVENTS = "events.jsonl"
_LIMIT = 1 << 40
"""No file of an episode is too large to look at its end."""
_LINE_LIMIT = 16 * 1024 * 1024
_NUMBER = re.compile(r"[0-9]{1,6}")
_CUT = 400
"""Characters of somebody's words in one moment."""

_PHASES = {
    "starting": "starting the game",
    "probing": "the game is healthy; checking the contract",
    "seating": "starting the players",
    "playing": "playing",
    "closing": "the play is over; players leave",
    "checking": "checking results",
    "reporting": "reporters and graders at work",
}


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened.

    Attributes:
        at: seconds since the episode's first event.
        text: a sentence; words of strangers in it are as they are.
        bad: whether it is what an episode may fail of.
    """

    at: float
    text: str
    bad: bool = False


class LogTail(msgspec.Struct, frozen=True, kw_only=True):
    """The end of what a role wrote.

    Attributes:
        name: of the file, relative to the episode's directory.
        size: bytes.
        lines: the last ones, as they are but for bytes that are no UTF-8.
        whole: whether these are all.
    """

    name: str
    size: int
    lines: tuple[str, ...]
    whole: bool


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one looks for first.

    Attributes:
        episode: what the list has of it.
        record: its `episode.json`; None when that is not there.
        timeline: what happened, in order.
        left_out: moments that are not in the timeline.
        failed_at: where it failed, as a sentence; empty for a good one.
        logs: ends of the logs, those of roles to blame first.
        step: what to do about it.
        troubles: what of its files is missing or cannot be read.
        files: its directory, absolute; empty when there is none.
    """

    episode: EpisodeView
    record: EpisodeRecord | None = None
    timeline: tuple[Moment, ...] = ()
    left_out: int = 0
    failed_at: str = ""
    logs: tuple[LogTail, ...] = ()
    step: str = ""
    troubles: tuple[str, ...] = ()
    files: str = ""


def tell(browsed: Browsed, episode: EpisodeView) -> Story:
    """Read an episode's files; what is missing is told in its place."""
    path = browsed.path(episode)
    if path is None or not path.is_dir():
        why = f"its directory {episode.directory} is gone" if episode.directory else "it left no files"
        return Story(episode=episode, troubles=(why,))
    record, trouble = read_record(path)
    troubles = [trouble] if trouble else []
    moments, failed, damage = _timeline(event_records(path))
    troubles += [damage] if damage else []
    bad = record is not None and not record.verdict.good
    return Story(
        episode=episode,
        record=record,
        timeline=tuple(moments[:MOMENTS]),
        left_out=max(len(moments) - MOMENTS, 0),
        failed_at=failed if bad or record is None or any(seat.fault for seat in episode.seats) else "",
        logs=tuple(_logs(path, record)),
        step=next_step(record) if record is not None else "",
        troubles=tuple(troubles),
        files=str(path.resolve()),
    )


def event_records(path: Path) -> Iterator[bytes | str]:
    """Every whole line of an episode's `events.jsonl`; a last `str` says what is wrong with the file.

    Args:
        path: the episode's directory.
    """
    try:
        file = open_role_file(path / _EVENTS, _LIMIT)
    except FileRefused as error:
        yield error.what
        return
    if file is None:
        yield f"{_EVENTS} is not there"
        return
    with file:
        while line := file.readline(_LINE_LIMIT):
            if not line.endswith(b"\n"):
                yield f"{_EVENTS} ends in half a line"
                return
            yield line


def _timeline(records: Iterable[bytes | str]) -> tuple[list[Moment], str, str]:
    """What happened, where the first bad thing happened, and what is wrong with the file."""
    moments: list[Moment] = []
    begin: float | None = None
    phase, failed, damage = "", "", ""
    for number, line in enumerate(records, 1):
        if isinstance(line, str):
            damage = line
            continue
        try:
            record = msgspec.json.decode(line)
            event = dict(record["event"])
            kind, at = str(event["type"]), float(record["at"])
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
            damage = damage or f"line {number} of {_EVENTS} is no record"
            continue
        begin = at if begin is None else begin
        moment = _moment(kind, event, str(record.get("actor", "")), at - begin)
        if kind == "phase_entered":
            phase = str(event.get("phase", ""))
        if moment is not None:
            moments.append(moment)
            if moment.bad and not failed:
                during = f"while {_PHASES[phase]}" if phase in _PHASES else "at the start"
                failed = f"{during}, {moment.at:.2f} s after the start: {moment.text}"
    if not failed and phase in _PHASES and not any(moment.text.startswith("verdict") for moment in moments):
        failed = f"the last thing it is known to have done: {_PHASES[phase]}"
    return moments, failed, damage


def _moment(kind: str, event: Mapping[str, Any], actor: str, at: float) -> Moment | None:
    """An event as a sentence; None for what only a log needs."""
    name = str(event.get("name", ""))
    text, bad = "", False
    match kind:
        case "phase_entered":
            text = _PHASES.get(str(event.get("phase")), "")
        case "seat_joined":
            text = f"seat {event.get('slot')} is connected"
        case "role_ended":
            ok = event.get("ok") is True
            text, bad = f"{name} ended: {event.get('end')}", not ok
        case "game_restarted":
            text = f"port {event.get('port')} was taken by somebody else; starting the game again"
        case "chaos_injected":
            text = (
                f"chaos: {event.get('fault')} at frame {event.get('frame')}, seat {event.get('slot')}, "
                f"connection {event.get('connection')}"
            )
        case "support_ended":
            ok = event.get("ok") is True
            text, bad = f"{event.get('role')} {event.get('id')}: {'done' if ok else event.get('message')}", not ok
        case "actor_crashed":
            text, bad = f"{actor or 'an actor'} failed: {event.get('error')}: {event.get('message')}", True
        case "episode_ended":
            verdict = event.get("verdict")
            if isinstance(verdict, dict):
                words = verdict.get("message") or verdict.get("reason")
                text = f"verdict: {words}"
        case _:
            pass
    return Moment(at=round(at, 6), text=text[:_CUT], bad=bad) if text else None


def _logs(path: Path, record: EpisodeRecord | None) -> Iterator[LogTail]:
    """The game's logs and the players', whoever is to blame first; empty ones are left out."""
    game = [contract.LOG_GAME_STDERR, contract.LOG_GAME_STDOUT]
    slots: Iterable[int] = range(len(record.seats)) if record is not None else _slots(path)
    players = [contract.player_log_name(slot) for slot in slots]
    if record is not None and record.verdict.blame is not Blame.GAME:
        at_fault = [contract.player_log_name(seat.slot) for seat in record.seats if seat.fault]
        names = [*at_fault, *game, *(name for name in players if name not in at_fault)]
    else:
        names = [*game, *players]
    for name in names:
        try:
            file = open_role_file(path / name, _LIMIT)
        except FileRefused as error:
            yield LogTail(name=name, size=0, lines=(error.what,), whole=False)
            continue
        if file is not None:
            with file:
                found = _tail(file, name)
            if found.size:
                yield found


def _slots(path: Path) -> list[int]:
    """Seats that have a log, of an episode without a record."""
    try:
        names = {each.name for each in (path / contract.DIR_LOGS).iterdir()}
    except OSError:
        return []
    numbers = sorted({int(number) for name in names for number in _NUMBER.findall(name)})
    return [slot for slot in numbers if Path(contract.player_log_name(slot)).name in names]


def _tail(file: BinaryIO, name: str) -> LogTail:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - TAIL_BYTES, 0))
    lines = file.read(TAIL_BYTES).decode(errors="replace").splitlines()
    if size > TAIL_BYTES and len(lines) > 1:
        # The first one may be the end of a longer one.
        del lines[0]
    return LogTail(
        name=name, size=size, lines=tuple(lines[-TAIL_LINES:]), whole=size <= TAIL_BYTES and len(lines) <= TAIL_LINES
    )
