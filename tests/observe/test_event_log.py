"""Events as log lines."""

from __future__ import annotations

import json
import logging
from typing import Any

import msgspec
import pytest
import structlog
import trio
from prometheus_client import CollectorRegistry, generate_latest

from coworld_actors.actors.events import ActorCrashed, ChildKilled, RestartLimitReached
from coworld_actors.episode.spec import Limits
from coworld_actors.observe.event_log import log_events
from coworld_actors.observe.prometheus import metrics
from coworld_actors.observe.spans import tracing
from coworld_actors.runtime.events import RuntimeStopped, StopReport
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.watchdog import LoopBlocked
from coworld_drivers.process import ProcessDriver

LOGGER = "coworld_actors.runtime"


def lines(caplog: pytest.LogCaptureFixture, level: int, name: str = "") -> list[Any]:
    """Records of our logger at a level, that begin so."""
    found = [record for record in caplog.records if record.name == LOGGER and record.levelno == level]
    return [record for record in found if record.getMessage().startswith(name)]


async def test_every_episode_is_one_canonical_line(
    driver: ProcessDriver, spec_of, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """At INFO when it counts, at WARNING when it does not; nothing is printed."""
    caplog.set_level(logging.INFO, LOGGER)
    with trio.fail_after(120):
        async with open_runtime(driver, name="r", attach=[log_events()]) as runtime:
            await runtime.run_episode(spec_of(id="good"))
            never = spec_of("waits_for_players", ("crashes_at_once",), id="bad")
            await runtime.run_episode(msgspec.structs.replace(never, limits=Limits(timeout=60, first_frame=1)))
    (good,) = lines(caplog, logging.INFO)
    (bad,) = lines(caplog, logging.WARNING, "episode ")
    assert good.getMessage().startswith(
        "episode runtime=r episode=good coworld=scripted version=1.0.0 variant=certification driver=process seats=1 "
        "outcome=completed good=True blame=nobody failed_seats=[] waited="
    )
    assert (good.episode, good.outcome, good.good, good.failed_seats) == ("good", "completed", True, [])
    assert good.directory.endswith("run-1")
    assert (bad.episode, bad.outcome, bad.good) == ("bad", "player_failed", False)
    assert (bad.blame, bad.failed_seats) == ("players", [0])
    assert "seat 0" in bad.event_message
    assert bad.seconds > 0
    assert bad.waited >= 0
    assert capfd.readouterr() == ("", "")


async def test_what_an_operator_should_see_is_a_warning(
    driver: ProcessDriver, tell, caplog: pytest.LogCaptureFixture
) -> None:
    """With actor and incarnation bound."""
    caplog.set_level(logging.INFO, LOGGER)
    happenings = [
        ActorCrashed(error="ValueError", message="m", during="handle", leaves=("ValueError: m",), traceback="a\nb"),
        RestartLimitReached(child="c", max_restarts=3, within=5.0),
        ChildKilled(grace=2.0),
        LoopBlocked(seconds=2.0, where="the handler of x", stack="s"),
        RuntimeStopped(report=StopReport(seconds=1.0, killed=("a/b",))),
    ]
    with trio.fail_after(60):
        async with open_runtime(driver, name="r", attach=[log_events()]) as runtime:
            for event in happenings:
                tell(runtime, event, actor="a/b", incarnation=3, scope="e")
    found = lines(caplog, logging.WARNING)
    assert [record.getMessage().split(" ", 1)[0] for record in found] == [
        "actor_crashed",
        "restart_limit_reached",
        "child_killed",
        "loop_blocked",
        "runtime_stopped",
    ]
    assert {(record.episode, record.actor, record.incarnation) for record in found} == {("e", "a/b", 3)}
    assert found[0].getMessage().endswith("leaves=\"['ValueError: m']\"\n  a\n  b")
    assert found[4].killed == ["a/b"]
    assert lines(caplog, logging.INFO) == []


async def test_everything_else_is_a_debug_line(
    driver: ProcessDriver, spec_of, caplog: pytest.LogCaptureFixture
) -> None:
    """All events of an episode, in order, without what lies deeper."""
    caplog.set_level(logging.DEBUG, LOGGER)
    with trio.fail_after(120):
        async with open_runtime(driver, attach=[log_events()]) as runtime:
            await runtime.run_episode(spec_of(id="e"))
    names = [record.getMessage().split(" ", 1)[0] for record in lines(caplog, logging.DEBUG)]
    order = [
        name for name in names if name in {"episode_queued", "episode_admitted", "episode_started", "episode_ended"}
    ]
    assert order == ["episode_queued", "episode_admitted", "episode_started", "episode_ended"]
    assert names[-1] == "runtime_stopped"
    (ended,) = lines(caplog, logging.DEBUG, "episode_ended")
    assert not hasattr(ended, "seats")


async def test_lost_events_are_a_warning(driver: ProcessDriver, caplog: pytest.LogCaptureFixture) -> None:
    """A reader that does not read, and a callback that raises."""
    caplog.set_level(logging.INFO, LOGGER)

    def broken(record: object) -> None:
        raise ValueError(record)

    with trio.fail_after(60):
        async with open_runtime(driver, name="r", attach=[log_events()]) as runtime:
            with runtime.events(capacity=1):
                runtime.system.events.subscribe(broken)
                for _ in range(3):
                    runtime.pause()
    (lost,) = lines(caplog, logging.WARNING)
    assert lost.getMessage().startswith("events_lost runtime=r dropped=")
    assert lost.dropped >= 2
    assert lost.failed_subscribers == 1


async def test_a_hosts_structlog_logger_gets_values(driver: ProcessDriver, spec_of) -> None:
    """Its own processors make the line; nothing of ours is rendered before."""
    capture = structlog.testing.LogCapture()
    log = structlog.wrap_logger(None, processors=[capture])
    with trio.fail_after(60):
        async with open_runtime(driver, name="r", attach=[log_events(log)]) as runtime:
            runtime.pause()
            handle = await runtime.start_episode(spec_of(id="e"))
            handle.cancel()
            await handle.wait()
    (line,) = [entry for entry in capture.entries if entry["event"] == "episode"]
    assert line["log_level"] == "warning"
    assert line["runtime"] == "r"
    assert line["episode"] == "e"
    assert line["outcome"] == "cancelled"
    assert line["message"] == "the episode was called off before its turn came"
    assert line["waited"] >= 0
    assert line["seconds"] >= 0


async def test_a_hosts_logger_that_raises_costs_a_line_and_nothing_else(
    driver: ProcessDriver, spec_of, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the lines after it nor the runtime's end."""
    lost: list[str] = []

    def broken(record: object) -> None:
        raise ValueError(f"no use for {record}")

    def fragile(_logger: object, _method: str, fields: Any) -> Any:
        lost.append(fields["event"])
        raise ValueError("a processor of the host's")

    log = structlog.wrap_logger(None, processors=[fragile])
    with trio.fail_after(120):
        async with open_runtime(driver, attach=[log_events(log)]) as runtime:
            await runtime.run_episode(spec_of(id="good"))
            runtime.system.events.subscribe(broken)
    assert lost[-1] == "events_lost"
    assert "episode" in lost
    assert "the log line of episode_closed was lost" in caplog.text


async def test_no_token_and_no_secret_is_shown_anywhere(
    driver: ProcessDriver, spec_of, tell, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in logs at DEBUG nor in spans nor in metrics, though a player shouts all it knows and dies of it."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    caplog.set_level(logging.DEBUG)
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    registry = CollectorRegistry()
    secret = "s3cr3t-of-the-host"
    spec = msgspec.structs.replace(
        spec_of(players=("shouts_and_dies",), id="e", config={"player_connect_timeout_seconds": 1}),
        secret_env={"KEY": secret},
    )
    with trio.fail_after(120):
        async with open_runtime(driver, attach=[log_events(), tracing(provider), metrics(registry)]) as runtime:
            handle = await runtime.start_episode(spec)
            crash = ActorCrashed(
                error="E", message=secret, during="handle", leaves=(f"E: {secret}",), traceback=f"x\nE: {secret}"
            )
            tell(runtime, crash, actor="a", scope="e")
            await handle.wait()
            exposition = generate_latest(registry).decode()
    (token,) = json.loads((spec.directory / "config.json").read_text())["tokens"]
    shouted = (spec.directory / "logs" / "policy_agent_0.log").read_text()
    assert token in shouted
    assert secret in shouted
    logs = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    spans = "\n".join(span.to_json() for span in exporter.get_finished_spans())
    assert "actor_crashed" in logs
    assert "[secret]" in logs
    assert "exception" in spans
    assert "coworld_" in exposition
    for text in (logs, spans, exposition):
        assert token not in text
        assert secret not in text
