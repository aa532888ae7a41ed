"""The supporting roles of an episode together: each alone, and what one does costs no other anything."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import psutil
import pytest
import trio

from coworld_actors.actors import ActorSystem, Record, SupervisorRef
from coworld_actors.episode.events import RoleEnded, RoleStarted, SupportEnded
from coworld_actors.episode.interrupt import Interrupt
from coworld_actors.episode.record import EpisodeRecord, SupportReport
from coworld_actors.episode.spec import Limits
from coworld_actors.episode.workspace import Workspace
from coworld_actors.evidence import bundle, reporter, support
from coworld_actors.evidence.support import run_support
from coworld_drivers.driver import Launch, Resources
from coworld_drivers.handle import ProcessHandle
from coworld_drivers.process import ProcessSite

BAD_REPORTERS = ("crashes", "hangs", "writes_nothing", "unsafe", "escapes", "damaged", "clashes")
BAD_GRADERS = ("crashes", "hangs", "writes_nothing", "boolean", "text", "nan", "prose", "two")


async def test_one_bad_role_takes_no_other_with_it(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported
) -> None:
    """All at once: the good ones are good, every bad one is reported under its own id, each exactly once."""
    spec = supported(("works", *BAD_REPORTERS), ("works", *BAD_GRADERS), limit=20)
    reports: list[SupportReport] = []
    with trio.fail_after(120):
        await run_support(house, site, spec, finished, reports.append)
    assert sorted((r.role, r.id) for r in reports) == sorted(
        [("reporter", name.replace("_", "-")) for name in ("works", *BAD_REPORTERS)]
        + [("grader", name.replace("_", "-")) for name in ("works", *BAD_GRADERS)]
    )
    assert {(r.role, r.id) for r in reports if r.ok} == {("reporter", "works"), ("grader", "works")}
    assert all(r.message for r in reports if not r.ok)
    assert os.listdir(finished.reports) == ["works"]
    assert os.listdir(finished.grades) == ["works.json"]


async def test_what_a_supporting_role_may_use_and_has_used(
    house: SupervisorRef,
    system: ActorSystem,
    site: ProcessSite,
    finished: Workspace,
    supported,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Launched with the resources of its entry; its end is published with its use, as everybody's."""
    spec = supported(("works",), ("works",))
    document = msgspec.to_builtins(spec.plan.manifest)
    for section, memory in (("reporter", "1Gi"), ("grader", "2Gi")):
        document[section][0]["resources"] = {"requests": {"memory": memory}}
    manifest = msgspec.convert(document, type(spec.plan.manifest))
    spec = msgspec.structs.replace(spec, plan=msgspec.structs.replace(spec.plan, manifest=manifest))
    ends: list[RoleEnded] = []

    def note(record: Record) -> None:
        if isinstance(record.event, RoleEnded):
            ends.append(record.event)

    system.events.subscribe(note)
    launched: dict[str, Launch] = {}
    start = site.start

    async def spy(launch: Launch) -> ProcessHandle:
        launched[launch.role] = launch
        return await start(launch)

    monkeypatch.setattr(site, "start", spy)
    await run_support(house, site, spec, finished, lambda _: None)
    assert {role: launch.resources for role, launch in launched.items()} == {
        "reporter": Resources(memory=2**30),
        "grader": Resources(memory=2**31),
    }
    assert {end.role for end in ends} == {"reporter", "grader"}
    assert all((end.usage.cpu_seconds or 0) > 0.001 for end in ends)


async def test_a_bundle_that_cannot_be_written_is_said_for_everybody(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is started, nobody is forgotten, and nothing is raised."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(support, "build_bundle", full)
    reports: list[SupportReport] = []
    await run_support(house, site, supported(("works",), ("works",)), finished, reports.append)
    assert [(r.role, r.ok) for r in reports] == [("reporter", False), ("grader", False)]
    assert all("No space left" in r.message for r in reports)
    assert not (finished.logs / "grader-works.log").exists()


async def test_a_role_whose_files_cannot_be_made_is_alone_in_that(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk that is full for one may have room for the next."""
    make = Path.mkdir

    def mkdir(path: Path, *arguments: object, **more: object) -> None:
        if path.name == "reporter-works":
            raise OSError(28, "No space left on device")
        make(path, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", mkdir)
    reports: list[SupportReport] = []
    await run_support(house, site, supported(("works",), ("works",)), finished, reports.append)
    assert {(r.role, r.ok) for r in reports} == {("reporter", False), ("grader", True)}


async def test_a_defect_of_ours_costs_one_report(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever one reporter's output brings to light in us: the others are good, and it is told what it was and where."""

    def defective(_: bytes) -> None:
        raise AssertionError("we should not\x1b get here")

    monkeypatch.setattr(reporter, "check_report", defective)
    reports: list[SupportReport] = []
    await run_support(house, site, supported(("works",), ("works",)), finished, reports.append)
    found = {r.role: r for r in reports}
    assert found["grader"].ok
    assert found["reporter"].message == (
        "it could not be run: a defect of ours: AssertionError: we should not\\u001b get here"
    )
    assert found["reporter"].evidence.startswith("raised in test_support.py:")


async def test_a_defect_while_the_bundle_is_written_is_said_for_everybody(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The episode's record is worth more than its reports."""

    def defective(*_: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(support, "build_bundle", defective)
    reports: list[SupportReport] = []
    await run_support(house, site, supported(("works",), ("works",)), finished, reports.append)
    assert [(r.role, r.ok) for r in reports] == [("reporter", False), ("grader", False)]
    assert all("a defect of ours: ValueError: no such thing" in r.message for r in reports)


async def test_whoever_is_at_work_when_it_is_called_off_is_reported_as_stopped(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported
) -> None:
    """Those that had ended keep what they made; the cancellation passes."""
    spec = supported(("works", "hangs"), ("hangs",))
    reports: list[SupportReport] = []
    scope = trio.CancelScope()

    def done(report: SupportReport) -> None:
        reports.append(report)
        scope.cancel()

    with trio.fail_after(60), scope:
        await run_support(house, site, spec, finished, done)
    assert scope.cancelled_caught
    assert sorted((r.role, r.id, r.ok) for r in reports) == [
        ("grader", "hangs", False),
        ("reporter", "hangs", False),
        ("reporter", "works", True),
    ]
    assert {r.message for r in reports if not r.ok} == {"it was stopped before it had ended"}


async def test_writing_the_bundle_can_be_called_off(
    house: SupervisorRef, site: ProcessSite, finished: Workspace, supported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packing ends after the piece that it is at, not after the file; nobody is started, everybody is reported as not run."""
    finished.replay.write_bytes(bytes(64 * bundle.CHUNK))
    pieces = 0
    scope = trio.CancelScope()

    def called_off() -> None:
        nonlocal pieces
        pieces += 1
        trio.from_thread.run_sync(scope.cancel)
        check()

    check = trio.from_thread.check_cancelled
    monkeypatch.setattr(trio.from_thread, "check_cancelled", called_off)
    reports: list[SupportReport] = []
    with trio.fail_after(60), scope:
        await run_support(house, site, supported(("works",), ("works",)), finished, reports.append)
    assert scope.cancelled_caught
    assert pieces == 1
    assert [(r.role, r.ok) for r in reports] == [("reporter", False), ("grader", False)]
    assert all("was stopped while" in r.message for r in reports)
    assert not finished.bundle.exists()


async def test_an_episode_stays_good_whatever_its_reporters_do(play) -> None:
    """The verdict is about the game; each role's end is in the record and on the stream."""
    events: list[Record] = []
    record: EpisodeRecord = await play(events=events, reporters=("works", "crashes"), graders=("nan",))
    assert record.verdict.good, record.verdict
    assert {(r.id, r.ok) for r in record.reports} == {("works", True), ("crashes", False), ("nan", False)}
    ended = [r.event for r in events if isinstance(r.event, SupportEnded)]
    assert {(event.id, event.ok, event.message) for event in ended} == {(r.id, r.ok, r.message) for r in record.reports}


async def test_a_bad_episode_is_not_reported_on(play, tmp_path: Path) -> None:
    """Reporters and graders work on results that count, and there are none."""
    record: EpisodeRecord = await play("no_results", reporters=("works",), graders=("works",))
    assert record.reports == ()
    assert not (tmp_path / "run/bundle.zip").exists()


async def test_an_interrupt_ends_them_and_the_verdict_stands(play) -> None:
    """What was played counts; who was still at work is gone, and the record is there."""
    interrupt = Interrupt()

    def watch(record: Record) -> None:
        if isinstance(record.event, RoleStarted) and record.event.name == "grader-hangs":
            interrupt.throw("enough")

    with trio.fail_after(60):
        record: EpisodeRecord = await play(
            graders=("hangs",), interrupt=interrupt, subscriber=watch, limits=Limits(timeout=60)
        )
    assert record.verdict.good, record.verdict
    assert [(r.id, r.ok, r.message) for r in record.reports] == [("hangs", False, "it was stopped before it had ended")]
    left = psutil.Process().children(recursive=True)
    assert not any("scripted_support" in word for process in left for word in process.cmdline())
