"""Runtimes that play real episodes on real processes."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coworld_actors.actors import Actor, ChildSpec, Record
from coworld_actors.episode.events import Phase, PhaseEntered
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.episode.verdict import EndReason
from coworld_actors.runtime.admission import Admission, RuntimeFull, WhenFull
from coworld_actors.runtime.events import (
    AdmissionChanged,
    EpisodeAdmitted,
    EpisodeClosed,
    EpisodeQueued,
    RuntimeStopped,
    RuntimeStopping,
)
from coworld_actors.runtime.handle import EpisodeState
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime, RuntimeClosed
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import InternalFault, PreconditionMissing, Refused

SpecOf = Callable[..., EpisodeSpec]
LONG = 120.0
"""Far beyond anything here: what does not end is a failed test, not a hanging run."""


def kinds(records: list[Record], scope: str) -> list[str]:
    wanted = (EpisodeQueued, EpisodeAdmitted, EpisodeClosed)
    return [type(r.event).__name__ for r in records if r.scope == scope and isinstance(r.event, wanted)]


def elsewhere(spec: EpisodeSpec) -> EpisodeSpec:
    """The same episode, with a game whose image is not on this machine."""
    image = msgspec.structs.replace(spec.plan.manifest.game.runnable, image="nowhere:1")
    game = msgspec.structs.replace(spec.plan.manifest.game, runnable=image)
    manifest = msgspec.structs.replace(spec.plan.manifest, game=game)
    return msgspec.structs.replace(spec, plan=msgspec.structs.replace(spec.plan, manifest=manifest))


async def until(runtime: Runtime, scope: str, phase: Phase) -> None:
    """Wait until an episode is in a phase."""
    handle = runtime.episode(scope)
    assert handle is not None
    async for record in handle.events():
        if isinstance(record.event, PhaseEntered) and record.event.phase is phase:
            return
    raise AssertionError(f"{scope} ended before {phase}")


async def test_episodes_are_played_and_judged(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Good and bad ends are verdicts; each accepted episode is queued, admitted and closed once; a wait gives the whole record."""
    records: list[Record] = []
    with trio.fail_after(LONG):
        async with open_runtime(driver, admission=Admission(parallel=3)) as runtime:
            runtime.system.events.subscribe(records.append)
            assert (await runtime.run_episode(spec_of(id="good"))).reason is EndReason.COMPLETED
            runtime.pause()
            handles = [
                await runtime.start_episode(spec_of(behaviour, id=behaviour.replace("_", "-")))
                for behaviour in ("crashes_mid", "exits_at_once", "plays", "no_results")
            ]
            assert [handle.state for handle in handles] == [EpisodeState.QUEUED] * 4
            runtime.resume()
            found = [await handle.wait() for handle in handles]
            statistics = runtime.statistics()
    assert [record.verdict.reason for record in found] == [
        EndReason.GAME_CRASHED, EndReason.GAME_START_FAILED, EndReason.COMPLETED, EndReason.RESULTS_MISSING,
    ]  # fmt: skip
    assert found[2].seats[0].score is not None
    for scope in ("good", "crashes-mid", "exits-at-once", "plays", "no-results"):
        assert kinds(records, scope) == ["EpisodeQueued", "EpisodeAdmitted", "EpisodeClosed"]
    assert statistics.outcomes == {"completed": 2, "game_crashed": 1, "game_start_failed": 1, "results_missing": 1}
    assert (statistics.accepted, statistics.running, statistics.queued) == (5, 0, 0)


async def test_a_closing_event_says_all_that_a_log_line_needs(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Game, variant, outcome, blame, seats and times."""
    records: list[Record] = []
    with trio.fail_after(LONG):
        async with open_runtime(driver) as runtime:
            runtime.system.events.subscribe(records.append)
            await runtime.run_episode(spec_of(players=("plays", "crashes_mid"), id="mixed"))
            with pytest.raises(PreconditionMissing):
                await runtime.run_episode(elsewhere(spec_of(id="missing")))
    mixed, missing = (record.event for record in records if isinstance(record.event, EpisodeClosed))
    assert isinstance(mixed, EpisodeClosed)
    assert isinstance(missing, EpisodeClosed)
    assert (mixed.coworld, mixed.driver, mixed.seats, mixed.outcome) == ("scripted", "process", 2, "completed")
    assert (mixed.good, mixed.failed_seats) == (True, (1,))
    assert mixed.seconds > 0
    assert (missing.outcome, missing.good, missing.directory) == ("precondition_missing", False, "")
    assert "nowhere:1" in missing.message


async def test_no_more_than_so_many_at_once(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Of six episodes two run at a time, in the order of their acceptance; the number can be changed while they do."""
    records: list[Record] = []
    running = most = 0

    def count(record: Record) -> None:
        nonlocal running, most
        records.append(record)
        running += isinstance(record.event, EpisodeAdmitted)
        running -= isinstance(record.event, EpisodeClosed)
        most = max(most, running)

    with trio.fail_after(LONG):
        async with open_runtime(driver, admission=Admission(parallel=2)) as runtime:
            runtime.system.events.subscribe(count)
            handles = [await runtime.start_episode(spec_of(id=f"n{number}")) for number in range(4)]
            for handle in handles:
                await handle.wait()
            assert most == 2
            runtime.pause()
            late = [await runtime.start_episode(spec_of(id=f"l{number}")) for number in range(3)]
            await wait_all_tasks_blocked()
            assert [handle.state for handle in late] == [EpisodeState.QUEUED] * 3
            runtime.set_parallel(3)
            runtime.resume()
            for handle in late:
                await handle.wait()
            assert most == 3
    admitted = [record.scope for record in records if isinstance(record.event, EpisodeAdmitted)]
    assert sorted(admitted[:2]) == ["n0", "n1"]
    assert admitted[2:4] == ["n2", "n3"]
    assert sorted(admitted[4:]) == ["l0", "l1", "l2"]
    changed = [record.event for record in records if isinstance(record.event, AdmissionChanged)]
    assert [(event.parallel, event.paused) for event in changed] == [(2, True), (3, True), (3, False)]


async def test_a_full_queue_refuses_or_makes_callers_wait(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """What was refused or given up claims neither id nor directory."""
    with trio.fail_after(LONG):
        refuse = Admission(parallel=1, queue=1, when_full=WhenFull.REFUSE)
        async with open_runtime(driver, admission=refuse) as runtime:
            runtime.pause()
            first = await runtime.start_episode(spec_of(id="a"))
            await runtime.start_episode(spec_of(id="b"))
            spec = spec_of(id="c")
            with pytest.raises(RuntimeFull):
                await runtime.start_episode(spec)
            first.cancel()
            await first.wait()
            await runtime.start_episode(spec)
            assert [status.id for status in runtime.episodes()] == ["b", "c"]
        async with open_runtime(driver, admission=Admission(parallel=1, queue=0)) as runtime:
            runtime.pause()
            first = await runtime.start_episode(spec_of(id="a"))
            spec = spec_of(id="b")
            with trio.move_on_after(0.1) as gave_up:
                await runtime.start_episode(spec)
            assert gave_up.cancelled_caught
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runtime.start_episode, spec)
                await wait_all_tasks_blocked()
                assert runtime.statistics().outside == 1
                first.cancel()
            assert [status.id for status in runtime.episodes()] == ["b"]


async def test_ids_and_directories_are_used_once_at_a_time(
    driver: ProcessDriver, spec_of: SpecOf, tmp_path: Path
) -> None:
    """A double id or directory is refused before anything is started; later the id is free again, the directory is not new."""
    with trio.fail_after(LONG):
        async with open_runtime(driver) as runtime:
            runtime.pause()
            handle = await runtime.start_episode(spec_of(id="a", directory=tmp_path / "same"))
            with pytest.raises(Refused, match="has not ended") as refused:
                await runtime.start_episode(spec_of(id="a"))
            assert refused.value.todo
            with pytest.raises(Refused, match="'a' has this directory"):
                await runtime.start_episode(spec_of(id="b", directory=tmp_path / "same"))
            runtime.resume()
            await handle.wait()
            with pytest.raises(Refused, match="empty"):
                await runtime.run_episode(spec_of(id="a", directory=tmp_path / "same"))


@pytest.mark.parametrize("wrong", ["", "a/b", "..", "a b", "x" * 101, "-a"])
def test_an_id_that_is_no_file_name_is_refused(spec_of: SpecOf, wrong: str) -> None:
    """Ids become directories, paths of actors and names of containers."""
    with pytest.raises(Refused, match="cannot be an episode's id"):
        msgspec.structs.replace(spec_of(), id=wrong)


async def test_a_cancelled_episode_is_recorded_in_each_of_its_states(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """In the queue: a record without files. While it runs: ended in order and recorded on disk. Others are not disturbed."""
    with trio.fail_after(LONG):
        async with open_runtime(driver, admission=Admission(parallel=2)) as runtime:
            endless = await runtime.start_episode(spec_of("endless", id="endless"))
            other = await runtime.start_episode(spec_of(id="other"))
            queued = await runtime.start_episode(spec_of(id="queued"))
            assert queued.cancel("changed my mind")
            found = await queued.wait()
            assert (found.verdict.reason, found.verdict.evidence) == (EndReason.CANCELLED, "changed my mind")
            assert not queued.spec.directory.exists()
            await until(runtime, "endless", Phase.PLAYING)
            endless.cancel("no more interest")
            verdict = (await endless.wait()).verdict
            assert (verdict.reason, verdict.evidence) == (EndReason.CANCELLED, "no more interest")
            written = json.loads((endless.spec.directory / "episode.json").read_text())
            assert written["verdict"]["reason"] == "cancelled"
            assert (await other.wait()).verdict.good


async def test_cancelling_run_episode_ends_the_episode_in_order(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """The call returns when the episode is over, with a record on disk; the runtime goes on."""
    with trio.fail_after(LONG):
        async with open_runtime(driver) as runtime:
            spec = spec_of("endless", id="e")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runtime.run_episode, spec)
                await wait_all_tasks_blocked()
                await until(runtime, "e", Phase.PLAYING)
                nursery.cancel_scope.cancel()
            assert runtime.episodes() == []
            assert json.loads((spec.directory / "episode.json").read_text())["verdict"]["reason"] == "cancelled"
            assert (await runtime.run_episode(spec_of())).good


@pytest.mark.parametrize("leave", ["return", "raise", "cancel"])
async def test_leaving_the_block_stops_everything_in_order(driver: ProcessDriver, spec_of: SpecOf, leave: str) -> None:
    """However the block is left: episodes that run get their record, those in the queue are called off, nothing is left."""
    records: list[Record] = []
    specs = [spec_of("endless", id=f"e{number}") for number in range(3)]
    handles = []

    async def host() -> None:
        async with open_runtime(driver, admission=Admission(parallel=2)) as runtime:
            runtime.system.events.subscribe(records.append)
            handles.extend([await runtime.start_episode(spec) for spec in specs])
            await until(runtime, "e0", Phase.PLAYING)
            await until(runtime, "e1", Phase.PLAYING)
            if leave == "raise":
                raise LookupError("the host has a problem")
            if leave == "cancel":
                scope.cancel()
                await trio.sleep_forever()

    with trio.fail_after(LONG), trio.CancelScope() as scope:
        if leave == "raise":
            with pytest.raises(LookupError, match="the host has a problem"):
                await host()
        else:
            await host()
    assert scope.cancelled_caught == (leave == "cancel")
    for spec in specs[:2]:
        assert json.loads((spec.directory / "episode.json").read_text())["verdict"]["reason"] == "cancelled"
    assert [handle.state for handle in handles] == [EpisodeState.OVER] * 3
    assert (await handles[2].wait()).verdict.reason is EndReason.CANCELLED
    (stopped,) = [record.event for record in records if isinstance(record.event, RuntimeStopped)]
    assert stopped.report.cancelled == ("e0", "e1", "e2")
    assert stopped.report.killed == ()


async def test_draining_plays_what_was_accepted(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Queue included, even of a paused runtime; what comes later is refused, also who waits for room."""
    with trio.fail_after(LONG):
        async with open_runtime(driver, admission=Admission(parallel=1, queue=1)) as runtime:
            runtime.pause()
            handles = [await runtime.start_episode(spec_of()) for _ in range(2)]
            refusals: list[RuntimeClosed] = []

            async def late() -> None:
                try:
                    await runtime.start_episode(spec_of())
                except RuntimeClosed as error:
                    refusals.append(error)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(late)
                await wait_all_tasks_blocked()
                report = await runtime.stop(drain=True)
            await late()
            assert len(refusals) == 2
            with pytest.raises(RuntimeClosed, match="cannot be paused"):
                runtime.pause()
            assert (report.finished, report.cancelled, report.killed) == (2, (), ())
            assert [(await handle.wait()).verdict.good for handle in handles] == [True, True]


async def test_a_drain_has_a_deadline(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """What is not over by then is called off, in order."""
    with trio.fail_after(LONG):
        async with open_runtime(driver) as runtime:
            handle = await runtime.start_episode(spec_of("endless", id="e"))
            await until(runtime, "e", Phase.PLAYING)
            report = await runtime.stop(drain=True, deadline=0.2)
            assert (report.finished, report.cancelled) == (0, ("e",))
            assert (await handle.wait()).verdict.reason is EndReason.CANCELLED


async def test_a_stop_that_takes_too_long_kills_and_names(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Roles that ignore SIGTERM would hold the stop for their graces; its deadline is shorter, and the report says who was killed."""
    with trio.fail_after(LONG):
        async with open_runtime(driver, stop_deadline=0.3) as runtime:
            # The game holds on through SIGTERM for the five seconds that a role has.
            handle = await runtime.start_episode(spec_of("ignores_sigterm", id="e", config={"ticks": 100000}))
            await until(runtime, "e", Phase.PLAYING)
            report = await runtime.stop()
            assert "episode-e/play/game" in report.killed
            assert report.seconds < 5
            assert handle.state is EpisodeState.OVER


async def test_a_report_names_what_was_called_off_by_others_and_no_strangers(
    driver: ProcessDriver, spec_of: SpecOf
) -> None:
    """A drain that a second stop cuts short has played nothing; an actor of the host's own is not said to have been killed."""

    class Hosts(Actor[int]):
        async def handle(self, message: int) -> None:
            pass

    reports = {}
    with trio.fail_after(LONG):
        async with open_runtime(driver, stop_deadline=0.3) as runtime:
            mine = await runtime.system.start_actor(ChildSpec(name="mine", start=Hosts))
            await runtime.start_episode(spec_of("ignores_sigterm", id="e", config={"ticks": 100000}))
            await until(runtime, "e", Phase.PLAYING)

            async def drain() -> None:
                reports["drain"] = await runtime.stop(drain=True)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain)
                await wait_all_tasks_blocked()
                reports["stop"] = await runtime.stop()
            await mine.tell(1)
    assert [(report.finished, report.cancelled) for report in reports.values()] == [(0, ("e",))] * 2
    killed = [path for report in reports.values() for path in report.killed]
    assert "episode-e/play/game" in killed
    assert all(path.startswith("episode-e") for path in killed)


async def test_an_episode_can_be_called_off_while_its_driver_looks_what_is_there(
    driver: ProcessDriver, spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that takes long, of images for example, does not hold up whoever has no more interest."""

    async def check(wanted: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(driver, "check", check)
    with trio.fail_after(LONG):
        async with open_runtime(driver) as runtime:
            handle = await runtime.start_episode(spec_of(id="e"))
            await wait_all_tasks_blocked()
            assert handle.state is EpisodeState.RUNNING
            handle.cancel("no more interest")
            verdict = (await handle.wait()).verdict
            assert (verdict.reason, verdict.evidence) == (EndReason.CANCELLED, "no more interest")


async def test_an_episode_that_hangs_outside_of_its_actors_is_killed_and_named(
    driver: ProcessDriver, spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that answers nothing, not even a cancellation, holds a stop no longer than its deadlines."""
    answer = trio.Event()

    async def check(wanted: object) -> None:
        with trio.CancelScope(shield=True):
            await answer.wait()

    monkeypatch.setattr(driver, "check", check)
    monkeypatch.setattr("coworld_actors.runtime.runtime.KILL_SECONDS", 0.1)
    with trio.fail_after(LONG):
        async with open_runtime(driver, stop_deadline=0.1) as runtime:
            handle = await runtime.start_episode(spec_of(id="e"))
            await wait_all_tasks_blocked()
            report = await runtime.stop()
            assert (report.finished, report.cancelled, report.killed) == (0, ("e",), ("episode-e",))
            answer.set()
            with pytest.raises(RuntimeClosed, match="episode e was killed"):
                await handle.wait()


async def test_times_that_are_none_are_refused(driver: ProcessDriver) -> None:
    """Before anything is begun, not when it is too late."""
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(Refused, match="stop_deadline="):
            async with open_runtime(driver, stop_deadline=wrong):
                raise AssertionError("never opened")
    async with open_runtime(driver) as runtime:
        for wrong in (-1.0, float("nan")):
            with pytest.raises(Refused, match="deadline="):
                await runtime.stop(deadline=wrong)
        runtime.pause()  # It is open still.


async def test_an_attachment_that_cannot_be_left_hides_nothing(driver: ProcessDriver) -> None:
    """Its error leaves the block bare; where the block has one of its own, that one leaves, with a note of the other."""

    @asynccontextmanager
    async def sticky(runtime: Runtime):
        yield
        raise OSError("the port is stuck")

    with pytest.raises(OSError, match="the port is stuck"):
        async with open_runtime(driver, attach=[sticky]):
            pass
    with pytest.raises(LookupError) as caught:
        async with open_runtime(driver, attach=[sticky]):
            raise LookupError("the host has a problem")
    assert "the port is stuck" in caught.value.__notes__[0]


async def test_a_defect_of_ours_is_one_episodes_end(
    driver: ProcessDriver, spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An actor of ours that crashes ends its episode with `InternalFault`, recorded; the runtime and the others go on."""
    from coworld_actors.episode.usher import Usher

    original = Usher.on_start

    async def broken(self: Usher) -> None:
        if "bad" in self.context.path:
            raise ZeroDivisionError("a defect")
        await original(self)

    monkeypatch.setattr(Usher, "on_start", broken)
    with trio.fail_after(LONG):
        async with open_runtime(driver, admission=Admission(parallel=2)) as runtime:
            bad = await runtime.start_episode(spec_of(id="bad"))
            good = await runtime.start_episode(spec_of(id="good"))
            with pytest.raises(InternalFault, match="a defect"):
                await bad.wait()
            assert (await good.wait()).verdict.good
            assert runtime.statistics().outcomes == {"internal_fault": 1, "completed": 1}
    assert json.loads((bad.spec.directory / "episode.json").read_text())["verdict"]["reason"] == "internal"


async def test_two_runtimes_in_one_process_share_nothing(spec_of: SpecOf, driver: ProcessDriver) -> None:
    """The same ids at the same time; the stop of one does not touch the other."""
    from coworld_drivers.images import load_images
    from tests.coworlds import IMAGE, PROGRAMS

    second = ProcessDriver(load_images(None, {IMAGE: str(PROGRAMS)}))
    with trio.fail_after(LONG):
        async with open_runtime(driver, name="one") as one:
            async with open_runtime(second, name="two") as two:
                first = await one.start_episode(spec_of(id="same"))
                await two.start_episode(spec_of("endless", id="same"))
                await until(two, "same", Phase.PLAYING)
            assert (await first.wait()).verdict.good
            assert one.statistics().outcomes == {"completed": 1}
            assert two.statistics().outcomes == {"cancelled": 1}


async def test_embedded_nothing_of_the_host_is_changed(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """No signal handler, no logging configuration."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers], list(logging.getLogger().handlers)
    with trio.fail_after(LONG):
        async with open_runtime(driver) as runtime:
            await runtime.run_episode(spec_of())
            assert ([signal.getsignal(number) for number in numbers], list(logging.getLogger().handlers)) == before


async def test_attachments_live_from_the_opening_until_after_the_stop(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """They see the last episode end; one that fails to open keeps the runtime from opening, and leaves nothing."""
    seen: list[str] = []

    @asynccontextmanager
    async def attachment(runtime: Runtime):
        runtime.system.events.subscribe(lambda record: seen.append(type(record.event).__name__))
        seen.append("attached")
        yield 4711
        assert runtime.episodes() == []
        seen.append("detached")

    @asynccontextmanager
    async def broken(runtime: Runtime):
        raise PreconditionMissing("no port")
        yield

    with trio.fail_after(LONG):
        async with open_runtime(driver, attach=[attachment]) as runtime:
            assert runtime.attached == [4711]
            await runtime.start_episode(spec_of("endless", id="e"))
            await until(runtime, "e", Phase.PLAYING)
        assert seen[0] == "attached"
        assert seen.index("EpisodeClosed") < seen.index("RuntimeStopped") < seen.index("detached")
        with pytest.raises(PreconditionMissing, match="no port"):
            async with open_runtime(driver, attach=[attachment, broken]):
                raise AssertionError("never opened")
    assert seen[-3:] == ["detached", "SupervisorStopped", "SystemStopped"]


async def test_every_role_gets_the_variables_of_the_propagators(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """Below the contract's own: a trace reaches the player, and cannot change where it connects to."""
    with trio.fail_after(LONG):
        async with open_runtime(driver) as runtime:
            runtime.propagators.append(
                lambda spec: {"TRACEPARENT": f"00-{spec.id}", "COWORLD_PLAYER_WS_URL": "ws://elsewhere"}
            )
            handle = await runtime.start_episode(spec_of(players=("shows_environment",), id="traced"))
            record = await handle.wait()
            assert record.verdict.good
    log = (handle.spec.directory / record.seats[0].log).read_text()
    environment = json.loads(log[log.index("{") :])
    assert environment["TRACEPARENT"] == "00-traced"
    assert "elsewhere" not in environment["COWORLD_PLAYER_WS_URL"]


async def test_an_interrupt_out_of_an_actor_reaches_the_host(driver: ProcessDriver) -> None:
    """`KeyboardInterrupt` that strikes in an actor of the tree leaves the runtime's block, bare, after the stop."""

    class Unlucky(Actor[int]):
        async def handle(self, message: int) -> None:
            raise KeyboardInterrupt

    async def host() -> None:
        async with open_runtime(driver) as runtime:
            actor = await runtime.system.start_actor(ChildSpec(name="unlucky", start=Unlucky))
            await actor.tell(1)
            await trio.sleep_forever()

    with trio.fail_after(LONG), pytest.raises(KeyboardInterrupt):
        await host()


async def test_a_reader_of_everything_that_never_reads_is_bounded(driver: ProcessDriver, spec_of: SpecOf) -> None:
    """It loses the oldest records, with a count, and holds nobody up; the stream ends with the runtime."""
    with trio.fail_after(LONG):
        async with open_runtime(driver) as runtime:
            idle = runtime.events(capacity=3)
            await runtime.run_episode(spec_of())
            assert idle.dropped > 3
            assert runtime.statistics().events.dropped == idle.dropped
        rest = [type(record.event) async for record in idle]
    assert len(rest) == 3
    assert RuntimeStopping in rest or RuntimeStopped in rest
