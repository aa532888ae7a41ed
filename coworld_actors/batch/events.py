"""What happens in a batch, for whoever shows it: a screen, NDJSON, a test. The events of its episodes are on the runtime's stream."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from coworld_actors.actors.events import snake_case
from coworld_actors.batch.records import EpisodeLine

__all__ = [
    "BatchEnded",
    "BatchEvent",
    "BatchLaunched",
    "EpisodeBegan",
    "EpisodePlaying",
    "EpisodeRetried",
    "EpisodeSettled",
    "ParallelChanged",
    "Tell",
]


class BatchEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=snake_case):
    """Base of the events of a batch."""


class BatchLaunched(BatchEvent, frozen=True):
    """The first event: everything is ready, and nothing of this run has been played yet.

    Attributes:
        id: of the batch.
        directory: of its files.
        coworld: name and version of the game.
        entrants: names of the players.
        episodes: in the schedule.
        open: still to be played; fewer than `episodes` when a batch is resumed.
        parallel: how many are played at once to begin with.
    """

    id: str
    directory: str
    coworld: str
    entrants: tuple[str, ...]
    episodes: int
    open: int
    parallel: int


class EpisodeBegan(BatchEvent, frozen=True):
    """An episode has got its place.

    Attributes:
        index: in the schedule.
        seats: index of the entrant per slot.
        attempt: from 1.
    """

    index: int
    seats: tuple[int, ...]
    attempt: int


class EpisodePlaying(BatchEvent, frozen=True):
    """An episode has got through its start-up.

    Attributes:
        index: in the schedule.
        seconds: that took.
    """

    index: int
    seconds: float


class EpisodeRetried(BatchEvent, frozen=True):
    """An attempt came to nothing for no fault of a role, and is made again.

    Attributes:
        index: in the schedule.
        attempt: the one that failed.
        reason: why.
        wait: seconds until the next one may begin.
    """

    index: int
    attempt: int
    reason: str
    wait: float


class EpisodeSettled(BatchEvent, frozen=True):
    """An episode is over and written down.

    Attributes:
        line: what was written.
        done: episodes of the schedule that are over.
        total: in the schedule.
    """

    line: EpisodeLine
    done: int
    total: int


class ParallelChanged(BatchEvent, frozen=True):
    """From now on another number is played at once.

    Attributes:
        parallel: that number.
        because: why.
    """

    parallel: int
    because: str


class BatchEnded(BatchEvent, frozen=True):
    """The last event: nothing of the batch runs any more.

    Attributes:
        stopped: why it ended before its schedule did; empty when it did not.
        done: episodes of the schedule that are over.
        total: in the schedule.
        seconds: this run took.
    """

    stopped: str
    done: int
    total: int
    seconds: float


Tell = Callable[[BatchEvent], None]
"""Takes an event as it happens; must be quick, not block and not raise."""
