"""Sites and drivers: starting, refusing, leaving, and what is left afterwards."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import trio

from coworld_drivers import ports
from coworld_drivers.driver import (
    Address,
    Connections,
    Doorway,
    ExitKind,
    ExtraPort,
    MachineFault,
    Mount,
    StartFailed,
    Wanted,
)
from coworld_drivers.handle import ProcessHandle
from coworld_drivers.images import load_images
from coworld_drivers.janitor import MARK, marked
from coworld_drivers.ports import claim, release
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import PreconditionMissing

PATIENCE = 30.0


PROGRAMS = Path(__file__).parent / "programs"


async def test_fifty_hostile_roles_leave_nothing(bench, descriptors, said, running, until):
    """Fifty roles with stubborn and escaping relatives, stopped at once: no survivor, no zombie, no descriptor."""
    kinds = ("stubborn", "holder", "escapee", "holding-escapee", "stubborn")
    async with bench.site(close_grace=0.2):
        pass
    before = descriptors()
    children = set(psutil.Process().children(recursive=True))
    relatives: list[int] = []

    async with bench.site(close_grace=0.2) as site:
        mark = site.mark

        async def one(number: int) -> None:
            handle = await site.start(
                bench.launch("python", "family.py", kinds[number % 5], "wait", name=f"role-{number}")
            )
            relatives.append(int(await said(handle, "relative")))
            handles.append(handle)

        handles: list = []
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
        assert len(relatives) == 50
        async with trio.open_nursery() as nursery:
            for handle in handles:
                nursery.start_soon(handle.stop, 5)
        assert {handle.status.signal for handle in handles} == {signal.SIGTERM}
        assert all(handle.status.stopped for handle in handles)
    await until(lambda: not any(running(pid) for pid in relatives))
    assert marked(mark) == []
    assert set(psutil.Process().children(recursive=True)) <= children
    assert descriptors() == before
    assert any("left its process group" in note for note in bench.notes)


async def test_leaving_a_site_stops_what_runs(bench, said):
    """A role that was never stopped is stopped when its site is left, with its end recorded."""
    async with bench.site(close_grace=0.2) as site:
        handle = await site.start(bench.launch("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done"))
        await said(handle, "up")
    assert handle.status is not None
    assert (handle.status.kind, handle.status.signal) == (ExitKind.SIGNALLED, signal.SIGKILL)
    assert handle.status.stopped


async def test_cancelled_site_keeps_output_flowing_during_the_grace(bench, said):
    """A cancelled episode still gives its roles their grace, and reads more than a pipe holds in it."""
    code = (
        "import os, signal, sys\n"
        "def end(*_):\n"
        "    for _ in range(40): os.write(1, b'x' * 65536)\n"
        "    os.write(1, b'saved'); os._exit(6)\n"
        "signal.signal(signal.SIGTERM, end); print('up', flush=True)\n"
        "while True: signal.pause()"
    )
    with trio.CancelScope() as scope:
        async with bench.site(close_grace=PATIENCE) as site:
            handle = await site.start(bench.launch("python", "-c", code))
            await said(handle, "up")
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert handle.status is not None
    assert (handle.status.code, handle.tail(5)) == (6, "saved")


async def test_an_exception_leaves_a_site_as_it_is(bench):
    """The body's own exception comes out, not a group of one; what ran is stopped."""
    handles = []

    async def body() -> None:
        async with bench.site(close_grace=0.2) as site:
            handles.append(await site.start(bench.launch("sh", "-c", "sleep 600")))
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await body()
    assert handles[0].status is not None


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope just before the `step`-th time that the task `victim` would run."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self.left = step
        self.scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name == "victim":
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def test_a_start_and_stop_cancelled_at_any_step_leaves_nothing(bench, descriptors):
    """Wherever they are cancelled, nothing of them survives the site, and no descriptor stays open."""
    step = completed = 0
    while not completed:
        step += 1
        scope = trio.CancelScope()
        instrument = CancelAtStep(step, scope)
        async with bench.site(close_grace=0) as site:
            before = descriptors()

            async def victim(site=site, scope=scope, name=f"role-{step}") -> None:
                nonlocal completed
                with scope:
                    handle = await site.start(bench.launch("sh", "-c", "sleep 600", serves=True, name=name))
                    await handle.stop(PATIENCE)
                    completed = not scope.cancel_called

            trio.lowlevel.add_instrument(instrument)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(victim, name="victim")
            finally:
                trio.lowlevel.remove_instrument(instrument)
            mark = site.mark
            await site.aclose()
            await site._driver.lifeline.aclose()
            assert descriptors() == before
            assert marked(mark) == []
        assert step < 200
    assert step > 3


async def test_without_descriptors_a_start_fails_and_leaves_nothing(bench, descriptors):
    """At whatever point the limit of open files is hit, the error says which limit to raise, and nothing stays open."""
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    failures: list[MachineFault] = []
    handles: list[ProcessHandle] = []

    async def start_with(spare: int) -> None:
        used = {int(number) for number, _ in descriptors()}
        holes = sorted(set(range(max(used) + 100)) - used)
        resource.setrlimit(resource.RLIMIT_NOFILE, (holes[spare], kept[1]))
        try:
            handles.append(await site.start(bench.launch("sh", "-c", "sleep 600", serves=True)))
        except MachineFault as error:
            failures.append(error)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, kept)

    async with bench.site() as site:
        await (await site.start(bench.launch("sh", "-c", "true", serves=True))).wait()
        before = descriptors()
        while not handles:
            await start_with(len(failures))
            assert handles or descriptors() == before
        await handles[0].stop(0)
        assert descriptors() == before
    assert len(failures) >= 4
    assert {failure.evidence.rpartition(": ")[2] for failure in failures} == {"Too many open files"}


async def test_a_role_ends_as_ever_when_we_have_no_descriptor_left(bench):
    """With our own limit reached a serving role's end is still recorded, its group killed, its site left."""
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with bench.site(close_grace=0.2) as site:
        ending = await site.start(bench.launch("sh", "-c", "sleep 0.3; exit 7", serves=True, name="a"))
        running = await site.start(bench.launch("sh", "-c", "sleep 600", serves=True, name="b"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, kept[1]))
        try:
            assert not await running.owns_address()
            with trio.fail_after(PATIENCE):
                assert (await ending.wait()).code == 7
            assert not await ending.port_taken()
            await site.aclose()
            assert running.status is not None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, kept)


async def test_nothing_starts_in_a_site_that_is_ending(bench):
    """A start after the end is refused."""
    async with bench.site() as site:
        pass
    with pytest.raises(StartFailed, match="its episode is ending"):
        await site.start(bench.launch("sh", "-c", "true"))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (("no-such-command",), "executable 'no-such-command' of image 'programs' .for role. does not exist"),
        (("./no-such-file",), "executable './no-such-file'"),
        (("./server.py",), r"server\.py of image 'programs' .for role. is not executable"),
        ((), "image 'programs' .for role. has no command"),
    ],
)
async def test_what_cannot_be_executed_is_refused(bench, descriptors, run, message):
    """A missing or unusable executable is a missing precondition that names it; nothing is left of the attempt."""
    async with bench.site() as site:
        before = descriptors()
        with pytest.raises(PreconditionMissing, match=message):
            await site.start(bench.launch(*run))
        assert descriptors() == before


async def test_a_file_that_is_no_program_is_a_failed_start(bench, descriptors, tmp_path):
    """What only the kernel can refuse becomes `StartFailed`; its port and its log are given back."""
    fake = tmp_path / "fake"
    fake.write_bytes(b"\x7fELF not really")
    fake.chmod(0o755)
    async with bench.site() as site:
        await (await site.start(bench.launch("sh", "-c", "true", name="warm"))).wait()
        before = descriptors()
        with pytest.raises(StartFailed) as caught:
            await site.start(bench.launch(str(fake), serves=True))
        assert "Exec format error" in caught.value.evidence
        assert not isinstance(caught.value, MachineFault)
        assert descriptors() == before


async def test_an_unwritable_log_is_a_failed_start(bench, tmp_path):
    """Without a place for its output a role is not started, and is not to blame."""
    async with bench.site() as site:
        with pytest.raises(MachineFault) as caught:
            await site.start(bench.launch("sh", "-c", "true", stdout=tmp_path / "no" / "such" / "file"))
    assert "No such file or directory" in caught.value.evidence


async def test_a_link_that_a_role_put_in_a_logs_place_is_not_followed(bench, descriptors, tmp_path):
    """The role whose log it is does not start; the message names what is there and who can have done it."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    log = bench.logs / "other.log"
    async with bench.site() as site:
        await (await site.start(bench.launch("ln", "-s", str(victim), str(log)))).wait()
        before = descriptors()
        with pytest.raises(MachineFault) as caught:
            await site.start(bench.launch("sh", "-c", "echo overwritten", name="other", serves=True))
        assert descriptors() == before
    assert victim.read_text() == "precious"
    text = " ".join(caught.value.lines())
    assert f"{log} is a symbolic link" in text
    assert "such as the game" in text
    assert "the log of other" in text


async def test_a_role_that_starts_again_keeps_its_log(bench):
    """The same launch in the same site: a game whose port was taken."""
    async with bench.site() as site:
        for _ in range(2):
            await (await site.start(bench.launch("sh", "-c", "echo once"))).wait()
    assert (bench.logs / "role.log").read_text() == "once\nonce\n"


async def test_values_that_no_process_can_have_are_refused_without_showing_them(bench):
    """NUL and lone surrogates come from JSON; the refusal names the variable and hides its value."""
    async with bench.site() as site:
        for value in ("hidden\0value", "hidden\ud800value"):
            with pytest.raises(StartFailed) as caught:
                await site.start(bench.launch("sh", "-c", "true", secret_env={"TOKEN": value}))
            assert "variable 'TOKEN'" in caught.value.evidence
            assert "hidden" not in "\n".join(caught.value.lines())
            assert caught.value.__cause__ is None


async def test_a_command_line_that_is_too_long_is_a_failed_start(bench):
    """The kernel's limit of one word is told as such."""
    async with bench.site() as site:
        with pytest.raises(StartFailed) as caught:
            await site.start(bench.launch("sh", "-c", "true", env={"LONG": "x" * 1_000_000}))
    assert "Argument list too long" in caught.value.evidence
    assert not isinstance(caught.value, MachineFault)


async def test_environment_is_an_allow_list(bench, tmp_path):
    """A secret of ours does not reach a role; what it is promised does, and its working directory is its image's root."""
    ours = {**os.environ, "AWS_SECRET_ACCESS_KEY": "hidden-1", "GITHUB_TOKEN": "hidden-2", "LC_TIME": "C"}
    own = tmp_path / "own"
    own.mkdir()
    code = "import os; print(os.getcwd()); print(*(f'{k}={v}' for k, v in os.environ.items()), sep='\\n')"
    async with bench.site(environ=ours) as site:
        launch = bench.launch(
            "python",
            "-c",
            code,
            env={"A": "public"},
            secret_env={"B": "hidden-b"},
            serves=True,
            mounts=(Mount(path=own, at="/own", writable=True),),
        )
        assert "hidden-b" not in repr(launch)
        assert "B" in repr(launch)
        handle = await site.start(launch)
        await handle.wait()
    directory, *lines = handle.tail().splitlines()
    env = dict(line.split("=", 1) for line in lines)
    assert directory == str(PROGRAMS)
    assert "hidden-1" not in handle.tail()
    assert "hidden-2" not in handle.tail()
    assert env["A"] == "public"
    assert env["B"] == "hidden-b"
    assert env["LC_TIME"] == "C"
    assert env["HOME"] == env["TMPDIR"] == str(own)
    assert env["PYTHONPATH"] == str(PROGRAMS)
    assert env["PYTHONUNBUFFERED"] == "1"
    assert (env["COGAME_HOST"], env["COGAME_PORT"]) == (handle.address.host, str(handle.address.port))
    assert env[MARK].startswith(site.mark)


async def test_secrets_are_not_in_argv(bench, said):
    """Whoever lists processes does not see a role's secrets."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "echo up; sleep 600; :", secret_env={"TOKEN": "hidden"}))
        await said(handle, "up")
        lines = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
        assert any("sleep 600" in line for line in lines)
        assert not any("hidden" in line for line in lines)


async def test_check_names_everything_that_is_missing(tmp_path):
    """One check shows all problems, each once, with who wants it."""
    (tmp_path / "coworld_local.toml").write_text('[images.gone]\nroot = "nowhere"\n[images.here]\nroot = "."\n')
    async with ProcessDriver(load_images(tmp_path, {})) as driver:
        await driver.check([Wanted("here", ("sh",), "game")])
        wanted = [
            Wanted("here", ("sh",), "game"),
            Wanted("gone", ("sh",), "player 0"),
            Wanted("unknown", ("sh",), "reporter r"),
            Wanted("unknown", ("sh",), "reporter r"),
            Wanted("here", ("not-a-command",), "grader g"),
        ]
        with pytest.raises(PreconditionMissing) as caught:
            await driver.check(wanted)
        assert caught.value.what.startswith("3 things")
        for word in (
            "'gone' (for player 0)",
            "'unknown' (for reporter r)",
            "'not-a-command' of image 'here' (for grader g)",
        ):
            assert word in caught.value.what
        assert len(caught.value.lines()) <= 4
        with pytest.raises(PreconditionMissing, match=r"'unknown' .for game. is not mapped"):
            await driver.check([Wanted("unknown", (), "game")])


async def test_uri_is_the_file_itself(bench, tmp_path):
    """A process finds a path of ours under its file URI, odd characters included."""
    async with bench.site() as site:
        assert site.uri(tmp_path / "a b#.json") == (tmp_path / "a b#.json").as_uri()


async def test_two_drivers_do_not_touch_each_other(bench, said):
    """Leaving one run ends nothing of another run of the same process."""
    async with bench.site() as outer:
        handle = await outer.start(bench.launch("sh", "-c", "echo up; sleep 600"))
        await said(handle, "up")
        async with bench.site(close_grace=0) as inner:
            await inner.start(bench.launch("python", "family.py", "escapee", "wait", name="other"))
        assert handle.status is None
        assert inner.mark.partition(".")[0] == outer.mark.partition(".")[0]
        assert not inner.mark.startswith(outer.mark)


async def test_a_run_inside_a_role_ends_with_it(bench, said, tmp_path):
    """A role that is itself a runtime takes its own roles along, those that escaped it included."""
    async with bench.site() as site:
        path = os.pathsep.join(path for path in sys.path if path)
        launch = bench.launch("python", "runtime.py", str(tmp_path), env={"PYTHONPATH": path})
        handle = await site.start(launch)
        await said(handle, "ready")
        inner = handle.tail().splitlines()[0]
        assert inner.startswith(site.mark)
        assert len(marked(inner)) >= 12
    assert marked(inner) == []


async def test_a_port_is_given_back(bench, monkeypatch):
    """A role's port is claimed while it runs and free for others afterwards."""
    async with bench.site() as site:
        handle = await site.start(bench.launch("sh", "-c", "sleep 600", serves=True))
        port = handle.address.port
        monkeypatch.setattr("coworld_drivers.ports.secrets.randbelow", lambda _: port - 10_000)
        with pytest.raises(MachineFault, match="no free TCP port"):
            claim()
        await handle.stop(0)
        assert claim() == port
        release(port)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("round_", range(3))
def test_sigkill_of_the_runtime_leaves_nothing(tmp_path, gone, running, early, round_):
    """Killed while roles run, or while they are being started: within 5 s nothing that carries the run's mark is left."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    words = ["kill-early"] if early else []
    with subprocess.Popen(
        [sys.executable, PROGRAMS / "runtime.py", str(tmp_path), *words], stdout=subprocess.PIPE, env=env
    ) as runtime:
        assert runtime.stdout is not None
        mark = runtime.stdout.readline().decode().strip()
        assert runtime.stdout.readline() == b"ready\n"
        if early:
            # Some are running and some are not: any moment is as good as another.
            gone(lambda: len(marked(mark)) > 3 * round_, PATIENCE)
        else:
            assert len(marked(mark)) >= 12
        janitors = [child for child in psutil.Process(runtime.pid).children() if "janitor" in " ".join(child.cmdline())]
        assert len(janitors) == 1
        runtime.kill()
        runtime.wait()
    took = gone(lambda: not marked(mark), 5.0)
    gone(lambda: not running(janitors[0].pid), 5.0 - took)


def dial(port: int) -> str:
    return f"import socket, time; s = socket.create_connection(('127.0.0.1', {port})); time.sleep(600)"


def all_of(*names: str) -> Connections:
    return Connections(names=frozenset(names), complete=True)


async def test_a_game_has_its_extra_ports(bench, said, tmp_path):
    """It is told where they are, which is where it listens, and nobody else is given them while it runs."""
    port = ports.claim()
    ports.release(port)
    code = (
        "import os, socket, signal\n"
        f"s = socket.create_server(('127.0.0.1', {port}))\n"
        f"print(os.environ['COWORLD_LOCAL_PORT_{port}'], flush=True)\nsignal.pause()"
    )
    wish = (ExtraPort(inside=port),)
    async with bench.site() as site:
        game = await site.start(bench.launch("python", "-S", "-c", code, serves=True, extra_ports=wish))
        await said(game, f"127.0.0.1:{port}")
        with pytest.raises(MachineFault, match="is not free") as caught:
            await site.start(bench.launch("true", name="second", serves=True, extra_ports=wish))
        assert "one episode at a time" in caught.value.todo
        await game.stop(0)
        again = await site.start(bench.launch("python", "-S", "-c", code, name="third", serves=True, extra_ports=wish))
        await said(again, f"127.0.0.1:{port}")


async def test_an_extra_port_that_cannot_be_had_is_a_failed_start(bench):
    """Nothing maps ports here; nothing is left of the attempt."""
    port = ports.claim()
    ports.release(port)
    async with bench.site() as site:
        wish = (ExtraPort(inside=port), ExtraPort(inside=port + 1, outside=port + 2))
        with pytest.raises(StartFailed, match="nothing maps its ports"):
            await site.start(bench.launch("true", serves=True, extra_ports=wish))
    assert ports.claim_this(port) is None
    ports.release(port)


async def test_the_site_sees_who_is_connected(bench, until):
    """A role that holds a connection to the address is named, also from a session of its own; one that does not is not."""
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener, bench.site() as site:
        port = listener.socket.getsockname()[1]
        address = Address(host="127.0.0.1", port=port)
        assert site.sees_connections
        assert site.doorway == Doorway(bind="127.0.0.1", host="127.0.0.1")
        assert await site.connected(address) == all_of()
        await site.start(bench.launch("python", "-c", dial(port), name="dials"))
        await site.start(bench.launch("setsid", "--wait", "python", "-c", dial(port), name="apart"))
        await site.start(bench.launch("python", "-c", "import time; time.sleep(600)", name="sleeps"))

        async def all_seen() -> bool:
            return await site.connected(address) == all_of("dials", "apart")

        await until(all_seen)


async def test_a_connection_that_outlives_its_role_is_the_roles(bench, until):
    """A role that leaves its work to a process in another session is still connected."""
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener, bench.site() as site:
        port = listener.socket.getsockname()[1]
        address = Address(host="127.0.0.1", port=port)
        run = ("sh", "-c", 'setsid python -c "$0" >/dev/null 2>&1 & sleep 0.2', dial(port))
        await (await site.start(bench.launch(*run, name="leaves"))).wait()

        async def seen() -> bool:
            return await site.connected(address) == all_of("leaves")

        await until(seen)


async def test_a_look_without_descriptors_is_not_complete(bench):
    """Nothing is known, and nothing is raised."""
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener, bench.site() as site:
        address = Address(host="127.0.0.1", port=listener.socket.getsockname()[1])
        assert await site.connected(address) == all_of()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, kept[1]))
        try:
            assert await site.connected(address) == Connections(complete=False)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, kept)


async def test_killing_all_needs_no_waiting(bench):
    """Every role of every site is killed by a call that does not wait, and its end says that we asked for it."""
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    async with bench.driver() as driver, driver.open_site("a") as one, driver.open_site("b") as two:
        handles = [
            await site.start(bench.launch("python", "-c", stubborn, name=n)) for site, n in ((one, "x"), (two, "y"))
        ]
        driver.kill_all()
        with trio.fail_after(30):
            for handle in handles:
                status = await handle.wait()
                assert (status.signal, status.stopped) == (9, True)


async def test_an_image_that_several_roles_want_is_missing_once(bench):
    """The refusal names every role, and the image once."""
    async with bench.driver() as driver:
        with pytest.raises(PreconditionMissing, match=r"'other' \(for game, player\) is not mapped"):
            await driver.check([Wanted("other", ("a",), "game"), Wanted("other", ("b",), "player")])


def forking(word, tmp_path):
    command = [sys.executable, PROGRAMS / "forking.py", word, tmp_path]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=2 * PATIENCE)
    # The child's own line and the parent's first come in either order.
    *early, last = map(json.loads, done.stdout.splitlines())
    return next(line for line in early if "roles" not in line), last


def test_a_forked_child_cannot_touch_its_parents_roles(tmp_path):
    """Whatever it calls, and by leaving as programs do, with finalizers: the new is refused, the old is left alone."""
    said, last = forking("use", tmp_path)
    refused = {"enter", "open_site", "start", "ensure", "kill_all"}
    for act, answer in said.items():
        if act in refused:
            assert answer.startswith("ForkedProcess: this process driver belongs to process ")
            assert answer.endswith(" and does not survive a fork")
        else:
            assert answer == "nothing", act
    assert refused < said.keys()
    assert last == {"code": 0, "running": [True, True, True]}


def test_a_forked_child_may_have_a_driver_of_its_own(tmp_path):
    """With a new driver it runs its own roles, and the end of these is not the end of its parent's."""
    said, last = forking("own", tmp_path)
    assert said == {"status": "exit code 7"}
    assert last == {"code": 0, "running": [True, True, True]}
