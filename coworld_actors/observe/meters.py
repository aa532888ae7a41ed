"""What is counted and timed, as series of one Prometheus registry that any number of runtimes may share.

Labels have few values, whatever happens: no episode, player or actor is one, and names that come from strangers are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, final

from coworld_actors.actors import Record
from coworld_actors.actors.events import ActorCrashed, ActorRestarted, ChildKilled, RestartLimitReached
from coworld_actors.episode.events import RoleEnded
from coworld_actors.episode.record import EXPECTED_CRASHES
from coworld_actors.runtime.events import EpisodeAdmitted, EpisodeClosed, EpisodeQueued
from coworld_protocol.printable import printable

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

    from coworld_actors.runtime.runtime import Runtime

    Series: TypeAlias = Counter | Histogram

__all__ = ["MOST_COWORLDS", "BoundedLabel", "Families", "Meter"]

MOST_COWORLDS = 100
"""Names of Coworlds that a runtime's series tell apart; later ones are `other` together."""
_MOST_OUTCOMES = 64
_MOST_ROLES = 16
_LONGEST_LABEL = 64

_EPISODE_BUCKETS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_QUEUE_BUCKETS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)


@final
class BoundedLabel:
    """Makes label values of strangers' words: printable, short, and at most so many different ones.

    Args:
        most: how many; what comes later is `other`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, text: str) -> str:
        """The value for a word."""
        label = printable(text[:_LONGEST_LABEL])[:_LONGEST_LABEL] or "unnamed"
        if label in self._known:
            return label
        if len(self._known) >= self._most:
            return "other"
        self._known.add(label)
        return label


@final
class Families:
    """All metrics that are fed by events, made and not yet registered. The first label of each is the runtime's name."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Histogram  # noqa: PLC0415 - an extra

        self.all: list[Series] = []

        def counter(name: str, text: str, *labels: str) -> Counter:
            made = Counter(name, text, ("runtime", *labels), registry=None)
            self.all.append(made)
            return made

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
            made = Histogram(name, text, ("runtime", *labels), registry=None, buckets=buckets)
            self.all.append(made)
            return made

        self.accepted = counter("coworld_episodes_accepted", "Episodes accepted.", "coworld")
        self.closed = counter(
            "coworld_episodes_closed", "Accepted episodes that are over.", "coworld", "driver", "outcome"
        )
        self.duration = histogram(
            "coworld_episode_duration_seconds",
            "From an episode's turn to its end; without those that never had their turn.",
            "coworld",
            "driver",
            buckets=_EPISODE_BUCKETS,
        )
        self.waited = histogram(
            "coworld_episode_queue_seconds", "From an episode's acceptance to its turn.", buckets=_QUEUE_BUCKETS
        )
        self.role_ends = counter(
            "coworld_role_ends", "Processes of roles that have ended; ok: with status 0.", "role", "ok"
        )
        self.crashes = counter(
            "coworld_actor_crashes",
            "Ends of incarnations by an exception; finding: it says that a role did something wrong, and nothing about us.",
            "during",
            "finding",
        )
        self.restarts = counter("coworld_actor_restarts", "Further incarnations begun.")
        self.limits = counter("coworld_restart_limits_reached", "Supervisors that gave up.")
        self.killed = counter("coworld_children_killed", "Children that had used up their grace.")


@final
class Meter:
    """One runtime's share of the series. Its callback runs in the runtime's thread; scrapes read under the client's own locks.

    Args:
        families: the registry's.
        runtime: whose events are counted.
    """

    def __init__(self, families: Families, runtime: Runtime) -> None:
        self._families = families
        self._runtime = runtime
        self._children: dict[tuple[Series, tuple[str, ...]], Any] = {}
        self._running: set[str] = set()
        self._coworld = BoundedLabel(MOST_COWORLDS)
        self._outcome = BoundedLabel(_MOST_OUTCOMES)
        self._role = BoundedLabel(_MOST_ROLES)
        self._takers: dict[type, Callable[[Any, str], None]] = {
            EpisodeQueued: self._queued,
            EpisodeAdmitted: self._admitted,
            EpisodeClosed: self._closed,
            RoleEnded: self._role_ended,
            ActorCrashed: self._crashed,
            ActorRestarted: lambda _event, _scope: self._child(families.restarts).inc(),
            RestartLimitReached: lambda _event, _scope: self._child(families.limits).inc(),
            ChildKilled: lambda _event, _scope: self._child(families.killed).inc(),
        }
        for series in (families.waited, families.restarts, families.limits, families.killed):
            # From the beginning at 0: a counter that appears with its first increment has no rate.
            self._child(series)

    def _child(self, series: Series, *labels: str) -> Any:
        child = self._children.get((series, labels))
        if child is None:
            child = self._children[series, labels] = series.labels(self._runtime.name, *labels)
        return child

    def on_record(self, record: Record) -> None:
        """Count an event."""
        take = self._takers.get(type(record.event))
        if take is not None:
            take(record.event, record.scope)

    def _queued(self, _event: EpisodeQueued, scope: str) -> None:
        episode = self._runtime.episode(scope)
        name = episode.spec.plan.manifest.game.name if episode is not None else ""
        self._child(self._families.accepted, self._coworld(name)).inc()

    def _admitted(self, event: EpisodeAdmitted, scope: str) -> None:
        self._running.add(scope)
        self._child(self._families.waited).observe(event.waited)

    def _closed(self, event: EpisodeClosed, scope: str) -> None:
        coworld = self._coworld(event.coworld)
        self._child(self._families.closed, coworld, event.driver, self._outcome(event.outcome)).inc()
        if scope in self._running:
            self._running.remove(scope)
            self._child(self._families.duration, coworld, event.driver).observe(event.seconds)

    def _role_ended(self, event: RoleEnded, _scope: str) -> None:
        self._child(self._families.role_ends, self._role(event.role), _word(event.ok)).inc()

    def _crashed(self, event: ActorCrashed, _scope: str) -> None:
        self._child(self._families.crashes, event.during, _word(event.error in EXPECTED_CRASHES)).inc()

    def remove(self) -> None:
        """Take this runtime's series away."""
        for series, labels in self._children:
            series.remove(self._runtime.name, *labels)
        self._children.clear()


def _word(value: bool) -> str:
    return "true" if value else "false"
