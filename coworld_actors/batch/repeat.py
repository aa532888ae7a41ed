"""An episode that was played again, beside the first time: what is the same, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from coworld_actors.batch.browse import EpisodeView
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.workspace import RESULTS_LIMIT, FileRefused, read_role_file
from coworld_protocol import contract

__all__ = ["Contrast", "contrast"]

REPLAY_LIMIT = 256 * 1024 * 1024
"""Bytes of a replay that are compared."""


class Contrast(msgspec.Struct, frozen=True, kw_only=True):
    """How a second time differs from the first.

    Attributes:
        same: whether it ended for the same reason, with the same scores, ends and faults of every seat and the same results;
            of an episode that does not count the ends of seats that are not at fault do not matter.
        differences: of those, a sentence each.
        notes: what else was compared, or could not be.
    """

    same: bool
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def contrast(before: EpisodeView, files: Path | None, again: EpisodeRecord) -> Contrast:
    """Compare two times the same episode was played.

    Args:
        before: the first time.
        files: its directory; None when that is gone.
        again: the second time.
    """
    found: list[str] = []
    notes: list[str] = []
    good = again.verdict.good
    if before.reason != again.verdict.reason:
        found.append(f"it ended by {again.verdict.reason}, before by {before.reason or 'nothing that is known'}")
    for slot, (old, new) in enumerate(zip(before.seats, again.seats, strict=False)):
        if old.score != new.score:
            found.append(f"seat {slot} ({old.player}) scored {_number(new.score)}, before {_number(old.score)}")
        if old.end and old.end != new.end:
            # How those end who are left behind by a crash is a race; whose fault it was is none.
            told = found if good or old.fault or new.fault else notes
            told.append(f"seat {slot} ({old.player}) ended by {new.end}, before by {old.end}")
    if files is None or not files.is_dir():
        notes.append("the first time left no files to compare")
    else:
        _compare_files(files, Path(again.directory), found, notes)
    return Contrast(same=not found, differences=tuple(found), notes=tuple(notes))


def _compare_files(before: Path, again: Path, found: list[str], notes: list[str]) -> None:
    results = [_read(each / contract.FILE_RESULTS, RESULTS_LIMIT) for each in (before, again)]
    if None not in results and _value(results[0]) != _value(results[1]):
        found.append(f"{contract.FILE_RESULTS} is another one")
    replays = [_read(each / contract.FILE_REPLAY, REPLAY_LIMIT) for each in (before, again)]
    if None not in replays:
        equal = replays[0] == replays[1]
        notes.append("the replays are equal byte by byte" if equal else "the replays differ, which the results do not")
        if not equal and found:
            notes[-1] = "the replays differ, too"


def _read(path: Path, limit: int) -> bytes | None:
    try:
        return read_role_file(path, limit)
    except FileRefused:
        return None


def _value(data: bytes | None) -> Any:
    """The JSON in it, so that neither spaces nor the order of keys make a difference; else the bytes."""
    try:
        return msgspec.json.decode(data or b"")
    except msgspec.MsgspecError:
        return data


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:g}"
