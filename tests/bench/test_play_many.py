"""Many episodes in a process of their own: everything is counted, whatever they are played on."""

from __future__ import annotations

import pytest

from coworld_bench.play_many import Job, play_many
from coworld_protocol.errors import PreconditionMissing

SHORT = ("max_ticks=5",)


@pytest.mark.parametrize("kind", ["cold", "warm", "inproc", "workers"])
def test_episodes_are_played_on_every_driver(kind) -> None:
    """All of them count, each has a time, and nothing of the warm-up is in the account."""
    played = play_many(Job(kind=kind, settings=SHORT, episodes=3, parallel=2, warmup=1, workers=2, tidy=True))
    assert played.good == 3
    assert len(played.each) == 3
    assert 1 <= played.alive <= 2
    assert played.seconds > 0
    assert 0 <= played.lag <= played.lag_worst


def test_all_can_be_alive_at_once() -> None:
    """Episodes that take their time: so many at once as were asked for, and so many have ended."""
    paced = ('mode="realtime"', "tick_rate=4", "max_ticks=12")
    played = play_many(Job(kind="inproc", settings=paced, episodes=6, parallel=6))
    assert (played.alive, played.good) == (6, 6)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bare_rules_are_played_without_a_runtime(workers) -> None:
    """In one process or several."""
    played = play_many(Job(kind="bare", settings=SHORT, episodes=5, parallel=1, warmup=1, workers=workers))
    assert (played.good, played.each) == (5, ())
    assert played.processor > 0


def test_what_went_wrong_in_the_process_is_told() -> None:
    """Its last line is the evidence."""
    with pytest.raises(PreconditionMissing, match="could not be measured") as failed:
        play_many(Job(kind="inproc", world="paint-arena", settings=("no_such_key=1",), episodes=1, parallel=1))
    assert failed.value.evidence
