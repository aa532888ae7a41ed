"""A host whose event loop is watched with a limit of 0.4 s.

`for-ever`: a handler of the actor `greeter` blocks the loop and never comes back. `not-at-all`: prints `ready`, turns its loop until
a line comes, then prints the counts of blocks and of looks that came too late.
"""

from __future__ import annotations

import logging
import sys
import threading
import time

import trio

from coworld_actors.actors import Actor, ChildSpec, EventStream, open_system
from coworld_actors.runtime.watchdog import Watchdog


class Greeter(Actor[str]):
    async def handle(self, message: str) -> None:
        self.poll()

    def poll(self) -> None:
        while True:
            time.sleep(1)


async def block() -> None:
    async with open_system() as system, Watchdog(system.events, blocked_after=0.4):
        greeter = await system.start_actor(ChildSpec(name="greeter", start=Greeter))
        await greeter.tell("hello")
        await trio.sleep_forever()


async def turn() -> None:
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
    async with Watchdog(EventStream(), blocked_after=0.4) as watchdog:
        print("ready", flush=True)
        while not told.is_set():
            # Busy, so that the stop meets requests for a sign of life that are under way.
            for _ in range(1000):
                await trio.lowlevel.checkpoint()
            await trio.sleep(0.001)
        statistics = watchdog.statistics()
        print(statistics.blocked, statistics.starved, flush=True)


logging.basicConfig(format="%(name)s: %(message)s")
trio.run({"for-ever": block, "not-at-all": turn}[sys.argv[1]])
