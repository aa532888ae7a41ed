"""A host's registry, from the first runtime to the last."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from coworld_actors.actors import Actor, ChildSpec, RestartPolicy, SupervisorSpec
from coworld_actors.observe.prometheus import metrics
from coworld_actors.runtime.opening import open_runtime
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import Refused

NewDriver = Callable[[], ProcessDriver]


def labels(registry: CollectorRegistry) -> set[str]:
    """Every value of every label."""
    return {value for metric in registry.collect() for sample in metric.samples for value in sample.labels.values()}


async def test_played_episodes_are_counted(driver: ProcessDriver, spec_of) -> None:
    """A good and a bad one, with real processes; no series is of one episode or one player."""
    registry = CollectorRegistry()
    value = registry.get_sample_value
    game = {"runtime": "r", "coworld": "scripted"}
    with trio.fail_after(120):
        async with open_runtime(driver, name="r", attach=[metrics(registry)]) as runtime:
            assert (await runtime.run_episode(spec_of(id="first"))).good
            assert not (await runtime.run_episode(spec_of("exits_at_once", id="second"))).good
            assert value("coworld_episodes_accepted_total", game) == 2
            ends = {**game, "driver": "process"}
            assert value("coworld_episodes_closed_total", {**ends, "outcome": "completed"}) == 1
            assert value("coworld_episodes_closed_total", {**ends, "outcome": "game_start_failed"}) == 1
            assert value("coworld_episode_duration_seconds_count", ends) == 2
            assert value("coworld_role_ends_total", {"runtime": "r", "role": "player", "ok": "true"}) == 1
            found = labels(registry)
            text = generate_latest(registry).decode()
            openmetrics = generate_openmetrics(registry).decode()
    assert not {each for each in found if "first" in each or "second" in each or "player-" in each}
    assert all(family.name.startswith("coworld_") and family.documentation for family in parse(text))
    assert {family.name for family in parse_openmetrics(openmetrics)} >= {
        "coworld_episodes_closed",
        "coworld_loop_lag_seconds",
    }


async def test_an_actor_that_crashes_until_its_supervisor_gives_up_is_counted(driver: ProcessDriver) -> None:
    """Two restarts are allowed, so three crashes are seen."""

    class Unlucky(Actor[int]):
        async def handle(self, message: int) -> None:
            raise ValueError(message)

    registry = CollectorRegistry()
    value = registry.get_sample_value
    with trio.fail_after(60):
        async with open_runtime(driver, name="r", attach=[metrics(registry)]) as runtime:
            restarts = RestartPolicy(max_restarts=2, within=600)
            house = await runtime.system.start_supervisor("house", SupervisorSpec(restarts=restarts))
            actor = await house.start_actor(ChildSpec(name="unlucky", start=Unlucky))
            for number in range(3):
                await actor.tell(number)
            await actor.wait()
            assert value("coworld_actor_crashes_total", {"runtime": "r", "during": "handle", "finding": "false"}) == 3
            assert value("coworld_actor_restarts_total", {"runtime": "r"}) == 2
            assert value("coworld_restart_limits_reached_total", {"runtime": "r"}) == 1


async def test_runtimes_share_a_registry_and_take_their_series_along(new_driver: NewDriver) -> None:
    """The label tells them apart; the last one that goes leaves an empty registry, and the next one may come."""
    registry = CollectorRegistry()
    attachment = metrics(registry)
    with trio.fail_after(120):
        for _ in range(2):
            async with open_runtime(new_driver(), name="one", attach=[attachment]):
                async with open_runtime(new_driver(), name="two", attach=[metrics(registry)]):
                    assert {"one", "two"} <= labels(registry)
                    assert generate_latest(registry).count(b"# TYPE coworld_episodes_parallel gauge") == 1
                assert "two" not in labels(registry)
                assert "one" in labels(registry)
            assert list(registry.collect()) == []


async def test_two_runtimes_of_one_name_are_refused(new_driver: NewDriver) -> None:
    """And the first one is not harmed."""
    registry = CollectorRegistry()
    with trio.fail_after(120):
        async with open_runtime(new_driver(), name="one", attach=[metrics(registry)]):
            with pytest.raises(Refused, match="'one' already"):
                async with open_runtime(new_driver(), name="one", attach=[metrics(registry)]):
                    raise AssertionError
            assert "one" in labels(registry)
    assert list(registry.collect()) == []


async def test_a_registry_with_our_names_is_refused_and_left_as_it_was(driver: ProcessDriver) -> None:
    """Nothing half registered stays behind."""
    registry = CollectorRegistry()
    Counter("coworld_dead_letters", "The host's own.", registry=registry)
    with pytest.raises(Refused, match="names already"):
        async with open_runtime(driver, attach=[metrics(registry)]):
            raise AssertionError
    assert [metric.name for metric in registry.collect()] == ["coworld_dead_letters"]


async def test_a_cancelled_host_leaves_an_empty_registry(driver: ProcessDriver) -> None:
    """Series go with the runtime, however it goes."""
    registry = CollectorRegistry()
    with trio.fail_after(60):
        with trio.CancelScope() as scope:
            async with open_runtime(driver, attach=[metrics(registry)]):
                assert list(registry.collect())
                scope.cancel()
                await trio.sleep_forever()
    assert list(registry.collect()) == []


def test_without_the_client_the_error_says_what_to_install(without: Callable[[str, str], str]) -> None:
    """Importing us needs it not; asking for metrics does."""
    said = without(
        "prometheus_client",
        """
from coworld_actors.observe import metrics, metrics_port
from coworld_protocol.errors import PreconditionMissing
for ask in (lambda: metrics(None), metrics_port):
    try:
        ask()
    except PreconditionMissing as error:
        print(error.todo)
""",
    )
    assert said == "pip install 'coworld-actors[metrics]'\n" * 2
