"""One container from its start to its proven end."""

from __future__ import annotations

import signal

import httpx
import psutil
import pytest
import trio

from coworld_drivers import docker_handle
from coworld_drivers.docker_handle import DockerHandle
from coworld_drivers.driver import ExitKind, MachineFault, Resources
from tests.drivers.docker_bench import LONG, SERVER, SLEEPER, Bench, bench
from tests.fake_dockers import FakeDocker

__all__ = ["bench"]


@pytest.mark.parametrize(
    ("code", "kind", "number"),
    [
        ("pass", ExitKind.EXITED, 0),
        ("raise SystemExit(7)", ExitKind.EXITED, 7),
        ("raise SystemExit(125)", ExitKind.EXITED, 125),
        ("raise SystemExit(127)", ExitKind.EXITED, 127),
        ("import os; os.kill(os.getpid(), 11)", ExitKind.SIGNALLED, signal.SIGSEGV),
        ("import os; os.kill(os.getpid(), 9)", ExitKind.SIGNALLED, signal.SIGKILL),
    ],
)
async def test_an_end_is_what_the_engine_says(bench: Bench, code: str, kind: ExitKind, number: int):
    """A container's own 125 and 127 are its own; a death by signal is one although an init stands between."""
    async with bench.site() as site:
        status = await (await site.start(bench.launch("player-0", code))).wait()
    assert (status.kind, status.code if kind is ExitKind.EXITED else status.signal) == (kind, number)
    assert not status.stopped


async def test_who_needs_more_memory_than_it_may_have(bench: Bench):
    """Is out of memory, and the usage shows how near it came."""
    code = "x = bytearray(400 << 20); x[::4096] = b'1' * len(x[::4096])"
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", code, resources=Resources(memory=64 << 20)))
        status = await handle.wait()
    assert status.kind is ExitKind.OOM
    assert status.signal == signal.SIGKILL


async def test_a_stop_is_asked_for_then_enforced(bench: Bench):
    """Who handles SIGTERM ends by itself, who ignores it is killed; both were stopped."""
    polite = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(3)); print('up', flush=True); time.sleep(600)"
    )
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    async with bench.site() as site:
        handles: list[DockerHandle] = []
        for number, code in enumerate((polite, deaf)):
            handles.append(await site.start(bench.launch(f"player-{number}", code)))
        with trio.fail_after(LONG):
            while not (bench.out("player-0") and bench.out("player-1")):
                await trio.sleep(0.05)
        first = await handles[0].stop(60)
        second = await handles[1].stop(0.5)
    assert (first.kind, first.code, first.stopped) == (ExitKind.EXITED, 3, True)
    assert (second.kind, second.signal, second.stopped) == (ExitKind.SIGNALLED, signal.SIGKILL, True)


async def test_a_command_that_is_not_there(bench: Bench):
    """Its end says so, and the container is not taken for one that played."""
    async with bench.site() as site:
        status = await (await site.start(bench.launch("player-0", "", run=("no-such-program",)))).wait()
    assert status.code == 127
    assert "could not be executed" in status.detail


async def test_an_image_that_must_write_its_root_may(bench: Bench):
    """It fails at its start, is started again with a root that it may write, and the user is told once."""
    code = "open('/root-file', 'w').write('x'); print('written')"
    async with bench.driver() as driver, driver.open_site("e", seats=2) as site:
        assert (await (await site.start(bench.launch("player-0", code))).wait()).ok
        assert (await (await site.start(bench.launch("player-1", code))).wait()).ok
    assert bench.out("player-0") == bench.out("player-1") == "written\n"
    assert sum("root" in note for note in bench.notes) == 1
    assert "Read-only" not in (bench.directory / "player-1.err").read_text()
    assert not bench.left(driver)


async def test_who_is_at_work_is_not_started_again(bench: Bench):
    """What it has done would be done twice, and whoever says the word could write as much as it likes."""
    async with bench.site(seats=1) as site:
        player = await site.start(bench.launch("player-0", "import time; time.sleep(1); open('/root-file', 'w')"))
        player.at_work()
        first = player.container
        status = await player.wait()
        assert (status.code, player.container) == (1, first)
    assert "Read-only file system" in (bench.directory / "player-0.err").read_text()


async def test_a_container_that_somebody_removed(bench: Bench):
    """Is lost, and nobody is to blame for that."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", SLEEPER))
        bench.engine.run("rm", "-f", handle.container)
        status = await handle.wait()
    assert status.kind is ExitKind.LOST
    assert "gone" in status.detail


async def test_who_fills_the_disk_is_ended(bench: Bench):
    """By its own doing, with the limit; many small files count like one large one."""
    code = """
import os
for number in range(100000):
    with open(f'/coworld-artifact/{number}', 'wb') as file: file.write(b'x' * 1_000_000)
"""
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", code, resources=Resources(disk=20_000_000)))
        status = await handle.wait()
    assert not status.ok
    assert not status.stopped
    assert "disk" in status.detail


async def test_one_file_cannot_be_larger_than_the_whole(bench: Bench):
    """The kernel keeps that limit by itself."""
    code = "open('/coworld-artifact/x', 'wb').write(b'x' * 50_000_000)"
    async with bench.site() as site:
        status = await (await site.start(bench.launch("player-0", code, resources=Resources(disk=20_000_000)))).wait()
    assert not status.ok
    assert (bench.directory / "player-0-own" / "x").stat().st_size <= 20_000_000


async def test_usage_is_known(bench: Bench):
    """Processor time and memory of what ran, where the engine is on this machine."""
    code = "x = bytearray(80 << 20); x[::4096] = b'1' * len(x[::4096])\nimport time\nt = time.process_time()\nwhile time.process_time() - t < 0.5: pass\ntime.sleep(2)"
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", code))
        await handle.wait()
    assert handle.usage.cpu_seconds is not None
    assert handle.usage.cpu_seconds > 0.4
    assert handle.usage.peak_memory is not None
    assert handle.usage.peak_memory > 80 << 20


async def test_a_game_that_must_write_its_root_is_reached_where_it_is_now(bench: Bench):
    """Its first container is gone, and so is its port: until the second runs nobody is told that the address is its own."""
    code = f"import time; time.sleep(0.5); open('/root-file', 'w').write('x')\n{SERVER}"
    async with bench.site() as site:
        game = await site.start(bench.launch("game", code, serves=True))
        first = game.container
        with trio.fail_after(LONG):
            while game.container == first or not await game.owns_address():
                assert game.status is None
                await trio.sleep(0.02)
            async with httpx.AsyncClient(trust_env=False) as client:
                while True:
                    try:
                        assert (await client.get(f"http://{game.address}/")).text == "ok"
                        break
                    except httpx.TransportError:
                        await trio.sleep(0.05)
        assert (await game.stop(0)).stopped


async def test_a_start_that_hangs(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """Is the machine's fault, and neither a container nor its client is left."""
    monkeypatch.setattr(docker_handle, "START_SECONDS", 2.0)
    fake = FakeDocker(bench.directory / "fake", {"match": "^start ", "hang": True, "deaf": True})
    async with bench.driver(environ=fake.environ) as driver, driver.open_site("e", seats=1) as site:
        with pytest.raises(MachineFault, match="did not do it within 2 s"):
            await site.start(bench.launch("player-0", SLEEPER))
        starts = [pid for words, pid in zip(fake.calls, fake.pids, strict=True) if words[0] == "start"]
        assert starts
        assert not any(psutil.pid_exists(pid) for pid in starts)
    assert not bench.left(driver)


async def test_a_cancelled_stop_kills(bench: Bench):
    """Who loses patience while a role is being asked does not leave it running."""
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", code))
        with trio.fail_after(LONG):
            while not bench.out("player-0"):
                await trio.sleep(0.05)
            with trio.move_on_after(1) as patience:
                await handle.stop(600)
            assert patience.cancelled_caught
            status = await handle.wait()
    assert (status.signal, status.stopped) == (signal.SIGKILL, True)


async def test_kills_that_are_lost_are_repeated(bench: Bench):
    """The client is killed twice before it could say anything: the third call ends the role."""
    rule = {"match": "^kill ", "signal": signal.SIGKILL, "times": 2}
    fake = FakeDocker(bench.directory / "fake", rule)
    async with bench.site(environ=fake.environ) as site:
        handle = await site.start(bench.launch("player-0", SLEEPER))
        with trio.fail_after(LONG):
            status = await handle.stop(0)
    assert (status.kind, status.signal, status.stopped) == (ExitKind.SIGNALLED, signal.SIGKILL, True)
    assert sum(call[0] == "kill" for call in fake.calls) > 2
