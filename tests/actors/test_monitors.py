"""Exactly one `Down` for everybody who asks."""

from __future__ import annotations

import msgspec
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from coworld_actors.actors import (
    Actor,
    ChildSpec,
    Down,
    DownReason,
    Restart,
    RestartPolicy,
    SupervisorSpec,
    open_system,
)


class Crash(msgspec.Struct, frozen=True):
    pass


class End(msgspec.Struct, frozen=True):
    pass


class Gone(msgspec.Struct, frozen=True):
    tag: str
    down: Down


class Fragile(Actor[Crash | End]):
    async def handle(self, message: Crash | End) -> None:
        if type(message) is Crash:
            raise ValueError("told to")
        self.context.stop()


class Watcher(Actor[Gone | Crash]):
    def __init__(self, refs, seen) -> None:
        self.refs = refs
        self.seen = seen

    async def on_start(self) -> None:
        for tag, ref in self.refs:
            self.context.watch(ref, lambda down, tag=tag: Gone(tag, down))

    async def handle(self, message: Gone | Crash) -> None:
        if type(message) is Crash:
            raise ValueError("told to")
        self.seen.append((message.tag, message.down.reason))


def test_reasons_know_whether_they_are_orderly():
    """A transient child stays down after these two."""
    assert {reason for reason in DownReason if reason.orderly} == {DownReason.NORMAL, DownReason.SHUTDOWN}


async def test_every_wait_returns_the_same_down_also_afterwards():
    """A monitor of the dead answers at once."""
    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="a", start=Fragile, restart=Restart.TEMPORARY))
        before = ref.monitor()
        assert before.down is None
        ref.tell_nowait(Crash())
        down = await before.wait()
        assert down.reason is DownReason.CRASHED
        assert isinstance(down.cause, ValueError)
        assert await ref.monitor().wait() is down
        assert await ref.wait() is down
        assert before.down is down
        assert "gone" in repr(before)


async def test_a_monitor_does_not_see_restarts():
    """Down means gone for good."""
    async with open_system() as system:
        ref = await system.start_actor(ChildSpec(name="a", start=Fragile))
        monitor = ref.monitor()
        ref.tell_nowait(Crash())
        await trio.testing.wait_all_tasks_blocked()
        assert monitor.down is None
        ref.tell_nowait(Crash())
        await trio.testing.wait_all_tasks_blocked()
        assert monitor.down is None
        down = await ref.stop()
        assert (down.reason, down.incarnation) == (DownReason.SHUTDOWN, 2)


async def test_a_watcher_that_restarts_watches_anew():
    """The watch of an ended incarnation is gone; the new one's delivers once."""
    async with open_system() as system:
        seen: list[tuple[str, DownReason]] = []
        watched = await system.start_actor(ChildSpec(name="a", start=Fragile))
        watcher = await system.start_actor(ChildSpec(name="w", start=lambda: Watcher([("a", watched)], seen)))
        watcher.tell_nowait(Crash())
        await trio.testing.wait_all_tasks_blocked()
        await watched.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [("a", DownReason.SHUTDOWN)]


async def test_a_supervisor_can_be_watched_too():
    """Its end is one Down as well."""
    async with open_system() as system:
        seen: list[tuple[str, DownReason]] = []
        house = await system.start_supervisor("house")
        await system.start_actor(ChildSpec(name="w", start=lambda: Watcher([("house", house)], seen)))
        await house.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [("house", DownReason.SHUTDOWN)]


ends = st.sampled_from(["crash", "end", "stop", "kill", "before"])


@settings(max_examples=60, deadline=None)
@given(st.lists(ends, min_size=1, max_size=8), st.integers(1, 3))
def test_watchers_get_exactly_one_down(script, watchers):
    """Whatever the end, however many watch, also the already dead."""
    seen: list[list[tuple[str, DownReason]]] = [[] for _ in range(watchers)]

    async def main() -> None:
        policy = RestartPolicy(max_restarts=0)
        async with open_system() as system:
            house = await system.start_supervisor("house", SupervisorSpec(restarts=policy))
            refs = [
                await house.start_actor(ChildSpec(name=str(number), start=Fragile, restart=Restart.TEMPORARY))
                for number in range(len(script))
            ]
            for ref, end in zip(refs, script, strict=True):
                if end == "before":
                    await ref.kill()
            for number in range(watchers):
                pairs = [(ref.name, ref) for ref in refs]
                await system.start_actor(
                    ChildSpec(name=f"w{number}", start=lambda pairs=pairs, n=number: Watcher(pairs, seen[n]))
                )
            for ref, end in zip(refs, script, strict=True):
                if end in {"crash", "end"}:
                    ref.tell_nowait(Crash() if end == "crash" else End())
                elif end != "before":
                    await (ref.stop() if end == "stop" else ref.kill())
            await trio.testing.wait_all_tasks_blocked()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    reason = {
        "crash": DownReason.CRASHED,
        "end": DownReason.NORMAL,
        "stop": DownReason.SHUTDOWN,
        "kill": DownReason.KILLED,
        "before": DownReason.KILLED,
    }
    for one in seen:
        assert sorted(one) == sorted((str(number), reason[end]) for number, end in enumerate(script))
