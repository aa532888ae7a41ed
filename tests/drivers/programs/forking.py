"""A host with the runtime in a thread of its own, which forks in its main thread while roles run.

Words: what the child does, and the directory for logs. Prints one JSON line about the parent's roles, then what the child says.
`sleep`: nothing, for long. `use`: everything it must not do with its parent's objects, and then leaves as any program does.
`own`: a driver and a role of its own.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import trio

from coworld_drivers.driver import Launch
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from coworld_protocol.errors import CoworldError

PROGRAMS = Path(__file__).parent
word, directory = sys.argv[1], Path(sys.argv[2])
there = threading.Event()
over = threading.Event()
have = {}


def new_driver() -> ProcessDriver:
    return ProcessDriver(load_images(None, {"programs": str(PROGRAMS)}), close_grace=0.2)


def launch(name: str, *run: str) -> Launch:
    return Launch(name=name, role="player", image="programs", run=run, stdout=directory / f"{name}.log")


async def host() -> None:
    async with new_driver() as driver, driver.open_site("e") as site:
        handles = [
            await site.start(launch(f"role-{kind}", "python", "family.py", kind, "wait"))
            for kind in ("stubborn", "escapee", "holding-escapee")
        ]
        while not all("relative" in handle.tail() for handle in handles):
            await trio.sleep(0.01)
        have.update(driver=driver, site=site, handles=handles)
        there.set()
        await trio.to_thread.run_sync(over.wait)
        assert all(handle.status is None for handle in handles)


async def use() -> dict[str, str]:
    driver, site, handles = have["driver"], have["site"], have["handles"]

    async def enter() -> None:
        async with driver:
            pass

    async def open_site() -> None:
        async with driver.open_site("f"):
            pass

    async def kill_all() -> None:
        driver.kill_all()

    async def kill() -> None:
        site.kill()
        for handle in handles:
            handle.kill()

    async def stop() -> None:
        with trio.move_on_after(0.2):
            await handles[0].stop(0.1)

    async def tell() -> None:
        driver.lifeline.started(os.getpid())
        driver.lifeline.ended(handles[0].pid)

    async def leave() -> None:
        await driver.__aexit__(None, None, None)

    async def start() -> None:
        await site.start(launch("late", "true"))

    said = {}
    for act in (enter, open_site, start, driver.lifeline.ensure, kill_all, kill, stop, tell, site.aclose, leave):
        try:
            await act()
        except CoworldError as error:
            said[act.__name__] = f"{type(error).__name__}: {error}"
        else:
            said[act.__name__] = "nothing"
    return said


async def own() -> dict[str, str]:
    async with new_driver() as driver, driver.open_site("g") as site:
        handle = await site.start(launch("own", "sh", "-c", "exit 7"))
        return {"status": str(await handle.wait())}


def child() -> None:
    if word == "sleep":
        time.sleep(600)
    said = trio.run({"use": use, "own": own}[word])
    print(json.dumps(said), flush=True)


thread = threading.Thread(target=trio.run, args=(host,))
thread.start()
there.wait()
forked = os.fork()
if forked == 0:
    child()
    sys.exit(0)
relatives = [int(handle.tail().split()[1]) for handle in have["handles"]]
about = {
    "child": forked,
    "janitor": have["driver"].lifeline.pid,
    "roles": [handle.pid for handle in have["handles"]] + relatives,
}
print(json.dumps(about), flush=True)
code = os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])
# Whatever the child has done to the roles has had its time.
time.sleep(0.5)
print(json.dumps({"code": code, "running": [handle.status is None for handle in have["handles"]]}), flush=True)
over.set()
thread.join()
