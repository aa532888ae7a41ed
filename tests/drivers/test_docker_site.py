"""Where containers of one episode run together: what they see, whom they reach, and how it is left."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from coworld_drivers.docker import DockerDriver
from coworld_drivers.driver import ExtraPort, Mount, StartFailed, Wanted
from tests.drivers.docker_bench import LONG, SERVER, SLEEPER, Bench, bench

__all__ = ["bench"]


async def test_a_role_is_confined(bench: Bench):
    """Our user, no capability, no way to a privilege, a root that it cannot write, its own directory alone."""
    code = """
import json, os, pathlib
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
def write(path):
    try:
        pathlib.Path(path).write_text('x'); return True
    except OSError:
        return False
print(json.dumps({
    'user': [os.getuid(), os.getgid()], 'capabilities': int(status['CapEff'], 16), 'bounding': int(status['CapBnd'], 16),
    'privileges': int(status['NoNewPrivs']), 'root': write('/x'), 'etc': write('/etc/x'), 'tmp': write('/tmp/x'),
    'own': write('/coworld-artifact/x'), 'others': os.path.exists('/coworld'), 'init': open('/proc/1/cmdline').read(4),
}))
"""
    async with bench.site() as site:
        assert (await (await site.start(bench.launch("player-0", code))).wait()).ok
    found = json.loads(bench.out("player-0"))
    assert found.pop("init") != "pyth"
    assert found == {
        "user": [os.getuid(), os.getgid()],
        "capabilities": 0,
        "bounding": 0,
        "privileges": 1,
        "root": False,
        "etc": False,
        "tmp": True,
        "own": True,
        "others": False,
    }
    written = (bench.directory / "player-0-own" / "x").stat()
    assert (written.st_uid, written.st_gid) == (os.getuid(), os.getgid())
    assert (bench.directory / "player-0-own" / "x").read_text() == "x"


async def test_a_game_hides_what_belongs_to_others(bench: Bench):
    """Directories of players are there, and empty."""
    place = bench.directory / "workspace"
    (place / "players" / "0").mkdir(parents=True)
    (place / "players" / "0" / "private").write_text("x")
    mount = Mount(path=place, at="/coworld", writable=True, hides=("players", "absent"))
    code = "import os; print(os.listdir('/coworld'), os.listdir('/coworld/players'))"
    async with bench.site() as site:
        assert (await (await site.start(bench.launch("game", code, serves=True, mounts=(mount,)))).wait()).ok
    assert bench.out("game") == "['players'] []\n"
    assert (place / "players" / "0" / "private").read_text() == "x"


async def test_the_user_s_proxies_are_not_for_roles(bench: Bench):
    """The client's settings give them, with their passwords, to every container that is made with them."""
    settings = bench.directory / "settings"
    settings.mkdir()
    proxy = "http://me:hunter-7713@proxy:3128"
    (settings / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": proxy, "noProxy": "x"}}}))
    async with bench.site(environ={**os.environ, "DOCKER_CONFIG": str(settings)}) as site:
        role = bench.launch("player-0", "import os; print(dict(os.environ))", env={"HTTP_PROXY": "mine"})
        assert (await (await site.start(role)).wait()).ok
    assert "hunter-7713" not in bench.out("player-0")
    assert "'HTTP_PROXY': 'mine'" in bench.out("player-0")


async def test_variables_arrive_as_they_are(bench: Bench):
    """Line breaks, long values and secrets included; of ours nothing; none of it is in anybody's argv."""
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    env = {"LINES": "a\nb", "LONG": "x" * 70_000, "PLAIN": " a=b # c", "TOKEN": "tok-9371"}
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(entry.read_bytes().decode(errors="replace"))
            time.sleep(0.001)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        os.environ["NOT_FOR_ROLES"] = "x"
        async with bench.site() as site:
            role = bench.launch("player-0", code, env=env, secret_env={"SECRET": "hunter-5512"})
            assert (await (await site.start(role)).wait()).ok
    finally:
        del os.environ["NOT_FOR_ROLES"]
        over.set()
        watcher.join()
    found = json.loads(bench.out("player-0"))
    assert {key: found[key] for key in env} == env
    assert found["SECRET"] == "hunter-5512"
    assert found["HOME"] == "/coworld-artifact"
    assert "NOT_FOR_ROLES" not in found
    words = [text for text in seen if "docker" in text]
    assert any("create" in text for text in words)
    assert not any("hunter-5512" in text or "tok-9371" in text for text in words)


async def test_a_game_is_reached_by_us_and_by_its_players(bench: Bench):
    """We come by the published port, players by its address in their network, and who is connected is known."""
    player = """
import os, socket, sys, time
peer = socket.create_connection((sys.argv[1], 8080))
print('in', flush=True)
time.sleep(600)
"""
    async with bench.site() as site:
        game = await site.start(bench.launch("game", SERVER, serves=True))
        assert game.address is not None
        assert game.peer_address is not None
        async with httpx.AsyncClient(trust_env=False) as client:
            with trio.fail_after(LONG):
                while True:
                    try:
                        assert (await client.get(f"http://{game.address}/")).text == "ok"
                        break
                    except httpx.TransportError:
                        await trio.sleep(0.05)
        assert await game.owns_address()
        run = ("python", "-c", player, game.peer_address.host)
        handle = await site.start(bench.launch("player-1", "", run=run))
        with trio.fail_after(LONG):
            while "in" not in bench.out("player-1"):
                await trio.sleep(0.05)
            while "player-1" not in (await site.connected(game.address)).names:
                await trio.sleep(0.05)
        await handle.stop(0)


async def test_extra_ports_are_published(bench: Bench):
    """On loopback, and the game is told where."""
    code = """
import os, socket
server = socket.create_server(('0.0.0.0', 3724))
print(os.environ['COWORLD_LOCAL_PORT_3724'], flush=True)
server.accept()[0].sendall(b'hello')
"""
    role = bench.launch("game", code, serves=True, extra_ports=(ExtraPort(inside=3724),))
    async with bench.site() as site:
        game = await site.start(role)
        with trio.fail_after(LONG):
            while not bench.out("game"):
                await trio.sleep(0.05)
            host, _, port = bench.out("game").strip().partition(":")
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                assert await stream.receive_some(5) == b"hello"
            assert (await game.wait()).ok


async def test_a_doorway_is_where_roles_reach_us(bench: Bench):
    """A player connects to a server of this process, and to nothing else of this machine by name."""
    async with bench.site(doorway=True) as site:
        door = site.doorway
        assert door is not None
        (listener,) = await trio.open_tcp_listeners(0, host=door.bind)
        port = listener.socket.getsockname()[1]
        code = f"import socket; print(socket.create_connection(('{door.host}', {port})).recv(5))"
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                stream = await listener.accept()
                await stream.send_all(b"hello")
                await stream.aclose()

            nursery.start_soon(serve)
            assert (await (await site.start(bench.launch("player-0", code))).wait()).ok
        await listener.aclose()
    assert bench.out("player-0") == "b'hello'\n"


async def test_a_closed_site_starts_nothing(bench: Bench):
    """Whoever comes late is refused."""
    async with bench.site() as site:
        pass
    with pytest.raises(StartFailed, match="is ending"):
        await site.start(bench.launch("player-0", "pass"))


async def test_a_cancelled_site_leaves_nothing(bench: Bench):
    """Neither containers nor networks, whatever was under way."""
    with trio.move_on_after(3):
        async with bench.driver() as driver, driver.open_site("e", seats=4) as site, trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(site.start, bench.launch(f"player-{number}", SLEEPER))
    assert not bench.left(driver)


async def test_cancelled_at_any_call_nothing_is_left(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """Many runs at once, each of which loses heart with another call to the client, when it begins or when it has ended."""
    drivers: list[DockerDriver] = []
    calls: list[int] = []

    async def play(number: int, *, before: bool) -> None:
        begun = 0
        with trio.CancelScope() as scope:
            driver = bench.driver()
            drivers.append(driver)
            start = driver.docker.client.start

            async def start_and_cancel(*words: Any, **options: Any) -> trio.Process:
                nonlocal begun
                begun += 1
                mine = begun == number
                if mine and before:
                    scope.cancel()
                process = await start(*words, **options)
                if mine:
                    scope.cancel()
                return process

            monkeypatch.setattr(driver.docker.client, "start", start_and_cancel)
            async with driver:
                await driver.check([Wanted(bench.image, (), "game")])
                async with driver.open_site("e", seats=2) as site:
                    logs = bench.directory / f"{number}-{before}"
                    logs.mkdir()
                    game, *_ = [
                        await site.start(
                            bench.launch(name, code, stdout=logs / name, stderr=None, serves=name == "game")
                        )
                        for name, code in {"game": SERVER, "player-0": SLEEPER, "player-1": SLEEPER}.items()
                    ]
                    await game.stop(0)
        assert scope.cancelled_caught or begun < number
        calls.append(begun)

    with trio.fail_after(LONG):
        for before in (True, False):
            async with trio.open_nursery() as nursery:
                for number in range(1, 21, 2):
                    nursery.start_soon(functools.partial(play, number, before=before))
    assert max(calls) > 19, "the last of them were never reached"
    assert not "".join(bench.left(driver) for driver in drivers)
