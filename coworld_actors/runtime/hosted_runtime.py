"""What the two facades have in common: a runtime on a `TrioThread`, opened with the options of `open_runtime`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from coworld_actors.actors import Record
from coworld_actors.actors.stream import Subscription
from coworld_actors.runtime.hosted import TrioThread
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime, RuntimeClosed

__all__ = ["BATCH", "CANCELLED", "CLOSE_MARGIN", "PROMPT_SECONDS", "host_runtime", "remaining", "takes_options_of"]

P = ParamSpec("P")
R = TypeVar("R")

BATCH = 256
"""Records that a reader fetches at a time, at most."""
PROMPT_SECONDS = 5.0
"""How long a caller that is cancelled waits for the end of a call that has nothing to put in order."""
CLOSE_MARGIN = 45.0
"""What leaving a runtime may take beyond its `stop_deadline`: three rounds of kills, the actors' tree, the driver's janitor."""
CANCELLED = "whoever asked for the episode was cancelled"
"""Why an episode is called off that was accepted when its caller had gone."""


def takes_options_of(model: Callable[P, object]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Give a function that passes everything on the signature of the one that gets it."""

    def decorate(function: Callable[..., R]) -> Callable[P, R]:
        result = inspect.signature(function, eval_str=False).return_annotation
        function.__signature__ = inspect.signature(model).replace(return_annotation=result)  # type: ignore[attr-defined]
        return function

    return decorate


def host_runtime(*args: Any, **options: Any) -> TrioThread[Runtime]:
    """A thread for a runtime; not started yet.

    Args:
        args: as of `open_runtime`.
        options: likewise.

    Raises:
        TypeError: they are not.
    """
    bound = inspect.signature(open_runtime).bind(*args, **options)
    bound.apply_defaults()
    name: str = bound.arguments["name"]

    def closed() -> RuntimeClosed:
        return RuntimeClosed(f"runtime {name} is closed", todo="call it inside of its block, or open a new one")

    return TrioThread(
        f"coworld-actors {name}",
        functools.partial(open_runtime, *args, **options),
        patience=bound.arguments["stop_deadline"] + CLOSE_MARGIN,
        closed=closed,
    )


def remaining(subscription: Subscription) -> list[Record]:
    """What a reader has not fetched when the runtime is closed; for use when its trio run is over, without one."""
    subscription.close()
    try:
        subscription.batch(BATCH).send(None)
    except StopIteration as end:
        found: list[Record] = end.value
        return found
    raise AssertionError("a closed subscription has nothing to wait for")
