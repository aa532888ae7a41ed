"""How a batch stands while it is played: counts, speed, standings."""

from __future__ import annotations

import math

import pytest

from coworld_actors.batch.events import (
    BatchLaunched,
    EpisodeBegan,
    EpisodePlaying,
    EpisodeRetried,
    EpisodeSettled,
    ParallelChanged,
)
from coworld_actors.batch.records import EpisodeLine, Status
from coworld_actors.cli.batch_progress import RATE_WINDOW, BatchProgress
from tests.batches import line, schedule


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def settled(of: EpisodeLine) -> EpisodeSettled:
    return EpisodeSettled(line=of, done=0, total=0)


def test_standings_rest_on_whole_blocks() -> None:
    """The mean over blocks of the mean over a player's seats, with the interval of a normal distribution."""
    progress = BatchProgress(schedule(8, block=2))
    scores = [(3, 1), (1, 5), (4, 0), (2, 2), (5, 1)]
    for each, (first, second) in zip(progress.schedule.episodes, scores, strict=False):
        by_seat = [float(first if entrant == 0 else second) for entrant in each.seats]
        progress.take(settled(line(each, by_seat)))
    a, b = sorted(progress.standings())
    assert (a.name, a.mean, a.blocks) == ("a", 2.5, 2)
    assert (b.name, b.mean, b.blocks) == ("b", 2.0, 2)
    assert a.half == pytest.approx(1.959964 * math.sqrt(0.5 / 2))
    assert [each.name for each in progress.standings()] == ["a", "b"]


def test_an_episode_that_does_not_count_keeps_its_block_open() -> None:
    """Nor does it count when it is settled twice."""
    progress = BatchProgress(schedule(2, block=2))
    progress.take(settled(line(0)))
    progress.take(settled(line(1, status=Status.FAILED)))
    assert [each.mean for each in progress.standings()] == [None, None]
    assert (progress.done, progress.counts[Status.FAILED]) == (2, 1)


def test_what_was_played_before_counts() -> None:
    """A batch that is taken up again stands where it stood; a machine's failure is played again."""
    progress = BatchProgress(schedule(4), [line(0), line(1, status=Status.INVALID, overload="no room")])
    assert progress.done == 1
    progress.take(settled(line(1)))
    assert progress.done == 2
    assert progress.counts == {Status.GOOD: 2, Status.INVALID: 0}


def test_rate_and_time_left_are_those_of_the_last_minute() -> None:
    """A slow beginning is forgotten."""
    clock = Clock()
    progress = BatchProgress(schedule(100), clock=clock)
    progress.take(
        BatchLaunched(id="b", directory="/b", coworld="c 1", entrants=("a", "b"), episodes=100, open=100, parallel=2)
    )
    assert (progress.rate, progress.left) == (0.0, math.inf)
    clock.now += 600
    for index in range(30):
        clock.now += 1
        progress.take(settled(line(index)))
    assert progress.rate == pytest.approx(30 * 60 / RATE_WINDOW)
    assert progress.left == pytest.approx(60 * 70 / 30)
    clock.now += RATE_WINDOW
    assert progress.rate < 2


def test_running_episodes_have_a_phase_and_an_age() -> None:
    """From the place they get to their line."""
    clock = Clock()
    progress = BatchProgress(schedule(3), clock=clock)
    progress.take(EpisodeBegan(index=1, seats=(1, 0), attempt=2))
    clock.now += 5
    progress.take(EpisodePlaying(index=1, seconds=5))
    (running,) = progress.running.values()
    assert (running.phase, running.attempt, progress.now() - running.since) == ("playing", 2, 5)
    assert progress.seated(running.seats) == "b a"
    progress.take(EpisodeRetried(index=1, attempt=2, reason="too busy", wait=1))
    assert progress.running == {}
    assert progress.warnings["too busy"] == 1
    progress.take(ParallelChanged(parallel=7, because="it pays"))
    assert (progress.parallel, progress.because) == (7, "it pays")
