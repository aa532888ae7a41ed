"""What is named as wrong, and what is not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.actors import ChildInfo, DeadLetterReason
from coworld_actors.actors.children import State
from coworld_actors.actors.stream import EventStreamStatistics
from coworld_actors.control.anomalies import NEARLY_FULL, Trouble, find, still_there, worth_a_look
from coworld_actors.control.tree import ActorStatus
from coworld_actors.runtime.handle import EpisodeState, EpisodeStatus
from coworld_actors.runtime.statistics import RuntimeStatistics
from coworld_actors.runtime.watchdog import LoopStatistics

SECONDS = st.floats(0, 1e6)

ACTORS = st.builds(
    ActorStatus,
    path=st.text("ab/", min_size=1, max_size=5),
    kind=st.just("Game"),
    depth=st.just(0),
    state=st.sampled_from([state for state in State if state is not State.GONE]),
    incarnation=st.integers(0, 5),
    restarts=st.integers(0, 5),
    queued=st.integers(0, 20),
    capacity=st.integers(0, 20),
    busy=st.none() | SECONDS,
    age=SECONDS,
    in_state=SECONDS,
)
EPISODES = st.builds(
    EpisodeStatus,
    id=st.text("ab", min_size=1, max_size=5),
    coworld=st.just("g 1"),
    variant=st.just("v"),
    seats=st.integers(1, 64),
    state=st.sampled_from(EpisodeState),
    phase=st.sampled_from(["", "playing"]),
    seconds=SECONDS,
    in_state=SECONDS,
    cancelled=st.booleans(),
    directory=st.just("d"),
)
CALM = RuntimeStatistics(
    name="r",
    seconds=1.0,
    parallel=2,
    paused=False,
    outside=0,
    queued=0,
    running=0,
    accepted=0,
    outcomes={},
    actors=0,
    dead_letters={},
    events=EventStreamStatistics(published=1, subscribers=1, dropped=0, failed=0),
    loop=LoopStatistics(beats=9, lag=0.0, worst_lag=0.1, blocked=0, starved=0),
)


def troubles(
    statistics: RuntimeStatistics = CALM, actors: Any = (), episodes: Any = (), over: float = 10.0
) -> list[str]:
    return [finding.trouble for finding in find(actors, episodes, statistics, over)]


@given(st.lists(ACTORS), SECONDS)
def test_an_actor_is_named_for_each_thing_that_takes_too_long_and_for_nothing_else(
    actors: list[ActorStatus], over: float
) -> None:
    """Busy, stopping, starting beyond the limit; waiting always; a queue from four fifths on."""
    expected = dict.fromkeys(Trouble, 0)
    for actor in actors:
        expected[Trouble.BUSY] += (actor.busy or 0.0) > over
        expected[Trouble.STOPPING] += actor.state == "stopping" and actor.in_state > over
        expected[Trouble.STARTING] += actor.state == "starting" and actor.in_state > over
        expected[Trouble.WAITING] += actor.state == "waiting"
        expected[Trouble.NEARLY_FULL] += actor.capacity > 0 and actor.queued / actor.capacity >= NEARLY_FULL
    found = find(actors, [], CALM, over)
    for trouble, count in expected.items():
        assert sum(finding.trouble is trouble for finding in found) == count
    for finding in found:
        assert finding.subject in finding.text


@given(ACTORS, SECONDS)
def test_what_is_not_worth_a_look_is_not_named(actor: ActorStatus, over: float) -> None:
    """The quick look over all actors leaves nothing out that the thorough one would find."""
    fields = {name: getattr(actor, name) for name in ("path", "kind", "state", "incarnation", "restarts", "queued")}
    times = {"busy": actor.busy, "age": actor.age, "in_state": actor.in_state}
    if not worth_a_look(ChildInfo(name="a", **fields, **times)):
        assert find([actor], [], CALM, over) == []


@given(st.lists(ACTORS), st.lists(EPISODES))
def test_the_gravest_comes_first_and_within_a_kind_the_longest(
    actors: list[ActorStatus], episodes: list[EpisodeStatus]
) -> None:
    """A reader who reads one line reads the right one."""
    order = list(Trouble)
    keys = [(order.index(f.trouble), -(f.seconds or 0.0)) for f in find(actors, episodes, CALM, 1.0)]
    assert keys == sorted(keys)


@given(st.lists(EPISODES), SECONDS)
def test_what_is_still_there_is_listed_longest_first(episodes: list[EpisodeStatus], over: float) -> None:
    """Everything accepted long ago that is not over, running or waiting, and nothing else."""
    there = still_there(episodes, over)
    assert [each.seconds for each in there] == sorted((each.seconds for each in there), reverse=True)
    assert len(there) == sum(each.seconds > over and each.state != "over" for each in episodes)


@given(EPISODES, SECONDS)
def test_an_episode_that_was_called_off_has_so_long_to_end(episode: EpisodeStatus, over: float) -> None:
    """Beyond that it is named, with its phase."""
    named = troubles(episodes=[episode], over=over) == ["slow_cancel"]
    assert named == (episode.cancelled and episode.in_state > over)


@pytest.mark.parametrize(
    ("change", "trouble", "words"),
    [
        ({"loop": LoopStatistics(beats=1, lag=0.0, worst_lag=2.5, blocked=3, starved=0)}, "loop_blocked", "3 times"),
        ({"loop": LoopStatistics(beats=1, lag=0.0, worst_lag=0.3, blocked=0, starved=0)}, "loop_lag", "0.30 s late"),
        ({"paused": True, "queued": 1}, "paused", "1 episode cannot begin"),
        ({"outside": 2}, "outside", "2 callers"),
        ({"dead_letters": {DeadLetterReason.STOPPED: 4}}, "dead_letters", "4 stopped"),
        (
            {"events": EventStreamStatistics(published=1, subscribers=1, dropped=7, failed=0)},
            "events_lost",
            "7 records",
        ),
        (
            {"events": EventStreamStatistics(published=1, subscribers=1, dropped=0, failed=1)},
            "events_lost",
            "1 of them",
        ),
    ],
)
def test_the_runtimes_own_troubles(change: dict[str, Any], trouble: str, words: str) -> None:
    """Each counter that should be zero and is not is one finding."""
    (finding,) = find([], [], msgspec.structs.replace(CALM, **change), 10.0)
    assert finding.trouble == trouble
    assert words in finding.text


def test_a_calm_runtime_has_none() -> None:
    """Also one without a watchdog, and a paused one for which nobody waits."""
    assert troubles() == []
    assert troubles(msgspec.structs.replace(CALM, paused=True)) == []
