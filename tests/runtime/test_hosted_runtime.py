"""What both facades are made of."""

from __future__ import annotations

import inspect
import math

import pytest
import trio

from coworld_actors.actors import Record
from coworld_actors.actors.events import SystemStarted
from coworld_actors.actors.stream import Subscription
from coworld_actors.runtime.for_asyncio import AsyncioEpisode, AsyncioEvents, AsyncioRuntime, open_runtime_asyncio
from coworld_actors.runtime.for_threads import SyncEpisode, SyncEvents, SyncRuntime, open_runtime_sync
from coworld_actors.runtime.handle import EpisodeHandle
from coworld_actors.runtime.hosted_runtime import CLOSE_MARGIN, host_runtime, remaining
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime
from coworld_drivers.process import ProcessDriver


def record(seq: int) -> Record:
    return Record(seq, 0.0, 0.0, "", "", 0, SystemStarted(name="s"))


def test_a_thread_is_named_and_patient_as_its_runtime_is(driver: ProcessDriver) -> None:
    """Its end may take what the runtime's stop may take, and the rest of leaving."""
    thread = host_runtime(driver, name="mine", stop_deadline=7.0)
    assert thread.name == "coworld-actors mine"
    assert thread.patience == 7.0 + CLOSE_MARGIN
    assert host_runtime(driver, stop_deadline=math.inf).patience == math.inf
    with pytest.raises(TypeError):
        host_runtime()


@pytest.mark.parametrize("closed", [True, False])
async def test_what_was_not_read_is_there_when_the_run_is_over(closed: bool) -> None:
    """All of it, in pieces, then nothing; whether the run had the time to close it or not."""
    subscription = Subscription(capacity=1000)
    for seq in range(300):
        subscription.take(record(seq))
    if closed:
        subscription.close()
    found: list[Record] = []
    while batch := await trio.to_thread.run_sync(remaining, subscription):
        found += batch
    assert [one.seq for one in found] == list(range(300))


@pytest.mark.parametrize("facade", [open_runtime_asyncio, open_runtime_sync])
def test_the_facades_take_what_open_runtime_takes(facade: object) -> None:
    """Options, their order and defaults are the same."""
    assert callable(facade)
    assert inspect.signature(facade).parameters == inspect.signature(open_runtime).parameters


@pytest.mark.parametrize(
    ("facade", "model", "left_out"),
    [
        (AsyncioRuntime, Runtime, set()),
        (SyncRuntime, Runtime, set()),
        # What the runtime calls of its handles is nobody else's.
        (AsyncioEpisode, EpisodeHandle, {"admitted", "closing", "settle", "settled", "show", "take"}),
        (SyncEpisode, EpisodeHandle, {"admitted", "closing", "settle", "settled", "show", "take"}),
        (AsyncioEvents, Subscription, {"close", "take", "when_closed"}),
        (SyncEvents, Subscription, {"take", "when_closed"}),
    ],
)
def test_the_facades_offer_what_the_trio_side_offers(facade: type, model: type, left_out: set[str]) -> None:
    """A method that is new there is missing here until somebody has thought of it; parameters are the same, and `timeout`."""
    for name, method in inspect.getmembers(model):
        if name.startswith("_") or name in left_out or not inspect.isfunction(method):
            continue
        own = getattr(facade, name)
        extra = set(inspect.signature(own).parameters) - set(inspect.signature(method).parameters)
        assert set(inspect.signature(method).parameters) <= set(inspect.signature(own).parameters), name
        assert extra <= {"timeout"}, name
