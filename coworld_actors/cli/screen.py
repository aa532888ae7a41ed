"""What a person sees: a live picture on a terminal, plain lines elsewhere, and the outcome as a table.

Progress and prose go to stderr, the outcome to stdout; with `--json` stdout belongs to the one document.
"""

from __future__ import annotations

import contextlib
import enum
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from coworld_actors.actors import EventStream, Record
from coworld_actors.cli.exits import complain
from coworld_actors.cli.streams import Stream
from coworld_actors.episode.advice import next_step
from coworld_actors.episode.events import (
    ChaosInjected,
    GameRestarted,
    OldNamesSpoken,
    Phase,
    PhaseEntered,
    RoleEnded,
    RoleStarted,
    SeatJoined,
    SupportEnded,
)
from coworld_actors.episode.pages import Pages
from coworld_actors.episode.record import EpisodeRecord, SupportReport
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.traffic.report import Judgement
from coworld_actors.traffic.report import lines as tap_lines
from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.printable import printable

__all__ = ["Detail", "Screen", "number_text", "safe_text"]

MANY_SEATS = 16
"""From here on the live picture counts seats instead of listing them: a row each would not fit a terminal."""


class Detail(enum.Enum):
    """How much to show."""

    QUIET = "quiet"
    NORMAL = "normal"
    VERBOSE = "verbose"


def safe_text(text: str, style: str = "") -> Text:
    """The only way for words to the screen: most are strangers', and a terminal obeys what it is shown."""
    return Text(printable(text), style=style)


class Screen:
    """Shows one run.

    Args:
        detail: how much.
        as_json: keep off stdout.
    """

    def __init__(self, detail: Detail, *, as_json: bool) -> None:
        self._detail = detail
        stderr, stdout = Stream(sys.stderr), Stream(sys.stdout)
        # https://no-color.org: set and not empty. Older versions of rich take an empty one for set.
        no_color = bool(os.environ.get("NO_COLOR"))
        self._stdout = stdout
        self._stderr = stderr
        self._live: Live | None = None
        self._progress = Console(file=stderr.file, highlight=False, no_color=no_color)
        self._coloured = self._progress.color_system is not None and not no_color
        self._result = Console(file=(stderr if as_json else stdout).file, highlight=False, no_color=no_color)

    @property
    def trouble(self) -> PreconditionMissing | None:
        """What a user has to know when the outcome could not be shown."""
        return self._stdout.trouble("stdout")

    @property
    def attended(self) -> bool:
        """Whether progress is shown on a terminal, so that somebody is likely to sit there."""
        return self._stderr.isatty()

    def restore(self) -> None:
        """Give the terminal back as it was, for when the process ends from inside of `follow`."""
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """One sentence beside the progress."""
        if self._detail is not Detail.QUIET:
            self._progress.print(safe_text(text))

    def pages(self, pages: Pages) -> None:
        """Where to play and watch: addresses that hold tokens, for whoever reads along here and nobody else."""
        lines = [f"play seat {slot}: {address}" for slot, address in sorted(pages.players.items())]
        lines.append(f"watch: {pages.viewer}")
        if pages.admin is not None:
            lines.append(f"admin: {pages.admin}")
        lines += [f"warning: {sentence}" for sentence in pages.missing]
        if not pages.playable:
            lines += [f"a program can play seat {slot}: {address}" for slot, address in sorted(pages.sockets.items())]
        for line in lines:
            self._progress.print(safe_text(line), soft_wrap=True)

    def address(self, what: str, address: str) -> None:
        """Where to look at one thing; not even a quiet screen is without it."""
        self._progress.print(safe_text(f"{what}: {address}"), soft_wrap=True)

    @contextlib.contextmanager
    def follow(self, stream: EventStream, spec: EpisodeSpec) -> Generator[None]:
        """Show what happens while the block runs."""
        if self._detail is Detail.QUIET:
            yield
        elif self._detail is Detail.VERBOSE:
            with _subscribed(stream, _log_line(self._stderr, self._coloured)):
                yield
        elif self._stderr.isatty() and not self._progress.is_dumb_terminal:
            picture = _Picture(spec)
            self._live = Live(picture, console=self._progress, refresh_per_second=8, transient=True)
            with self._live, _subscribed(stream, picture.on_record):
                yield
        else:
            with _subscribed(stream, self._plain_line):
                yield

    def _plain_line(self, record: Record) -> None:
        text = _sentence(record)
        if text:
            self._progress.print(safe_text(f"{record.at:8.2f}s  {text}"), soft_wrap=True)

    def outcome(
        self, record: EpisodeRecord, *, interrupted: bool, verified: bool = False, hosted: bool = False
    ) -> None:
        """The table and where the files are, or what went wrong, why, what to do and where to look.

        Args:
            record: of the ended episode.
            interrupted: a signal has ended it.
            verified: its replay was to be loaded again.
            hosted: it was played for people, who may leave when they like.
        """
        verdict = record.verdict
        if self._detail is not Detail.QUIET:
            self._result.print(_seat_table(record))
            for report in record.reports:
                self._result.print(safe_text(_report_line(report)), soft_wrap=True)
            for line in () if record.tap is None else tap_lines(record.tap):
                self._result.print(safe_text(line), soft_wrap=True)
        elif verdict.good:
            scores = ", ".join(f"{seat.slot}={number_text(seat.score)}" for seat in record.seats)
            self._result.print(safe_text(f"{record.id}: {verdict.reason}; scores {scores}"), soft_wrap=True)
        if verdict.good and verified and self._detail is not Detail.QUIET:
            self._result.print("the replay loads")
        if verdict.good or (interrupted and hosted):
            self._complain_of_budget(record)
            if not verdict.good:
                self.note("the episode was left before its end, and does not count")
            self._result.print(safe_text(f"files: {record.directory}"), soft_wrap=True)
            return
        lines = [f"episode {record.id} {'was stopped' if interrupted else 'does not count'}: {verdict.message}"]
        if verdict.evidence:
            lines.append(f"evidence: {verdict.evidence}")
        step = next_step(record)
        if step:
            lines.append(f"try: {step}")
        complain([*lines, f"files: {record.directory}"] if record.directory else lines)

    def _complain_of_budget(self, record: EpisodeRecord) -> None:
        budget = None if record.tap is None else record.tap.budget
        if budget is not None and budget.judgement is not Judgement.PASSED:
            words = "is exceeded" if budget.judgement is Judgement.FAILED else "could not be judged"
            complain([f"the budget {budget.budget} {words}: {budget.reason}", f"evidence: {record.directory}/tap.json"])


@contextlib.contextmanager
def _subscribed(stream: EventStream, callback: Callable[[Record], None]) -> Generator[None]:
    unsubscribe = stream.subscribe(callback)
    try:
        yield
    finally:
        unsubscribe()


def _log_line(stderr: Stream, coloured: bool) -> Callable[[Record], None]:
    """Every event as one structlog line with episode, actor and incarnation bound; configures nothing globally."""
    # Only --verbose needs it, and it brings asyncio along.
    import structlog

    logger = structlog.wrap_logger(
        structlog.PrintLogger(stderr.file),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=coloured),
        ],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=False,
    )

    def log(record: Record) -> None:
        fields = msgspec.to_builtins(record.event, enc_hook=str)
        name = fields.pop("type")
        bound = logger.bind(episode=record.scope) if record.scope else logger
        if record.actor:
            bound = bound.bind(actor=record.actor, incarnation=record.incarnation)
        bound.info(name, **fields)

    return log


_PHASES = {
    Phase.STARTING: "starting the game",
    Phase.PROBING: "the game is healthy; checking the contract",
    Phase.SEATING: "starting the players",
    Phase.PLAYING: "playing",
    Phase.CLOSING: "the play is over; players leave",
    Phase.CHECKING: "checking results",
    Phase.REPORTING: "reporters and graders at work",
}


def _sentence(record: Record) -> str:
    """An event as a line for people; empty for what only a log needs."""
    match record.event:
        case PhaseEntered(phase=phase):
            return _PHASES.get(phase, "")
        case RoleEnded(role="player", name=name, end=end, ok=False):
            return f"{name} ended: {end}"
        case GameRestarted(port=port):
            return f"port {port} was taken by somebody else; starting the game again"
        case OldNamesSpoken():
            return "the game speaks the contract's old names"
        case ChaosInjected(slot=slot, connection=connection, direction=direction, fault=fault, frame=frame):
            way = "the game" if direction == "to_game" else "the player"
            return f"chaos: {fault} at frame {frame} to {way}, seat {slot}, connection {connection}"
        case SupportEnded(role=role, id=identity, ok=ok, message=message):
            return f"{role} {identity}: {'done' if ok else message}"
        case _:
            return ""


class _Picture:
    """The live picture: one line per role and the phase, drawn anew whenever the terminal is refreshed."""

    def __init__(self, spec: EpisodeSpec) -> None:
        self._title = f"{spec.plan.manifest.game.name} {spec.plan.manifest.game.version}  {spec.id}"
        self._names = {f"player-{seat.slot}": f"seat {seat.slot}  {seat.name}" for seat in spec.plan.seats}
        self._phase = Phase.STARTING
        self._states: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._clock = time.monotonic
        for seat in spec.plan.seats:
            if seat.runnable is None:
                self._set(f"player-{seat.slot}", "a person's")

    def on_record(self, record: Record) -> None:
        """Take an event into the picture."""
        match record.event:
            case PhaseEntered(phase=phase):
                self._phase = phase
            case RoleStarted(name=name):
                self._set(name, "running")
            case SeatJoined(slot=slot):
                self._set(f"player-{slot}", "connected")
            case RoleEnded(name=name, end=end, ok=ok):
                self._set(name, "finished" if ok else end)
            case _:
                pass

    def _set(self, name: str, state: str) -> None:
        self._states[name] = state
        self._since.setdefault(name, self._clock())

    def __rich__(self) -> Group:
        table = Table.grid(padding=(0, 2))
        players = [name for name in self._states if name in self._names]
        shown = [name for name in self._states if name not in self._names]
        if len(self._names) < MANY_SEATS:
            shown += players
        for name in shown:
            age = self._clock() - self._since[name]
            table.add_row(
                safe_text(self._names.get(name, name)), safe_text(self._states[name]), safe_text(f"{age:6.1f}s", "dim")
            )
        if len(self._names) >= MANY_SEATS and players:
            counts = Counter(self._states[name] for name in players)
            words = ", ".join(f"{count} {state}" for state, count in counts.most_common())
            table.add_row(safe_text(f"{len(players)} players"), safe_text(words), safe_text(""))
        return Group(safe_text(f"{self._title}  {_PHASES.get(self._phase, self._phase)}", "bold"), table)


def number_text(value: float | None) -> str:
    """A score as people read it."""
    return "-" if value is None else f"{value:g}"


def _seat_table(record: EpisodeRecord) -> Table:
    """Seats by score, the best first; a seat with a fault says what it rests on."""
    title = f"{record.coworld} {record.game_version}  {record.variant}".rstrip()
    table = Table(title=safe_text(title, "table.title"), title_justify="left")
    for heading, justify in (
        ("seat", "right"),
        ("player", "left"),
        ("name", "left"),
        ("score", "right"),
        ("end", "left"),
    ):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    ranked = sorted(record.seats, key=lambda seat: (-(seat.score if seat.score is not None else -math.inf), seat.slot))
    best = ranked[0].score if ranked else None
    for seat in ranked:
        end = f"{seat.end} ({seat.evidence})" if seat.fault and seat.evidence else str(seat.end)
        won = record.verdict.good and seat.score is not None and seat.score == best
        table.add_row(
            safe_text(str(seat.slot)),
            safe_text(seat.player),
            safe_text(seat.name),
            safe_text(number_text(seat.score), "bold green" if won else ""),
            safe_text(end, "red" if seat.fault else ""),
        )
    return table


def _report_line(report: SupportReport) -> str:
    if not report.ok:
        return f"{report.role} {report.id} failed: {report.message} ({report.evidence})"
    score = f" score {report.score:g}," if report.score is not None else ""
    return f"{report.role} {report.id}:{score} {report.render or report.output}"
