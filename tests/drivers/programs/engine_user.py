"""A run that uses an engine and is killed: a network, containers in it, and orders to the engine that never end.

Words: the run's name, an image with `sleep`, and how many containers to start. With `ordering` it goes on creating and starting
more, three at a time, after it has said that it is ready. With `leaving` it ends in good order and leaves everything behind; with
`abandoning` it kills its janitor first and then itself. Prints one JSON line: the janitor's process id.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys

import trio

from coworld_drivers.docker_client import Docker, DockerRefused, Trouble
from coworld_drivers.docker_gc import wills
from coworld_drivers.environment import child_mark
from coworld_drivers.labels import as_options, name_prefix, of_role, of_run
from coworld_drivers.lifeline import Lifeline

run, image, count, *words = sys.argv[1:]
numbers = itertools.count()
mark = child_mark(os.environ, run)
docker = Docker(mark=mark)
labels = of_run(run)
seats = f"{name_prefix(run)}seats"


async def call(*args: str) -> None:
    await docker.ask(*args, what="the test's order was not carried out", timeout=120.0)


async def container() -> None:
    name = f"{name_prefix(run)}{next(numbers)}"
    all_labels = as_options({**labels, **of_role("e", "player", name)})
    # A first process that ignores SIGTERM, as sleep does where it is the first.
    await call("create", "--name", name, "--network", seats, *all_labels, image, "sleep", "1000")
    await call("start", name)


async def network() -> None:
    """With a subnet of our choice: the few that a stock engine gives out are everybody's."""
    while True:
        subnet = f"10.215.{random.randrange(256)}.0/24"
        try:
            await call("network", "create", "--internal", "--subnet", subnet, *as_options(labels), seats)
        except DockerRefused as refused:
            if refused.trouble is not Trouble.OVERLAP:
                raise
        else:
            return


async def order() -> None:
    while True:
        await container()


async def main() -> None:
    lifeline = Lifeline(mark, wills(docker, run), what="test")
    await lifeline.ensure()
    await network()
    async with trio.open_nursery() as nursery:
        for _ in range(int(count)):
            nursery.start_soon(container)
    print(json.dumps({"janitor": lifeline.pid}), flush=True)
    if "leaving" in words:
        await lifeline.aclose()
        return
    if "abandoning" in words:
        os.kill(lifeline.pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    async with trio.open_nursery() as nursery:
        for _ in range(3 if "ordering" in words else 0):
            nursery.start_soon(order)
        await trio.sleep_forever()


trio.run(main)
