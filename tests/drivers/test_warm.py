"""Warm starts: a forked role is the process that it would have been by itself, and what cannot be forked starts as ever."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trio

from coworld_drivers import warm, warm_template
from coworld_drivers.driver import Connections, ExitKind, Launch, Mount, StartFailed
from coworld_drivers.handle import ProcessHandle
from coworld_drivers.images import load_images
from coworld_drivers.janitor import MARK, marked
from coworld_drivers.process import ProcessDriver, ProcessSite
from coworld_protocol import contract

PROGRAMS = Path(__file__).parent / "programs"
PATIENCE = 60.0


class Kitchen:
    """A driver that warms, one site, and an image whose files the test writes."""

    def __init__(self, root: Path, driver: ProcessDriver, site: ProcessSite) -> None:
        self.root = root
        self.driver = driver
        self.site = site
        self.number = 0

    def launch(self, *run: str, **fields: object) -> Launch:
        self.number += 1
        own = self.root.parent / f"own-{self.number}"
        own.mkdir()
        fields.setdefault("stdout", own / "out.log")
        fields.setdefault("mounts", (Mount(path=own, at=contract.CONTAINER_OWN, writable=True),))
        return Launch(name=f"role-{self.number}", role="player", image="kitchen", run=run, **fields)

    async def start(self, *run: str, **fields: object) -> ProcessHandle:
        return await self.site.start(self.launch(*run, **fields))

    async def until_warm(self, *run: str, **fields: object) -> None:
        """Start it until it is forked from a template that has imported everything that it imports."""
        with trio.fail_after(PATIENCE):
            while True:
                before = self.driver.warm_statistics().warm
                handle = await self.start(*run, **fields)
                await handle.wait()
                if self.driver.warm_statistics().warm > before and not self.building():
                    return
                await trio.sleep(0.02)

    def building(self) -> bool:
        assert self.driver.warm is not None
        return any(entry.building for entry in self.driver.warm._entries.values())

    def templates(self) -> list[int]:
        assert self.driver.warm is not None
        return [entry.template.process.pid for entry in self.driver.warm._entries.values() if entry.template]

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)


@asynccontextmanager
async def open_kitchen(tmp_path: Path, root: Path | None = None, **options: object) -> AsyncIterator[Kitchen]:
    if root is None:
        root = tmp_path / "image"
        root.mkdir(exist_ok=True)
    images = load_images(None, {"kitchen": str(root)})
    options.setdefault("warm", True)
    async with ProcessDriver(images, **options) as driver, driver.open_site("e") as site:
        kitchen = Kitchen(root, driver, site)
        if root.parent != tmp_path:
            kitchen.root = tmp_path / "image"
        yield kitchen


@pytest.fixture
async def kitchen(tmp_path: Path) -> AsyncIterator[Kitchen]:
    async with open_kitchen(tmp_path) as made:
        yield made


WAYS = {
    "module": ("python", "-m", "everything"),
    "script": ("python", "everything.py"),
    "options": ("python", "-O", "-W", "error::UserWarning", "-X", "utf8", "everything.py"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_forked_role_sees_what_a_started_one_sees(tmp_path, way):
    """Arguments, path, environment, descriptors, signals, threads, random state and all the rest are those of a fresh process."""
    run = (*WAYS[way], "end")

    async def look(kitchen: Kitchen) -> tuple[dict, dict]:
        launch = kitchen.launch(*run, env={"COGAME_X": "1", "OTHER": "ä"})
        handle = await kitchen.site.start(launch)
        assert (await handle.wait()).ok, handle.tail(20_000)
        first, *rest = launch.stdout.read_text().splitlines()
        assert rest == ["last wordsatexit ran", "deleted"]
        own = str(launch.mounts[0].path)
        found = json.loads(first.replace(own, "OWN").replace(handle.mark, "MARK"))
        found["own"]["handle"] = handle.pid
        assert (launch.mounts[0].path / "unflushed").read_text() == "written"
        return found["seen"], found["own"]

    env = {"COGAME_X": "1", "OTHER": "ä"}
    async with open_kitchen(tmp_path, PROGRAMS, warm=False) as cold:
        cold.number = 1000
        wanted, _ = await look(cold)
    async with open_kitchen(tmp_path, PROGRAMS) as kitchen:
        await kitchen.until_warm(*run, env=env)
        before = kitchen.driver.warm_statistics().warm
        looks = [await look(kitchen) for _ in range(3)]
        assert kitchen.driver.warm_statistics().warm == before + 3
        templates = kitchen.templates()
    for seen, own in looks:
        # The recorded first child of a template has one finder more; no later one has.
        assert seen == wanted
        assert own["ppid"] == os.getpid()
        assert own["pid"] == own["handle"]
        assert own["pid"] not in templates
        assert own["age"] < PATIENCE
    assert len({own["random"] for _, own in looks}) == 1, "the module chose the seed"
    assert len({own["own_random"] for _, own in looks}) == 3


ENDS = (
    "raise", "chain", "code", "text", "none", "large", "hard", "killed", "term", "interrupt", "thread", "stack", "hooked",
    "forks", "closed",
)  # fmt: skip


async def test_a_forked_role_ends_as_a_started_one_ends(tmp_path):
    """Exit codes, signals, tracebacks, `atexit`, threads and last words are those of a fresh process."""

    async def end(kitchen: Kitchen, how: str) -> tuple[object, list[str], str]:
        launch = kitchen.launch("python", "-m", "everything", how, stderr=kitchen.root.parent / f"{kitchen.number}.err")
        handle = await kitchen.site.start(launch)
        status = await handle.wait()
        # The first line is what it saw.
        return status, launch.stdout.read_text().splitlines()[1:], launch.stderr.read_text()

    async with open_kitchen(tmp_path, PROGRAMS, warm=False) as cold:
        cold.number = 1000
        wanted = {how: await end(cold, how) for how in ENDS}
    assert len({str(status) for status, _, _ in wanted.values()}) > 6
    async with open_kitchen(tmp_path, PROGRAMS) as kitchen:
        for how in ENDS:
            errors = kitchen.root.parent / "errors"
            await kitchen.until_warm("python", "-m", "everything", how, stderr=errors)
            before = kitchen.driver.warm_statistics().warm
            assert await end(kitchen, how) == wanted[how], how
            assert kitchen.driver.warm_statistics().warm == before + 1


async def test_code_of_the_command_line_is_warmed(kitchen):
    """`-c` is run as the interpreter runs it, until there is a version that does it in another way."""
    run = ("python", "-c", "import sys, decimal; print(sys.argv, sys.path[0] == '', sorted(globals())); {}['x']", "one")
    plain = await kitchen.start(*run)
    await plain.wait()
    await kitchen.until_warm(*run)
    handle = await kitchen.start(*run)
    assert (await handle.wait()).code == 1
    assert handle.tail() == plain.tail()
    assert "KeyError: 'x'" in handle.tail()


async def test_a_template_has_imported_what_the_role_imports(kitchen):
    """Once warm, the modules are there before the role's first line; those of `-m` itself are not executed twice."""
    kitchen.write("heavy.py", "VALUE = 1\n")
    kitchen.write(
        "main.py", "import sys\nprint('heavy' in sys.modules, 'main' in sys.modules)\nimport heavy, decimal\n"
    )
    first = await kitchen.start("python", "-m", "main")
    await first.wait()
    assert first.tail() == "False False\n"
    await kitchen.until_warm("python", "-m", "main")
    handle = await kitchen.start("python", "-m", "main")
    await handle.wait()
    assert handle.tail() == "True False\n"
    assert kitchen.driver.warm_statistics().left_out == {}


UNSAFE = {
    "thread": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "descriptor": "import os; R, W = os.pipe()",
    "signal": "import signal; signal.signal(signal.SIGUSR1, lambda *_: None)",
    "output": "print('imported')",
    "variable": "import os; HOME = os.environ.get('HOME')",
    "own variable": "import os; X = os.getenv('COGAME_X', 'none')",
    "all variables": "import os; ALL = dict(os.environ)",
    "clock": "import time; BEGAN = time.monotonic()",
    "date": "import datetime; BEGAN = datetime.datetime.now()",
    "entropy": "import os; KEY = os.urandom(8)",
    "uuid": "import uuid; KEY = uuid.uuid4()",
    "drawn": "import random; NUMBER = random.random()",
    "process id": "import os; PID = os.getpid()",
    "file": "import pathlib; TEXT = pathlib.Path('data.txt').read_text()",
    "directory": "import os; NAMES = os.listdir('.')",
    "child": "import os, time; PID = os.fork() or os._exit(0)",
}


@pytest.mark.parametrize("what", UNSAFE)
async def test_what_belongs_to_one_process_is_left_to_it(kitchen, what):
    """A module whose import does such a thing is imported by every child itself, and so is what imports it; all else is warm."""
    kitchen.write("data.txt", "text")
    kitchen.write("unsafe.py", UNSAFE[what] + "\n")
    kitchen.write("between.py", "import unsafe\n")
    kitchen.write("safe.py", "import decimal\n")
    kitchen.write(
        "main.py",
        "import sys\nprint(sorted({'unsafe', 'between', 'safe', 'decimal'} & set(sys.modules)))\nimport between, safe\nprint('end')\n",
    )
    await kitchen.until_warm("python", "main.py")
    handle = await kitchen.start("python", "main.py")
    assert (await handle.wait()).ok, handle.tail()
    assert handle.tail().startswith("['decimal', 'safe']")
    (left_out,) = kitchen.driver.warm_statistics().left_out.values()
    assert set(left_out) == {"unsafe", "between"}


async def test_generators_are_seeded_again_in_every_child(kitchen):
    """Generators that the system seeds, at import, are seeded again: no two children have the same."""
    kitchen.write("dice.py", "import random\nDIE = random.Random()\nLOADED = random.Random(3)\n")
    kitchen.write(
        "main.py",
        "import dice, random, uuid\nprint(dice.DIE.random(), random.random(), dice.LOADED.random(), uuid.uuid4())\n",
    )
    await kitchen.until_warm("python", "main.py")
    rolls = []
    for _ in range(3):
        handle = await kitchen.start("python", "main.py")
        await handle.wait()
        rolls.append(handle.tail().split())
    dice, common, loaded, names = zip(*rolls, strict=True)
    assert len(set(dice)) == len(set(common)) == len(set(names)) == 3
    assert len(set(loaded)) == 1
    assert kitchen.driver.warm_statistics().left_out == {}


async def test_installed_packages_may_name_and_date_themselves(kitchen):
    """What a package does for itself when it is imported, clock and random names included, does not keep it from being warm."""
    place = kitchen.root / "site-packages"
    place.mkdir()
    (place / "installed.py").write_text(
        "import datetime, os, pathlib, time, uuid\n"
        "NAME, BEGAN, TODAY = uuid.uuid4(), time.time(), datetime.datetime.now()\n"
        "TEXT = pathlib.Path(__file__).read_text()\n"
    )
    (place / "asks.py").write_text("import os\nPID = os.getpid()\n")
    kitchen.write(
        "main.py", "import sys\nprint('installed' in sys.modules, 'asks' in sys.modules)\nimport installed, asks\n"
    )
    env = {"PYTHONPATH": str(place)}
    await kitchen.until_warm("python", "main.py", env=env)
    handle = await kitchen.start("python", "main.py", env=env)
    await handle.wait()
    assert handle.tail() == "True False\n"
    (left_out,) = kitchen.driver.warm_statistics().left_out.values()
    assert left_out == {"asks": "asks for its process id"}


async def test_an_import_that_is_given_up_on_has_no_fallback(kitchen):
    """A module that would do without what is left out is left out itself: it would find it in a process of its own."""
    kitchen.write("unsafe.py", "import os; PID = os.getpid()\n")
    kitchen.write("careless.py", "try:\n    import unsafe\nexcept:\n    unsafe = None\n")
    kitchen.write("careful.py", "try:\n    import unsafe\nexcept ImportError:\n    unsafe = None\n")
    kitchen.write("main.py", "import careless, careful\nprint(careless.unsafe.PID == careful.unsafe.PID)\n")
    await kitchen.until_warm("python", "main.py")
    handle = await kitchen.start("python", "main.py")
    await handle.wait()
    assert handle.tail() == "True\n"


async def test_a_changed_source_is_seen(kitchen):
    """When a module that was imported beforehand changes, the next start has the new one."""
    kitchen.write("part.py", "VALUE = 1\n")
    kitchen.write("main.py", "import part\nprint(part.VALUE)\n")
    await kitchen.until_warm("python", "main.py")
    kitchen.write("part.py", "VALUE = 'another'\n")
    handle = await kitchen.start("python", "main.py")
    await handle.wait()
    assert handle.tail() == "another\n"
    assert kitchen.driver.warm_statistics().cold["its source has changed"] == 1
    await kitchen.until_warm("python", "main.py")
    handle = await kitchen.start("python", "main.py")
    await handle.wait()
    assert handle.tail() == "another\n"


COLD = {
    "shell": (("sh", "-c", "exit 0"), "not a Python interpreter"),
    "option": (("python", "-v", "-c", "pass"), "unknown options of the interpreter"),
    "standard input": (("python", "-"), "nothing to run"),
    "directory": (("python", "."), "neither a module nor a script"),
}


@pytest.mark.parametrize("what", COLD)
async def test_what_cannot_be_warmed_starts_as_ever(kitchen, what):
    """Other programs and other ways to start Python are left alone, and counted with the reason."""
    run, reason = COLD[what]
    kitchen.write("__main__.py", "")
    for _ in range(3):
        handle = await kitchen.start(*run)
        assert (await handle.wait()).ok
    assert kitchen.driver.warm_statistics().cold == {reason: 3}


async def test_an_interpreter_that_cannot_be_a_template_starts_cold(kitchen, monkeypatch):
    """When the template cannot be prepared, its roles start in the usual way, for good."""
    monkeypatch.setattr(warm_template.template, "__file__", str(kitchen.root / "broken.py"))
    kitchen.write("broken.py", "raise SystemExit(1)\n")
    kitchen.write("main.py", "print('here')\n")
    await kitchen.start("python", "main.py")
    reason = "its template did not get ready"
    with trio.fail_after(PATIENCE):
        while reason not in kitchen.driver.warm_statistics().cold:
            handle = await kitchen.start("python", "main.py")
            await handle.wait()
            assert handle.tail() == "here\n"


async def test_a_killed_template_takes_nobody_along(kitchen, until, said):
    """Its children go on and end as they would have; later starts are cold, and right."""
    kitchen.write(
        "main.py", "import decimal, sys\nprint('up', flush=True)\nsys.stdin.read() if len(sys.argv) > 1 else None\n"
    )
    kitchen.write("wait.py", "import decimal, signal\nprint('up', flush=True)\nsignal.pause()\n")
    for _ in range(2):
        handle = await kitchen.start("python", "wait.py")
        await said(handle, "up")
        await handle.stop(PATIENCE)
    await until(kitchen.templates)
    child = await kitchen.start("python", "wait.py")
    await said(child, "up")
    assert kitchen.driver.warm_statistics().bare == 1
    for pid in kitchen.templates():
        os.kill(pid, signal.SIGKILL)
    later = await kitchen.start("python", "wait.py")
    await said(later, "up")
    assert child.status is None
    for handle in (child, later):
        status = await handle.stop(PATIENCE)
        assert (status.kind, status.signal, status.stopped) == (ExitKind.SIGNALLED, signal.SIGTERM, True)
    await until(lambda: not kitchen.templates())


async def test_many_at_once_are_all_right(kitchen):
    """Forty starts at once from one template give forty processes with their own output."""
    kitchen.write("main.py", "import os, decimal\nprint(os.environ['COGAME_NUMBER'])\n")
    await kitchen.until_warm("python", "main.py", env={"COGAME_NUMBER": "x"})
    found = []

    async def one(number: int) -> None:
        handle = await kitchen.start("python", "main.py", env={"COGAME_NUMBER": str(number)})
        assert (await handle.wait()).ok
        found.append(int(handle.tail()))

    before = kitchen.driver.warm_statistics().warm
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(one, number)
    assert sorted(found) == list(range(40))
    assert kitchen.driver.warm_statistics().warm == before + 40


async def test_a_long_environment_starts_cold(kitchen):
    """What does not fit into the place where others read it is not forked."""
    kitchen.write("main.py", "import os\nprint(len(os.environ['COGAME_LONG']))\n")
    await kitchen.until_warm("python", "main.py", env={"COGAME_LONG": "x"})
    for length in (100_000, 10):
        handle = await kitchen.start("python", "main.py", env={"COGAME_LONG": "x" * length})
        await handle.wait()
        assert int(handle.tail()) == length
    assert kitchen.driver.warm_statistics().cold["its environment is too long"] == 1


async def test_a_forked_server_owns_its_port_and_is_seen_by_its_clients(kitchen, until, said):
    """Ownership of a port, connections, the mark and the end of its group work as for any role."""
    kitchen.write(
        "serve.py",
        "import os, socket\n"
        "server = socket.create_server((os.environ['COGAME_HOST'], int(os.environ['COGAME_PORT'])))\n"
        "print('up', flush=True)\nkept = [server.accept()]\nprint('met', flush=True)\nserver.accept()\n",
    )
    kitchen.write(
        "call.py",
        "import os, socket, time\n"
        "line = socket.create_connection((os.environ['COGAME_HOST'], int(os.environ['COGAME_TO'])))\nprint('called', flush=True)\ntime.sleep(600)\n",
    )
    for _ in range(2):
        server = await kitchen.start("python", "serve.py", serves=True)
        await said(server, "up")
        caller = await kitchen.start(
            "python", "call.py", env={"COGAME_TO": str(server.address.port), "COGAME_HOST": "127.0.0.1"}
        )
        await said(caller, "called")
        await server.stop(0)
        await caller.stop(0)
    await until(lambda: len(kitchen.templates()) == 2)
    server = await kitchen.start("python", "serve.py", serves=True)
    await said(server, "up")
    assert await server.owns_address()
    assert not await server.port_taken()
    caller = await kitchen.start(
        "python", "call.py", env={"COGAME_TO": str(server.address.port), "COGAME_HOST": "127.0.0.1"}
    )
    await said(server, "met")
    assert kitchen.driver.warm_statistics().bare == 2
    assert await kitchen.site.connected(server.address) == Connections(names=frozenset({caller.name}), complete=True)
    assert server.pid in marked(server.mark)
    assert server.pid in marked(kitchen.site.mark)
    environ = await trio.Path(f"/proc/{server.pid}/environ").read_bytes()
    assert f"{MARK}={server.mark}".encode() in environ.split(b"\0")
    status = await server.stop(PATIENCE)
    assert (status.signal, status.stopped) == (signal.SIGTERM, True)


async def test_leaving_the_driver_leaves_nothing(tmp_path, descriptors, until, running):
    """No template, no descriptor, no zombie is left, also when the driver is left by an exception, which comes out as it is."""
    async with open_kitchen(tmp_path):
        pass
    before = descriptors()
    children = set(psutil.Process().children(recursive=True))
    pids: list[int] = []

    async def use() -> None:
        async with open_kitchen(tmp_path) as kitchen:
            kitchen.write("main.py", "import decimal\n")
            await kitchen.until_warm("python", "main.py")
            pids.extend(kitchen.templates())
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await use()
    assert pids
    assert not any(running(pid) for pid in pids)
    assert descriptors() == before
    assert set(psutil.Process().children(recursive=True)) <= children


async def test_a_start_cancelled_at_any_step_leaves_nothing(kitchen, until):
    """Wherever a warm start is cancelled, no child of it goes on, and the template is as good as before."""
    kitchen.write(
        "main.py", "import decimal, time\ntime.sleep(600 if __import__('os').environ.get('COGAME_LONG') else 0)\n"
    )
    await kitchen.until_warm("python", "main.py")
    for steps in range(12):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kitchen.start, "python", "main.py")
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
    before = kitchen.driver.warm_statistics().warm
    handle = await kitchen.start("python", "main.py")
    assert (await handle.wait()).ok
    assert kitchen.driver.warm_statistics().warm == before + 1


async def test_without_pidfds_forked_roles_are_followed_too(kitchen, monkeypatch):
    """In a sandbox that has no pidfd their ends are as exact as those of roles that were started cold."""

    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    kitchen.write("main.py", "import decimal, sys, time\ntime.sleep(0.1)\nsys.exit(3)\n")
    await kitchen.until_warm("python", "main.py")
    monkeypatch.setattr(os, "pidfd_open", refuse)
    before = kitchen.driver.warm_statistics().warm
    handle = await kitchen.start("python", "main.py")
    assert (await handle.wait()).code == 3
    assert kitchen.driver.warm_statistics().warm == before + 1


PRINT_C_ENVIRONMENT = """
import os, subprocess
# Without `env` a child gets what the C library has, not what Python has.
there = subprocess.run(["/usr/bin/env", "-0"], capture_output=True, check=True).stdout.split(b"\\0")
here = [os.fsencode(f"{name}={value}") for name, value in os.environ.items()]
print(set(filter(None, there)) ^ set(here))
"""


async def test_the_c_librarys_environment_is_the_childs_own(kitchen):
    """What a role's own children inherit is what it was started with, however long its variables are beside the template's."""
    kitchen.write("main.py", PRINT_C_ENVIRONMENT)
    await kitchen.until_warm("python", "main.py", env={"COGAME_X": "1", "AAA": "b"})
    for number in range(4):
        env = {"COGAME_X": "1" * (7 * number + 1), "AAA": "b", "COGAME_SECRET": "a=b" * number}
        handle = await kitchen.start("python", "main.py", env=env)
        await handle.wait()
        assert handle.tail() == "set()\n"
    assert kitchen.driver.warm_statistics().warm >= 4


async def test_a_template_that_answers_too_late_is_not_asked_again(kitchen, monkeypatch, running, until):
    """Its late answer is nobody's: the start is cold, and every later one has its own child, output and end."""
    kitchen.write("main.py", "import os\nprint(os.environ['COGAME_X'])\n")
    await kitchen.until_warm("python", "main.py", env={"COGAME_X": "0"})
    (template,) = kitchen.templates()
    monkeypatch.setattr(warm_template, "FORK_SECONDS", 0.2)
    os.kill(template, signal.SIGSTOP)
    for number in range(3):
        handle = await kitchen.start("python", "main.py", env={"COGAME_X": str(number)})
        assert (await handle.wait()).ok
        assert handle.tail() == f"{number}\n"
    await until(lambda: not running(template))
    assert kitchen.driver.warm_statistics().cold["its template did not fork within 0.2 s"] >= 1


async def test_a_template_that_talks_nonsense_is_not_used(kitchen, until):
    """A module that finds the template's socket and writes there costs its role the warm start, and the run nothing."""
    kitchen.write(
        "noise.py",
        "import os\nfor n in range(3, 64):\n  try:\n    os.write(n, b'junk')\n  except OSError:\n    pass\n",
    )
    kitchen.write("main.py", "import noise\nprint('here')\n")
    for _ in range(6):
        handle = await kitchen.start("python", "main.py")
        assert (await handle.wait()).ok
        assert handle.tail() == "here\n"
        await until(lambda: not kitchen.building())
    assert kitchen.driver.warm_statistics().warm == 0


async def test_leaving_the_driver_while_a_fork_is_under_way(tmp_path, until):
    """The fork is heard out: whatever is cancelled first, its child is followed or killed, and nothing is left."""
    children = set(psutil.Process().children(recursive=True))
    with trio.CancelScope() as scope:
        async with open_kitchen(tmp_path) as kitchen:
            kitchen.write("main.py", "import decimal, time, sys\ntime.sleep(600 if sys.stdin.read() else 0)\n")
            await kitchen.until_warm("python", "main.py")
            assert kitchen.driver.warm is not None
            (entry,) = kitchen.driver.warm._entries.values()
            os.kill(entry.template.process.pid, signal.SIGSTOP)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kitchen.start, "python", "main.py")
                await until(entry.template._one.locked)
                scope.cancel()
    assert set(psutil.Process().children(recursive=True)) <= children


@pytest.mark.parametrize(
    "env",
    [{"A": "a\0b"}, {"A": "\ud800"}, {"COGAME_X": "a\0b"}, {"COGAME_X": "\ud800"}, {"COGAME_X=Y": "1"}],
    ids=ascii,
)
async def test_what_cannot_be_passed_on_is_refused_warm_as_cold(kitchen, env, until):
    """The refusal is that of a cold start, every time; neither the template nor the driver suffers."""
    kitchen.write("main.py", "print('here')\n")
    await kitchen.until_warm("python", "main.py")
    for _ in range(3):
        with pytest.raises(StartFailed, match="cannot be passed to a process"):
            await kitchen.start("python", "main.py", env=env)
        await until(lambda: not kitchen.building())
    before = kitchen.driver.warm_statistics().warm
    handle = await kitchen.start("python", "main.py")
    assert (await handle.wait()).ok
    assert kitchen.driver.warm_statistics().warm == before + 1


async def test_templates_in_use_are_kept(kitchen, monkeypatch, until):
    """With more roles in use than templates are kept, the others start cold; nobody's template makes room for the next role's."""
    monkeypatch.setattr(warm, "TEMPLATES", 2)
    kitchen.write("main.py", "import sys\nprint(sys.argv[1])\n")
    for _ in range(3):
        for name in ("a", "b", "c", "d"):
            handle = await kitchen.start("python", "main.py", name)
            assert (await handle.wait()).ok
            assert handle.tail() == f"{name}\n"
        await until(lambda: not kitchen.building())
        assert len(kitchen.templates()) <= 2
    assert kitchen.driver.warm_statistics().cold["as many templates as are kept are in use"] == 4


async def test_the_least_used_template_makes_room(kitchen, monkeypatch, until, running):
    """There are never more templates than are kept; one that is let go of ends."""
    monkeypatch.setattr(warm, "TEMPLATES", 2)
    monkeypatch.setattr(warm, "IDLE_SECONDS", 0.0)
    kitchen.write("main.py", "import sys\nprint(sys.argv[1])\n")
    seen: set[int] = set()
    for name in ("a", "b", "c", "d"):
        for _ in range(2):
            handle = await kitchen.start("python", "main.py", name)
            await handle.wait()
        await until(lambda: not kitchen.building())
        seen.update(kitchen.templates())
    await kitchen.start("python", "main.py", "e")
    assert len(kitchen.templates()) == 2
    await until(lambda: len([pid for pid in seen if running(pid)]) == 2)


HOST = """
import sys, trio
from pathlib import Path
from coworld_drivers.driver import Launch
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver

async def main(root, own):
    async with ProcessDriver(load_images(None, {"i": root}), warm=True) as driver, driver.open_site("e") as site:
        while not driver.warm_statistics().warm:
            handle = await site.start(Launch(name="r", role="player", image="i", run=("python", "main.py"), stdout=Path(own) / "log"))
            await handle.wait()
        print(driver.mark, flush=True)
        await trio.sleep_forever()

trio.run(main, *sys.argv[1:])
"""


def test_templates_do_not_survive_a_killed_runtime(tmp_path, gone):
    """When the runtime is killed, its templates are gone within seconds."""
    root = tmp_path / "image"
    root.mkdir()
    (root / "main.py").write_text("import decimal\n")
    command = [sys.executable, "-c", HOST, str(root), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        mark = host.stdout.readline().strip()
        assert marked(f"{mark}.templates")
        host.kill()
    gone(lambda: not marked(mark), PATIENCE)
