"""The in-process driver below the episodes: what it checks, starts, leaves behind."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import msgspec
import pytest
import trio

from coworld_drivers.driver import ExitKind, ExtraPort, Launch, Mount, StartFailed, Wanted
from coworld_drivers.images import Image, ImageMap
from coworld_drivers.inproc import FLUSH_SECONDS, InprocDriver, InprocSite
from coworld_protocol.errors import PreconditionMissing

ROOT = Path(__file__).parents[1] / "programs"
PLAYER = ("python", "-m", "memory_roles.player")


def open_files() -> set[str]:
    """What the descriptors of this process name."""
    return {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


@pytest.fixture
def driver() -> InprocDriver:
    """A driver for the roles of the tests."""
    return InprocDriver(ImageMap({"roles": Image(root=ROOT)}), environ={"PATH": "/usr/bin", "SECRET": "s"})


@pytest.fixture
def launch(tmp_path):
    """Makes a launch of a player."""

    def make(behaviour: str = "never connects", name: str = "player-0", run=PLAYER, role: str = "player", **env):
        return Launch(
            name=name,
            role=role,
            image="roles",
            run=run,
            env={"BEHAVIOUR": behaviour, "ME": "1", **env},
            mounts=(Mount(path=tmp_path, at="/own", writable=True),),
            stdout=tmp_path / f"{name}.log",
        )

    return make


async def test_a_check_names_everything_that_cannot_be_played_here(driver):
    """Not only the first; reporters may be any program."""
    wanted = [
        Wanted("roles", ("python", "-m", "memory_roles.game"), "game"),
        Wanted("roles", PLAYER, "player"),
        Wanted("roles", ("sh", "-c", "true"), "reporter"),
    ]
    async with driver:
        await driver.check(wanted)
        with pytest.raises(PreconditionMissing, match="no module of the Python"):
            await driver.check([*wanted, Wanted("roles", ("sh", "-c", "true"), "player x")])
        with pytest.raises(PreconditionMissing, match="2 things keep this run from playing in one process"):
            await driver.check(
                [Wanted("roles", ("sh", "-c", "true"), "player x"), Wanted("roles", PLAYER, "game"), *wanted]
            )
        with pytest.raises(PreconditionMissing, match="not mapped"):
            await driver.check([Wanted("other", PLAYER, "player")])


async def test_a_game_in_memory_has_no_extra_ports(driver, launch):
    """It is refused with the drivers that have some."""
    wishing = msgspec.structs.replace(launch(), extra_ports=(ExtraPort(inside=3724),))
    async with driver, driver.open_site("e") as site:
        with pytest.raises(StartFailed, match="reached at no port, and it wishes for 3724") as caught:
            await site.start(wishing)
    assert "--driver process" in caught.value.todo


async def test_a_module_that_fails_on_import_is_its_roles_failure(driver, launch):
    """The check lets it pass, and the role ends as its process would."""
    run = ("python", "-m", "memory_roles.no_such_module")
    async with driver:
        await driver.check([Wanted("roles", run, "player")])
        async with driver.open_site("e") as site:
            handle = await site.start(launch(run=run))
            assert (await handle.wait()).code == 1
            assert "No module named 'memory_roles.no_such_module'" in handle.tail()


async def test_what_a_site_leaves_is_over(driver, launch):
    """Leaving it stops the roles, and then nothing starts there any more."""
    async with driver:
        async with driver.open_site("e") as site:
            handle = await site.start(launch())
            await trio.testing.wait_all_tasks_blocked()
            assert handle.status is None
        assert handle.status.stopped
        assert handle.status.kind is ExitKind.SIGNALLED
        with pytest.raises(StartFailed, match="its episode is ending"):
            await site.start(launch())


async def test_leaving_the_driver_restores_everything(driver, launch):
    """Streams, import path, collector and tasks; an exception of the body leaves as it is."""
    tasks = trio.lowlevel.current_statistics().tasks_living
    before = sys.stdout, sys.stderr, sys.path.copy(), gc.get_threshold()

    async def fail() -> None:
        async with driver, driver.open_site("e") as site:
            await site.start(launch())
            assert sys.stdout is not before[0]
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert (sys.stdout, sys.stderr, sys.path, gc.get_threshold()) == before
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_a_stubborn_task_holds_up_no_episode(driver, launch):
    """Its site is left after the grace, with a note; the driver waits, because a task cannot be killed."""
    notes: list[str] = []
    stubborn = InprocDriver(ImageMap({"roles": Image(root=ROOT)}), close_grace=0.1, log=notes.append)
    async with stubborn:
        async with stubborn.open_site("e-9") as site:
            handle = await site.start(launch("is stubborn", SECONDS="1"))
            await trio.testing.wait_all_tasks_blocked()
        assert handle.status.kind is ExitKind.LOST
    assert notes == ["episode e-9: the task of player-0 shields itself and goes on"]


async def test_kill_all_ends_every_role(driver, launch):
    """Without waiting."""
    async with driver, driver.open_site("a") as one, driver.open_site("b") as two:
        handles = [await one.start(launch(name="p1")), await two.start(launch(name="p2"))]
        driver.kill_all()
        assert [(await handle.wait()).stopped for handle in handles] == [True, True]


async def test_a_role_sees_the_allowed_variables_of_ours_and_its_own(driver, launch):
    """As a process does; our own secrets are not shown to it, although it could find them."""
    run = ("python", "-m", "coworld_protocol.sdk.entry", "memory_roles.shows:main")
    async with driver, driver.open_site("e") as site:
        handle = await site.start(launch(run=run, COLOUR="red"))
        assert (await handle.wait()).ok, handle.tail()
        shown = handle.tail().split()
    assert {"COLOUR", "PATH", "HOME", "TMPDIR"} <= set(shown)
    assert "SECRET" not in shown


async def test_what_a_running_role_prints_is_on_disk_within_seconds(driver, launch, tmp_path):
    """Nobody has to wait for its end, and no descriptor is held for it."""
    run = ("python", "-m", "coworld_protocol.sdk.entry", "memory_roles.shows:say", "word=hello")
    path = tmp_path / "player-0.log"
    async with driver, driver.open_site("e") as site:
        handle = await site.start(launch(run=run))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert handle.tail() == "hello\n"
        with trio.fail_after(30 * FLUSH_SECONDS):
            while not (path.exists() and path.read_text() == "hello\n"):
                await trio.sleep(0.05)
        assert str(path) not in open_files()


async def test_a_log_that_cannot_be_written_is_told(driver, launch, tmp_path):
    """Something is in its place: the role plays on, and the handle knows."""
    (tmp_path / "player-0.log").mkdir()
    run = ("python", "-m", "coworld_protocol.sdk.entry", "memory_roles.shows:main")
    async with driver, driver.open_site("e") as site:
        handle = await site.start(launch(run=run))
        assert (await handle.wait()).ok
        assert handle.log_error is not None
        assert "could not be written" in handle.log_error.what


async def test_a_reporter_is_a_process(driver, launch):
    """One-shot programs block, so they are not ours to run."""
    async with driver, driver.open_site("e") as site:
        handle = await site.start(launch(run=("sh", "-c", "echo $$; exit 3"), role="reporter", name="reporter-r"))
        assert (await handle.wait()).code == 3
        assert handle.tail().strip().isdigit()


async def test_a_site_knows_itself(driver):
    """Nothing has to be looked at from outside."""
    async with driver, driver.open_site("e") as site:
        assert isinstance(site, InprocSite)
        assert site.insight is site
        assert site.doorway is None
        assert not site.sees_connections
        assert site.silence() == float("inf")
        assert site.uri(Path("/a b")) == "file:///a%20b"
        await site.insight.turn()
