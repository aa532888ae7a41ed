"""An embedding program: opens a runtime with a control socket, starts episodes, says where it is, and stays until stdin ends.

hosted_runtime.py NAME MANIFEST DIRECTORY EPISODES PARALLEL [BLOCK_SECONDS]
"""

import json
import sys
import time
from pathlib import Path

import trio

from coworld_actors.actors import Actor, ChildSpec, Event
from coworld_actors.control import open_control
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from coworld_actors.runtime.admission import Admission
from coworld_actors.runtime.opening import open_runtime
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver


class Rude(Event, frozen=True):
    words: str


class Sitter(Actor[str]):
    async def handle(self, message: str) -> None:
        if message == "block":
            time.sleep(3600)  # noqa: ASYNC251 - what it is for
        await trio.sleep_forever()


async def main(name: str, manifest: str, directory: str, episodes: str, parallel: str) -> None:
    loaded = load_manifest(manifest)
    driver = ProcessDriver(load_images(loaded.directory, {}))
    admission = Admission(parallel=int(parallel), queue=100)
    async with open_runtime(driver, name=name, admission=admission, attach=[open_control()]) as runtime:
        sitter = await runtime.system.start_actor(ChildSpec(name="sitter", start=Sitter, shutdown=0.0))
        runtime.system.events.publish(Rude(words="\x1b[31mred\nline"))
        for number in range(int(episodes)):
            episode = f"{name}-{number}"
            await runtime.start_episode(
                EpisodeSpec(id=episode, plan=build_plan(loaded), directory=Path(directory) / episode, reports=False)
            )
        print(json.dumps({"name": name}), flush=True)
        while line := (await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)).strip():
            sitter.tell_nowait(line)
            print(json.dumps({"told": line}), flush=True)


trio.run(main, *sys.argv[1:])
