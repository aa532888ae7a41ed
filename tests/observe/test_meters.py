"""What is counted, from events that are published by hand."""

from __future__ import annotations

import pytest
import trio
from prometheus_client import CollectorRegistry

from coworld_actors.actors.events import ActorCrashed, ActorRestarted, ChildKilled, RestartLimitReached
from coworld_actors.episode.events import RoleEnded
from coworld_actors.observe.meters import MOST_COWORLDS, BoundedLabel
from coworld_actors.observe.prometheus import metrics
from coworld_actors.runtime.events import EpisodeAdmitted, EpisodeClosed
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime
from coworld_drivers.process import ProcessDriver


def closed(coworld: str = "chess", outcome: str = "completed", seconds: float = 3.0) -> EpisodeClosed:
    """An end."""
    return EpisodeClosed(
        coworld=coworld,
        version="1",
        variant="default",
        driver="process",
        seats=2,
        outcome=outcome,
        good=outcome == "completed",
        blame="nobody",
        failed_seats=(),
        waited=1.0,
        seconds=seconds,
        message="",
        directory="",
    )


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("chess", "chess"),
        ("", "unnamed"),
        ("a\nb\x1b", "a\\u000ab\\u001b"),
        ("x" * 1000, "x" * 64),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_label_is_printable_and_short(text: str, label: str) -> None:
    """Whatever a stranger calls a game."""
    assert BoundedLabel(5)(text) == label


def test_labels_beyond_the_limit_are_one() -> None:
    """Those that are known stay told apart."""
    label = BoundedLabel(2)
    assert [label(text) for text in "abcadb"] == ["a", "b", "other", "a", "other", "b"]


async def counted(driver: ProcessDriver, publish) -> CollectorRegistry:
    """A registry after what `publish` has published."""
    registry = CollectorRegistry()
    found = CollectorRegistry()
    with trio.fail_after(60):
        async with open_runtime(driver, name="r", attach=[metrics(registry)]) as runtime:
            publish(runtime)
            samples = list(registry.collect())

    class Kept:
        def collect(self):
            return samples

    found.register(Kept())
    return found


async def test_every_event_counts_where_it_belongs(driver: ProcessDriver, tell) -> None:
    """Role ends, crashes, restarts, limits, kills."""

    def publish(runtime: Runtime) -> None:
        for ok in (True, True, False):
            tell(runtime, RoleEnded(role="player", name="player-0", end="x", ok=ok, slot=0), scope="e")
        tell(runtime, ActorCrashed(error="ValueError", message="", during="handle", leaves=(), traceback=""))
        tell(runtime, ActorCrashed(error="ContractBroken", message="", during="start", leaves=(), traceback=""))
        tell(runtime, ActorRestarted(delay=0.0))
        tell(runtime, RestartLimitReached(child="c", max_restarts=1, within=5))
        tell(runtime, ChildKilled(grace=1))

    value = (await counted(driver, publish)).get_sample_value
    assert value("coworld_role_ends_total", {"runtime": "r", "role": "player", "ok": "true"}) == 2
    assert value("coworld_role_ends_total", {"runtime": "r", "role": "player", "ok": "false"}) == 1
    assert value("coworld_actor_crashes_total", {"runtime": "r", "during": "handle", "finding": "false"}) == 1
    assert value("coworld_actor_crashes_total", {"runtime": "r", "during": "start", "finding": "true"}) == 1
    for name in ("coworld_actor_restarts", "coworld_restart_limits_reached", "coworld_children_killed"):
        assert value(f"{name}_total", {"runtime": "r"}) == 1


async def test_only_episodes_that_had_their_turn_have_a_duration(driver: ProcessDriver, tell) -> None:
    """One that was called off in the queue is counted, and not timed."""

    def publish(runtime: Runtime) -> None:
        tell(runtime, EpisodeAdmitted(waited=0.3), scope="e-1")
        tell(runtime, closed(seconds=3.0), scope="e-1")
        tell(runtime, closed(outcome="cancelled"), scope="e-2")

    value = (await counted(driver, publish)).get_sample_value
    labels = {"runtime": "r", "coworld": "chess", "driver": "process"}
    assert value("coworld_episodes_closed_total", {**labels, "outcome": "completed"}) == 1
    assert value("coworld_episodes_closed_total", {**labels, "outcome": "cancelled"}) == 1
    assert value("coworld_episode_duration_seconds_count", labels) == 1
    assert value("coworld_episode_duration_seconds_sum", labels) == 3.0
    assert value("coworld_episode_queue_seconds_count", {"runtime": "r"}) == 1
    assert value("coworld_episode_queue_seconds_bucket", {"runtime": "r", "le": "0.5"}) == 1
    assert value("coworld_episode_queue_seconds_bucket", {"runtime": "r", "le": "0.1"}) == 0


async def test_strangers_cannot_make_series_without_end(driver: ProcessDriver, tell) -> None:
    """A thousand names of games are a hundred and one."""

    def publish(runtime: Runtime) -> None:
        for number in range(1000):
            tell(runtime, closed(coworld=f"game-{number}"), scope=f"e-{number}")

    registry = await counted(driver, publish)
    names = {
        sample.labels["coworld"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "coworld_episodes_closed_total"
    }
    assert len(names) == MOST_COWORLDS + 1
    assert names["other"] == 1000 - MOST_COWORLDS


async def test_counters_without_further_labels_begin_at_zero(driver: ProcessDriver) -> None:
    """A rate needs a value before the first increment."""
    value = (await counted(driver, lambda runtime: None)).get_sample_value
    assert value("coworld_actor_restarts_total", {"runtime": "r"}) == 0
    assert value("coworld_episode_queue_seconds_count", {"runtime": "r"}) == 0
