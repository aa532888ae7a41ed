"""What is said about an episode in the end: values, no judgement.

A verdict says whether the episode counts and why; blame says whose doing it was. They are two things: a good game with a player
that crashed at the end is a good episode with a bad seat. Every seat has an end of its own, so all of them are reported and not
only the first bad one.
"""

from __future__ import annotations

import enum

import msgspec

from coworld_protocol.contract import ErrorType

__all__ = ["FAULTS", "Blame", "EndReason", "ReplayCheck", "ResultsCheck", "SeatEnd", "SeatReport", "Verdict"]


class EndReason(enum.StrEnum):
    """Why an episode ended: exactly one of these."""

    COMPLETED = "completed"
    GAME_START_FAILED = "game_start_failed"
    GAME_NEVER_HEALTHY = "game_never_healthy"
    GAME_CRASHED = "game_crashed"
    GAME_OUT_OF_MEMORY = "game_out_of_memory"
    CONTRACT_VIOLATED = "contract_violated"
    PLAYER_FAILED = "player_failed"
    TIMED_OUT = "timed_out"
    STALLED = "stalled"
    RESULTS_MISSING = "results_missing"
    RESULTS_MALFORMED = "results_malformed"
    REPLAY_MISSING = "replay_missing"
    REPLAY_UNLOADABLE = "replay_unloadable"
    INFRASTRUCTURE = "infrastructure"
    INTERNAL = "internal"
    CANCELLED = "cancelled"


class SeatEnd(enum.StrEnum):
    """How one seat ended: exactly one of these. Of a person's seat nothing more can be told than that a person had it."""

    FINISHED = "finished"
    LEFT_EARLY = "left_early"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    START_FAILED = "start_failed"
    NEVER_CONNECTED = "never_connected"
    OVERSTAYED = "overstayed"
    ORPHANED = "orphaned"
    STOPPED = "stopped"
    NOT_STARTED = "not_started"
    PERSON = "person"
    UNKNOWN = "unknown"


FAULTS = frozenset(
    {SeatEnd.CRASHED, SeatEnd.OUT_OF_MEMORY, SeatEnd.START_FAILED, SeatEnd.NEVER_CONNECTED, SeatEnd.OVERSTAYED}
)
"""Seat ends that are the player's own doing."""


class Blame(enum.StrEnum):
    """Whose doing a bad end was."""

    NOBODY = "nobody"
    GAME = "game"
    PLAYERS = "players"
    INFRASTRUCTURE = "infrastructure"
    CALLER = "caller"


class ResultsCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What was found where the results should be.

    Attributes:
        error: None when they are there and obey their schema; otherwise which of the two it is.
        message: what is wrong, in a sentence.
        scores: one number per seat where the results have such a list, else empty.
    """

    error: ErrorType | None = None
    message: str = ""
    scores: tuple[float, ...] = ()


class ReplayCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What came of loading the replay again.

    Attributes:
        error: None when it was shown; otherwise what kept it from that.
        message: what is wrong, in a sentence.
    """

    error: ErrorType | None = None
    message: str = ""


class SeatReport(msgspec.Struct, frozen=True, kw_only=True):
    """One seat's part of the episode.

    Attributes:
        slot: seat number, from 0.
        player: player id of the manifest, or the image it was given as; `person` for a person.
        name: display name.
        end: how it ended.
        fault: whether that is the player's own doing.
        evidence: exit code or signal, and the last thing it wrote.
        early: whether it ended before the game was over.
        connected: whether it was ever seen connected; None where that cannot be told.
        score: its score, when the results name one.
        log: path of its log, relative to the run's directory; empty for a person.
    """

    slot: int
    player: str
    name: str
    end: SeatEnd
    fault: bool
    evidence: str = ""
    early: bool = False
    connected: bool | None = None
    score: float | None = None
    log: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the episode counts, why it ended, and who is to blame if it does not count.

    Attributes:
        good: the episode produced results that count.
        reason: the one reason it ended for.
        error_type: the contract's name for the failure; None for a good episode.
        message: one sentence.
        evidence: the fact the reason rests on.
        blame: whose doing it was.
        failed_seats: every seat with a fault of its own, also in a good episode.
    """

    good: bool
    reason: EndReason
    error_type: ErrorType | None = None
    message: str = ""
    evidence: str = ""
    blame: Blame = Blame.NOBODY
    failed_seats: tuple[int, ...] = ()
