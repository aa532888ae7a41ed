"""The docker driver on a real engine: what it checks and says, and what is left when it is left."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
import trio

from coworld_drivers.docker import DockerDriver
from coworld_drivers.driver import MachineFault, Wanted
from coworld_protocol.errors import PreconditionMissing
from tests.drivers.docker_bench import LONG, SLEEPER, Bench, bench
from tests.relays import Relay

__all__ = ["bench"]


async def test_trust_is_said(bench: Bench):
    """What it relaxes is named; the root can be written then."""
    async with bench.site(trust=True) as site:
        status = await (await site.start(bench.launch("player-0", "open('/x', 'w')"))).wait()
    assert status.ok
    assert any("--trust" in note and "capabilities" in note for note in bench.notes)


async def test_everything_is_labelled(bench: Bench):
    """By run, episode, role, actor, owner and version, so that what is left can be told from everything else."""
    async with bench.driver() as driver, driver.open_site("e-7", seats=1) as site:
        handle = await site.start(bench.launch("player-0", SLEEPER))
        told = bench.engine.run("inspect", "--format", "{{json .Config.Labels}}", handle.container).stdout
        labels = json.loads(told)
        await handle.stop(0)
    assert labels["coworld.run"] == driver.run
    assert (labels["coworld.episode"], labels["coworld.role"], labels["coworld.actor"]) == ("e-7", "player", "player-0")
    assert f":{os.getpid()}:" in labels["coworld.owner"]
    assert labels["coworld.version"]


async def test_two_runs_at_once_do_not_meet(bench: Bench):
    """Same names, same engine: each has its own containers and networks."""
    async with bench.site() as one, bench.site() as two:
        first = await one.start(bench.launch("player-0", "print('one')", stdout=bench.directory / "1", stderr=None))
        second = await two.start(bench.launch("player-0", "print('two')", stdout=bench.directory / "2", stderr=None))
        assert first.container != second.container
        assert (await first.wait()).ok
        assert (await second.wait()).ok
    assert [(bench.directory / name).read_text() for name in "12"] == ["one\n", "two\n"]


async def test_an_image_that_is_not_there(bench: Bench):
    """Found by the check, and by a start without one; nothing is pulled silently."""
    async with bench.driver() as driver:
        with pytest.raises(PreconditionMissing, match="coworld-test-nothing:1"):
            await driver.check([Wanted("coworld-test-nothing:1", (), "game")])
        async with driver.open_site("e", seats=1) as site:
            with pytest.raises(MachineFault):
                await site.start(bench.launch("player-0", "", image="coworld-test-nothing:1"))
    assert not bench.left(driver)


async def test_no_engine(tmp_path: Path, bench: Bench):
    """Said before anything is started, with what to do."""
    async with bench.driver(environ={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}) as driver:
        with pytest.raises(PreconditionMissing, match="does not answer") as caught:
            await driver.check([Wanted(bench.image, (), "game")])
    assert "DOCKER_HOST" in caught.value.todo


async def test_kill_all_does_not_wait(bench: Bench):
    """A client of its own kills them, also when this process ends meanwhile."""
    async with bench.driver() as driver, driver.open_site("e", seats=1) as site:
        handle = await site.start(bench.launch("player-0", SLEEPER))
        driver.kill_all()
        with trio.fail_after(LONG):
            status = await handle.wait()
    assert status.signal == signal.SIGKILL


async def test_entered_while_everything_is_cancelled():
    """It is left at once: nothing waits for what never began."""
    with trio.fail_after(LONG), trio.CancelScope() as scope:
        scope.cancel()
        async with DockerDriver() as driver:
            await driver.check([])
    assert scope.cancelled_caught


async def test_an_engine_that_goes_away_for_good(bench: Bench, tmp_path_factory: pytest.TempPathFactory):
    """It is said once that not everything could be removed, and when it is back the janitor removes it and ends."""
    relay = Relay(tmp_path_factory.mktemp("relay") / "engine.sock")
    try:
        driver = bench.driver(environ={**os.environ, **relay.environ})
        driver.docker.patience = 1.0
        async with driver, driver.open_site("e", seats=1) as site:
            await site.start(bench.launch("player-0", SLEEPER))
            janitor = driver.lifeline.pid
            relay.cut()
        assert sum("could be removed" in note for note in bench.notes) == 1
        assert bench.left(driver)
        relay.restore()
        with trio.fail_after(LONG):
            while bench.left(driver) or psutil.pid_exists(janitor):
                await trio.sleep(0.2)
    finally:
        relay.close()
