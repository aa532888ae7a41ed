"""From what became of an attempt to the line that is written about it: values in, values out."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from coworld_actors.batch.records import EpisodeLine, SeatLatency, SeatLine, Status
from coworld_actors.batch.schedule import Scheduled
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd, SeatReport, Verdict
from coworld_actors.traffic.report import TapSeatReport
from coworld_protocol.contract import ErrorType
from coworld_protocol.errors import CoworldError, InternalFault

__all__ = ["WORKER_LOST", "line_of", "lost_line", "unplayed_line"]

WORKER_LOST = "worker_lost"
"""The reason of an episode whose process died under it, twice, the second time with nothing else in it."""

_NEVER_THERE = {SeatEnd.START_FAILED, SeatEnd.NEVER_CONNECTED}

_MACHINE = {EndReason.INFRASTRUCTURE, EndReason.INTERNAL, EndReason.CANCELLED}


def line_of(
    scheduled: Scheduled,
    record: EpisodeRecord,
    *,
    overload: str,
    seed_applied: bool,
    attempts: int,
    directory: str,
) -> EpisodeLine:
    """The line of an episode that was played. One that its game ended well without one of its players is a failure of that player's.

    Args:
        scheduled: what was to be played.
        record: what became of it.
        overload: why it proves nothing; empty when it does.
        seed_applied: whether the game was given the seed.
        attempts: how often it was started.
        directory: of its files, relative to the batch's; empty when they do not stay.
    """
    verdict = record.verdict
    missing = [seat for seat in record.seats if seat.fault and (seat.early or seat.end in _NEVER_THERE)]
    if verdict.good and missing:
        # The game got along without that player, and what it says of it and of the others is no measure of anybody.
        verdict = _spoilt(missing)
    if verdict.reason in _MACHINE:
        status = Status.INFRASTRUCTURE
    elif overload:
        status = Status.INVALID
    else:
        status = Status.GOOD if verdict.good else Status.FAILED
    tapped = {} if record.tap is None else {seat.slot: seat for seat in record.tap.seats}
    message = f"{verdict.message}: {verdict.evidence}" if verdict.evidence else verdict.message
    return EpisodeLine(
        index=scheduled.index,
        variant=scheduled.variant,
        lineup=scheduled.lineup,
        block=scheduled.block,
        seed=scheduled.seed,
        seed_applied=seed_applied,
        status=status,
        reason=verdict.reason,
        blame=verdict.blame,
        message=message,
        seats=tuple(
            SeatLine(
                entrant=entrant,
                score=seat.score,
                end=seat.end,
                fault=seat.fault,
                evidence=seat.evidence if seat.fault else "",
                latency=_latency(tapped.get(seat.slot)),
            )
            for entrant, seat in zip(scheduled.seats, record.seats, strict=True)
        )
        # A defect of ours leaves no seats behind.
        if record.seats
        else _nobody(scheduled),
        started=record.started,
        seconds=record.seconds,
        attempts=attempts,
        overload=overload,
        directory=directory,
    )


def _spoilt(missing: Sequence[SeatReport]) -> Verdict:
    first = missing[0]
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return Verdict(
        good=False,
        reason=EndReason.PLAYER_FAILED,
        error_type=ErrorType.PLAYER_ERROR,
        message=f"the game was played without player {first.player} in seat {first.slot}, which ended as {first.end}{more}",
        evidence=first.evidence,
        blame=Blame.PLAYERS,
        failed_seats=tuple(seat.slot for seat in missing),
    )


def unplayed_line(
    scheduled: Scheduled, error: CoworldError, *, seconds: float, seed_applied: bool, attempts: int, directory: str
) -> EpisodeLine:
    """The line of an episode that something kept from being played.

    Args:
        scheduled: what was to be played.
        error: what it was.
        seconds: after which that was known.
        seed_applied: whether the game would have been given the seed.
        attempts: how often it was tried.
        directory: of its files, relative to the batch's; empty when there are none.
    """
    reason = EndReason.INTERNAL if isinstance(error, InternalFault) else EndReason.INFRASTRUCTURE
    return _line(
        scheduled,
        Status.INFRASTRUCTURE,
        reason,
        Blame.INFRASTRUCTURE,
        error,
        seconds,
        seed_applied,
        attempts,
        directory,
    )


def lost_line(
    scheduled: Scheduled,
    error: CoworldError,
    *,
    seconds: float,
    alone: bool,
    seed_applied: bool,
    attempts: int,
    directory: str,
) -> EpisodeLine:
    """The line of an episode whose process died under it.

    Args:
        scheduled: what was to be played.
        error: how it died.
        seconds: after which that was known.
        alone: it had the process to itself: then it is to blame, its game or a player, nobody can say which.
        seed_applied: whether the game was given the seed.
        attempts: how often it was tried.
        directory: of its files, relative to the batch's; empty when there are none.
    """
    status = Status.FAILED if alone else Status.INFRASTRUCTURE
    blame = Blame.GAME if alone else Blame.INFRASTRUCTURE
    return _line(scheduled, status, WORKER_LOST, blame, error, seconds, seed_applied, attempts, directory)


def _line(
    scheduled: Scheduled,
    status: Status,
    reason: str,
    blame: Blame,
    error: CoworldError,
    seconds: float,
    seed_applied: bool,
    attempts: int,
    directory: str,
) -> EpisodeLine:
    started = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
    return EpisodeLine(
        index=scheduled.index,
        variant=scheduled.variant,
        lineup=scheduled.lineup,
        block=scheduled.block,
        seed=scheduled.seed,
        seed_applied=seed_applied,
        status=status,
        reason=reason,
        blame=blame,
        message=f"{error.what}: {error.evidence}" if error.evidence else error.what,
        seats=_nobody(scheduled),
        started=started.isoformat(timespec="milliseconds"),
        seconds=round(seconds, 6),
        attempts=attempts,
        directory=directory,
    )


def _nobody(scheduled: Scheduled) -> tuple[SeatLine, ...]:
    return tuple(SeatLine(entrant=entrant) for entrant in scheduled.seats)


def _latency(seat: TapSeatReport | None) -> SeatLatency | None:
    """A ticked seat's ticks, any other's answers."""
    if seat is None:
        return None
    series = seat.answers if seat.corrected is None else seat.corrected
    if not series.count:
        return None
    return SeatLatency(answers=series.count, p50=series.p50, p99=series.p99, longest=series.max)
