"""What happens to episodes in a runtime, around what happens inside of them; on the same stream."""

from __future__ import annotations

import msgspec

from coworld_actors.actors import Event

__all__ = [
    "AdmissionChanged",
    "EpisodeAdmitted",
    "EpisodeClosed",
    "EpisodeQueued",
    "RuntimeStopped",
    "RuntimeStopping",
    "StopReport",
]


class EpisodeQueued(Event, frozen=True):
    """An episode was accepted and waits for its turn.

    Attributes:
        ahead: accepted episodes that have not ended, without this one.
    """

    ahead: int


class EpisodeAdmitted(Event, frozen=True):
    """An episode's turn has come.

    Attributes:
        waited: seconds since it was accepted.
    """

    waited: float


class EpisodeClosed(Event, frozen=True):
    """An accepted episode is over; exactly one of these follows each `EpisodeQueued`. It holds all that a log line or a metric needs.

    Attributes:
        coworld: name of the game.
        version: its version.
        variant: id of the variant.
        driver: where the roles ran.
        seats: how many.
        outcome: an `EndReason`; or, when there is no verdict, the type of the error: `refused`, `precondition_missing`.
        good: whether it counts.
        blame: whose doing a bad end was.
        failed_seats: seats with a fault of their own.
        waited: seconds in the queue.
        seconds: from its turn to its end.
        message: the verdict's sentence, or the error's.
        directory: where its files are; empty when there are none.
    """

    coworld: str
    version: str
    variant: str
    driver: str
    seats: int
    outcome: str
    good: bool
    blame: str
    failed_seats: tuple[int, ...]
    waited: float
    seconds: float
    message: str
    directory: str


class AdmissionChanged(Event, frozen=True):
    """Somebody changed how many episodes run at once.

    Attributes:
        parallel: how many may run at once.
        paused: whether new ones wait in any case.
    """

    parallel: int
    paused: bool


class RuntimeStopping(Event, frozen=True):
    """No further episode is accepted.

    Attributes:
        drain: whether those that were accepted are played; else they are called off.
        accepted: how many there are.
    """

    drain: bool
    accepted: int


class StopReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a stop went.

    Attributes:
        seconds: how long it took.
        finished: episodes that were played to their end meanwhile.
        cancelled: ids of those that were called off, by this stop or by somebody else meanwhile.
        killed: what had to be killed because the deadline had passed: paths of the episodes' actors, or the path of the episode
            if none of them lived.
    """

    seconds: float
    finished: int = 0
    cancelled: tuple[str, ...] = ()
    killed: tuple[str, ...] = ()


class RuntimeStopped(Event, frozen=True):
    """A stop has done what it can: no episode is left that it could end."""

    report: StopReport
