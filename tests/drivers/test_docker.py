"""The docker driver on a real engine."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from coworld_drivers.docker import DockerDriver
from coworld_drivers.docker_handle import DockerHandle
from coworld_drivers.docker_site import DockerSite
from coworld_drivers.driver import ExitKind, ExtraPort, Launch, MachineFault, Mount, Resources, StartFailed, Wanted
from coworld_protocol.errors import PreconditionMissing
from tests.docker_engine import Engine

LONG = 120.0

SERVER = """
import http.server, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer((os.environ['COGAME_HOST'], int(os.environ['COGAME_PORT'])), Handler).serve_forever()
"""


class Bench:
    """Starts roles in containers of an image with a Python.

    Args:
        image: the image.
        directory: for logs and the roles' own directories.
        engine: for looks from outside.
    """

    def __init__(self, image: str, directory: Path, engine: Engine) -> None:
        self.image = image
        self.directory = directory
        self.engine = engine
        self.notes: list[str] = []

    def launch(self, name: str, code: str, **changes: Any) -> Launch:
        """A role that runs Python code; its own directory is named like it."""
        own = self.directory / f"{name}-own"
        own.mkdir(exist_ok=True)
        return Launch(
            **{
                "name": name,
                "role": name.partition("-")[0],
                "image": self.image,
                "run": ("python", "-c", code),
                "stdout": self.directory / f"{name}.out",
                "stderr": self.directory / f"{name}.err",
                "mounts": (Mount(path=own, at="/coworld-artifact", writable=True),),
                **changes,
            }
        )

    def driver(self, **options: Any) -> DockerDriver:
        """A driver whose notes are kept."""
        return DockerDriver(log=self.notes.append, **options)

    @asynccontextmanager
    async def site(self, seats: int = 2, *, doorway: bool = False, **options: Any) -> AsyncGenerator[DockerSite]:
        """A site of a driver of its own."""
        async with self.driver(**options) as driver, driver.open_site("e", seats=seats, doorway=doorway) as site:
            yield site

    def out(self, name: str) -> str:
        """What a role wrote to standard output."""
        return (self.directory / f"{name}.out").read_text()

    def left(self, driver: DockerDriver) -> str:
        """What of a driver's run is on the engine."""
        mine = ("--filter", f"label=coworld.run={driver.run}")
        return self.engine.run("ps", "-aq", *mine).stdout + self.engine.run("network", "ls", "-q", *mine).stdout


@pytest.fixture
def bench(python_image: str, tmp_path: Path, engine: Engine) -> Bench:
    """Roles in containers."""
    return Bench(python_image, tmp_path, engine)


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


async def test_output_is_complete_and_apart(bench: Bench):
    """Both streams, the last words without a line's end included."""
    code = "import sys; print('x' * 300000); sys.stderr.write('last words')"
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", code))
        await handle.wait()
        assert handle.tail() == "last words"
    assert bench.out("player-0") == "x" * 300_000 + "\n"
    assert (bench.directory / "player-0.err").read_text() == "last words"


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


async def test_trust_is_said(bench: Bench):
    """What it relaxes is named; the root can be written then."""
    async with bench.site(trust=True) as site:
        status = await (await site.start(bench.launch("player-0", "open('/x', 'w')"))).wait()
    assert status.ok
    assert any("--trust" in note and "capabilities" in note for note in bench.notes)


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


async def test_a_cancelled_site_leaves_nothing(bench: Bench):
    """Neither containers nor networks, whatever was under way."""
    with trio.move_on_after(3):
        async with bench.driver() as driver, driver.open_site("e", seats=4) as site, trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(site.start, bench.launch(f"player-{number}", "import time; time.sleep(600)"))
    assert not bench.left(driver)


async def test_a_command_that_is_not_there(bench: Bench):
    """Its end says so, and the container is not taken for one that played."""
    async with bench.site() as site:
        status = await (await site.start(bench.launch("player-0", "", run=("no-such-program",)))).wait()
    assert status.code == 127
    assert "could not be executed" in status.detail


async def test_an_image_that_is_not_there(bench: Bench):
    """Found by the check, and by a start without one; nothing is pulled silently."""
    async with bench.driver() as driver:
        with pytest.raises(PreconditionMissing, match="coworld-test-nothing:1"):
            await driver.check([Wanted("coworld-test-nothing:1", (), "game")])
        async with driver.open_site("e", seats=1) as site:
            with pytest.raises(MachineFault):
                await site.start(bench.launch("player-0", "", image="coworld-test-nothing:1"))
    assert not bench.left(driver)


async def test_a_flood_of_output_is_bounded(bench: Bench):
    """Here and on the engine; the role is neither blocked nor ended by it."""
    code = "import sys\nfor _ in range(100): sys.stdout.write('x' * 1_000_000 + '\\n')\nprint('end')"
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", code, log_limit=100_000))
        assert (await handle.wait()).ok
        assert handle.tail().endswith("end\n")
    assert (bench.directory / "player-0.out").stat().st_size < 400_000


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


async def test_a_killed_messenger_loses_nothing(bench: Bench):
    """`docker start --attach` is killed in the middle: the output goes on where it stopped, the end is the container's own."""
    code = """
import time
for number in range(60):
    print(number, flush=True); time.sleep(0.05)
raise SystemExit(9)
"""
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", code))
        with trio.fail_after(LONG):
            while "10\n" not in bench.out("player-0"):
                await trio.sleep(0.02)
        (client,) = _clients("start", handle.container)
        os.kill(client, signal.SIGKILL)
        status = await handle.wait()
    assert (status.kind, status.code) == (ExitKind.EXITED, 9)
    assert bench.out("player-0") == "".join(f"{number}\n" for number in range(60))


async def test_a_container_that_somebody_removed(bench: Bench):
    """Is lost, and nobody is to blame for that."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", "import time; time.sleep(600)"))
        bench.engine.run("rm", "-f", handle.container)
        status = await handle.wait()
    assert status.kind is ExitKind.LOST
    assert "gone" in status.detail


async def test_two_runs_at_once_do_not_meet(bench: Bench):
    """Same names, same engine: each has its own containers and networks."""
    async with bench.site() as one, bench.site() as two:
        first = await one.start(bench.launch("player-0", "print('one')", stdout=bench.directory / "1", stderr=None))
        second = await two.start(bench.launch("player-0", "print('two')", stdout=bench.directory / "2", stderr=None))
        assert first.container != second.container
        assert (await first.wait()).ok
        assert (await second.wait()).ok
    assert [(bench.directory / name).read_text() for name in "12"] == ["one\n", "two\n"]


async def test_everything_is_labelled(bench: Bench):
    """By run, episode, role, actor, owner and version, so that what is left can be told from everything else."""
    async with bench.driver() as driver, driver.open_site("e-7", seats=1) as site:
        handle = await site.start(bench.launch("player-0", "import time; time.sleep(600)"))
        told = bench.engine.run("inspect", "--format", "{{json .Config.Labels}}", handle.container).stdout
        labels = json.loads(told)
        await handle.stop(0)
    assert labels["coworld.run"] == driver.run
    assert (labels["coworld.episode"], labels["coworld.role"], labels["coworld.actor"]) == ("e-7", "player", "player-0")
    assert f":{os.getpid()}:" in labels["coworld.owner"]
    assert labels["coworld.version"]


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


async def test_no_engine(tmp_path: Path, bench: Bench):
    """Said before anything is started, with what to do."""
    async with bench.driver(environ={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}) as driver:
        with pytest.raises(PreconditionMissing, match="does not answer") as caught:
            await driver.check([Wanted(bench.image, (), "game")])
    assert "DOCKER_HOST" in caught.value.todo


async def test_a_closed_site_starts_nothing(bench: Bench):
    """Whoever comes late is refused."""
    async with bench.site() as site:
        pass
    with pytest.raises(StartFailed, match="is ending"):
        await site.start(bench.launch("player-0", "pass"))


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


async def test_kill_all_does_not_wait(bench: Bench):
    """A client of its own kills them, also when this process ends meanwhile."""
    async with bench.driver() as driver, driver.open_site("e", seats=1) as site:
        handle = await site.start(bench.launch("player-0", "import time; time.sleep(600)"))
        driver.kill_all()
        with trio.fail_after(LONG):
            status = await handle.wait()
    assert status.signal == signal.SIGKILL


def _clients(word: str, container: str) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().decode(errors="replace").split("\0")
            if word in words and container in words:
                found.append(int(entry.parent.name))
    return found
