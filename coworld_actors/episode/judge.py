"""From findings to a verdict: pure functions, no clock, no files.

The order of the reasons in `judge` is the order of causes: what makes the later ones follow comes first. A game that died of a
signal also refuses the next probe; the signal is the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from coworld_actors.episode.findings import Facts, StartFault, ViolationKind
from coworld_actors.episode.verdict import (
    FAULTS,
    Blame,
    EndReason,
    ReplayCheck,
    ResultsCheck,
    SeatEnd,
    SeatReport,
    Verdict,
)
from coworld_drivers.driver import ExitKind, ExitStatus
from coworld_protocol.contract import ErrorType

__all__ = ["STALL_SILENCE", "judge", "seat_end", "seat_reports"]

STALL_SILENCE = 30.0
"""Seconds without a frame on `/global` after which a game that missed its deadline counts as stalled and not as slow."""

_START = {
    StartFault.EXITED: (EndReason.GAME_START_FAILED, "the game exited before it was healthy"),
    StartFault.NEVER_HEALTHY: (EndReason.GAME_NEVER_HEALTHY, "the game never became healthy"),
    StartFault.NOT_LAUNCHED: (EndReason.GAME_START_FAILED, "the game could not be started"),
}

_REPLAY = {
    ErrorType.REPLAY_MISSING: (EndReason.REPLAY_MISSING, Blame.GAME),
    ErrorType.REPLAY_UNLOADABLE: (EndReason.REPLAY_UNLOADABLE, Blame.GAME),
    ErrorType.PLATFORM_ERROR: (EndReason.INFRASTRUCTURE, Blame.INFRASTRUCTURE),
    ErrorType.EPISODE_INCONCLUSIVE: (EndReason.CANCELLED, Blame.CALLER),
}

_WORDS = {
    SeatEnd.CRASHED: "crashed",
    SeatEnd.OUT_OF_MEMORY: "ran out of memory",
    SeatEnd.START_FAILED: "could not be started",
    SeatEnd.NEVER_CONNECTED: "never connected",
    SeatEnd.OVERSTAYED: "did not exit in time",
}


def seat_end(facts: Facts, slot: int) -> SeatEnd:
    """How the seat ended."""
    if slot in facts.people:
        return SeatEnd.PERSON
    ended = facts.seats.get(slot)
    if ended is None:
        return SeatEnd.UNKNOWN if slot in facts.started else SeatEnd.NOT_STARTED
    status = ended.status
    if status is None:
        return SeatEnd.START_FAILED
    if status.stopped:
        if facts.was_absent(slot):
            return SeatEnd.NEVER_CONNECTED
        return SeatEnd.OVERSTAYED if ended.overstayed else SeatEnd.STOPPED
    if not status.ok and ended.at >= facts.over_at and facts.came_too_late(slot):
        return SeatEnd.ORPHANED
    if status.ok and facts.stayed_away(slot):
        return SeatEnd.NEVER_CONNECTED
    if status.ok:
        return SeatEnd.FINISHED if ended.at >= facts.over_at else SeatEnd.LEFT_EARLY
    if status.kind is ExitKind.OOM:
        return SeatEnd.OUT_OF_MEMORY
    if status.kind is ExitKind.LOST:
        return SeatEnd.UNKNOWN
    return SeatEnd.CRASHED


def _evidence(status: ExitStatus | None, tail: str) -> str:
    parts = [] if status is None else [str(status)]
    if tail:
        parts.append(f"last line: {tail}")
    return "; ".join(parts)


def _connected(facts: Facts, slot: int, end: SeatEnd) -> bool | None:
    if slot in facts.connected:
        return True
    if end is SeatEnd.PERSON:
        return None
    return False if facts.tapped or end is SeatEnd.NEVER_CONNECTED else None


def seat_reports(
    facts: Facts, seats: Sequence[tuple[str, str, str]], results: ResultsCheck | None
) -> tuple[SeatReport, ...]:
    """A report for every seat.

    Args:
        facts: what was found.
        seats: per slot (player, display name, path of the log).
        results: scores, when there are any.
    """
    reports: list[SeatReport] = []
    scores = results.scores if results and results.error is None else ()
    for slot, (player, name, log) in enumerate(seats):
        end = seat_end(facts, slot)
        ended = facts.seats.get(slot)
        reports.append(
            SeatReport(
                slot=slot,
                player=player,
                name=name,
                end=end,
                fault=end in FAULTS,
                evidence=_evidence(ended.status, ended.tail) if ended else "",
                early=ended is not None and ended.at < facts.over_at,
                connected=_connected(facts, slot, end),
                score=scores[slot] if slot < len(scores) else None,
                log=log,
            )
        )
    return tuple(reports)


def judge(
    facts: Facts,
    seats: Sequence[SeatReport],
    results: ResultsCheck | None = None,
    replay: ReplayCheck | None = None,
    *,
    probed: bool = True,
) -> Verdict:
    """The verdict on an episode.

    Args:
        facts: what was found.
        seats: every seat's report.
        results: what was found where the results should be; None when nobody looked, because the game did not end well.
        replay: what came of the replay, when it was verified.
        probed: whether the game was held to show something on `/global`.
    """
    faulty = tuple(seat.slot for seat in seats if seat.fault)

    def bad(reason: EndReason, error: ErrorType, blame: Blame, message: str, evidence: str = "") -> Verdict:
        return Verdict(
            good=False,
            reason=reason,
            error_type=error,
            message=message,
            evidence=evidence,
            blame=blame,
            failed_seats=faulty,
        )

    # A deadline or an interrupt that came when the game had ended by itself came too late to be the reason.
    aborted = None if facts.over_by_itself else facts.aborted
    ended = facts.game_ended
    # Who failed after the game was over cannot have kept it from beginning or ending.
    culprits = [
        seat
        for seat in seats
        if seat.fault and (seat.slot not in facts.seats or facts.seats[seat.slot].at < facts.over_at)
    ]
    if facts.fault:
        return bad(EndReason.INFRASTRUCTURE, ErrorType.PLATFORM_ERROR, Blame.INFRASTRUCTURE, facts.fault.message)
    if aborted and not aborted.deadline:
        return bad(
            EndReason.CANCELLED,
            ErrorType.EPISODE_INCONCLUSIVE,
            Blame.CALLER,
            "the episode was cancelled by its caller",
            aborted.reason,
        )
    if facts.never_served:
        served = facts.never_served
        reason, message = _START[served.fault]
        evidence = _evidence(served.status, served.detail) if served.status else served.detail
        # Whose fault an end is does not depend on how early it comes.
        if served.status and served.status.kind in {ExitKind.LOST, ExitKind.OOM}:
            return bad(*_crash(served.status), evidence)
        return bad(reason, ErrorType.GAME_UNHEALTHY, Blame.GAME, message, evidence)
    if ended and facts.over_by_itself and not ended.status.ok:
        return bad(*_crash(ended.status), _evidence(ended.status, ended.tail))
    if facts.violation:
        if facts.violation.kind is ViolationKind.FIRST_FRAME and culprits:
            message = f"{_words(culprits)} and the game never began"
            return bad(
                EndReason.PLAYER_FAILED, ErrorType.PLAYER_ERROR, Blame.PLAYERS, message, _seat_evidence(culprits)
            )
        return bad(
            EndReason.CONTRACT_VIOLATED,
            ErrorType.GAME_CONTRACT_VIOLATION,
            Blame.GAME,
            facts.violation.message,
            facts.violation.evidence,
        )
    if aborted and not facts.healthy:
        reason, message = _START[StartFault.NEVER_HEALTHY]
        answer = f"last answer: {facts.last_answer}" if facts.last_answer else "it never answered"
        return bad(reason, ErrorType.GAME_UNHEALTHY, Blame.GAME, message, answer)
    if aborted:
        written = results is not None and results.error is None
        if culprits and not written:
            message = f"{_words(culprits)} and the game did not end before the deadline"
            return bad(
                EndReason.PLAYER_FAILED, ErrorType.PLAYER_ERROR, Blame.PLAYERS, message, _seat_evidence(culprits)
            )
        stalled = written or aborted.silence >= STALL_SILENCE
        return bad(
            EndReason.STALLED if stalled else EndReason.TIMED_OUT,
            ErrorType.EPISODE_TIMEOUT,
            Blame.GAME,
            "the game wrote its results and did not exit"
            if written
            else "the game stalled and did not end before the deadline"
            if stalled
            else "the game was still playing at the deadline",
            "it never sent a frame"
            if math.isinf(aborted.silence)
            else f"its last frame is {aborted.silence:.1f} s old",
        )
    if ended is None or not facts.over_by_itself:
        return bad(EndReason.INTERNAL, ErrorType.CRASH, Blame.INFRASTRUCTURE, "the game's end was not observed")
    if results and results.error:
        missing = results.error is ErrorType.RESULTS_MISSING
        return bad(
            EndReason.RESULTS_MISSING if missing else EndReason.RESULTS_MALFORMED,
            results.error,
            Blame.GAME,
            "the game ended without results" if missing else "the game's results break its own schema",
            results.message,
        )
    if probed and not facts.frame_seen:
        return bad(
            EndReason.CONTRACT_VIOLATED,
            ErrorType.GAME_CONTRACT_VIOLATION,
            Blame.GAME,
            "the game ended before it sent a frame on /global",
        )
    if replay and replay.error:
        reason, blame = _REPLAY[replay.error]
        return bad(reason, replay.error, blame, replay.message)
    return Verdict(good=True, reason=EndReason.COMPLETED, failed_seats=faulty)


def _crash(status: ExitStatus) -> tuple[EndReason, ErrorType, Blame, str]:
    match status.kind:
        case ExitKind.LOST:
            return EndReason.INFRASTRUCTURE, ErrorType.PLATFORM_ERROR, Blame.INFRASTRUCTURE, "the game's end was lost"
        case ExitKind.OOM:
            return EndReason.GAME_OUT_OF_MEMORY, ErrorType.GAME_UNHEALTHY, Blame.GAME, "the game ran out of memory"
        case _:
            message = "the game crashed during the episode"
            return EndReason.GAME_CRASHED, ErrorType.GAME_UNHEALTHY, Blame.GAME, message


def _words(seats: Sequence[SeatReport]) -> str:
    more = f" (and {len(seats) - 1} more)" if len(seats) > 1 else ""
    return f"player {seats[0].player} in seat {seats[0].slot} {_WORDS[seats[0].end]}{more}"


def _seat_evidence(seats: Sequence[SeatReport]) -> str:
    return "; ".join(f"seat {seat.slot}: {seat.evidence or seat.end}" for seat in seats)
