"""A worker process by itself, at the end of a socket that the test holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from coworld_actors.batch.workers.wire import (
    Beat,
    Cancel,
    Hello,
    NotPlayed,
    Played,
    Playing,
    Ready,
    Stop,
    ToParent,
    ToWorker,
    World,
    frame,
    from_worker,
    play_of,
)
from coworld_actors.batch.workers.worker import DRIVERS, STACK_SIGNAL, make_driver
from coworld_actors.episode.verdict import EndReason
from coworld_drivers.images import ImageMap, load_images
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import InternalFault, PreconditionMissing, Refused
from tests.counting import counting_spec
from tests.coworlds import IMAGE, PROGRAMS
from tests.worker_drivers import PLACE

PATIENCE = 60


class Held:
    """A worker process and our end of its socket."""

    def __init__(self, process: subprocess.Popen[bytes], stream: trio.SocketStream) -> None:
        self.process = process
        self.stream = stream
        self.line = from_worker(stream)
        self.heard: list[ToParent] = []

    async def say(self, *messages: ToWorker) -> None:
        await self.stream.send_all(b"".join(map(frame, messages)))

    async def hear(self, kind: type) -> ToParent | None:
        """The next message of that kind; None at the end."""
        with trio.fail_after(PATIENCE):
            while True:
                for at, message in enumerate(self.heard):
                    if isinstance(message, kind):
                        del self.heard[: at + 1]
                        return message
                batch = await self.line.batch()
                if not batch:
                    return None
                self.heard += batch

    async def end(self) -> int:
        """Its exit code."""
        return await trio.to_thread.run_sync(lambda: self.process.wait(PATIENCE))


def hello(driver: str = f"{PLACE}:counting") -> Hello:
    images = load_images(None, {IMAGE: str(PROGRAMS)})
    return Hello(
        name="held",
        driver=driver,
        images=dict(images.entries),
        local_file=None,
        path=tuple(sys.path),
        beat=0.05,
        stop_deadline=10.0,
    )


@asynccontextmanager
async def held() -> AsyncGenerator[Held]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: ASYNC220 - before anything else runs
            [sys.executable, "-m", "coworld_actors.batch.workers.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
    with process:
        try:
            async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
                yield Held(process, stream)
        finally:
            process.kill()


async def test_it_plays_and_stops_in_order(tmp_path):
    """Ready, playing, played, beats between, and a clean end when it is told to stop."""
    spec = counting_spec(tmp_path)
    async with held() as worker:
        await worker.say(hello(), World(number=0, manifest=spec.plan.manifest), play_of(spec, 0))
        assert await worker.hear(Ready) == Ready(pid=worker.process.pid)
        assert await worker.hear(Playing) == Playing(id="e-1")
        played = await worker.hear(Played)
        assert isinstance(played, Played)
        assert played.record.verdict.good
        beat = await worker.hear(Beat)
        assert isinstance(beat, Beat)
        assert beat.lag >= 0
        await worker.say(Stop())
        assert await worker.hear(Played) is None
        assert await worker.end() == 0


async def test_stop_calls_off_what_is_played(tmp_path):
    """The record still arrives, and says so."""
    spec = counting_spec(tmp_path, ("waits", "plays"))
    async with held() as worker:
        await worker.say(hello(), World(number=0, manifest=spec.plan.manifest), play_of(spec, 0))
        await worker.hear(Playing)
        await worker.say(Stop())
        played = await worker.hear(Played)
        assert isinstance(played, Played)
        assert played.record.verdict.reason is EndReason.CANCELLED
        assert await worker.end() == 0


async def test_a_cancel_right_behind_its_episode_is_not_lost(tmp_path):
    """It comes before the episode has been accepted; a cancel for nobody means nothing."""
    spec = counting_spec(tmp_path, ("waits", "plays"))
    async with held() as worker:
        await worker.say(
            hello(),
            World(number=0, manifest=spec.plan.manifest),
            Cancel(id="nobody", reason="none"),
            play_of(spec, 0),
            Cancel(id="e-1", reason="at once"),
        )
        played = await worker.hear(Played)
        assert isinstance(played, Played)
        assert played.record.verdict.evidence == "at once"


async def test_the_end_of_the_socket_is_its_end(tmp_path):
    """A parent that is gone without a word: the episodes are called off and the process ends, quietly."""
    spec = counting_spec(tmp_path, ("waits", "plays"))
    async with held() as worker:
        await worker.say(hello(), World(number=0, manifest=spec.plan.manifest), play_of(spec, 0))
        await worker.hear(Playing)
        await worker.stream.aclose()
        assert await worker.end() == 0


async def test_it_ends_without_a_hello():
    """Somebody who hangs up at once has changed their mind."""
    async with held() as worker:
        await worker.stream.aclose()
        assert await worker.end() == 0


async def test_what_it_cannot_understand_it_says_and_ends():
    """No greeting, or a second one: a defect is told as the worker's own, which has no episode."""
    async with held() as worker:
        await worker.say(Stop())
        said = await worker.hear(NotPlayed)
        assert isinstance(said, NotPlayed)
        assert said.id == ""
        assert "did not begin with Hello" in said.failure.what
    async with held() as worker:
        await worker.say(hello(), hello())
        said = await worker.hear(NotPlayed)
        assert isinstance(said, NotPlayed)
        assert "twice" in said.failure.what


async def test_an_episode_in_an_unknown_world_is_a_defect_of_that_episode(tmp_path):
    """The worker goes on."""
    spec = counting_spec(tmp_path)
    async with held() as worker:
        await worker.say(hello(), play_of(spec, 3))
        said = await worker.hear(NotPlayed)
        assert isinstance(said, NotPlayed)
        assert said.id == "e-1"
        assert isinstance(said.failure.error(), InternalFault)
        await worker.say(World(number=3, manifest=spec.plan.manifest), play_of(spec, 3))
        assert isinstance(await worker.hear(Played), Played)


async def test_it_writes_its_stack_when_asked():
    """Also a worker that is idle has a line that it stands at."""
    async with held() as worker:
        await worker.say(hello())
        await worker.hear(Ready)
        os.kill(worker.process.pid, STACK_SIGNAL)
        assert worker.process.stderr is not None
        said = await trio.to_thread.run_sync(worker.process.stderr.readline)
        assert b"most recent call first" in said
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.end() == -signal.SIGTERM


def test_drivers_are_found_by_name() -> None:
    """A name of ours, or a place; anything else is refused with the names."""
    images = ImageMap({})
    assert isinstance(make_driver("process", images), ProcessDriver)
    assert isinstance(make_driver("coworld_drivers.process:ProcessDriver", images), ProcessDriver)
    with pytest.raises(Refused, match="no driver 'docker'") as refused:
        make_driver("docker", images)
    assert all(name in refused.value.todo for name in DRIVERS)
    with pytest.raises(PreconditionMissing, match="cannot be loaded"):
        make_driver("coworld_drivers.process:Nothing", images)
