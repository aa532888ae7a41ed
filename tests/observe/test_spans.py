"""Episodes as traces, recorded by the public SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanContext, StatusCode, TraceFlags

from coworld_actors.actors.events import ActorCrashed
from coworld_actors.episode.spec import EpisodeSpec, Limits
from coworld_actors.observe.spans import tracing
from coworld_actors.runtime.admission import Admission, RuntimeFull, WhenFull
from coworld_actors.runtime.for_asyncio import open_runtime_asyncio
from coworld_actors.runtime.for_threads import open_runtime_sync
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import PreconditionMissing, Refused

LONG = 120
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


class Exporter(InMemorySpanExporter):
    """Spans that have ended."""

    def all(self, name: str = "episode") -> list[ReadableSpan]:
        """Those of a name."""
        return [span for span in self.get_finished_spans() if span.name == name]

    def one(self, name: str = "episode") -> ReadableSpan:
        """The only one of a name."""
        (span,) = self.all(name)
        return span


@pytest.fixture
def exporter() -> Exporter:
    """Collects what is exported."""
    return Exporter()


@pytest.fixture
def provider(exporter: Exporter) -> Iterator[TracerProvider]:
    """The host's SDK."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def environment(spec: EpisodeSpec, slot: int = 0) -> dict[str, str]:
    """What a player that shows its environment was given."""
    log = (spec.directory / "logs" / f"policy_agent_{slot}.log").read_text()
    return json.loads(log[log.index("{") :])


def attributes(span: ReadableSpan) -> dict[str, object]:
    """Of a span; never None."""
    return dict(span.attributes or {})


def remote() -> trace.NonRecordingSpan:
    """A span that somebody else records."""
    context = SpanContext(int("ab" * 16, 16), int("cd" * 8, 16), is_remote=True, trace_flags=TraceFlags(1))
    return trace.NonRecordingSpan(context)


async def test_an_episode_is_a_tree_of_spans_below_its_callers(
    driver: ProcessDriver, spec_of, provider: TracerProvider, exporter: Exporter
) -> None:
    """Real processes: game and players are children of the episode, and a player finds the episode's span."""
    with trio.fail_after(LONG):
        async with open_runtime(driver, attach=[tracing(provider)]) as runtime:
            with provider.get_tracer("host").start_as_current_span("request") as request:
                handle = await runtime.start_episode(spec_of(players=("shows_environment", "plays"), id="e-7"))
            assert (await handle.wait()).verdict.good
    episode = exporter.one()
    assert episode.parent is not None
    assert episode.parent.span_id == request.get_span_context().span_id
    for name in ("game", "player-0", "player-1"):
        span = exporter.one(name)
        assert span.parent is not None
        assert span.parent.span_id == episode.context.span_id
        assert span.status.status_code is StatusCode.UNSET
        assert span.start_time is not None
        assert episode.start_time is not None
        assert episode.end_time is not None
        assert span.end_time is not None
        assert episode.start_time <= span.start_time <= span.end_time <= episode.end_time
    assert attributes(exporter.one("player-1"))["coworld.slot"] == 1
    assert attributes(episode) == {
        "coworld.episode.id": "e-7",
        "coworld.name": "scripted",
        "coworld.version": "1.0.0",
        "coworld.variant": "certification",
        "coworld.seats": 2,
        "coworld.driver": "process",
        "coworld.outcome": "completed",
        "coworld.good": True,
        "coworld.blame": "nobody",
        "coworld.failed_seats": (),
    }
    assert episode.status.status_code is StatusCode.UNSET
    phases = [dict(event.attributes or {})["coworld.phase"] for event in episode.events if event.name == "phase"]
    assert phases == ["starting", "probing", "seating", "playing", "closing", "checking", "done"]
    context = episode.context
    assert (
        environment(handle.spec)["TRACEPARENT"]
        == f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    )
    assert "TRACESTATE" not in environment(handle.spec)


async def test_a_bad_end_is_an_error_with_outcome_blame_and_seats(
    driver: ProcessDriver, spec_of, provider: TracerProvider, exporter: Exporter
) -> None:
    """A game that dies in the middle; its own span is an error too."""
    with trio.fail_after(LONG):
        async with open_runtime(driver, attach=[tracing(provider)]) as runtime:
            never = spec_of("waits_for_players", ("crashes_at_once",))
            await runtime.run_episode(msgspec.structs.replace(never, limits=Limits(timeout=60, first_frame=1)))
            await runtime.run_episode(spec_of("crashes_mid"))
    first, second = exporter.all()
    assert first.status.status_code is StatusCode.ERROR
    assert attributes(first)["coworld.failed_seats"] == (0,)
    assert attributes(second)["coworld.outcome"] == "game_crashed"
    assert attributes(second)["coworld.blame"] == "game"
    assert second.status.description == "game_crashed: the game crashed during the episode"
    assert {span.status.status_code for span in exporter.all("game")} >= {StatusCode.ERROR}
    assert attributes(exporter.all("player-0")[0])["coworld.role.end"]


async def test_spans_of_episodes_that_never_run_end(
    driver: ProcessDriver, spec_of, provider: TracerProvider, exporter: Exporter
) -> None:
    """Called off in the queue, or by the runtime's end, or without an image: each has one span, and it is an error."""
    unknown = ProcessDriver(load_images(None, {}))
    with trio.fail_after(LONG):
        async with open_runtime(driver, name="a", attach=[tracing(provider)]) as runtime:
            runtime.pause()
            handle = await runtime.start_episode(spec_of(id="off"))
            await runtime.start_episode(spec_of(id="left"))
            handle.cancel()
            await handle.wait()
        async with open_runtime(unknown, name="b", attach=[tracing(provider)]) as runtime:
            with pytest.raises(PreconditionMissing):
                await runtime.run_episode(spec_of(id="unknown"))
    ends = {attributes(span)["coworld.episode.id"]: span for span in exporter.all()}
    assert sorted(map(str, ends)) == ["left", "off", "unknown"]
    assert {span.status.status_code for span in ends.values()} == {StatusCode.ERROR}
    assert attributes(ends["unknown"])["coworld.outcome"] == "precondition_missing"


async def test_what_is_not_accepted_has_no_span(
    new_driver, spec_of, provider: TracerProvider, exporter: Exporter
) -> None:
    """A full queue, an id that is taken, a caller that gave up waiting: nothing is begun, so nothing stays open."""
    opened: list[str] = []
    driver, driver_of_its_own = new_driver(), new_driver()

    def counting(runtime: Runtime):
        runtime.propagators.append(lambda spec: opened.append(spec.id) or {})
        return tracing(provider)(runtime)

    with trio.fail_after(LONG):
        admission = Admission(parallel=1, queue=0, when_full=WhenFull.REFUSE)
        async with open_runtime(driver, name="a", admission=admission, attach=[counting]) as runtime:
            runtime.pause()
            await runtime.start_episode(spec_of(id="one"))
            with pytest.raises(RuntimeFull):
                await runtime.start_episode(spec_of(id="two"))
            with pytest.raises(Refused):
                await runtime.start_episode(spec_of(id="one"))
        admission = Admission(parallel=1, queue=0)
        async with open_runtime(driver_of_its_own, name="b", admission=admission, attach=[counting]) as runtime:
            runtime.pause()
            await runtime.start_episode(spec_of(id="three"))
            with trio.move_on_after(0.1) as scope:
                await runtime.start_episode(spec_of(id="four"))
            assert scope.cancelled_caught
        assert opened == ["one", "three"]
    assert len(exporter.all()) == 2


async def test_spans_that_are_open_when_tracing_ends_are_ended(
    driver: ProcessDriver, spec_of, provider: TracerProvider, exporter: Exporter
) -> None:
    """Nothing of an attachment is left when it is left, and the runtime goes on without."""
    with trio.fail_after(LONG):
        async with open_runtime(driver) as runtime:
            async with tracing(provider)(runtime):
                runtime.pause()
                handle = await runtime.start_episode(spec_of())
            assert exporter.one().status.status_code is StatusCode.ERROR
            assert runtime.propagators == []
            handle.cancel()
            await handle.wait()
    assert len(exporter.all()) == 1


async def test_crashes_are_events_without_secrets(
    driver: ProcessDriver, spec_of, tell, provider: TracerProvider, exporter: Exporter
) -> None:
    """Type and message of the exception, and whose it was."""
    with trio.fail_after(LONG):
        async with open_runtime(driver, attach=[tracing(provider)]) as runtime:
            runtime.pause()
            spec = msgspec.structs.replace(spec_of(id="e"), secret_env={"KEY": "hunter22"})
            handle = await runtime.start_episode(spec)
            crash = ActorCrashed(
                error="KeyError",
                message="hunter22 at ws://h/player?token=t0ken",
                during="handle",
                leaves=(),
                traceback="",
            )
            tell(runtime, crash, actor="episode-e/x", incarnation=2, scope="e")
            handle.cancel()
            await handle.wait()
    (event,) = (event for event in exporter.one().events if event.name == "exception")
    assert dict(event.attributes or {}) == {
        "exception.type": "KeyError",
        "exception.message": "[secret] at ws://h/player",
        "coworld.actor": "episode-e/x",
        "coworld.incarnation": 2,
        "coworld.during": "handle",
    }


async def variables(
    driver: ProcessDriver, spec: EpisodeSpec, attachments: Sequence[Callable], parent=None
) -> dict[str, str]:
    """What the roles of an episode would be given, without playing it."""
    async with open_runtime(driver, attach=attachments) as runtime:
        runtime.pause()
        with trace.use_span(parent) if parent is not None else trace.use_span(trace.INVALID_SPAN):
            handle = await runtime.start_episode(spec)
        handle.cancel()
        await handle.wait()
        return dict(handle.spec.role_env)


async def test_without_an_sdk_roles_get_what_the_host_has(new_driver, spec_of) -> None:
    """Nothing; or the environment's trace; or that of the current span, which comes first."""
    environ = {"TRACEPARENT": PARENT, "TRACESTATE": "a=b"}
    none = NoOpTracerProvider()
    with trio.fail_after(LONG):
        assert await variables(new_driver(), spec_of(), [tracing(none, environ={})]) == {}
        assert await variables(new_driver(), spec_of(), [tracing(none, environ={"TRACEPARENT": "junk"})]) == {}
        assert await variables(new_driver(), spec_of(), [tracing(none, environ=environ)]) == environ
        found = await variables(new_driver(), spec_of(), [tracing(none, environ=environ)], remote())
        assert found == {"TRACEPARENT": f"00-{'ab' * 16}-{'cd' * 8}-01"}


async def test_with_an_sdk_the_environments_trace_is_the_parent(
    driver: ProcessDriver, spec_of, provider: TracerProvider, exporter: Exporter
) -> None:
    """Under CI an episode belongs to the job's trace, unless the host has a span of its own."""
    with trio.fail_after(LONG):
        found = await variables(
            driver, spec_of(), [tracing(provider, environ={"TRACEPARENT": PARENT, "TRACESTATE": "a=b"})]
        )
    episode = exporter.one()
    assert episode.parent is not None
    assert f"{episode.parent.span_id:016x}" == SPAN
    assert found == {"TRACEPARENT": f"00-{TRACE}-{episode.context.span_id:016x}-01", "TRACESTATE": "a=b"}


async def test_an_episode_is_not_refused_because_it_cannot_be_traced(
    driver: ProcessDriver, spec_of, caplog: pytest.LogCaptureFixture
) -> None:
    """A tracer that raises costs the trace, and says so in the log."""

    class Broken(NoOpTracerProvider):
        def get_tracer(self, *args, **kwargs):
            tracer = super().get_tracer("x")
            tracer.start_span = lambda *args, **kwargs: 1 / 0
            return tracer

    with trio.fail_after(LONG):
        assert await variables(driver, spec_of(id="e"), [tracing(Broken(), environ={})]) == {}
    assert [record.getMessage() for record in caplog.records if record.name == "coworld_actors.tracing"] == [
        "episode e is played without a trace"
    ]


async def test_a_span_processor_that_raises_costs_its_span_only(
    driver: ProcessDriver, spec_of, exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    """The episode is played, later ones are traced, and the log says what is missing."""

    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            if attributes(span).get("coworld.episode.id") == "one":
                raise ValueError

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Broken())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with trio.fail_after(LONG):
        async with open_runtime(driver, attach=[tracing(provider)]) as runtime:
            runtime.pause()
            for name in ("one", "two"):
                handle = await runtime.start_episode(spec_of(id=name))
                handle.cancel()
                await handle.wait()
    assert attributes(exporter.one())["coworld.episode.id"] == "two"
    lines = [record.getMessage() for record in caplog.records if record.name == "coworld_actors.tracing"]
    assert lines == ["the trace of episode one is incomplete"]


def test_a_callers_span_reaches_across_the_thread_of_a_hosted_runtime(
    new_driver, spec_of, provider: TracerProvider, exporter: Exporter
) -> None:
    """From a synchronous program and from an asyncio task alike."""
    tracer = provider.get_tracer("host")
    callers: list[int] = []
    with open_runtime_sync(new_driver(), attach=[tracing(provider)]) as runtime:
        runtime.pause()
        with tracer.start_as_current_span("caller") as span:
            callers.append(span.get_span_context().span_id)
            episode = runtime.start_episode(spec_of(), timeout=LONG)
        episode.cancel()
        episode.wait(timeout=LONG)

    async def serve() -> None:
        async with open_runtime_asyncio(new_driver(), attach=[tracing(provider)]) as runtime:
            await runtime.pause()
            with tracer.start_as_current_span("caller") as span:
                callers.append(span.get_span_context().span_id)
                episode = await runtime.start_episode(spec_of())
            await episode.cancel()
            await episode.wait()

    asyncio.run(asyncio.wait_for(serve(), LONG))
    assert [span.parent.span_id if span.parent else 0 for span in exporter.all()] == callers


def test_without_the_api_the_error_says_what_to_install(without: Callable[[str, str], str]) -> None:
    """Importing us needs it not; asking for traces does."""
    said = without(
        "opentelemetry",
        """
from coworld_actors.observe import tracing
from coworld_protocol.errors import PreconditionMissing
try:
    tracing()
except PreconditionMissing as error:
    print(error.todo)
""",
    )
    assert said == "pip install 'coworld-actors[tracing]', and an SDK for the host\n"
