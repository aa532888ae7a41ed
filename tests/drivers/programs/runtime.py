"""A whole runtime: starts hostile roles in a site, prints `ready` and the roles' marks, then waits to be killed.

Words: the directory for logs, then `kill-early` to say `ready` while roles are still being started.
"""

import sys
from pathlib import Path

import trio

from coworld_drivers.driver import Launch
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver

PROGRAMS = Path(__file__).parent


async def main() -> None:
    directory = Path(sys.argv[1])
    early = "kill-early" in sys.argv
    async with ProcessDriver(load_images(None, {"programs": str(PROGRAMS)})) as driver:
        print(driver.mark, flush=True)
        async with driver.open_site("e") as site, trio.open_nursery() as nursery:
            for number in range(40 if early else 6):
                relative = ("stubborn", "escapee", "holding-escapee")[number % 3]
                launch = Launch(
                    name=f"role-{number}",
                    role="player",
                    image="programs",
                    run=("python", "family.py", relative, "wait"),
                    stdout=directory / f"{number}.log",
                )
                if early:
                    nursery.start_soon(site.start, launch)
                else:
                    handle = await site.start(launch)
                    while "relative" not in handle.tail():
                        await trio.sleep(0.01)
            print("ready", flush=True)
            await trio.sleep_forever()


trio.run(main)
