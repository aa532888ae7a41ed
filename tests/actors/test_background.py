"""Background tasks belong to their incarnation."""

from __future__ import annotations

import sys

import msgspec
import pytest
import trio

from coworld_actors.actors import Actor, ActorCrashed, ChildSpec, DownReason, Request, Restart, StopReason, open_system
from coworld_actors.actors.background import Background
from coworld_actors.actors.events import ActorCrashed as CrashEvent


class Hang(Request[int], frozen=True):
    pass


class Fall(msgspec.Struct, frozen=True):
    pass


class Host(Actor[Hang | Fall]):
    def __init__(self, log, *, cleanup_fails=False) -> None:
        self.log = log
        self.falls = trio.Event()
        self.cleanup_fails = cleanup_fails

    async def on_start(self) -> None:
        self.context.spawn(self.stay, "a")
        self.context.spawn(self.stay, "b")
        self.context.spawn(self.fall)

    async def stay(self, name: str) -> None:
        self.log.append(f"{name} began")
        try:
            await trio.sleep_forever()
        finally:
            self.log.append(f"{name} ended")
            if self.cleanup_fails:
                raise OSError(name)

    async def fall(self) -> None:
        await self.falls.wait()
        raise ValueError("in the background")

    async def handle(self, message: Hang | Fall) -> int:
        if isinstance(message, Fall):
            self.context.spawn(self.stay, "c")
            await trio.testing.wait_all_tasks_blocked()
        self.falls.set()
        await trio.sleep_forever()
        return 1

    async def on_stop(self, reason: StopReason) -> None:
        self.log.append("on_stop")


async def start(system, log, **kwargs):
    spec = ChildSpec(name="h", start=lambda: Host(log, **kwargs), restart=Restart.TEMPORARY)
    ref = await system.start_actor(spec)
    await trio.testing.wait_all_tasks_blocked()
    return ref


async def test_they_run_beside_the_mailbox_and_end_after_on_stop():
    """Both begin; after `on_stop` they are cancelled and awaited before the Down."""
    async with open_system() as system:
        log = []
        ref = await start(system, log)
        assert sorted(log) == ["a began", "b began"]
        down = await ref.stop()
        assert down.reason is DownReason.SHUTDOWN
        assert log[2] == "on_stop"
        assert sorted(log[3:]) == ["a ended", "b ended"]


async def test_their_crash_is_the_actors_crash():
    """The handler is cancelled, its request fails with the cause, the other tasks end."""
    async with open_system() as system:
        log = []
        ref = await start(system, log)
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Hang(), deadline=1000)
        assert str(caught.value.__cause__) == "in the background"
        down = await ref.wait()
        assert (down.reason, str(down.cause)) == (DownReason.CRASHED, "in the background")
        assert sorted(log) == ["a began", "a ended", "b began", "b ended"]


async def test_one_spawned_later_joins_the_others():
    """After the nursery is open it starts at once."""
    async with open_system() as system:
        log = []
        ref = await start(system, log)
        ref.tell_nowait(Fall())
        await ref.wait()
        assert "c began" in log
        assert "c ended" in log


async def test_every_leaf_of_the_group_is_reported():
    """The crash first, then what its clean-ups raised; the cause is the first."""
    async with open_system() as system:
        records = []
        system.events.subscribe(records.append)
        ref = await start(system, [], cleanup_fails=True)
        ref.tell_nowait(Hang())
        down = await ref.wait()
        crash = next(record.event for record in records if isinstance(record.event, CrashEvent))
        assert crash.during == "background"
        assert sorted(crash.leaves) == ["OSError: a", "OSError: b", "ValueError: in the background"]
        assert crash.error == type(down.cause).__name__ == crash.leaves[0].partition(":")[0]
        assert crash.traceback.splitlines()[-1].startswith(crash.error)


async def test_a_failing_clean_up_makes_an_orderly_end_a_crash():
    """What is raised is never lost."""
    async with open_system() as system:
        ref = await start(system, [], cleanup_fails=True)
        down = await ref.stop()
        assert down.reason is DownReason.CRASHED
        assert isinstance(down.cause, OSError)


async def test_a_function_that_is_not_async_is_refused_by_name():
    """As a crash of the actor that spawned it."""
    async with open_system() as system:

        class Hasty(Actor[Fall]):
            async def on_start(self) -> None:
                self.context.spawn(print, "not async")

        ref = await system.start_actor(ChildSpec(name="hasty", start=Hasty, restart=Restart.TEMPORARY))
        down = await ref.wait()
        assert isinstance(down.cause, TypeError)
        assert "hasty spawned <built-in function print>, which is not async" in str(down.cause)


async def test_a_task_can_be_named_by_its_stack():
    """A frame of `Background._task` is in it, and knows whose it is."""
    found = []

    class Host2(Actor[Fall]):
        async def on_start(self) -> None:
            self.context.spawn(self.look)

        async def look(self) -> None:
            frame = sys._getframe()
            while frame is not None:
                if frame.f_code is Background._task.__code__:
                    found.append((frame.f_locals["self"].name, trio.lowlevel.current_task().name))
                frame = frame.f_back

    async with open_system() as system:
        await system.start_actor(ChildSpec(name="host", start=Host2))
        await trio.testing.wait_all_tasks_blocked()
    ((name, task),) = found
    assert name == "host"
    assert task.endswith("Host2.look")
