"""A trio host that gets SIGINT when its game is played, and again when it is stopping; says how it ended and what is left."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[3]))

from coworld_actors.episode.events import Phase, PhaseEntered
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_actors.runtime.events import RuntimeStopping
from coworld_actors.runtime.opening import open_runtime
from coworld_drivers.images import load_images
from coworld_drivers.janitor import marked
from coworld_drivers.process import ProcessDriver

# A suite that runs in a shell's background has SIGINT ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
directory = Path(sys.argv[1])
manifest = load_manifest(directory / "coworld" / "coworld_manifest.json")
driver = ProcessDriver(load_images(manifest.directory, {}))
moments = {"playing": threading.Event(), "stopping": threading.Event()}


def watch(record):
    if isinstance(record.event, PhaseEntered) and record.event.phase is Phase.PLAYING:
        moments["playing"].set()
    if isinstance(record.event, RuntimeStopping):
        moments["stopping"].set()


def interrupt():
    for moment in moments.values():
        moment.wait()
        os.kill(os.getpid(), signal.SIGINT)


async def main():
    threading.Thread(target=interrupt, daemon=True).start()
    async with open_runtime(driver, stop_deadline=60) as runtime:
        runtime.system.events.subscribe(watch)
        await runtime.start_episode(EpisodeSpec(plan=build_plan(manifest), directory=directory / "run"))
        await trio.sleep_forever()


try:
    trio.run(main)
except KeyboardInterrupt:
    until = time.monotonic() + 30
    while marked(driver.mark) and time.monotonic() < until:
        time.sleep(0.02)
    print("interrupted", len(marked(driver.mark)))
