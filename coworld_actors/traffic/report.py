"""What the tap reports: for every seat what passed and how long answers took, and what of that may be our own doing."""

from __future__ import annotations

import enum

import msgspec

from coworld_actors.traffic.latency import Latency

__all__ = [
    "OMISSION",
    "REPORT_VERSION",
    "BudgetVerdict",
    "CloseCount",
    "Flow",
    "Judgement",
    "Pace",
    "SeatVerdict",
    "TapCost",
    "TapReport",
    "TapSeatReport",
    "TierCount",
    "lines",
    "seconds_text",
    "span_text",
]

REPORT_VERSION = 1
"""Version of `TapReport`; raised when a reader of the old one would misread the new one."""

OMISSION = (
    "answers: from the newest frame that had reached the player to its next frame back, one for each answer. In a game whose ticks do not "
    "wait this hides ticks that a slow player missed (coordinated omission): corrected has every tick, from the tick to the next "
    "frame back"
)
"""What the two series are, in the report's own words."""


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """What passed in one direction.

    Attributes:
        messages: whole data messages.
        control: whole ping, pong and close frames.
        bytes: all of them on the wire, handshakes included.
    """

    messages: int = 0
    control: int = 0
    bytes: int = 0


class CloseCount(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that ended in the same way.

    Attributes:
        by: `player`, `game` or `tap`: who sent the first close frame, or, without one, who ended the connection.
        code: of that frame; 1005 for one without a code, 1006 when there was no close frame.
        count: how many.
    """

    by: str
    code: int
    count: int


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How regularly a game addresses a player.

    Attributes:
        interval: the usual time between ticks, in seconds; 0 when there were too few to say.
        regular: the share of intervals within a quarter of the usual one, 0 to 1.
        ticked: whether that is a pace of the game's own.
    """

    interval: float = 0.0
    regular: float = 0.0
    ticked: bool = False


class TapSeatReport(msgspec.Struct, frozen=True, kw_only=True):
    """One seat.

    Attributes:
        slot: the seat.
        connects: connections so far.
        upgraded: those that became websockets.
        open: those that are still open.
        to_player: what the game sent.
        to_game: what the player sent.
        answers: from the newest frame that had reached the player to its next frame back; `OMISSION` has the definition.
        corrected: every tick with its wait, of a seat that is ticked; None for others.
        pace: whether it is.
        unprompted: messages of the player's with no unanswered frame before them.
        unanswered: ticks that nothing came back for before their connection ended, or until now.
        closes: how connections ended, most frequent first.
        unread: why the frames of a connection could not be followed, if that happened; its bytes are counted all the same.
    """

    slot: int
    connects: int = 0
    upgraded: int = 0
    open: int = 0
    to_player: Flow = Flow()
    to_game: Flow = Flow()
    answers: Latency = Latency()
    corrected: Latency | None = None
    pace: Pace = Pace()
    unprompted: int = 0
    unanswered: int = 0
    closes: tuple[CloseCount, ...] = ()
    unread: str = ""


class TapCost(msgspec.Struct, frozen=True, kw_only=True):
    """What of the times may be ours.

    Attributes:
        cost: from the moment something was seen to be ready until it had been forwarded.
        lag: how late our own event loop came to a timer of its own: while it is late, nobody is forwarded.
    """

    cost: Latency = Latency()
    lag: Latency = Latency()


class Judgement(enum.StrEnum):
    """What a budget says."""

    PASSED = "passed"
    FAILED = "failed"
    REFUSED = "refused"
    """There is nothing that could be judged, or the runner was the slow one."""


class TierCount(msgspec.Struct, frozen=True, kw_only=True):
    """One tier and what came of it.

    Attributes:
        limit: seconds.
        allowed: how often an answer may take longer.
        over: how often one did.
    """

    limit: float
    allowed: int
    over: int


class SeatVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One seat against the budget.

    Attributes:
        slot: the seat.
        judgement: what came out.
        series: `answers` or `corrected`: what was judged.
        tiers: every tier, shortest limit first.
        reason: why it failed or was refused; empty when it passed.
    """

    slot: int
    judgement: Judgement
    series: str
    tiers: tuple[TierCount, ...]
    reason: str = ""


class BudgetVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """All seats against the budget.

    Attributes:
        budget: as it was written.
        judgement: failed if a seat failed; else refused if one was refused; else passed.
        seats: every seat.
        reason: the first seat's reason that decided it.
    """

    budget: str
    judgement: Judgement
    seats: tuple[SeatVerdict, ...]
    reason: str = ""


class TapReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the tap saw of an episode, or what a recording has of it.

    Attributes:
        version: of this document.
        seats: every seat, in order.
        own: what of the times may be ours; None where nobody measured it, as for a recording.
        budget: the verdict, where a budget was set.
        definition: what the two series are.
        chaos: what was done to the connections on purpose, in a form that repeats it; empty for nothing.
        recording: where the traffic was kept.
        notes: what a reader has to know: frames that could not be followed, a recording that is not whole.
    """

    version: int = REPORT_VERSION
    seats: tuple[TapSeatReport, ...] = ()
    own: TapCost | None = None
    budget: BudgetVerdict | None = None
    definition: str = OMISSION
    chaos: str = ""
    recording: str = ""
    notes: tuple[str, ...] = ()


def seconds_text(seconds: float) -> str:
    """A duration in three digits: `85.0 µs`, `1.20 ms`, `3.40 s`."""
    unit, size = _unit(seconds)
    return f"{_three(seconds / size)} {unit}"


def span_text(low: float, high: float) -> str:
    """From one duration to another, in the unit of the longer one: `0.85 to 1.20 ms`."""
    unit, size = _unit(high)
    return f"{_three(low / size)} to {_three(high / size)} {unit}"


def _unit(seconds: float) -> tuple[str, float]:
    return ("s", 1.0) if seconds >= 0.9995 else ("ms", 1e-3) if seconds >= 0.9995e-3 else ("µs", 1e-6)


def lines(report: TapReport) -> list[str]:
    """The report for a terminal, a line for each fact; no line has text of strangers but what they sent as a close code."""
    found: list[str] = []
    for seat in report.seats:
        found.append(
            f"seat {seat.slot}: {seat.to_player.messages} messages to the player, {seat.to_game.messages} back, "
            f"{_bytes(seat.to_player.bytes)} and {_bytes(seat.to_game.bytes)}; {_connects(seat)}"
        )
        found.append(f"  answers {_figures(seat.answers)}")
        if seat.corrected is not None:
            every = f"a tick every {seconds_text(seat.pace.interval)}"
            same = seat.corrected == seat.answers
            found.append(f"  no tick missed, {every}" if same else f"  corrected, {every}: {_figures(seat.corrected)}")
        if seat.unread:
            found.append(f"  not followed: {seat.unread}")
    if report.own is not None:
        found.append(f"tap: cost {_figures(report.own.cost)}; our own loop's lag {_figures(report.own.lag)}")
    if report.budget is not None:
        found += _verdict(report.budget)
    if report.chaos:
        found.append(f"chaos: {report.chaos}")
    return found + list(report.notes)


def _verdict(verdict: BudgetVerdict) -> list[str]:
    found = [f"budget {verdict.budget}: {verdict.judgement}" + (f": {verdict.reason}" if verdict.reason else "")]
    for seat in verdict.seats:
        tiers = "; ".join(f"{tier.over} over {seconds_text(tier.limit)}, {tier.allowed} allowed" for tier in seat.tiers)
        found.append(f"  seat {seat.slot} {seat.judgement} on {seat.series}: {tiers}")
    return found


def _connects(seat: TapSeatReport) -> str:
    parts = [f"{seat.connects} connection" + ("" if seat.connects == 1 else "s")]
    parts += [f"{close.count} closed by {close.by} ({close.code})" for close in seat.closes]
    if seat.open:
        parts.append(f"{seat.open} open")
    return ", ".join(parts)


def _figures(latency: Latency) -> str:
    if not latency.count:
        return "none"
    values = (
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p999),
        ("max", latency.max),
    )
    return f"n={latency.count} " + " ".join(f"{name} {seconds_text(value)}" for name, value in values)


def _bytes(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{_three(size / factor)} {unit}"
    return f"{size} B"


def _three(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
