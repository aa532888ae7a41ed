"""What `coworld-actors ctl` shows: pure functions from what runtimes say to rows and lines."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coworld_actors.cli.streams import Stream
from coworld_actors.control.anomalies import Finding
from coworld_actors.control.client import Connection
from coworld_actors.control.messages import ControlStatistics
from coworld_actors.control.tree import ActorStatus
from coworld_actors.runtime.handle import EpisodeStatus
from coworld_actors.runtime.statistics import RuntimeStatistics
from coworld_protocol.printable import printable

__all__ = [
    "Sheet",
    "actor_sheet",
    "duration",
    "episode_sheet",
    "event_line",
    "finding_lines",
    "plain",
    "runtime_sheet",
    "show",
    "statistics_sheet",
]

_GAP = "  "


class Sheet(NamedTuple):
    """A table.

    Attributes:
        headings: one for each column; one that begins with `>` is aligned to the right.
        rows: as many cells each.
    """

    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]


def duration(seconds: float | None) -> str:
    """A time as people read it: `0.4s`, `2m05s`, `3h07m`, `2d04h`; `-` for none."""
    if seconds is None:
        return "-"
    tenths = round(max(seconds, 0.0) * 10)
    if tenths < 600:
        return f"{tenths / 10:.1f}s"
    whole = tenths // 10
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def runtime_sheet(connections: Iterable[Connection]) -> Sheet:
    """Who is running, one row each."""
    headings = ("name", ">pid", ">age", ">running", ">queued", ">parallel", "state", "socket")
    return Sheet(
        headings,
        [
            (
                each.hello.name,
                str(each.hello.pid),
                duration(each.hello.seconds),
                str(each.hello.running),
                str(each.hello.queued),
                str(each.hello.parallel),
                "paused" if each.hello.paused else "open",
                str(each.path),
            )
            for each in connections
        ],
    )


def actor_sheet(actors: Iterable[ActorStatus]) -> Sheet:
    """Actors as an indented tree; one whose supervisor is not listed has its whole path."""
    headings = ("actor", "kind", "state", ">in state", ">restarts", ">queue", ">busy", ">age")
    return Sheet(
        headings,
        [
            (
                _GAP * actor.depth + (actor.path.rpartition("/")[2] if actor.depth else actor.path),
                actor.kind,
                actor.state,
                duration(actor.in_state),
                str(actor.restarts),
                f"{actor.queued}/{actor.capacity}" if actor.capacity else "-",
                duration(actor.busy),
                duration(actor.age),
            )
            for actor in actors
        ],
    )


def episode_sheet(episodes: Iterable[EpisodeStatus]) -> Sheet:
    """Episodes, one row each."""
    headings = ("episode", "coworld", "variant", ">seats", "state", ">for", ">in all")
    return Sheet(
        headings,
        [
            (
                episode.id,
                episode.coworld,
                episode.variant,
                str(episode.seats),
                (episode.phase or str(episode.state)) + (", called off" if episode.cancelled else ""),
                duration(episode.in_state),
                duration(episode.seconds),
            )
            for episode in episodes
        ],
    )


def statistics_sheet(runtime: RuntimeStatistics, control: ControlStatistics) -> Sheet:
    """Counters, one row each."""
    loop = runtime.loop
    rows: list[tuple[str, ...]] = [
        ("open for", duration(runtime.seconds)),
        ("episodes at once", f"{runtime.parallel}{', paused' if runtime.paused else ''}"),
        ("running", str(runtime.running)),
        ("queued", f"{runtime.queued}, {runtime.outside} callers outside"),
        ("accepted ever", str(runtime.accepted)),
        *((f"  {outcome}", str(count)) for outcome, count in sorted(runtime.outcomes.items())),
        ("actors", str(runtime.actors)),
        ("dead letters", str(sum(runtime.dead_letters.values()))),
        *((f"  {reason}", str(count)) for reason, count in sorted(runtime.dead_letters.items())),
        ("events", f"{runtime.events.published}, {runtime.events.dropped} lost by slow readers"),
        ("subscribers", f"{runtime.events.subscribers}, {runtime.events.failed} failed"),
    ]
    rows.append(("loop lag", f"{loop.lag:.3f}s, at worst {loop.worst_lag:.3f}s, blocked {loop.blocked} times"))
    turned_away = f"{control.turned_away} too many, {control.strangers} of strangers, {control.stalled} stalled"
    rows.append(("control", f"{control.connections} connections of {control.accepted} ever; {turned_away}"))
    return Sheet(("", ""), rows)


def finding_lines(findings: Iterable[Finding], left_out: int) -> list[str]:
    """What looks wrong, a line each."""
    lines = [f"{finding.trouble}: {finding.text}" for finding in findings]
    if left_out:
        lines.append(f"and {left_out} more")
    return lines


_RENDERERS = {colours: structlog.dev.ConsoleRenderer(colors=colours) for colours in (False, True)}


def event_line(record: bytes, *, coloured: bool = False) -> str:
    """A record as `run --verbose` shows it, with its number and the time at which it was made.

    Raises:
        ValueError: it is no record.
    """
    try:
        fields: dict[str, Any] = msgspec.json.decode(record)
        fields["seq"] = int(fields["seq"])
        event = dict(fields["event"])
        moment = datetime.datetime.fromtimestamp(fields["time"], datetime.UTC)
        shown: dict[str, Any] = {
            "timestamp": moment.isoformat().replace("+00:00", "Z"),
            "event": str(event.pop("type")),
        }
        if fields["scope"]:
            shown["episode"] = fields["scope"]
        if fields["actor"]:
            shown |= {"actor": fields["actor"], "incarnation": fields["incarnation"]}
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise ValueError(f"this is no record: {type(error).__name__}: {error}") from None
    shown |= {key: value for key, value in event.items() if key not in shown}
    clean = {printable(key): _clean(value) for key, value in shown.items()}
    return f"{fields['seq']:>6}  {_RENDERERS[coloured](None, '', clean)}"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {printable(key): _clean(each) for key, each in value.items()}
    return value


def plain(sheet: Sheet) -> list[str]:
    """A table as lines of aligned columns, without anything that a terminal would obey."""
    table = [tuple(printable(cell.removeprefix(">")) for cell in sheet.headings)] if any(sheet.headings) else []
    table += [tuple(printable(cell) for cell in row) for row in sheet.rows]
    widths = [max((len(row[column]) for row in table), default=0) for column in range(len(sheet.headings))]
    return [_GAP.join(_aligned(sheet.headings, row, widths)).rstrip() for row in table]


def _aligned(headings: Sequence[str], row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    for heading, cell, width in zip(headings, row, widths, strict=True):
        yield cell.rjust(width) if heading.startswith(">") else cell.ljust(width)


def show(sheet: Sheet, stream: Stream) -> None:
    """Print a table: drawn on a terminal, as plain lines elsewhere."""
    if not stream.isatty():
        for line in plain(sheet):
            stream.write(f"{line}\n")
        return
    table = Table(show_header=any(sheet.headings), box=None, pad_edge=False)
    for heading in sheet.headings:
        right = heading.startswith(">")
        table.add_column(heading.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in sheet.rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(file=stream.file, highlight=False, no_color=bool(os.environ.get("NO_COLOR"))).print(table)
