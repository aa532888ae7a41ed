"""Seeing inside a runtime with the tools that its host has: metrics, traces, logs. Each is attached, and gone with the runtime.

discretion                    what of an event may be shown to others
trace_context                 the trace that our own process was started in, handed on; needs no OpenTelemetry
spans                         episodes as OpenTelemetry traces
meters, readings, prometheus  counters and histograms, values read at scrape time, and both in a host's registry
scrape_port                   a local port that serves them
bound_logging                 episode, actor and incarnation in the host's log lines
event_log                     events as log lines, one canonical line per episode
"""

from __future__ import annotations

from coworld_actors.observe.bound_logging import ActorFilter, bind_actor
from coworld_actors.observe.event_log import log_events
from coworld_actors.observe.prometheus import metrics
from coworld_actors.observe.scrape_port import metrics_port
from coworld_actors.observe.spans import tracing
from coworld_actors.observe.trace_context import inherited_trace, trace_variables

__all__ = [
    "ActorFilter",
    "bind_actor",
    "inherited_trace",
    "log_events",
    "metrics",
    "metrics_port",
    "trace_variables",
    "tracing",
]
