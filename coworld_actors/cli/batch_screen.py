"""What a person sees of a batch: a live picture on a terminal, plain lines elsewhere, standings at the end.

As `screen` does it: progress and prose go to stderr, the outcome to stdout, unless stdout belongs to a program.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from coworld_actors.batch.events import (
    BatchEnded,
    BatchEvent,
    BatchLaunched,
    EpisodeBegan,
    EpisodePlaying,
    EpisodeRetried,
    EpisodeSettled,
    ParallelChanged,
)
from coworld_actors.batch.records import EpisodeLine, Status
from coworld_actors.cli.batch_progress import BatchProgress
from coworld_actors.cli.screen import Detail, number_text, safe_text
from coworld_actors.cli.streams import Stream
from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.printable import printable

__all__ = ["BatchScreen"]

ROWS = 10
"""Running episodes that the live picture lists."""
STANDINGS = 16
"""Players that it lists."""
FEW = 50
"""A batch with no more episodes than this has a plain line for each."""
PAUSES = ((1000, 2.0), (math.inf, 10.0))
"""Seconds between two plain lines of a longer one, by episodes up to which: some hundred lines at most in an hour."""
WIDTH = 160
"""Columns of a table where there is no terminal."""
SHOWN = 160
"""Characters of a message that a line has room for."""


class BatchScreen:
    """Shows one batch.

    Args:
        detail: how much.
        off_stdout: whether stdout belongs to a program.
    """

    def __init__(self, detail: Detail, *, off_stdout: bool) -> None:
        stderr, stdout = Stream(sys.stderr), Stream(sys.stdout)
        no_color = bool(os.environ.get("NO_COLOR"))
        self._detail = detail
        self._stdout = stdout
        self._stderr = stderr
        self._live: Live | None = None
        self._plain: _PlainLines | None = None
        self._progress = Console(file=stderr.file, highlight=False, no_color=no_color)
        result = stderr if off_stdout else stdout
        # Without a terminal nobody's window is too narrow for the table.
        width = None if result.isatty() else WIDTH
        self._result = Console(file=result.file, highlight=False, no_color=no_color, width=width)

    @property
    def width(self) -> int:
        """Columns that the outcome has."""
        return self._result.width

    @property
    def trouble(self) -> PreconditionMissing | None:
        """What a user has to know when the outcome could not be shown."""
        return self._stdout.trouble("stdout")

    def restore(self) -> None:
        """Give the terminal back as it was, for when the process ends from inside of `follow`."""
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """One sentence beside the progress."""
        if self._detail is not Detail.QUIET:
            self._progress.print(safe_text(text), soft_wrap=True)

    @contextlib.contextmanager
    def follow(self, progress: BatchProgress, title: str) -> Generator[None]:
        """Show the progress while the block runs."""
        if self._detail is Detail.QUIET:
            yield
        elif self._detail is Detail.NORMAL and self._stderr.isatty() and not self._progress.is_dumb_terminal:
            picture = _Picture(progress, title)
            self._live = Live(picture, console=self._progress, refresh_per_second=4, transient=True)
            with self._live:
                yield
        else:
            self._plain = _PlainLines(progress, self.note, every=self._detail is Detail.VERBOSE)
            yield

    def tell(self, event: BatchEvent) -> None:
        """An event, after the progress has taken it."""
        if self._plain is not None:
            self._plain.tell(event)

    def show(self, what: Table | str | Iterable[str]) -> None:
        """A part of the outcome."""
        if isinstance(what, Table):
            self._result.print(what)
            return
        for line in (what,) if isinstance(what, str) else what:
            self._result.print(safe_text(line), soft_wrap=True)


class _PlainLines:
    """Lines for where there is no terminal: one per episode of a short batch, thinned for a long one; bad news always."""

    def __init__(self, progress: BatchProgress, say: Callable[[str], None], *, every: bool) -> None:
        self._progress = progress
        self._say = say
        self._every = every
        self._pause = 0.0 if progress.total <= FEW or every else next(p for up, p in PAUSES if progress.total <= up)
        self._began = time.monotonic()
        self._last = -math.inf
        self._bad = 0

    def tell(self, event: BatchEvent) -> None:
        progress = self._progress
        match event:
            case BatchLaunched(episodes=episodes, open=left, parallel=parallel, directory=directory):
                played = f", {episodes - left} of them played before" if left < episodes else ""
                self._say(f"{episodes} episodes{played}, {parallel} at once, files in {directory}")
            case EpisodeBegan(index=index, seats=seats, attempt=attempt) if self._every:
                again = f", attempt {attempt}" if attempt > 1 else ""
                self._line(f"e{index:04d} starts: {progress.seated(seats)}{again}")
            case EpisodePlaying(index=index, seconds=seconds) if self._every:
                self._line(f"e{index:04d} plays after {seconds:.2f} s")
            case EpisodeRetried(index=index, attempt=attempt, reason=reason, wait=wait):
                self._line(f"e{index:04d} is tried again in {wait:g} s, attempt {attempt} failed: {_short(reason)}")
            case EpisodeSettled(line=line):
                self._settled(line)
            case ParallelChanged(parallel=parallel, because=because):
                self._line(f"{parallel} at once: {because}")
            case BatchEnded(done=done, total=total, seconds=seconds):
                self._line(f"{done}/{total} after {_span(seconds)}")
            case _:
                pass

    def _settled(self, line: EpisodeLine) -> None:
        now = time.monotonic()
        bad = line.status is not Status.GOOD
        self._bad += bad
        # A batch in which everything fails must not drown its first reasons.
        if now - self._last < self._pause and not (bad and self._bad <= FEW):
            return
        self._last = now
        progress = self._progress
        left = f", {_span(progress.left)} left" if math.isfinite(progress.left) else ""
        self._line(
            f"{progress.done}/{progress.total}  e{line.index:04d} {_episode(progress, line)}"
            f"  ({progress.rate:.0f} a minute{left})" + (f"  {progress.remark}" if progress.remark else "")
        )

    def _line(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:8.2f}s  {text}")


class _Picture:
    """The live picture, drawn anew whenever the terminal is refreshed."""

    def __init__(self, progress: BatchProgress, title: str) -> None:
        self._progress = progress
        self._title = title

    def __rich__(self) -> Group:
        return Group(
            safe_text(self._title, "bold"),
            self._counts(),
            *self._warnings(),
            self._standings(),
            *self._running(),
        )

    def _counts(self) -> Text:
        progress = self._progress
        counts = progress.counts
        parts = [f"done {progress.done}/{progress.total}", f"running {len(progress.running)}"]
        parts += [f"{status} {counts[status]}" for status in Status if status is not Status.GOOD and counts[status]]
        parts.append(f"{progress.rate:.0f} a minute")
        if math.isfinite(progress.left):
            parts.append(f"{_span(progress.left)} left")
        parts.append(f"{progress.parallel} at once" + (f" ({progress.because})" if progress.because else ""))
        return safe_text("  ".join(parts))

    def _warnings(self) -> list[Text]:
        progress = self._progress
        found = [
            safe_text(f"warning: {_short(words)}" + (f" ({count} times)" if count > 1 else ""), "yellow")
            for words, count in progress.warnings.most_common(3)
        ]
        return [safe_text(progress.remark), *found] if progress.remark else found

    def _standings(self) -> Table:
        table = Table.grid(padding=(0, 2))
        standings = self._progress.standings()
        for standing in standings[:STANDINGS]:
            half = "" if standing.half is None else f"+/- {standing.half:.3g}"
            table.add_row(
                safe_text(standing.name),
                safe_text("-" if standing.mean is None else f"{standing.mean:.4g}"),
                safe_text(half),
                safe_text(f"{standing.blocks} blocks", "dim"),
            )
        if len(standings) > STANDINGS:
            table.add_row(safe_text(f"... {len(standings) - STANDINGS} more"))
        return table

    def _running(self) -> list[Table | Text]:
        progress = self._progress
        table = Table.grid(padding=(0, 2))
        now = progress.now()
        running = list(progress.running.values())
        for each in running[:ROWS]:
            table.add_row(
                safe_text(f"e{each.index:04d}"),
                safe_text(_short(progress.seated(each.seats), 60)),
                safe_text(each.phase if each.attempt == 1 else f"{each.phase}, attempt {each.attempt}"),
                safe_text(f"{now - each.since:6.1f}s", "dim"),
            )
        more = [safe_text(f"... {len(running) - ROWS} more", "dim")] if len(running) > ROWS else []
        return [table, *more]


def _episode(progress: BatchProgress, line: EpisodeLine) -> str:
    """What became of an episode."""
    if line.status is Status.GOOD:
        names = progress.schedule.entrants
        return ", ".join(f"{names[seat.entrant]} {number_text(seat.score)}" for seat in line.seats[:8]) + (
            ", ..." if len(line.seats) > 8 else ""
        )
    return f"{line.status}: {_short(line.overload or line.message or line.reason)}"


def _short(text: str, room: int = SHOWN) -> str:
    shown = printable(text[: room + 1])
    return shown if len(shown) <= room else f"{shown[: room - 3]}..."


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
