"""A runtime in numbers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coworld_actors.actors import DeadLetterReason
from coworld_actors.actors.stream import EventStreamStatistics
from coworld_actors.runtime.watchdog import LoopStatistics

__all__ = ["RuntimeStatistics"]


class RuntimeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one moment.

    Attributes:
        name: the runtime's.
        seconds: since it was opened.
        parallel: episodes that may run at once.
        paused: whether new ones wait in any case.
        outside: callers that wait for room in the queue.
        queued: accepted episodes that wait for their turn.
        running: those that run.
        accepted: how many were ever accepted.
        outcomes: how many of them are over, by outcome; see `EpisodeClosed`.
        actors: actors and supervisors alive.
        dead_letters: messages that were accepted and not handled, by reason.
        events: the stream's own counters.
        loop: how long the event loop makes its callers wait.
    """

    name: str
    seconds: float
    parallel: int
    paused: bool
    outside: int
    queued: int
    running: int
    accepted: int
    outcomes: Mapping[str, int]
    actors: int
    dead_letters: Mapping[DeadLetterReason, int]
    events: EventStreamStatistics
    loop: LoopStatistics
