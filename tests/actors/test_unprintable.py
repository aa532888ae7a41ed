"""Exceptions that cannot be printed: a crash is told all the same, and nobody else is hurt."""

from __future__ import annotations

import msgspec
import pytest

from coworld_actors.actors import Actor, ActorCrashed, ChildSpec, Request, StartFailed, events, open_system
from coworld_actors.testing import EventLog


class Broken(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text either")

    __repr__ = __str__


class Go(Request[int], frozen=True):
    error: object = None


class Crasher(Actor[Go]):
    def __init__(self, at_start=None) -> None:
        self.at_start = at_start

    async def on_start(self) -> None:
        if self.at_start is not None:
            raise self.at_start

    async def handle(self, message: Go) -> int:
        raise message.error


@pytest.mark.parametrize(
    "make",
    [
        Broken,
        lambda: OSError("\ud800 is no character"),
        lambda: ExceptionGroup("two", [Broken(), ValueError("\udcff")]),
    ],
    ids=["no text", "surrogates", "group"],
)
async def test_a_crash_that_cannot_be_printed_is_a_crash_like_any_other(make, autojump_clock):
    """Its asker is told, its event can be written as JSON, it is restarted, its sibling lives in its first life."""
    async with open_system() as system:
        log = EventLog(system.events)
        house = await system.start_supervisor("house")
        sibling = await house.start_actor(ChildSpec(name="sibling", start=Crasher))
        ref = await house.start_actor(ChildSpec(name="crasher", start=Crasher))
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Go(make()), deadline=1)
        assert caught.value.__cause__ is not None
        await log.wait_for(events.ActorRestarted)
        with pytest.raises(StartFailed, match="bad did not start"):
            await house.start_actor(ChildSpec(name="bad", start=lambda: Crasher(make())))
        assert (house.alive, sibling.alive, ref.alive) == (True, True, True)
        assert {info.name: info.incarnation for info in house.children()} == {"sibling": 0, "crasher": 1}
    for record in log.records:
        assert msgspec.json.decode(msgspec.json.encode(record))
    assert len(log.of(events.ActorCrashed)) == 2
