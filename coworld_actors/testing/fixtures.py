"""Fixtures for pytest, the only module here that imports it:

    pytest_plugins = ["coworld_actors.testing.fixtures"]

autojump_clock   a virtual clock that jumps over waits; pytest-trio's own, so that a test has one clock whoever it asks
actor_system     an open system, closed after the test
event_log        an `EventLog` of that system, from its beginning
deterministic    `with deterministic(seed):` around a `trio.run`: see `coworld_actors.testing.determinism`

The first three are for async tests under pytest-trio. `pip install pytest pytest-trio` has both.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from random import Random

import pytest
from pytest_trio.plugin import autojump_clock as autojump_clock  # pyright: ignore[reportMissingTypeStubs] # noqa: PLC0414 - pytest finds it here

from coworld_actors.actors import ActorSystem, open_system
from coworld_actors.testing import determinism
from coworld_actors.testing.event_log import EventLog

__all__ = ["actor_system", "deterministic", "event_log"]


@pytest.fixture
async def actor_system() -> AsyncGenerator[ActorSystem]:
    """An open system whose jitter is the same in every run; whatever the test leaves in it is stopped with it."""
    async with open_system("test", random=Random(0)) as system:  # noqa: S311 - repeatable on purpose
        yield system


@pytest.fixture
async def event_log(actor_system: ActorSystem) -> AsyncGenerator[EventLog]:
    """Everything that happens in `actor_system`."""
    with EventLog(actor_system.events) as log:
        yield log


@pytest.fixture
def deterministic() -> Callable[[int | str], AbstractContextManager[None]]:
    """The context manager that makes trio's scheduler a function of a seed."""
    return determinism.deterministic
