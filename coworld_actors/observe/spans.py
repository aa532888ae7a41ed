"""Episodes as OpenTelemetry traces, through the API only: what becomes of the spans is the host's SDK's to say.

    episode                    from acceptance to its end; child of the span in which `start_episode` was called
      game, player-0, ...      a role's process, from its start to its end
      reporter-ID, grader-ID

Phases and crashes are events of the episode's span. Every role finds the episode's span as `TRACEPARENT` in its environment.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, final

from coworld_actors.actors import Record
from coworld_actors.actors.events import ActorCrashed
from coworld_actors.episode.events import PhaseEntered, RoleEnded, RoleStarted
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.observe.discretion import Discretion
from coworld_actors.observe.trace_context import trace_variables
from coworld_actors.runtime.events import EpisodeAdmitted, EpisodeClosed
from coworld_protocol.errors import PreconditionMissing

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from coworld_actors.runtime.opening import Attachment
    from coworld_actors.runtime.runtime import Runtime

__all__ = ["tracing"]

_log = logging.getLogger("coworld_actors.tracing")


def tracing(tracer_provider: TracerProvider | None = None, *, environ: Mapping[str, str] | None = None) -> Attachment:
    """For `open_runtime(attach=[...])`: a trace of every episode.

    The parent of an episode's span is the span that is current where `start_episode` is called; without one it is the trace
    context of our own environment; without that the episode is the root of a trace of its own. Where no SDK is installed, nothing
    is recorded, and roles get the parent, if there is one.

    Args:
        tracer_provider: instead of OpenTelemetry's global one.
        environ: instead of `os.environ`, for an inherited `TRACEPARENT`; read once, here.

    Raises:
        PreconditionMissing: the OpenTelemetry API is not installed.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra, and needed by nobody else
    except ImportError as error:
        raise PreconditionMissing(
            "traces need OpenTelemetry's API, which is not installed",
            evidence=str(error),
            todo="pip install 'coworld-actors[tracing]', and an SDK for the host",
        ) from error
    inherited = trace_variables(os.environ if environ is None else environ)

    @asynccontextmanager
    async def attached(runtime: Runtime) -> AsyncGenerator[None]:
        spans = _Spans(
            trace.get_tracer("coworld_actors", tracer_provider=tracer_provider), inherited, Discretion(runtime)
        )
        runtime.propagators.append(spans.open)
        unsubscribe = runtime.system.events.subscribe(spans.on_record)
        try:
            yield
        finally:
            runtime.propagators.remove(spans.open)
            unsubscribe()
            spans.close()

    return attached


@contextmanager
def _incomplete(episode: str) -> Generator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 - a host's span processors are part of what we call
        _log.exception("the trace of episode %s is incomplete", episode)


class _Episode:
    """The open spans of one episode.

    Attributes:
        span: the episode's own.
        context: one in which it is the current span.
        roles: those of its roles that live, by name.
    """

    __slots__ = ("context", "roles", "span")

    def __init__(self, span: Span, context: Context) -> None:
        self.span = span
        self.context = context
        self.roles: dict[str, Span] = {}


@final
class _Spans:
    """The open spans of one runtime.

    Args:
        tracer: makes them.
        inherited: the trace context of our environment.
        discretion: what of a text may be shown.
    """

    def __init__(self, tracer: Tracer, inherited: Mapping[str, str], discretion: Discretion) -> None:
        # The API is installed, or nobody could have made a tracer.
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._trace = trace
        self._tracer = tracer
        self._w3c = TraceContextTextMapPropagator()
        self._inherited = {name.lower(): value for name, value in inherited.items()}
        self._discretion = discretion
        self._episodes: dict[str, _Episode] = {}

    def open(self, spec: EpisodeSpec) -> dict[str, str]:
        """Begin an episode's span, in the context of who asked for the episode; returns the variables for its roles.

        Raises nothing: an episode is not refused because it cannot be traced.
        """
        try:
            return self._open(spec)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("episode %s is played without a trace", spec.id)
            return {}

    def _open(self, spec: EpisodeSpec) -> dict[str, str]:
        game = spec.plan.manifest.game
        span = self._tracer.start_span(
            "episode",
            context=self._parent(),
            attributes={
                "coworld.episode.id": spec.id,
                "coworld.name": game.name,
                "coworld.version": game.version,
                "coworld.variant": spec.plan.variant_id,
                "coworld.seats": len(spec.plan.seats),
            },
        )
        context = self._trace.set_span_in_context(span)
        self._episodes[spec.id] = _Episode(span, context)
        carrier: dict[str, str] = {}
        self._w3c.inject(carrier, context)
        return {name.upper(): value for name, value in carrier.items()}

    def _parent(self) -> Context | None:
        """None for the current context."""
        if self._inherited and not self._trace.get_current_span().get_span_context().is_valid:
            return self._w3c.extract(self._inherited)
        return None

    def on_record(self, record: Record) -> None:
        """Take an event into the spans of its episode. An SDK that raises costs that, and nothing later."""
        episode = self._episodes.get(record.scope)
        if episode is not None:
            with _incomplete(record.scope):
                self._take(episode, record)

    def _take(self, episode: _Episode, record: Record) -> None:
        match record.event:
            case EpisodeAdmitted(waited=waited):
                episode.span.add_event("admitted", {"coworld.waited_seconds": waited})
            case PhaseEntered(phase=phase):
                episode.span.add_event("phase", {"coworld.phase": str(phase)})
            case RoleStarted() as event:
                self._begin(episode, event)
            case RoleEnded() as event:
                self._end(episode, event)
            case ActorCrashed() as event:
                self._crash(episode, event, record)
            case EpisodeClosed() as event:
                self._finish(record.scope, event)
            case _:
                pass

    def _begin(self, episode: _Episode, event: RoleStarted) -> None:
        span = self._tracer.start_span(
            event.name,
            context=episode.context,
            attributes={"coworld.role": str(event.role), "coworld.role.name": event.name},
        )
        if event.slot is not None:
            span.set_attribute("coworld.slot", event.slot)
        episode.roles[event.name] = span

    def _end(self, episode: _Episode, event: RoleEnded) -> None:
        span = episode.roles.pop(event.name, None)
        if span is None:
            return
        span.set_attribute("coworld.role.end", event.end)
        if not event.ok:
            span.set_status(self._trace.StatusCode.ERROR, event.end)
        span.end()

    def _crash(self, episode: _Episode, event: ActorCrashed, record: Record) -> None:
        episode.span.add_event(
            "exception",
            {
                "exception.type": event.error,
                "exception.message": self._discretion(record.scope, event.message),
                "coworld.actor": record.actor,
                "coworld.incarnation": record.incarnation,
                "coworld.during": event.during,
            },
        )

    def _finish(self, scope: str, event: EpisodeClosed) -> None:
        episode = self._episodes.pop(scope)
        span = episode.span
        span.set_attributes(
            {
                "coworld.driver": event.driver,
                "coworld.outcome": str(event.outcome),
                "coworld.good": event.good,
                "coworld.blame": str(event.blame),
                "coworld.failed_seats": event.failed_seats,
            }
        )
        if not event.good:
            span.set_status(self._trace.StatusCode.ERROR, f"{event.outcome}: {self._discretion(scope, event.message)}")
        self._end_all(episode)

    def _end_all(self, episode: _Episode) -> None:
        for role in episode.roles.values():
            role.end()
        episode.span.end()

    def close(self) -> None:
        """End what is still open."""
        for scope, episode in self._episodes.items():
            with _incomplete(scope):
                episode.span.set_status(
                    self._trace.StatusCode.ERROR, "the runtime was closed before the episode's end was seen"
                )
                self._end_all(episode)
        self._episodes.clear()
