"""What a batch leaves for readers: one head that says what is played, and one line for each episode that has ended."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["LINE_VERSION", "EpisodeLine", "SeatLatency", "SeatLine", "Status"]

LINE_VERSION = 1
"""Version of a line of `episodes.jsonl`; raised when a reader of the old one would misread the new one."""


class Status(enum.StrEnum):
    """What an episode is to the batch."""

    GOOD = "good"
    """It counts."""
    FAILED = "failed"
    """It does not count, and its game or a player is to blame. It is not played again."""
    INVALID = "invalid"
    """The machine was choking while it was played, so that it proves nothing about anybody."""
    INFRASTRUCTURE = "infrastructure"
    """Something of ours or of the machine's kept it from being played."""

    @property
    def settled(self) -> bool:
        """Whether there is nothing to be gained by playing it again."""
        return self in {Status.GOOD, Status.FAILED}


class SeatLatency(msgspec.Struct, frozen=True, kw_only=True):
    """How long a seat took to answer, where the tap ran: seconds.

    Attributes:
        answers: how many.
        p50: half of the answers took no longer.
        p99: 99 % of the answers took no longer.
        longest: the longest one.
    """

    answers: int
    p50: float
    p99: float
    longest: float


class SeatLine(msgspec.Struct, frozen=True, kw_only=True):
    """One seat of an episode.

    Attributes:
        entrant: index of the player in the batch; the seat's number is its place in `EpisodeLine.seats`.
        score: as the game's results name it.
        end: `coworld_actors.episode.verdict.SeatEnd`.
        fault: whether that end is the player's own doing.
        evidence: exit code or signal, and the last thing it wrote.
        latency: where the tap ran.
    """

    entrant: int
    score: float | None = None
    end: str = ""
    fault: bool = False
    evidence: str = ""
    latency: SeatLatency | None = None


class EpisodeLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `episodes.jsonl`. A later line with the same `index` takes the place of an earlier one.

    Attributes:
        version: of this document.
        index: the episode's place in the schedule, from 0.
        variant: id of the variant, or `certification`.
        lineup: which of the schedule's lineups sat down.
        block: the block that it belongs to; results are analysed per block.
        seed: the episode's seed.
        seed_applied: whether the game was given that seed.
        status: what it is to the batch.
        reason: `coworld_actors.episode.verdict.EndReason`, or `worker_lost`.
        blame: `coworld_actors.episode.verdict.Blame`.
        message: one sentence; empty for a good one.
        seats: in slot order.
        started: wall-clock time, ISO 8601 in UTC.
        seconds: from its first file to its record.
        attempts: how often it was started, this one included.
        overload: what shows that the machine was choking; empty when it was not.
        directory: of its files, relative to the batch's; empty when there are none.
    """

    version: int = LINE_VERSION
    index: int
    variant: str
    lineup: int = 0
    block: int
    seed: int
    seed_applied: bool
    status: Status
    reason: str
    blame: str
    message: str = ""
    seats: tuple[SeatLine, ...]
    started: str
    seconds: float
    attempts: int = 1
    overload: str = ""
    directory: str = ""

    @property
    def counts(self) -> bool:
        """Whether its scores may be used: it is good, and every seat has one."""
        return self.status is Status.GOOD and all(seat.score is not None for seat in self.seats)
