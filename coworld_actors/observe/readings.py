"""What is read at the moment of a scrape: the runtime's own statistics, taken in its thread and handed over whole.

A scrape comes from any thread, and most of a runtime may only be touched from its own. So the scrape asks the event loop for a
snapshot - an immutable value, whose numbers fit each other - and waits a little for it. A loop that is blocked answers too late:
then the last snapshot counts, and the time that the answer is overdue is the loop's lag.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, final

import trio

from coworld_actors.runtime.runtime import Runtime
from coworld_actors.runtime.statistics import RuntimeStatistics

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["ANSWER_SECONDS", "Readings", "Snapshots"]

ANSWER_SECONDS = 0.25
"""How long a scrape waits for the snapshots of all runtimes together."""


@final
class Snapshots:
    """One runtime's statistics, for other threads. To be made in the runtime's own."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._pending: threading.Event | None = None
        self._asked = 0.0
        self._latest = runtime.statistics()

    def ask(self) -> threading.Event:
        """Have a snapshot taken; returns what will be set when that is done. Waits for nothing, and works in any thread."""
        if threading.get_ident() == self._thread:
            # Waiting for our own thread would be waiting for ourselves.
            done = threading.Event()
            self._take(done)
            return done
        with self._lock:
            if self._pending is not None:
                return self._pending
            done = self._pending = threading.Event()
            self._asked = time.monotonic()
        try:
            self._token.run_sync_soon(self._take, done)
        except trio.RunFinishedError:
            done.set()
        return done

    def _take(self, done: threading.Event) -> None:
        # Raised in the loop's entry queue, anything would end the host's whole run.
        with suppress(Exception):
            self._latest = self._runtime.statistics()
        with self._lock:
            if self._pending is done:
                self._pending = None
        done.set()

    def latest(self) -> RuntimeStatistics:
        """The last snapshot. Reading one reference to an immutable value is safe in any thread."""
        return self._latest

    def overdue(self) -> float:
        """Seconds since a snapshot was asked for that has not come; 0 when none is missing."""
        with self._lock:
            return time.monotonic() - self._asked if self._pending is not None else 0.0


_GAUGES = {
    "coworld_episodes_running": "Episodes that run.",
    "coworld_episodes_queued": "Accepted episodes that wait for their turn.",
    "coworld_episodes_outside": "Callers that wait for room in the queue.",
    "coworld_episodes_parallel": "Episodes that may run at once.",
    "coworld_runtime_paused": "Whether no further episode gets its turn.",
    "coworld_actors_alive": "Actors and supervisors that live.",
    "coworld_event_subscribers": "Listeners to the events.",
}
_COUNTERS = {
    "coworld_events_published": "Events.",
    "coworld_events_dropped": "Records that slow readers lost.",
    "coworld_event_subscribers_failed": "Callbacks that raised and were unsubscribed.",
}


def _values(now: RuntimeStatistics) -> dict[str, float]:
    return {
        "coworld_episodes_running": now.running,
        "coworld_episodes_queued": now.queued,
        "coworld_episodes_outside": now.outside,
        "coworld_episodes_parallel": now.parallel,
        "coworld_runtime_paused": now.paused,
        "coworld_actors_alive": now.actors,
        "coworld_event_subscribers": now.events.subscribers,
        "coworld_events_published": now.events.published,
        "coworld_events_dropped": now.events.dropped,
        "coworld_event_subscribers_failed": now.events.failed,
    }


@final
class Readings:
    """A collector, in Prometheus' sense, of the snapshots of any number of runtimes. Its methods work in any thread."""

    def __init__(self) -> None:
        self._runtimes: dict[str, Snapshots] = {}

    def add(self, name: str, snapshots: Snapshots) -> None:
        """Read a runtime from now on."""
        self._runtimes[name] = snapshots

    def remove(self, name: str) -> None:
        """Read it no longer."""
        del self._runtimes[name]

    def describe(self) -> Iterable[Metric]:
        """What there is, without values: the registry's way to find names that are taken."""
        return self._families([])

    def collect(self) -> Iterable[Metric]:
        """What there is at this moment."""
        runtimes = sorted(self._runtimes.copy().items())
        answers = [snapshots.ask() for _, snapshots in runtimes]
        deadline = time.monotonic() + ANSWER_SECONDS
        for answer in answers:
            answer.wait(max(deadline - time.monotonic(), 0.0))
        return self._families(runtimes)

    def _families(self, runtimes: list[tuple[str, Snapshots]]) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - an extra

        snapshots = [(name, each.latest()) for name, each in runtimes]
        values = [(name, _values(now)) for name, now in snapshots]
        for kind, metrics in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for metric, text in metrics.items():
                family = kind(metric, text, labels=("runtime",))
                for name, each in values:
                    family.add_metric((name,), each[metric])
                yield family
        letters = CounterMetricFamily(
            "coworld_dead_letters", "Accepted messages that were not handled.", labels=("runtime", "reason")
        )
        for name, now in snapshots:
            for reason, count in sorted(now.dead_letters.items()):
                letters.add_metric((name, str(reason)), count)
        yield letters
        yield from self._loop(runtimes)

    def _loop(self, runtimes: list[tuple[str, Snapshots]]) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - an extra

        lag = GaugeMetricFamily("coworld_loop_lag_seconds", "How late the event loop answers.", labels=("runtime",))
        worst = GaugeMetricFamily("coworld_loop_lag_worst_seconds", "How late it ever answered.", labels=("runtime",))
        blocked = CounterMetricFamily("coworld_loop_blocked", "Times that something blocked it.", labels=("runtime",))
        for name, snapshots in runtimes:
            loop, overdue = snapshots.latest().loop, snapshots.overdue()
            lag.add_metric((name,), max(loop.lag, overdue))
            worst.add_metric((name,), max(loop.worst_lag, overdue))
            blocked.add_metric((name,), loop.blocked)
        yield from (lag, worst, blocked)
