"""The runtime in asyncio programs, with real episodes on real processes."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
import trio

from coworld_actors.actors import Event
from coworld_actors.episode.events import Phase, PhaseEntered
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.verdict import EndReason
from coworld_actors.runtime.admission import Admission, RuntimeFull, WhenFull
from coworld_actors.runtime.events import AdmissionChanged, EpisodeClosed, RuntimeStopped
from coworld_actors.runtime.for_asyncio import AsyncioEpisode, AsyncioEvents, AsyncioRuntime, open_runtime_asyncio
from coworld_actors.runtime.handle import EpisodeState
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime, RuntimeClosed
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import InternalFault, PreconditionMissing, Refused

SpecOf = Callable[..., EpisodeSpec]
LONG = 120.0
"""Far beyond anything here: what does not end is a failed test, not a hanging run."""


def play(main: Coroutine[Any, Any, Any]) -> Any:
    """Run an asyncio program, at most so long."""

    async def bounded() -> Any:
        return await asyncio.wait_for(main, LONG)

    return asyncio.run(bounded())


async def until_playing(episode: AsyncioEpisode) -> None:
    async for record in episode.events():
        if isinstance(record.event, PhaseEntered) and record.event.phase is Phase.PLAYING:
            return
    raise AssertionError("the episode ended before it was played")


async def found(runtime: AsyncioRuntime, id: str) -> AsyncioEpisode:  # noqa: A002
    while (episode := await runtime.episode(id)) is None:
        await asyncio.sleep(0.01)
    return episode


def test_episodes_are_played_and_followed(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Verdicts, records, events from the beginning to the end, status, and everything of the runtime on one stream."""

    async def main() -> None:
        async with open_runtime_asyncio(driver, name="mine", admission=Admission(parallel=2)) as runtime:
            assert runtime.name == "mine"
            everything = runtime.events()
            assert (await runtime.run_episode(spec_of())).reason is EndReason.COMPLETED
            episode = await runtime.start_episode(spec_of("crashes_mid", id="bad"))
            assert (episode.id, (await episode.status()).id) == ("bad", "bad")
            assert [status.id for status in await runtime.episodes()] == ["bad"]
            assert await runtime.tree()
            seen = [record async for record in episode.events()]
            assert isinstance(seen[-1].event, EpisodeClosed)
            assert [record async for record in episode.events(after=seen[-2].seq)] == seen[-1:]
            record = await episode.wait()
            assert record.verdict.reason is EndReason.GAME_CRASHED
            assert await runtime.episode("bad") is None
            assert not await episode.cancel()
            statistics = await runtime.statistics()
            assert statistics.outcomes == {"completed": 1, "game_crashed": 1}
        # What was not read when the runtime was closed can still be.
        records = [record async for record in everything]
        assert isinstance(next(r.event for r in records if isinstance(r.event, EpisodeClosed)), EpisodeClosed)
        assert isinstance(
            next(r.event for r in reversed(records) if isinstance(r.event, RuntimeStopped)), RuntimeStopped
        )
        assert everything.dropped == 0
        assert [record async for record in everything] == []

    play(main())


def test_admission_can_be_changed(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Paused, nothing begins; resumed, it does; an episode can be called off by whoever finds it."""

    async def main() -> None:
        async with open_runtime_asyncio(driver, admission=Admission(parallel=1)) as runtime:
            events = runtime.events()
            await runtime.pause()
            episode = await runtime.start_episode(spec_of(id="waits"))
            assert (await episode.status()).state is EpisodeState.QUEUED
            await runtime.set_parallel(3)
            with pytest.raises(Refused):
                await runtime.set_parallel(0)
            other = await found(runtime, "waits")
            assert await other.cancel("not wanted")
            assert (await episode.wait()).verdict.reason is EndReason.CANCELLED
            await runtime.resume()
            assert (await runtime.run_episode(spec_of())).good
            seen = [r.event for r in await events.batch() if isinstance(r.event, AdmissionChanged)]
            assert [(event.parallel, event.paused) for event in seen] == [(1, True), (3, True), (3, False)]

    play(main())


def test_the_host_is_left_alone(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """No signal handler, no wakeup descriptor, no log handler; SIGINT is the host's. Its loop may block without delaying us."""

    def look() -> tuple[object, ...]:
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        root = logging.getLogger()
        return (
            signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGTERM),
            wakeup,
            list(root.handlers),
            root.level,
        )

    async def main() -> None:
        before = look()
        async with open_runtime_asyncio(driver) as runtime:
            assert look() == before
            assert (await runtime.run_episode(spec_of())).good
            assert look() == before
        assert look() == before

    play(main())


def test_a_cancelled_task_calls_its_episode_off(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """When the cancellation is raised, the episode is over, in order, whether the task was cancelled once or again and again."""

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            closed = runtime.events()
            for times in (1, 5):
                task = asyncio.create_task(runtime.run_episode(spec_of("endless", id=f"e{times}")))
                await until_playing(await found(runtime, f"e{times}"))
                for _ in range(times):
                    task.cancel()
                    await asyncio.sleep(0)
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await runtime.episodes() == []
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await runtime.run_episode(spec_of("endless"))
            assert await runtime.episodes() == []
            await runtime.stop()
        outcomes = [record.event.outcome async for record in closed if isinstance(record.event, EpisodeClosed)]
        assert outcomes == ["cancelled"] * 3

    play(main())


def test_a_cancelled_wait_leaves_the_episode_alone(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Waiting is not owning."""

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            episode = await runtime.start_episode(spec_of())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(episode.wait(), 0.01)
            assert (await episode.wait()).verdict.good

    play(main())


def test_a_full_queue_holds_its_callers_back(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """A caller waits for room, and only that caller; cancelled, it leaves no episode behind. Or it is refused, if that is the rule."""

    async def main() -> None:
        async with open_runtime_asyncio(driver, admission=Admission(parallel=1, queue=1)) as runtime:
            await runtime.pause()
            first, second = [await runtime.start_episode(spec_of(id=name)) for name in ("first", "second")]
            waiting = asyncio.create_task(runtime.start_episode(spec_of(id="third")))
            while (await runtime.statistics()).outside == 0:
                await asyncio.sleep(0.01)
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (await runtime.statistics()).outside == 0
            waiting = asyncio.create_task(runtime.start_episode(spec_of(id="fourth")))
            await first.cancel()
            fourth = await waiting
            report = await runtime.stop(drain=True)
            assert report.finished == 2
            assert [(await one.wait()).verdict.good for one in (second, fourth)] == [True, True]
        refusing = Admission(parallel=1, queue=0, when_full=WhenFull.REFUSE)
        async with open_runtime_asyncio(driver, admission=refusing) as runtime:
            await runtime.start_episode(spec_of("endless"))
            with pytest.raises(RuntimeFull):
                await runtime.start_episode(spec_of())

    play(main())


def test_a_start_that_nobody_takes_is_called_off(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Cancelled in the moment in which the episode was accepted, the task leaves none behind."""

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            events = runtime.events()
            gate = threading.Event()
            runtime.propagators.append(lambda _: {"GATE": str(gate.wait(LONG))})
            task = asyncio.create_task(runtime.start_episode(spec_of("endless", id="orphan")))
            await asyncio.sleep(0)
            gate.set()
            # The loop is blocked until the other side has accepted: its answer and the cancellation arrive together.
            accepted = False
            while not accepted:
                accepted = bool(runtime._line.thread.call(runtime._runtime.episodes).future.result(LONG))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async for record in events:
                if isinstance(record.event, EpisodeClosed):
                    assert (record.scope, record.event.outcome) == ("orphan", "cancelled")
                    break

    play(main())


def test_a_slow_reader_loses_the_oldest_and_sees_how_many(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """What waits for it is bounded on both sides."""

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            slow, every = runtime.events(capacity=5), runtime.events()
            await runtime.run_episode(spec_of())
            await runtime.stop()
            total = len(await every.batch(10_000))
            assert total > 20
            assert len(await slow.batch()) == 5
            assert slow.dropped == total - 5

    play(main())


async def subscribers(runtime: AsyncioRuntime) -> int:
    return (await runtime.statistics()).events.subscribers


def test_whoever_stops_reading_is_unsubscribed(driver: ProcessDriver) -> None:
    """After `aclose`, a block's end, a `break`, a cancellation, and when a reader is simply forgotten."""

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            before = await subscribers(runtime)

            async def read() -> None:
                async for _ in runtime.events():
                    break

            async def use() -> None:
                async with runtime.events() as events:
                    await events.batch()

            reading = asyncio.create_task(read())
            blocks = asyncio.create_task(use())
            while await subscribers(runtime) != before + 2:
                await asyncio.sleep(0.01)
            await runtime.pause()
            await asyncio.gather(reading, blocks)
            assert await subscribers(runtime) == before

            forgotten: list[AsyncioEvents] = [runtime.events()]
            cancelled = asyncio.create_task(read())
            closed = runtime.events()
            while await subscribers(runtime) != before + 3:
                await asyncio.sleep(0.01)
            await closed.aclose()
            assert [record async for record in closed] == []
            assert await subscribers(runtime) == before + 2
            forgotten.clear()
            gc.collect()
            assert await subscribers(runtime) == before + 1
            cancelled.cancel()
            await asyncio.wait([cancelled])
            assert cancelled.cancelled()
            del cancelled
            gc.collect()
            assert await subscribers(runtime) == before

    play(main())


def test_a_cancelled_read_loses_nothing(driver: ProcessDriver) -> None:
    """What was on its way to a reader that was cancelled is what it reads next."""

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            events = runtime.events()
            await runtime.set_parallel(1)
            await anext(events)
            seen: list[Event] = []
            for number in range(1, 50):
                gate = threading.Event()
                runtime._line.thread.call(gate.wait, LONG)
                reading = asyncio.create_task(anext(events))
                await asyncio.sleep(0)
                gate.set()
                runtime._line.thread.call(runtime._runtime.set_parallel, number).future.result(LONG)
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    seen.append((await reading).event)
            while len(seen) < 49:
                seen.append((await anext(events)).event)
            assert [event.parallel for event in seen if isinstance(event, AdmissionChanged)] == list(range(1, 50))

    play(main())


def test_exceptions_cross_as_they_are(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """A missing image, a directory that is taken: the type, the sentence and the next step of the trio side, never a group."""

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            spec = spec_of()
            game = spec.plan.manifest.game
            runnable = msgspec.structs.replace(game.runnable, image="nowhere:1")
            manifest = msgspec.structs.replace(
                spec.plan.manifest, game=msgspec.structs.replace(game, runnable=runnable)
            )
            with pytest.raises(PreconditionMissing, match="nowhere:1") as caught:
                await runtime.run_episode(
                    msgspec.structs.replace(spec, plan=msgspec.structs.replace(spec.plan, manifest=manifest))
                )
            assert any(entry.name == "check" for entry in caught.traceback)
            episode = await runtime.start_episode(spec_of("endless", id="one"))
            with pytest.raises(Refused, match="one"):
                await runtime.start_episode(spec_of(id="one"))
            await episode.cancel()

    play(main())


def test_a_defect_in_an_episode_stays_there(
    driver: ProcessDriver, spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An actor of ours that crashes is an `InternalFault` out of `wait`; the next episode is played."""
    from coworld_actors.episode.referee import Referee

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            with monkeypatch.context() as patch:
                patch.setattr(Referee, "handle", broken)
                episode = await runtime.start_episode(spec_of())
                with pytest.raises(InternalFault):
                    await episode.wait()
            assert (await runtime.run_episode(spec_of())).good

    async def broken(self: Referee, message: object, context: object) -> None:
        raise ZeroDivisionError("a defect")

    play(main())


def test_a_crash_of_the_runtime_ends_every_wait(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Whoever waits or calls later learns it, with the cause; the host goes on."""

    @asynccontextmanager
    async def bomb(runtime: Runtime) -> AsyncGenerator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(explode, runtime)
            yield

    async def explode(runtime: Runtime) -> None:
        while runtime.statistics().running == 0:
            await trio.sleep(0.01)
        raise ZeroDivisionError("a defect")

    async def meet() -> None:
        async with open_runtime_asyncio(driver, attach=[bomb]) as runtime:
            readers.append((runtime, runtime.events()))
            await runtime.run_episode(spec_of("endless"))

    async def stay() -> None:
        async with open_runtime_asyncio(driver, attach=[bomb]) as runtime:
            await runtime.start_episode(spec_of("endless"))
            await asyncio.to_thread(runtime._line.thread.ended.exception, LONG)
            with pytest.raises(InternalFault):
                await runtime.episodes()

    async def main() -> None:
        for block in (meet, stay):
            with pytest.raises(InternalFault, match="crashed") as caught:
                await block()
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
        ((runtime, events),) = readers
        with pytest.raises(InternalFault):
            await runtime.statistics()
        with pytest.raises(InternalFault):
            await events.batch()

    readers: list[tuple[AsyncioRuntime, AsyncioEvents]] = []
    play(main())


async def enter(driver: ProcessDriver, **options: Any) -> None:
    async with open_runtime_asyncio(driver, **options):
        raise AssertionError("it was opened")


def test_what_cannot_be_opened_is_raised_at_once(driver: ProcessDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that cannot be entered, an option that is refused or does not exist: its own exception, and nothing is left."""

    async def no_room(self: ProcessDriver) -> ProcessDriver:
        raise PreconditionMissing("no room")

    async def main() -> None:
        with pytest.raises(TypeError, match="nonsense"):
            await enter(driver, nonsense=1)
        with pytest.raises(Refused):
            await enter(driver, blocked_after=-1)
        monkeypatch.setattr(ProcessDriver, "__aenter__", no_room)
        with pytest.raises(PreconditionMissing, match="no room"):
            await enter(driver)

    play(main())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("coworld-actors")]


def test_a_host_can_be_cancelled_while_it_opens(driver: ProcessDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side turns round, and the cancellation is raised when it is gone."""
    left: list[str] = []

    async def slow(self: ProcessDriver) -> ProcessDriver:
        try:
            await trio.sleep_forever()
        finally:
            left.append("door")
        return self

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(enter(driver), 0.3)

    monkeypatch.setattr(ProcessDriver, "__aenter__", slow)
    play(main())
    assert left == ["door"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("coworld-actors")]


def test_a_block_that_is_left_takes_everything_along(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """By an exception, by a cancellation, by several: what left it is raised, and episodes and waits are over."""

    async def main() -> None:
        waits: list[asyncio.Task[Any]] = []

        async def block(error: Exception | None) -> None:
            async with open_runtime_asyncio(driver, name="block") as runtime:
                episode = await runtime.start_episode(spec_of("endless"))
                waits.append(asyncio.create_task(episode.wait()))
                await until_playing(episode)
                if error is not None:
                    raise error
                playing.set()
                await asyncio.sleep(LONG)

        with pytest.raises(ValueError, match="the host's"):
            await block(ValueError("the host's"))
        playing = asyncio.Event()
        task = asyncio.create_task(block(None))
        await playing.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task
        for wait in waits:
            assert (await wait).verdict.reason is EndReason.CANCELLED
        assert "coworld-actors block" not in {thread.name for thread in threading.enumerate()}

    play(main())


def test_after_the_end_calls_are_refused(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """At once, all of them, and after a stop at least new episodes."""

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            episode = await runtime.start_episode(spec_of("endless"))
            await until_playing(episode)
            report = await runtime.stop()
            assert report.cancelled == (episode.id,)
            with pytest.raises(RuntimeClosed):
                await runtime.run_episode(spec_of())
        for call in (runtime.statistics, runtime.tree, runtime.pause, episode.wait, episode.status, episode.cancel):
            with pytest.raises(RuntimeClosed):
                await call()
        with pytest.raises(RuntimeClosed):
            runtime.events()

    play(main())


def test_a_stop_says_what_it_had_to_kill(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """The report of the trio side arrives, and whoever waits for a killed episode is told."""

    async def main() -> None:
        async with open_runtime_asyncio(driver, stop_deadline=0.01) as runtime:
            episode = await runtime.start_episode(spec_of("ignores_sigterm", ("ignores_sigterm",)))
            await until_playing(episode)
            waiting = asyncio.create_task(episode.wait())
            report = await runtime.stop()
            assert any(path.endswith("game") for path in report.killed)
            assert report.cancelled == (episode.id,)
            # Killed roles leave in time for a record, or they do not; in either case the wait is over.
            (end,) = await asyncio.gather(waiting, return_exceptions=True)
            assert isinstance(end, EpisodeRecord | RuntimeClosed)

    play(main())


def test_the_callers_context_reaches_propagators(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """A span that is current in the calling task is current where the roles' variables are made."""
    span: contextvars.ContextVar[str] = contextvars.ContextVar("span")
    seen: list[str] = []

    def propagate(spec: EpisodeSpec) -> Mapping[str, str]:
        seen.append(span.get())
        return {}

    async def request(runtime: AsyncioRuntime, name: str) -> None:
        span.set(name)
        await (await runtime.start_episode(spec_of(id=name))).cancel()

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            runtime.propagators.append(propagate)
            await asyncio.gather(request(runtime, "one"), request(runtime, "two"))

    play(main())
    assert sorted(seen) == ["one", "two"]


def test_calls_from_wrong_places_are_refused(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """From the runtime's own thread, and where no asyncio loop runs; nothing hangs."""
    errors: list[BaseException] = []

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:

            def propagate(spec: EpisodeSpec) -> Mapping[str, str]:
                for call in (runtime.statistics(), runtime.run_episode(spec)):
                    try:
                        call.send(None)
                    except Refused as error:
                        errors.append(error)
                return {}

            runtime.propagators.append(propagate)
            assert (await runtime.run_episode(spec_of())).good
            await asyncio.to_thread(nowhere, runtime)

    def nowhere(runtime: AsyncioRuntime) -> None:
        with pytest.raises(Refused, match="no asyncio loop"):
            runtime.statistics().send(None)

    play(main())
    assert [str(error) for error in errors] == [
        "coworld-actors runtime was called from its own thread, which would wait for itself"
    ] * 2


async def test_under_trio_it_is_refused(driver: ProcessDriver) -> None:
    """Whoever is under trio already has the real thing."""
    with pytest.raises(Refused, match="no asyncio loop") as caught:
        async with open_runtime_asyncio(driver):
            raise AssertionError
    assert "open_runtime" in caught.value.todo


def test_runtimes_do_not_disturb_each_other(spec_of: SpecOf) -> None:
    """Two hosted ones in two threads, and one of the other kind beside a hosted one."""
    from coworld_drivers.images import load_images
    from tests.coworlds import IMAGE, PROGRAMS

    def new() -> ProcessDriver:
        return ProcessDriver(load_images(None, {IMAGE: str(PROGRAMS)}))

    async def two() -> None:
        async with open_runtime_asyncio(new(), name="a") as a, open_runtime_asyncio(new(), name="b") as b:
            verdicts = await asyncio.gather(a.run_episode(spec_of()), b.run_episode(spec_of()))
            assert all(verdict.good for verdict in verdicts)
            await a.stop()
            assert (await b.run_episode(spec_of())).good

    async def one() -> None:
        async with open_runtime(new(), name="trio's") as runtime, trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, play, two())
            assert (await runtime.run_episode(spec_of())).good

    trio.run(one)


def test_a_loop_that_is_closed_first_leaves_nothing(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """The block is never left and its loop is gone: when nobody can use the runtime any more, it ends by itself."""
    loop = asyncio.new_event_loop()
    block = open_runtime_asyncio(driver, name="orphan")
    runtime = loop.run_until_complete(block.__aenter__())
    thread = runtime._line.thread
    episode = loop.run_until_complete(runtime.start_episode(spec_of("endless")))
    loop.run_until_complete(until_playing(episode))
    loop.close()
    assert thread.call(runtime._runtime.episodes).future.result(LONG)
    del block, runtime
    gc.collect()
    assert thread.ended.result(LONG) is None
    thread.join()


def test_it_can_be_opened_a_hundred_times(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Threads, descriptors and tasks are as many as before."""

    async def once() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            await runtime.statistics()

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            await runtime.run_episode(spec_of())
        files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
        for _ in range(100):
            await once()
        assert len(os.listdir("/proc/self/fd")) <= files
        assert threading.active_count() <= threads
        assert len(asyncio.all_tasks()) <= 2

    play(main())


def test_pages_are_told_while_there_are_any(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """A service finds the game for those who watch; afterwards there is nothing to be found."""

    async def main() -> None:
        async with open_runtime_asyncio(driver) as runtime:
            episode = await runtime.start_episode(spec_of("endless"))
            pages = await episode.pages()
            assert pages is not None
            assert pages.viewer.endswith("/client/global")
            await episode.cancel()
            await episode.wait()
            assert await episode.pages() is None

    play(main())
