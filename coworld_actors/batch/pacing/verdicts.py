"""Whether an episode proves anything, given what the machine was like while it was played: pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from coworld_actors.batch.pacing.strain import STARVED_LIMIT, Strain, Symptom, SymptomKind, symptoms
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.verdict import EndReason, SeatEnd

__all__ = ["SLOW_ENDS", "SLOW_REASONS", "invalidated"]

SLOW_ENDS = frozenset(
    {SeatEnd.CRASHED, SeatEnd.NEVER_CONNECTED, SeatEnd.OVERSTAYED, SeatEnd.ORPHANED, SeatEnd.LEFT_EARLY}
)
"""Ends of a seat to which it may come because nobody let it run: it missed a deadline of its own, of the game's or of ours."""

SLOW_REASONS = frozenset(
    {
        EndReason.GAME_NEVER_HEALTHY,
        EndReason.GAME_CRASHED,
        EndReason.CONTRACT_VIOLATED,
        EndReason.TIMED_OUT,
        EndReason.STALLED,
        EndReason.REPLAY_UNLOADABLE,
    }
)
"""Reasons for which an episode may end because nobody let its game run: it missed a deadline, its own or one of ours."""

_OURS = frozenset({EndReason.INFRASTRUCTURE, EndReason.INTERNAL, EndReason.CANCELLED})
"""Nobody who plays is blamed for these, so there is nobody to be cleared."""

_BY_SEATS = frozenset({EndReason.COMPLETED, EndReason.PLAYER_FAILED, EndReason.RESULTS_MISSING})
"""Slowness has to do with these if it has to do with a seat: a game without players may end at once and write nothing."""


def invalidated(record: EpisodeRecord, strain: Strain) -> str:
    """What shows that this episode proves nothing about its game and its players; empty when it counts as it is.

    Args:
        record: what became of the episode.
        strain: what the machine was like from its start to its end.
    """
    found = symptoms(strain)
    reason = record.verdict.reason
    if not found or reason in _OURS:
        return ""
    ends = {seat.end for seat in record.seats}
    if reason in SLOW_REASONS or (reason in _BY_SEATS and not ends.isdisjoint(SLOW_ENDS)):
        return _words(found)
    short = [symptom for symptom in found if symptom.kind is SymptomKind.MEMORY]
    if reason is EndReason.GAME_OUT_OF_MEMORY or (reason in _BY_SEATS and SeatEnd.OUT_OF_MEMORY in ends):
        return _words(short)
    if reason is EndReason.COMPLETED and strain.starved >= STARVED_LIMIT:
        return _words(symptom for symptom in found if symptom.kind is SymptomKind.STALL)
    return ""


def _words(found: Iterable[Symptom]) -> str:
    return "; ".join(symptom.text for symptom in found)
