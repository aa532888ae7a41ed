"""A host with an episode that does not end: says its roles' mark and `playing`, then does what its first word says."""

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from coworld_actors.episode.events import Phase, PhaseEntered
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_actors.runtime.for_asyncio import open_runtime_asyncio
from coworld_actors.runtime.for_threads import open_runtime_sync
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import Refused

LONG = 120.0
# A suite that runs in a shell's background has SIGINT ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
how, directory = sys.argv[1], Path(sys.argv[2])
manifest = load_manifest(directory / "coworld" / "coworld_manifest.json")


def new_driver():
    return ProcessDriver(load_images(manifest.directory, {}))


def spec(number=1):
    return EpisodeSpec(id=f"e-{number}", plan=build_plan(manifest), directory=directory / f"run-{number}")


def is_playing(record):
    return isinstance(record.event, PhaseEntered) and record.event.phase is Phase.PLAYING


def say(*words):
    print(*words, flush=True)


def until_playing(episode):
    for record in episode.events(timeout=LONG):
        if is_playing(record):
            say("playing")
            return


class Tidy:
    """Says when what is attached to a runtime is left: after its stop."""

    def __init__(self, runtime):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        say("left in order")


def in_a_block():
    with open_runtime_sync(new_driver(), attach=[Tidy]) as runtime:
        episode = runtime.start_episode(spec(), timeout=LONG)
        until_playing(episode)
        if how == "sys-exit":
            sys.exit(7)
        if how == "hangs":
            signal.pause()
        if how == "interrupted":
            threading.Thread(target=interrupt_when_asked).start()
            try:
                runtime.run_episode(spec(2))
            except KeyboardInterrupt:
                say("episodes", [status.id for status in runtime.episodes()])
                raise
        if how == "forks":
            fork(runtime, episode)
            say("after the fork", episode.status().state)


def interrupt_when_asked():
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGINT)


def fork(runtime, episode):
    child = os.fork()
    if child == 0:
        for call in (runtime.statistics, episode.cancel, episode.wait, runtime.stop):
            try:
                call(timeout=5)
            except Refused as error:
                say("refused", "spawn" in error.todo)
        sys.exit(0)
    say("child", os.waitpid(child, 0)[1])


def never_left():
    runtime = open_runtime_sync(new_driver(), attach=[Tidy]).__enter__()
    until_playing(runtime.start_episode(spec(), timeout=LONG))
    if how == "never-left-but-used":

        def work():
            time.sleep(0.5)
            say("still", runtime.statistics(timeout=LONG).running)

        threading.Thread(target=work).start()
    return runtime


async def asyncio_host():
    async with open_runtime_asyncio(new_driver(), attach=[Tidy]) as runtime:
        episode = await runtime.start_episode(spec())
        async for record in episode.events():
            if is_playing(record):
                break
        say("playing")
        if how == "asyncio-sys-exit":
            sys.exit(7)
        threading.Thread(target=interrupt_when_asked, daemon=True).start()
        await runtime.run_episode(spec(2))


async def asyncio_never_left():
    block = open_runtime_asyncio(new_driver(), attach=[Tidy])
    runtime = await block.__aenter__()
    episode = await runtime.start_episode(spec())
    async for record in episode.events():
        if is_playing(record):
            break
    say("playing")
    waiting = asyncio.create_task(episode.wait())
    waiting._log_destroy_pending = False  # That it says so is asyncio's affair.
    return block, waiting


if how in {"never-left", "never-left-but-used"}:
    kept = never_left()
elif how == "asyncio-loop-closed":
    loop = asyncio.new_event_loop()
    kept = loop.run_until_complete(asyncio_never_left())
    loop.close()
    say("closed")
elif how.startswith("asyncio"):
    asyncio.run(asyncio_host())
else:
    in_a_block()
say("end of the program")
