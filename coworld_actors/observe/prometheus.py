"""A runtime's metrics in a Prometheus registry of the host's, through the official client."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, final
from weakref import WeakKeyDictionary

from coworld_actors.observe.meters import Families, Meter
from coworld_actors.observe.readings import Readings, Snapshots
from coworld_protocol.errors import PreconditionMissing, Refused

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    from coworld_actors.runtime.opening import Attachment
    from coworld_actors.runtime.runtime import Runtime

__all__ = ["metrics", "require_client"]


def require_client() -> None:
    """See that the Prometheus client is there.

    Raises:
        PreconditionMissing: it is not.
    """
    try:
        import_module("prometheus_client")
    except ImportError as error:
        raise PreconditionMissing(
            "metrics need prometheus_client, which is not installed",
            evidence=str(error),
            todo="pip install 'coworld-actors[metrics]'",
        ) from error


@final
class _Board:
    """Our series in one registry: registered when the first runtime comes, unregistered when the last one goes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._families = Families()
        self._readings = Readings()
        self._meters: dict[str, Meter] = {}
        registered: list[Collector] = []
        try:
            for collector in self._collectors():
                registry.register(collector)
                registered.append(collector)
        except ValueError as error:
            for collector in registered:
                registry.unregister(collector)
            raise Refused(
                "the registry has metrics with our names already",
                evidence=str(error),
                todo="give the runtime a registry of its own",
            ) from error

    def _collectors(self) -> list[Collector]:
        return [*self._families.all, self._readings]

    def open(self, runtime: Runtime) -> Meter:
        name = runtime.name
        if name in self._meters:
            raise Refused(
                f"the registry has the metrics of a runtime {name!r} already",
                todo="give every runtime of a process a name of its own: open_runtime(driver, name=...)",
            )
        meter = self._meters[name] = Meter(self._families, runtime)
        self._readings.add(name, Snapshots(runtime))
        return meter

    def close(self, runtime: Runtime) -> None:
        self._readings.remove(runtime.name)
        self._meters.pop(runtime.name).remove()

    def unregister_if_empty(self) -> bool:
        if self._meters:
            return False
        for collector in self._collectors():
            self._registry.unregister(collector)
        return True


_lock = threading.Lock()
_boards: WeakKeyDictionary[CollectorRegistry, _Board] = WeakKeyDictionary()


def metrics(registry: CollectorRegistry) -> Attachment:
    """For `open_runtime(attach=[...])`: the runtime's metrics, in this registry, as long as the runtime is there.

    Several runtimes may share a registry; the label `runtime` tells them apart. The series of one that is closed are removed.

    Args:
        registry: the host's; `prometheus_client.REGISTRY` is one.

    Raises:
        PreconditionMissing: the Prometheus client is not installed.
        Refused: when the runtime is opened: the registry has another one of its name, or metrics of our names.
    """
    require_client()

    @asynccontextmanager
    async def attached(runtime: Runtime) -> AsyncGenerator[CollectorRegistry]:
        # Runtimes of several threads may share the registry. Never held while anybody waits.
        with _lock:
            board = _boards.get(registry)
            if board is None:
                board = _boards[registry] = _Board(registry)
            meter = board.open(runtime)
        unsubscribe = runtime.system.events.subscribe(meter.on_record)
        try:
            yield registry
        finally:
            unsubscribe()
            with _lock:
                board.close(runtime)
                if board.unregister_if_empty():
                    del _boards[registry]

    return attached
