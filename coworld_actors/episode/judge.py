"""From findings to a verdict: pure functions, no clock, no files.

The order of the reasons in `judge` is the order of causes: what makes the later ones follow comes first. A game that died of a
signal also refuses the next probe; the signal is the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from coworld_actors.episode.findings import Facts, StartFault, ViolationKind
from coworld_actors.episode.verdict import FAULTS, Blame, EndReason, ResultsCheck, SeatEnd, SeatReport, Verdict
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

_WORDS = {
    SeatEnd.CRASHED: "crashed",
    SeatEnd.OUT_OF_MEMORY: "ran out of memory",
    SeatEnd.START_FAILED: "could not be started",
    SeatEnd.NEVER_CONNECTED: "never connected",
    SeatEnd.OVERSTAYED: "did not exit in time",
}


def seat_end(facts: Facts, slot: int) -> SeatEnd:
    """How the seat ended."""
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
    if status.ok:
        return SeatEnd.FINISHED if ended.at >= facts.over_at() else SeatEnd.LEFT_EARLY
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
                connected=True if slot in facts.connected else False if end is SeatEnd.NEVER_CONNECTED else None,
                score=scores[slot] if slot < len(scores) else None,
                log=log,
            )
        )
    return tuple(reports)


def judge(
    facts: Facts,
    seats: Sequence[SeatReport],
    results: ResultsCheck | None = None,
    replay: tuple[ErrorType, str] | None = None,
) -> Verdict:
    """The verdict on an episode.

    Args:
        facts: what was found.
        seats: every seat's report.
        results: what was found where the results should be; None when nobody looked, because the game did not end well.
        replay: what is wrong with the replay, when it was verified and something is.
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

    def seat_words() -> str:
        worst = [seat for seat in seats if seat.fault]
        first = worst[0]
        more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
        return f"player {first.player} in seat {first.slot} {_WORDS[first.end]}{more}"

    def seat_evidence() -> str:
        return "; ".join(f"seat {seat.slot}: {seat.evidence or seat.end}" for seat in seats if seat.fault)

    if facts.fault:
        return bad(EndReason.INFRASTRUCTURE, ErrorType.PLATFORM_ERROR, Blame.INFRASTRUCTURE, facts.fault.message)
    if facts.aborted and not facts.aborted.deadline:
        return bad(
            EndReason.CANCELLED, ErrorType.EPISODE_INCONCLUSIVE, Blame.CALLER, "the episode was cancelled by its caller"
        )
    ended = facts.game_ended
    crashed = ended is not None and not ended.status.ok and not ended.status.stopped
    if facts.start_failed:
        reason, message = _START[facts.start_failed.fault]
        start = facts.start_failed
        evidence = _evidence(start.status, start.detail) if start.status else start.detail
        return bad(reason, ErrorType.GAME_UNHEALTHY, Blame.GAME, message, evidence)
    if ended and crashed:
        if ended.status.kind is ExitKind.LOST:
            return bad(
                EndReason.INFRASTRUCTURE,
                ErrorType.PLATFORM_ERROR,
                Blame.INFRASTRUCTURE,
                "the game's end was lost",
                str(ended.status),
            )
        oom = ended.status.kind is ExitKind.OOM
        return bad(
            EndReason.GAME_OUT_OF_MEMORY if oom else EndReason.GAME_CRASHED,
            ErrorType.GAME_UNHEALTHY,
            Blame.GAME,
            "the game ran out of memory" if oom else "the game crashed during the episode",
            _evidence(ended.status, ended.tail),
        )
    if facts.violation:
        if facts.violation.kind is ViolationKind.FIRST_FRAME and faulty:
            return bad(
                EndReason.PLAYER_FAILED,
                ErrorType.PLAYER_ERROR,
                Blame.PLAYERS,
                f"{seat_words()} and the game never began",
                seat_evidence(),
            )
        return bad(
            EndReason.CONTRACT_VIOLATED,
            ErrorType.GAME_CONTRACT_VIOLATION,
            Blame.GAME,
            facts.violation.message,
            facts.violation.evidence,
        )
    if facts.aborted:
        if faulty:
            return bad(
                EndReason.PLAYER_FAILED,
                ErrorType.PLAYER_ERROR,
                Blame.PLAYERS,
                f"{seat_words()} and the game did not end before the deadline",
                seat_evidence(),
            )
        written = results is not None and results.error is None
        silence = facts.aborted.silence
        stalled = written or silence >= STALL_SILENCE
        seen = "it never sent a frame" if math.isinf(silence) else f"its last frame is {silence:.1f} s old"
        return bad(
            EndReason.STALLED if stalled else EndReason.TIMED_OUT,
            ErrorType.EPISODE_TIMEOUT,
            Blame.GAME,
            "the game wrote its results and did not exit"
            if written
            else "the game stalled and did not end before the deadline"
            if stalled
            else "the game was still playing at the deadline",
            seen,
        )
    if results and results.error:
        missing = results.error is ErrorType.RESULTS_MISSING
        return bad(
            EndReason.RESULTS_MISSING if missing else EndReason.RESULTS_MALFORMED,
            results.error,
            Blame.GAME,
            "the game ended without results" if missing else "the game's results break its own schema",
            results.message,
        )
    if replay:
        error, message = replay
        missing = error is ErrorType.REPLAY_MISSING
        return bad(EndReason.REPLAY_MISSING if missing else EndReason.REPLAY_UNLOADABLE, error, Blame.GAME, message)
    return Verdict(good=True, reason=EndReason.COMPLETED, failed_seats=faulty)
