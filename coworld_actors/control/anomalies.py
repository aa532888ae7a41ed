"""What a look at a runtime shows that should not be so: pure functions of what it says of itself."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from coworld_actors.actors import ChildInfo
from coworld_actors.actors.children import State
from coworld_actors.control.tree import ActorStatus
from coworld_actors.runtime.handle import EpisodeState, EpisodeStatus
from coworld_actors.runtime.statistics import RuntimeStatistics

__all__ = ["NEARLY_FULL", "Finding", "Trouble", "find", "still_there", "worth_a_look"]

NEARLY_FULL = 0.8
"""Part of a mailbox's capacity from which on it is named."""
WORST_LAG = 0.25
"""Seconds from which on the event loop's worst lag is named: a player's patience is shorter than that."""


class Trouble(enum.StrEnum):
    """What is wrong; the gravest first."""

    LOOP_BLOCKED = "loop_blocked"
    """Something kept the event loop from everything else."""
    LOOP_LAG = "loop_lag"
    """The event loop made its callers wait."""
    BUSY = "busy"
    """An actor has worked without a rest for long: on one message, or on ever more of them."""
    STOPPING = "stopping"
    """An actor was told to end long ago."""
    STARTING = "starting"
    """An actor has not come up for long."""
    WAITING = "waiting"
    """An actor is down and waits for its restart."""
    NEARLY_FULL = "nearly_full"
    """A mailbox has hardly room left."""
    SLOW_CANCEL = "slow_cancel"
    """An episode was called off and has been in the same phase for long."""
    PAUSED = "paused"
    """Episodes wait, and the runtime is paused."""
    OUTSIDE = "outside"
    """The queue is full, and callers wait for room in it."""
    DEAD_LETTERS = "dead_letters"
    """Messages were accepted and not handled."""
    EVENTS_LOST = "events_lost"
    """Readers of the event stream were too slow, or raised."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong.

    Attributes:
        trouble: what.
        subject: the actor's path or the episode's id; empty for the runtime as a whole.
        seconds: for how long; None where that is not known.
        text: the same as a sentence.
    """

    trouble: Trouble
    subject: str
    seconds: float | None
    text: str


def still_there(episodes: Iterable[EpisodeStatus], over: float) -> list[EpisodeStatus]:
    """Episodes that were accepted more than so many seconds ago and have not ended, the longest first."""
    there = (episode for episode in episodes if episode.state is not EpisodeState.OVER and episode.seconds > over)
    return sorted(there, key=lambda episode: -episode.seconds)


def worth_a_look(info: ChildInfo) -> bool:
    """Whether `find` could name an actor: of a hundred thousand, hardly one."""
    return info.busy is not None or info.queued > 0 or info.state is not State.RUNNING


def find(
    actors: Iterable[ActorStatus], episodes: Iterable[EpisodeStatus], statistics: RuntimeStatistics, over: float
) -> list[Finding]:
    """Everything that looks wrong, by gravity, then by duration.

    Args:
        actors: all that are `worth_a_look`.
        episodes: all that were accepted and have not ended.
        statistics: the runtime's counters.
        over: seconds that something may take without being named.
    """
    found = _of_runtime(statistics)
    for actor in actors:
        found += _of_actor(actor, over)
    for episode in episodes:
        if episode.cancelled and episode.in_state > over:
            phase = episode.phase or episode.state
            text = f"{episode.id} was called off, and has been {phase} for {episode.in_state:.1f} s"
            found.append(_finding(Trouble.SLOW_CANCEL, text, episode.id, episode.in_state))
    gravity = {trouble: number for number, trouble in enumerate(Trouble)}
    return sorted(found, key=lambda finding: (gravity[finding.trouble], -(finding.seconds or 0.0)))


def _finding(trouble: Trouble, text: str, subject: str = "", seconds: float | None = None) -> Finding:
    return Finding(trouble=trouble, subject=subject, seconds=seconds, text=text)


def _of_actor(actor: ActorStatus, over: float) -> list[Finding]:
    found: list[Finding] = []
    if actor.busy is not None and actor.busy > over:
        text = f"{actor.path} ({actor.kind}) has worked without a rest for {actor.busy:.1f} s"
        found.append(_finding(Trouble.BUSY, text, actor.path, actor.busy))
    if actor.state is State.STOPPING and actor.in_state > over:
        text = f"{actor.path} ({actor.kind}) has been stopping for {actor.in_state:.1f} s"
        found.append(_finding(Trouble.STOPPING, text, actor.path, actor.in_state))
    if actor.state is State.STARTING and actor.in_state > over:
        text = f"{actor.path} ({actor.kind}) has been starting for {actor.in_state:.1f} s"
        found.append(_finding(Trouble.STARTING, text, actor.path, actor.in_state))
    if actor.state is State.WAITING:
        text = f"{actor.path} ({actor.kind}) is down and waits to be started, after {_times(actor.restarts, 'restart')}"
        found.append(_finding(Trouble.WAITING, text, actor.path, actor.in_state))
    if actor.capacity and actor.queued >= NEARLY_FULL * actor.capacity:
        text = f"the mailbox of {actor.path} ({actor.kind}) holds {actor.queued} of {_times(actor.capacity, 'message')}"
        found.append(_finding(Trouble.NEARLY_FULL, text, actor.path))
    return found


def _of_runtime(statistics: RuntimeStatistics) -> list[Finding]:
    found: list[Finding] = []
    loop = statistics.loop
    if loop.blocked:
        text = f"the event loop was blocked {_times(loop.blocked, 'time')}, at worst for {loop.worst_lag:.2f} s"
        found.append(_finding(Trouble.LOOP_BLOCKED, f"{text}; its loop_blocked events say by whom"))
    elif loop.worst_lag >= WORST_LAG:
        text = f"the event loop once answered {loop.worst_lag:.2f} s late, and {loop.lag:.2f} s at last"
        found.append(_finding(Trouble.LOOP_LAG, text))
    if statistics.paused and statistics.queued:
        text = f"{_times(statistics.queued, 'episode')} cannot begin: the runtime is paused"
        found.append(_finding(Trouble.PAUSED, text))
    if statistics.outside:
        text = f"the queue is full: {_times(statistics.outside, 'caller')} cannot hand in an episode"
        found.append(_finding(Trouble.OUTSIDE, text))
    if statistics.dead_letters:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(statistics.dead_letters.items()))
        found.append(_finding(Trouble.DEAD_LETTERS, f"messages were accepted and not handled: {counts}"))
    events = statistics.events
    if events.dropped or events.failed:
        text = (
            f"readers of the event stream lost {_times(events.dropped, 'record')}, and {events.failed} of them raised"
        )
        found.append(_finding(Trouble.EVENTS_LOST, text))
    return found


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
