"""The client against runtimes that are dead, mute, of another version, somebody else's, or several."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from coworld_actors.control import client
from coworld_actors.control.client import NoRuntime, RuntimeGone, choose_one, connect, open_runtimes
from coworld_actors.control.messages import (
    Cancel,
    Done,
    End,
    Events,
    Pause,
    Statistics,
    StatisticsReply,
    Tree,
    TreeReply,
)
from coworld_actors.control.prefixes import Ambiguous, Unknown
from coworld_actors.control.server import ControlLimits
from coworld_protocol.errors import CoworldError, PreconditionMissing, Refused
from tests.hosts import controlled, hosting

NEWER = (
    b'{"type":"hello","protocol":99,"version":"9.1","name":"n","pid":1,"seconds":1,'
    b'"parallel":1,"paused":false,"running":0,"queued":0}\n'
)


@pytest.fixture
def says(home: Path, nursery: trio.Nursery) -> Callable[[bytes], Path]:
    """Something that listens, says this to whoever connects, and then nothing more."""

    def start(words: bytes) -> Path:
        path = home / "odd.sock"
        server = trio.socket.socket(trio.socket.AF_UNIX)
        server._sock.bind(str(path))
        server.listen()

        async def answer(stream: trio.SocketStream) -> None:
            await stream.send_all(words)
            if words.endswith(b"\n"):
                await trio.sleep_forever()

        nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(server)])
        return path

    return start


async def test_a_runtime_is_found_and_answers(home: Path) -> None:
    """In its place, with what it says of itself."""
    async with controlled(name="farm") as (_, path), open_runtimes() as (connections, troubles):
        assert troubles == []
        (connection,) = connections
        assert (connection.path, connection.hello.name, connection.hello.pid) == (path, "farm", os.getpid())
        assert choose_one(connections) is connection
        assert (await connection.ask(Statistics(), StatisticsReply)).runtime.name == "farm"
        assert (await connection.ask(Pause(), Done)).changed


async def test_several_are_told_apart_by_name_and_process(home: Path) -> None:
    """A name's beginning means all that begin so, a whole name only that; a process id all of that process."""
    async with controlled(name="farm"), controlled(name="farm-2"), controlled(name="other"):

        async def names(which: str) -> list[str]:
            async with open_runtimes(which=which) as (connections, _):
                return sorted(each.hello.name for each in connections)

        assert await names("") == ["farm", "farm-2", "other"]
        assert await names("fa") == ["farm", "farm-2"]
        assert await names("farm") == ["farm"]
        assert await names(str(os.getpid())) == ["farm", "farm-2", "other"]
        with pytest.raises(Unknown) as caught:
            await names("x")
        assert "farm-2" in caught.value.evidence
        async with open_runtimes() as (connections, _):
            with pytest.raises(Ambiguous) as caught:
                choose_one(connections)
        assert "--runtime" in caught.value.todo


async def test_without_a_runtime_there_is_a_next_step(home: Path) -> None:
    """And exit code 3."""
    with pytest.raises(NoRuntime) as caught:
        async with open_runtimes():
            raise AssertionError
    assert caught.value.exit_code == 3
    assert "open_control()" in caught.value.todo


async def test_what_a_killed_runtime_has_left_is_removed(home: Path, tmp_path: Path) -> None:
    """Its socket is there, nobody listens: it goes, and the others are shown."""
    async with controlled(name="farm") as (_, path):
        with hosting(tmp_path, "killed") as host:
            host.process.kill()
            host.process.wait()
        assert len(list(path.parent.iterdir())) == 2
        async with open_runtimes() as (connections, troubles):
            assert [each.hello.name for each in connections] == ["farm"]
            assert troubles == []
        assert os.listdir(path.parent) == [path.name]


async def test_a_runtime_that_is_killed_is_said_to_be_gone(home: Path, tmp_path: Path) -> None:
    """To whoever follows it, and to whoever asks it."""
    with hosting(tmp_path, "doomed") as host:
        async with open_runtimes() as ((follower,), _), open_runtimes() as ((asker,), _):
            stream = follower.events(Events(follow=True))
            await anext(stream)
            host.process.kill()
            with pytest.raises(RuntimeGone, match=rf"runtime doomed \(pid {host.pid}\) is gone") as caught:
                async for _ in stream:
                    pass
            assert caught.value.exit_code == 3
            with pytest.raises(RuntimeGone):
                await asker.ask(Tree(), TreeReply)


async def test_a_runtime_that_stands_still_does_not_make_us_wait(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections, its kernel does, and never says hello: after a while it is named with what to do."""
    with hosting(tmp_path, "still") as host:
        monkeypatch.setattr(client, "ANSWER_SECONDS", 0.5)
        os.kill(host.pid, signal.SIGSTOP)
        try:
            with pytest.raises(PreconditionMissing, match="does not answer") as caught:
                async with open_runtimes():
                    raise AssertionError
            assert f"py-spy dump --pid {host.pid}" in caught.value.todo
        finally:
            os.kill(host.pid, signal.SIGCONT)


async def test_the_end_of_a_runtime_is_the_end_of_its_events(home: Path) -> None:
    """Without an error, and with the reason."""
    async with trio.open_nursery() as nursery:
        ends: list[End] = []
        ready = trio.Event()

        async def follow() -> None:
            async with open_runtimes() as ((connection,), _):
                ready.set()
                replies = [reply async for reply in connection.events(Events(follow=True))]
                ends.extend(reply for reply in replies if isinstance(reply, End))

        async with controlled(name="farm"):
            nursery.start_soon(follow)
            await ready.wait()
    assert [end.why for end in ends] == ["the runtime has stopped"]


async def test_a_refusal_of_the_runtime_is_raised_as_what_it_is(home: Path) -> None:
    """With its words."""
    async with controlled(name="farm", limits=ControlLimits(connections=1)), open_runtimes() as ((connection,), _):
        with pytest.raises(Refused, match="has the id 'x'"):
            await connection.ask(Cancel(id="x"), Done)
        with pytest.raises(PreconditionMissing, match="1 control connections already"):
            async with open_runtimes():
                raise AssertionError


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the control protocol"),
        (b'{"type":"done","what":"x","changed":true}\n', "did not say hello"),
        (NEWER, "speaks protocol 99"),
        (b'{"type":"hello"', "did not even say hello"),
        (b"", "did not even say hello"),
        (b"\xff\xff\n", "does not speak"),
        (b"x" * 2000, "is gone"),
    ],
)
async def test_what_speaks_another_language_is_no_runtime(says, words: bytes, match: str) -> None:
    """Whatever it says."""
    path = says(words)
    with pytest.raises(CoworldError) as caught:
        async with connect(path):
            raise AssertionError
    assert caught.value.exit_code == 3
    assert match in f"{caught.value.what} {caught.value.evidence}"


async def test_an_endless_reply_is_given_up(says, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a number of bytes."""
    monkeypatch.setattr(client, "REPLY_LIMIT", 1000)
    path = says(b"x" * 5000 + b"\n")
    with pytest.raises(PreconditionMissing, match="more than 1000 bytes"):
        async with connect(path):
            raise AssertionError


async def test_somebody_elses_server_is_not_spoken_to(says, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says whose it is."""
    path = says(b"\n")
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with pytest.raises(PreconditionMissing, match=f"belongs to user {own}, not to {own + 1}"):
        async with connect(path):
            raise AssertionError


async def test_a_path_without_a_runtime_is_refused_by_name(home: Path) -> None:
    """Nothing there, a file, a dead socket, a path that no socket can have."""
    (home / "file").touch()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home / "dead"))
    for name, words in (
        ("none", "No such file"),
        ("file", "is no socket"),
        ("dead", "nobody listens"),
        ("x" * 200, "cannot"),
    ):
        with pytest.raises(CoworldError, match=words) as caught:
            async with open_runtimes(path=home / name):
                raise AssertionError
        assert caught.value.exit_code == 3
    assert (home / "dead").exists()


async def test_a_planted_place_is_reported_and_the_rest_is_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad directory does not hide the runtimes of a good one."""
    async with controlled(name="farm") as (_, path):
        (home / "bad").mkdir()
        (home / "bad").chmod(0o777)
        monkeypatch.setattr("coworld_actors.control.place.directories", lambda: [home / "bad", path.parent])
        async with open_runtimes() as (connections, troubles):
            assert [each.hello.name for each in connections] == ["farm"]
            assert ["others may write" in trouble.what for trouble in troubles] == [True]
