"""A container's output: complete, apart, bounded, whatever happens to the clients that carry it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from coworld_drivers import docker_output
from coworld_drivers.docker_client import Docker
from coworld_drivers.docker_output import ContainerOutput
from coworld_drivers.driver import ExitKind
from coworld_drivers.logfiles import LogFiles
from coworld_drivers.output import OutputLog
from tests.drivers.docker_bench import LONG, Bench, bench, clients_of
from tests.fake_dockers import FakeDocker
from tests.relays import Relay

__all__ = ["bench"]

LINES = "".join(f"line {number}\n" for number in range(3000))
WORDS = "".join(f"word {number}\n" for number in range(3000))
COMPLAINT = 'time="2026-01-01T00:00:00Z" level=error msg="error waiting for container: unexpected EOF"\n'
OTHER_COMPLAINT = "a client of some other version has lost its engine\n"


class Carried:
    """The output of a container that exists in a scripted client only.

    Args:
        directory: for logs and the client.
        start: what the client that starts the container does, as `tests/programs/fake_docker.py` understands it.
        logs: what those after it do, one after the other.
        merged: whether both streams go to one log.
    """

    def __init__(
        self, directory: Path, start: dict[str, Any], logs: Sequence[dict[str, Any]] = (), *, merged: bool = False
    ) -> None:
        rules = [{"match": "^start ", **start}, *({"match": "^logs ", "times": 1, **each} for each in logs)]
        self.fake = FakeDocker(directory / "fake", *rules)
        self.docker = Docker(self.fake.environ)
        self.paths = [directory / name for name in (("out",) if merged else ("out", "err"))]
        files = LogFiles()
        self.output = ContainerOutput(
            self.docker, [OutputLog(path, limit=1 << 20, who="x", files=files) for path in self.paths]
        )

    async def start(self) -> None:
        """Start the container, as far as there is one, and carry until its client ends."""
        await self.output.follow("c", await self.docker.client.start(("start", "--attach", "c")))
        await self.output.carry()

    async def go_on(self) -> None:
        """Carry until the next client ends."""
        await self.output.go_on()
        await self.output.carry()

    async def end(self, code: int) -> list[str]:
        """The container has ended; what is in its logs."""
        await self.output.last_words(code)
        await self.output.aclose()
        return [path.read_text() for path in self.paths]


async def test_output_is_complete_and_apart(bench: Bench):
    """Both streams, the last words without a line's end included."""
    code = "import sys; print('x' * 300000); sys.stderr.write('last words')"
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", code))
        await handle.wait()
        assert handle.tail() == "last words"
    assert bench.out("player-0") == "x" * 300_000 + "\n"
    assert (bench.directory / "player-0.err").read_text() == "last words"


async def test_a_flood_of_output_is_bounded(bench: Bench):
    """Here and on the engine; the role is neither blocked nor ended by it."""
    code = "import sys\nfor _ in range(100): sys.stdout.write('x' * 1_000_000 + '\\n')\nprint('end')"
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", code, log_limit=100_000))
        assert (await handle.wait()).ok
        assert handle.tail().endswith("end\n")
    assert (bench.directory / "player-0.out").stat().st_size < 400_000


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
        (client,) = clients_of("start", handle.container)
        os.kill(client, signal.SIGKILL)
        status = await handle.wait()
    assert (status.kind, status.code) == (ExitKind.EXITED, 9)
    assert bench.out("player-0") == "".join(f"{number}\n" for number in range(60))


async def test_the_engines_absence_is_no_output(bench: Bench, tmp_path_factory: pytest.TempPathFactory):
    """The client complains where the role's own words go: its complaint stays out, and the role's words stay in."""
    code = """
import sys, time
for number in range(40):
    print(number, flush=True); print('e', number, file=sys.stderr, flush=True); time.sleep(0.1)
"""
    relay = Relay(tmp_path_factory.mktemp("relay") / "engine.sock")
    try:
        async with bench.site(environ={**os.environ, **relay.environ}) as site:
            handle = await site.start(bench.launch("player-0", code))
            with trio.fail_after(LONG):
                while "10\n" not in bench.out("player-0"):
                    await trio.sleep(0.02)
            relay.cut()
            await trio.sleep(1)
            relay.restore()
            assert (await handle.wait()).ok
    finally:
        relay.close()
    assert bench.out("player-0") == "".join(f"{number}\n" for number in range(40))
    assert (bench.directory / "player-0.err").read_text() == "".join(f"e {number}\n" for number in range(40))


@pytest.mark.parametrize("told", [0, 1, 4095, 4096, 4097, 20_001])
async def test_clients_may_be_lost_one_after_the_other(tmp_path: Path, told: int):
    """Wherever each of them was: what the last one says is all there, once."""
    out, err = LINES[:told], WORDS[: told // 2]
    carried = Carried(
        tmp_path,
        {"stdout": out, "stderr": err + COMPLAINT, "code": 1},
        [
            {"stdout": LINES[: told // 3], "stderr": WORDS[: told // 3], "signal": signal.SIGKILL},
            {"stdout": LINES[: 2 * told], "stderr": WORDS[: 2 * told], "signal": signal.SIGKILL},
            {"stdout": LINES, "stderr": WORDS},
            {"stdout": LINES, "stderr": WORDS},
        ],
    )
    await carried.start()
    for _ in range(3):
        await carried.go_on()
    found = await carried.end(7)
    assert found[0] == LINES
    # A complaint that does not begin a line cannot be told from the role's words; then too nothing is missing.
    assert found[1].replace(COMPLAINT, "") == WORDS
    assert (COMPLAINT in found[1]) == bool(err and not err.endswith("\n"))


async def test_a_complaint_in_unknown_words_costs_nothing(tmp_path: Path):
    """It stays in the log, and not a byte of the role's is taken for something that was there already."""
    carried = Carried(
        tmp_path,
        {"stderr": WORDS[:9000] + OTHER_COMPLAINT, "code": 1},
        [{"stderr": WORDS}],
    )
    await carried.start()
    assert (await carried.end(0))[1] == WORDS[:9000] + OTHER_COMPLAINT + WORDS[9000:]


async def test_a_role_may_say_what_clients_say(tmp_path: Path):
    """Whoever ends after such words has said them; one log for both streams is no different."""
    said = WORDS[:100] + "\n" + COMPLAINT
    carried = Carried(tmp_path, {"stderr": said, "code": 3}, [{"stderr": said}], merged=True)
    await carried.start()
    assert await carried.end(3) == [said]


async def test_an_end_that_was_seen_is_not_asked_about_again(tmp_path: Path):
    """One client carries all where nothing goes wrong."""
    carried = Carried(tmp_path, {"stdout": LINES, "stderr": WORDS, "code": 3})
    await carried.start()
    assert await carried.end(3) == [LINES, WORDS]
    assert [call[0] for call in carried.fake.calls] == ["start"]


async def test_last_words_are_asked_for_until_somebody_tells_them(tmp_path: Path):
    """Also those who tell them may be killed, in the middle or before they begin."""
    carried = Carried(
        tmp_path,
        {"stdout": LINES[:5000], "signal": signal.SIGKILL},
        [
            {"signal": signal.SIGKILL},
            {"stdout": LINES[:9000], "signal": signal.SIGKILL},
            {"stdout": LINES, "stderr": WORDS},
        ],
    )
    await carried.start()
    assert await carried.end(0) == [LINES, WORDS]
    assert len(carried.fake.calls) == 4


async def test_last_words_that_nobody_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A client that hangs is not waited for longer than for all of them; what was said before is there."""
    monkeypatch.setattr(docker_output, "LAST_WORDS_SECONDS", 1.0)
    carried = Carried(tmp_path, {"stdout": LINES, "signal": signal.SIGKILL}, [{"hang": True}])
    await carried.start()
    with trio.fail_after(LONG):
        assert await carried.end(0) == [LINES, ""]
    assert not psutil.pid_exists(carried.fake.pids[-1])


async def test_who_stops_carrying_leaves_no_client(tmp_path: Path):
    """Cancelled while a client has nothing to say."""
    carried = Carried(tmp_path, {"stdout": LINES, "hang": True})
    with trio.fail_after(LONG), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carried.start)
            while carried.output.logs[0].total < len(LINES):
                await trio.sleep(0.02)
            scope.cancel()
    assert await carried.end(0) == [LINES, ""]
    assert not psutil.pid_exists(carried.fake.pids[0])


async def test_a_client_that_misses_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """It is stopped while the container ends: the engine is asked, and somebody else brings the rest."""
    monkeypatch.setattr(docker_output, "ALIVE_LOOK", 1.0)
    code = "import time; print('one', flush=True); time.sleep(2); print('two'); raise SystemExit(4)"
    async with bench.site() as site:
        handle = await site.start(bench.launch("player-0", code))
        with trio.fail_after(LONG):
            while not bench.out("player-0"):
                await trio.sleep(0.02)
        (client,) = clients_of("start", handle.container)
        os.kill(client, signal.SIGSTOP)
        with trio.fail_after(LONG):
            status = await handle.wait()
        assert not psutil.pid_exists(client)
    assert (status.kind, status.code) == (ExitKind.EXITED, 4)
    assert bench.out("player-0") == "one\ntwo\n"
