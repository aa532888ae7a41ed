"""A parent of workers that is going to be killed: `host` in a process of its own."""

from __future__ import annotations

from pathlib import Path

import trio

from coworld_actors.batch.workers.table import open_workers
from coworld_actors.episode.spec import EpisodeSpec
from coworld_drivers.images import load_images
from tests.counting import counting_spec
from tests.coworlds import IMAGE, PROGRAMS
from tests.worker_drivers import PLACE


async def host(directory: str) -> None:
    """Play two episodes, one of which blocks its worker's loop, and print the workers' process ids."""
    place = Path(directory)
    async with open_workers(
        load_images(None, {IMAGE: str(PROGRAMS)}),
        lambda name, plan, directory: EpisodeSpec(id=name, plan=plan, directory=directory),
        driver=f"{PLACE}:counting",
        workers=2,
    ) as table:
        begun: list[str] = []

        async def one(episode: str, behaviour: str) -> None:
            spec = counting_spec(place, (behaviour, "plays"), episode=episode)
            await table.play(episode, spec.plan, spec.directory, playing=lambda: begun.append(episode))

        pids = table.pids()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "e-1", "waits")
            while "e-1" not in begun:
                await trio.sleep(0.02)
            nursery.start_soon(one, "e-2", "blocks")
            log = place / "run-e-2" / "logs"
            while not log.exists():
                await trio.sleep(0.02)
            print(*pids, flush=True)
