"""`coworld-actors traffic`: what a recording of the tap has."""

from __future__ import annotations

import base64
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from coworld_actors.cli.exits import Exit, Outcome
from coworld_actors.cli.streams import Stream
from coworld_protocol.errors import Refused
from coworld_protocol.printable import printable

if TYPE_CHECKING:
    from coworld_actors.traffic.decode import Piece
    from coworld_actors.traffic.playback import Frame, Recording

__all__ = ["traffic"]

_SHOWN = 100
"""Characters of a frame that a line has room for."""

_WAYS = {"to_player": "to player", "to_game": "to game", "": ""}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seat", type=click.IntRange(min=0), metavar="N", help="Only this seat.")
@click.option("--frames", is_flag=True, help="A line for every frame instead of the summary.")
@click.option(
    "--json", "as_json", is_flag=True, help="The report as JSON; with --frames a line of JSON for every frame first."
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def traffic(file: Path, seat: int | None, frames: bool, as_json: bool, debug: bool) -> Callable[[], Outcome]:
    """Show the traffic that `run --record FILE` has kept.

    \b
    Examples:
      coworld-actors traffic match.cwt
      coworld-actors traffic match.cwt --seat 0 --frames
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    del debug
    return functools.partial(_show, file, seat, frames, as_json)


def _show(file: Path, seat: int | None, frames: bool, as_json: bool) -> Outcome:
    from coworld_actors.traffic.playback import Recording

    recording = Recording(file)
    stdout = Stream(sys.stdout)
    if frames:
        return _show_frames(recording, seat, stdout, as_json)
    from coworld_actors.traffic.report import lines

    report = recording.report(seat)
    _refuse_nothing(recording, seat, nothing=not report.seats)
    if not as_json:
        about = ", ".join(f"{name} {value}" for name, value in recording.header.about.items())
        stdout.write(f"{printable(about) or 'traffic'}, recorded {printable(recording.header.created)}\n")
        for line in lines(report):
            stdout.write(f"{printable(line)}\n")
    return _end(stdout, recording, {"report": report}, lines=False)


def _show_frames(recording: Recording, seat: int | None, stdout: Stream, as_json: bool) -> Outcome:
    shown = 0
    for frame in recording.frames(seat):
        shown += 1
        if as_json:
            stdout.write_utf8(msgspec.json.encode(_object(frame)) + b"\n")
        else:
            stdout.write(f"{_line(frame)}\n")
        if stdout.failure is not None:
            break
    else:
        _refuse_nothing(recording, seat, nothing=not shown)
        if recording.damage and not as_json:
            stdout.write(f"the recording ends early: {printable(recording.damage)}\n")
    return _end(stdout, recording, {"frames": shown}, lines=True)


def _end(stdout: Stream, recording: Recording, fields: dict[str, object], *, lines: bool) -> Outcome:
    stdout.flush()
    error = stdout.trouble("stdout")
    fields = {"header": recording.header, "damage": recording.damage, **fields}
    return Outcome(exit_code=Exit.GOOD if error is None else error.exit_code, error=error, fields=fields, lines=lines)


def _refuse_nothing(recording: Recording, seat: int | None, *, nothing: bool) -> None:
    """A seat that is not in the recording is more likely a mistake than a question."""
    if nothing and seat is not None:
        seats = sorted({entry.slot for entry in recording.entries()})
        raise Refused(
            f"the recording has no traffic of seat {seat}",
            evidence=f"it has seats {', '.join(map(str, seats[:50]))}" if seats else "it has none at all",
            todo="choose one of them, or leave --seat out" if seats else "record an episode whose players connect",
        )


def _line(frame: Frame) -> str:
    piece = frame.piece
    place = f"{frame.at:12.6f}  seat {frame.slot}" + (f"/{frame.connection}" if frame.connection else "")
    kind = piece.kind + ("" if piece.final else "...") + (" packed" if piece.packed else "")
    parts = [place, f"{_WAYS[frame.direction]:9}", f"{kind:6} {piece.size:6} B", _shown(piece)]
    if piece.note:
        parts.append(f"({printable(piece.note)})")
    return "  ".join(parts).rstrip()


def _shown(piece: Piece) -> str:
    """The payload in one line."""
    payload = piece.payload
    match piece.kind:
        case "close":
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            return _short(f"{code} {payload[2:].decode(errors='replace')}".rstrip())
        case "request" | "answer":
            return _short(payload.partition(b"\r\n")[0].decode(errors="replace"))
        case "closed":
            return _short(f"by {payload.decode(errors='replace')}")
        case _:
            pass
    try:
        # A cut may go through a character: the last three bytes may be the start of one.
        text = payload[: 4 * _SHOWN].decode(errors="strict" if len(payload) <= 4 * _SHOWN else "ignore")
    except UnicodeDecodeError:
        text = ""
    readable = piece.kind != "binary" or (bool(text) and text.isprintable())
    return _short(text) if readable and (text or not payload) else _short(payload[:_SHOWN].hex(" "))


def _short(text: str) -> str:
    shown = printable(text[: _SHOWN + 1])
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."


def _object(frame: Frame) -> dict[str, object]:
    """A frame as JSON: its payload is `text` where it is UTF-8, else `base64`."""
    piece = frame.piece
    found: dict[str, object] = {
        "at": frame.at,
        "seat": frame.slot,
        "connection": frame.connection,
        "direction": frame.direction,
        "kind": piece.kind,
        "size": piece.size,
        "final": piece.final,
        "packed": piece.packed,
    }
    try:
        found["text"] = piece.payload.decode()
    except UnicodeDecodeError:
        found["base64"] = base64.b64encode(piece.payload).decode()
    if piece.note:
        found["note"] = piece.note
    return found
