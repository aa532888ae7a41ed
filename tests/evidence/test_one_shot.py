"""Roles that run once: every end is a value, never an exception, and none is waited for longer than it may take."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from coworld_actors.actors import SupervisorRef
from coworld_actors.evidence.one_shot import OneShotEnd, run_once
from coworld_drivers.driver import Launch, Mount
from coworld_drivers.process import ProcessSite
from tests.coworlds import IMAGE


def shell(tmp_path: Path, *run: str, image: str = IMAGE, name: str = "once") -> Launch:
    return Launch(
        name=name,
        role="grader",
        image=image,
        run=run,
        mounts=(Mount(path=tmp_path, at="/own", writable=True),),
        stdout=tmp_path / f"{name}.log",
    )


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("exit 0", OneShotEnd(ok=True, evidence="exit code 0")),
        ("echo done", OneShotEnd(ok=True, evidence="exit code 0; last line: done")),
        ("echo sorry >&2; exit 6", OneShotEnd(ok=False, evidence="exit code 6; last line: sorry")),
        ("kill -SEGV $$", OneShotEnd(ok=False, evidence="killed by SIGSEGV")),
    ],
)
async def test_an_end_by_itself_is_told_with_its_evidence(
    house: SupervisorRef, site: ProcessSite, tmp_path: Path, script: str, end: OneShotEnd
) -> None:
    """Exit code or signal, and the last thing it said; only status 0 is well."""
    assert await run_once(house, site, shell(tmp_path, "sh", "-c", script), 60) == end
    assert house.children() == []


@pytest.mark.parametrize("script", ["sleep 600", "trap '' TERM; sleep 600 & sleep 600"])
async def test_one_that_hangs_is_stopped_with_all_it_started(
    house: SupervisorRef, site: ProcessSite, tmp_path: Path, script: str
) -> None:
    """The limit is the evidence; what ignores SIGTERM is killed; nothing of it is left in its site."""
    with trio.fail_after(60):
        end = await run_once(house, site, shell(tmp_path, "sh", "-c", script), 0.5)
    assert end == OneShotEnd(ok=False, evidence="still running after 0.5 s")
    assert house.children() == []
    assert site._running == set()


@pytest.mark.parametrize(
    ("image", "command", "words"),
    [
        (IMAGE, "./no-such-program", "no-such-program"),
        ("unmapped:1", "sh", "unmapped:1"),
    ],
)
async def test_one_that_cannot_be_started_says_why(
    house: SupervisorRef, site: ProcessSite, tmp_path: Path, image: str, command: str, words: str
) -> None:
    """A missing program and an unmapped image are ends like any other, with the next step."""
    end = await run_once(house, site, shell(tmp_path, command, image=image), 60)
    assert not end.ok
    assert words in end.evidence
    assert "try:" in end.evidence


async def test_a_log_that_cannot_be_written_is_an_end(house: SupervisorRef, site: ProcessSite, tmp_path: Path) -> None:
    """What is wrong with our own files does not end the others."""
    (tmp_path / "once.log").mkdir()
    end = await run_once(house, site, shell(tmp_path, "sh", "-c", "exit 0"), 60)
    assert not end.ok
    assert "log" in end.evidence


async def test_one_of_the_same_name_is_an_end_and_disturbs_nobody(
    house: SupervisorRef, site: ProcessSite, tmp_path: Path
) -> None:
    """An error of the actor runtime is told, not raised."""
    ends: list[OneShotEnd] = []

    async def run(script: str) -> None:
        ends.append(await run_once(house, site, shell(tmp_path, "sh", "-c", script), 60))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "until [ -e $HOME/go ]; do sleep 0.05; done")
        with trio.fail_after(30):
            while not house.children():
                await trio.sleep(0.01)
        nursery.start_soon(run, "exit 0")
        with trio.fail_after(30):
            while not ends:
                await trio.sleep(0.01)
        (tmp_path / "go").touch()
    assert [end.ok for end in ends] == [False, True]
    assert "once" in ends[0].evidence


async def test_a_cancelled_caller_leaves_no_process(house: SupervisorRef, site: ProcessSite, tmp_path: Path) -> None:
    """Stopping the house ends what the caller no longer waits for."""
    with trio.move_on_after(0.5) as scope:
        await run_once(house, site, shell(tmp_path, "sh", "-c", "sleep 600"), 60)
    assert scope.cancelled_caught
    with trio.fail_after(60):
        await house.stop()
    assert site._running == set()
