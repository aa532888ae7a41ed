"""The server against clients that misbehave in every way there is: it stays up, bounded, and nobody else's."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Generator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import trio

from coworld_actors.actors import Event
from coworld_actors.control import server
from coworld_actors.control.messages import LINE_LIMIT
from coworld_actors.control.server import ControlLimits
from coworld_protocol.errors import PreconditionMissing, Refused
from tests.hosts import controlled, raw


class Noise(Event, frozen=True):
    """Something that happens."""

    text: str


async def quiet(path: Path, connections: int = 0) -> None:
    """Wait until the server has closed what its clients have left, so that a new one has a place."""
    with trio.fail_after(30):
        while True:
            async with raw(path) as client:
                reply = await client.ask("statistics")
            if reply["control"]["connections"] == 1 + connections:
                return
            await trio.sleep(0.01)


async def test_each_request_of_a_connection_is_answered_in_turn(home: Path) -> None:
    """Several in one piece, one in many pieces: as many replies, in order."""
    async with controlled(name="farm") as (_, path), raw(path) as client:
        await client.say(b'{"type":"tree"}\n{"type":"statistics"}\n{"type":"epis')
        await client.say(b'odes"}\n{"type":"anomalies"}\n')
        assert [(await client.hear())["type"] for _ in range(4)] == ["tree", "statistics", "episodes", "anomalies"]


async def test_a_runtime_is_paused_resumed_and_widened(home: Path) -> None:
    """A change says whether it was one."""
    async with controlled(name="farm") as (runtime, path), raw(path) as client:
        assert (await client.ask("pause"))["changed"]
        assert runtime.statistics().paused
        assert not (await client.ask("pause"))["changed"]
        assert (await client.ask("resume"))["changed"]
        assert not runtime.statistics().paused
        assert (await client.ask("set_parallel", parallel=7))["changed"]
        assert runtime.statistics().parallel == 7
        assert not (await client.ask("set_parallel", parallel=7))["changed"]


@pytest.mark.parametrize(
    "line", [b"\n", b"\xff\x00\xfe\x1b[2J\n", b"[" * 60_000 + b"\n", b'{"type":"fly"}\n', b"x" * 70_000 + b"\n"]
)
async def test_a_line_that_is_no_request_gets_the_next_step_and_the_connection_goes_on(home: Path, line: bytes) -> None:
    """What is wrong, and an example of what is right."""
    async with controlled(name="farm") as (_, path), raw(path) as client:
        await client.say(line)
        reply = await client.hear()
        assert reply["type"] == "error"
        assert reply["exit_code"] == 2
        assert reply["evidence"]
        assert "docs/control.md" in reply["todo"]
        assert (await client.ask("statistics"))["control"]["malformed"] == 1


async def test_ten_megabytes_without_an_end_take_no_memory(home: Path) -> None:
    """The line is refused when it is too long, and skipped as it comes; the next one is answered."""
    async with controlled(name="farm") as (_, path), raw(path) as client:
        with trio.fail_after(60):
            await client.say(b"x" * 10_000_000)
            assert str(LINE_LIMIT) in (await client.hear())["evidence"]
            await client.say(b"\n")
            assert (await client.ask("statistics"))["control"]["malformed"] == 1


async def test_half_a_line_and_silence_are_dropped_after_the_deadline(home: Path) -> None:
    """Both keep a place from others."""
    async with controlled(name="farm", limits=ControlLimits(idle=0.2)) as (_, path):
        async with raw(path) as half, raw(path) as silent:
            await half.say(b'{"type":"tr')
            with trio.fail_after(30):
                assert await half.hear() is None
                assert await silent.hear() is None
        async with raw(path) as client:
            assert (await client.ask("statistics"))["control"]["stalled"] == 2


async def test_half_a_line_and_a_farewell_are_nothing(home: Path) -> None:
    """No answer, no error, no place taken."""
    async with controlled(name="farm") as (_, path):
        async with raw(path) as client:
            await client.say(b'{"type":"pau')
        await quiet(path)


async def test_whoever_asks_and_never_reads_is_dropped(home: Path) -> None:
    """A million questions are not a million answers in memory."""
    async with controlled(name="farm", limits=ControlLimits(stall=0.2)) as (_, path):
        async with raw(path) as client:
            with trio.fail_after(60), suppress(trio.BrokenResourceError):
                while True:
                    await client.say(b'{"type":"statistics"}\n' * 1000)
        await quiet(path)
        async with raw(path) as client:
            assert (await client.ask("statistics"))["control"]["stalled"] == 1


async def test_one_connection_too_many_is_told_so(home: Path) -> None:
    """A hundred at once: as many as fit are served, the others hear why not; when they have gone there is room."""
    async with controlled(name="farm") as (_, path):
        async with AsyncExitStack() as stack:
            greetings = []
            for _ in range(100):
                stream = await stack.enter_async_context(await trio.open_unix_socket(path))
                greetings.append((await stream.receive_some()).decode())
            assert sum('"hello"' in each for each in greetings) == ControlLimits().connections
            assert sum("16 control connections already" in each for each in greetings) == 84
        await quiet(path)
        async with raw(path) as client:
            counts = (await client.ask("statistics"))["control"]
            assert counts["turned_away"] >= 84
            assert counts["connections"] == 1


async def test_a_follower_that_never_reads_is_dropped_and_counted(home: Path) -> None:
    """The publisher never waits, and keeps no more than the follower's buffer."""
    limits = ControlLimits(stall=0.5, buffer=64)
    async with controlled(name="farm", limits=limits) as (runtime, path):
        async with raw(path) as follower, raw(path) as witness:
            await follower.say({"type": "events", "follow": True})
            before = (await witness.ask("statistics"))["runtime"]["events"]["subscribers"]
            with trio.fail_after(60):
                while (await witness.ask("statistics"))["control"]["stalled"] == 0:
                    for _ in range(200):
                        runtime.system.events.publish(Noise(text="x" * 10_000))
                    await trio.sleep(0.01)
            counts = await witness.ask("statistics")
            assert counts["runtime"]["events"]["subscribers"] == before - 1
            assert counts["control"]["connections"] == 1


async def test_a_slow_follower_is_told_what_it_has_missed(home: Path) -> None:
    """The count and the records that did come make up what was published, in order and once."""
    async with controlled(name="farm", limits=ControlLimits(buffer=16)) as (runtime, path), raw(path) as follower:
        runtime.system.events.publish(Noise(text="before"))
        start = (await follower.ask("events"))["record"]["seq"]
        reply = await follower.hear()
        assert (reply["type"], reply["last"]) == ("end", start)
        await follower.say({"type": "events", "follow": True, "after": start})
        runtime.system.events.publish(Noise(text="begin"))
        assert (await follower.hear())["record"]["event"]["text"] == "begin"
        for number in range(1000):
            runtime.system.events.publish(Noise(text=str(number)))
        seen, lost = [], 0
        with trio.fail_after(30):
            while not seen or seen[-1] != "999":
                reply = await follower.hear()
                if reply["type"] == "lost":
                    lost += reply["count"]
                else:
                    seen.append(reply["record"]["event"]["text"])
        assert seen == [str(number) for number in range(1000 - len(seen), 1000)]
        assert lost == 1000 - len(seen)
        assert len(seen) == 16
        await follower.say({"type": "statistics"})
        while (reply := await follower.hear())["type"] != "statistics":
            pass
        assert reply["control"]["lost"] == lost


async def test_a_follower_that_speaks_gets_the_end_and_then_its_answer(home: Path) -> None:
    """The connection goes on, and nothing of the following is left."""
    async with controlled(name="farm") as (runtime, path), raw(path) as client:
        before = runtime.statistics().events.subscribers
        runtime.system.events.publish(Noise(text="kept"))
        assert (await client.ask("events", follow=True))["record"]["event"]["text"] == "kept"
        await client.say({"type": "tree"})
        assert await client.hear() == {
            "type": "end",
            "last": runtime.statistics().events.published,
            "why": "the client has asked for something else",
        }
        assert (await client.hear())["type"] == "tree"
        assert runtime.statistics().events.subscribers == before


async def test_followers_are_told_the_end_of_the_runtime(home: Path) -> None:
    """After its last event; and the socket is still open while it stops."""
    async with AsyncExitStack() as stack:
        async with controlled(name="farm") as (runtime, path):
            follower = await stack.enter_async_context(raw(path))
            await follower.say({"type": "events", "follow": True})
            await stack.enter_async_context(raw(path))
            await runtime.stop()
            async with raw(path) as late:
                assert (await late.ask("episodes"))["episodes"] == []
        types = []
        while (reply := await follower.hear()) and reply["type"] == "record":
            types.append(reply["record"]["event"]["type"])
        assert types[-2:] == ["runtime_stopping", "runtime_stopped"]
        assert reply["type"] == "end"
        assert reply["why"] == "the runtime has stopped"
        assert await follower.hear() is None
    assert os.listdir(home) == []


async def test_a_runtime_that_is_cancelled_can_be_seen_while_it_stops(home: Path) -> None:
    """Its host's cancellation does not reach the socket before its end."""
    seen = trio.Event()
    with trio.CancelScope() as scope:
        async with controlled(name="farm") as (runtime, path):

            async def look() -> None:
                async with raw(path) as client:
                    assert (await client.ask("statistics"))["runtime"]["name"] == "farm"
                seen.set()

            stop = runtime.stop

            async def slow_stop() -> object:
                await look()
                return await stop()

            runtime.stop = slow_stop
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert seen.is_set()
    assert os.listdir(home) == []


async def test_a_client_that_does_not_leave_does_not_hold_up_the_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower that reads nothing has a moment; then the runtime closes without it."""
    monkeypatch.setattr(server, "GOODBYE_SECONDS", 0.2)
    async with AsyncExitStack() as stack:
        with trio.fail_after(30):
            async with controlled(name="farm") as (runtime, path):
                follower = await stack.enter_async_context(raw(path))
                await follower.say({"type": "events", "follow": True})
                for _ in range(200):
                    runtime.system.events.publish(Noise(text="x" * 10_000))
                await trio.sleep(0.05)
    assert os.listdir(home) == []


async def test_a_host_that_raises_gets_its_own_exception_back(home: Path) -> None:
    """Bare, with the socket gone."""
    with pytest.raises(ZeroDivisionError):
        async with controlled(name="farm") as (_, path), raw(path):
            raise ZeroDivisionError
    assert os.listdir(home) == []


async def test_a_socket_that_cannot_be_made_opens_no_runtime(home: Path) -> None:
    """The reason reaches whoever opens it, bare."""
    (home / "coworld-actors").symlink_to("/tmp")
    with pytest.raises(PreconditionMissing, match="it is a link"):
        async with controlled(name="farm"):
            raise AssertionError


async def test_a_defect_in_a_conversation_ends_that_one_and_is_logged(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the host nor another connection sees anything of it."""
    async with controlled(name="farm") as (_, path), raw(path) as other:

        def broken(_: bytes) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(server, "read_request", broken)
        async with raw(path) as client:
            await client.say(b"{}\n")
            assert await client.hear() is None
        monkeypatch.undo()
        assert (await other.ask("statistics"))["type"] == "statistics"
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert "ZeroDivisionError" in caplog.text


async def test_other_users_are_refused_by_what_the_kernel_says_of_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only by the modes of files: whoever gets past those is told whose runtime it is, and nothing else."""
    async with controlled(name="farm") as (_, path):
        own = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: own + 1)
        async with await trio.open_unix_socket(path) as stream:
            answer = await stream.receive_some()
            assert f"belongs to user {own + 1}".encode() in answer
            assert b"hello" not in answer
            assert b"farm" not in answer
            assert await stream.receive_some() == b""
        monkeypatch.undo()
        async with raw(path) as client:
            assert (await client.ask("statistics"))["control"]["strangers"] == 1


@pytest.fixture
def open_home(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """An XDG_RUNTIME_DIR whose parents let everybody through."""
    path = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
    path.chmod(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    yield path
    shutil.rmtree(path)


STRANGER = """
import os, socket, sys
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as s:
    try:
        s.connect(sys.argv[1])
    except OSError as error:
        print(type(error).__name__)
    else:
        print(s.recv(10000).decode())
"""


async def test_another_user_cannot_open_the_socket(open_home: Path) -> None:
    """As root, a process of another user tries: the modes refuse it, and where they do not, the server does.

    Without root there is no other user to be; then the modes, which nobody else can pass, are what is looked at.
    """
    async with controlled(name="farm") as (_, path):

        async def stranger() -> str:
            done = await trio.run_process([sys.executable, "-c", STRANGER, path], capture_stdout=True)
            return done.stdout.decode().strip()

        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700
        if os.geteuid() == 0:
            assert await stranger() == "PermissionError"
            path.parent.chmod(0o755)
            assert await stranger() == "PermissionError"
            path.chmod(0o666)
            answer = await stranger()
            assert "belongs to user 0" in answer
            assert "the connection comes from user 65534" in answer
            path.parent.chmod(0o700)


@pytest.mark.parametrize("field", ["connections", "idle", "stall", "buffer"])
def test_limits_that_let_nobody_in_are_refused(field: str) -> None:
    """With the name of the one that is wrong."""
    with pytest.raises(Refused, match=field):
        ControlLimits(**{field: 0})


async def test_no_descriptor_is_left(home: Path) -> None:
    """Of the listener, of connections, of those that were turned away."""
    before = len(os.listdir("/proc/self/fd"))
    async with controlled(name="farm", limits=ControlLimits(connections=2)) as (_, path):
        streams = [await trio.open_unix_socket(path) for _ in range(5)]
        for stream in streams:
            await stream.receive_some()
            await stream.aclose()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_any_program_of_the_users_can_speak_to_it(home: Path) -> None:
    """Lines of JSON over a Unix socket need none of our code."""
    async with controlled(name="farm") as (_, path):
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); f = s.makefile('rw');"
            'f.readline(); f.write(\'{"type":"tree"}\\n\'); f.flush(); print(f.readline())'
        )
        done = await trio.run_process([sys.executable, "-c", code, path], capture_stdout=True)
        assert b'"actors"' in done.stdout
