"""Drivers that worker processes load by name: roles without processes, some of which do what only a process of its own survives."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

from coworld_actors.testing import FakeDriver
from coworld_drivers.images import ImageMap
from tests.counting import counting_game, counting_player

PLACE = "tests.worker_drivers"


async def player(run: Any) -> int:
    """Plays, or does what its BEHAVIOUR says."""
    match run.env["BEHAVIOUR"]:
        case "blocks":
            time.sleep(3600)  # noqa: ASYNC251 - blocking the loop is the point
        case "exits":
            os._exit(7)
        case "crashes":
            ctypes.string_at(0)
        case "waits":
            await trio.sleep_forever()
        case "talks":
            print("a word of a player", flush=True)
            print("noise\n" * 500, file=sys.stderr, flush=True)
        case "naps":
            time.sleep(0.6)  # noqa: ASYNC251 - as above
        case _:
            pass
    return await counting_player()(run)


def counting(images: ImageMap) -> FakeDriver:
    """The counting game. The directory of its pages is the operating system's to clean, like the worker's own memory."""
    assert "scripted:1" in images
    pages = Path(tempfile.gettempdir()) / f"pages-{os.getpid()}"
    return FakeDriver({"game": counting_game(pages), "player": player})


def broken(images: ImageMap) -> FakeDriver:
    """Cannot be made."""
    raise AssertionError(f"no driver for {images.names()}")


def deadly(images: ImageMap) -> FakeDriver:
    """Ends the worker while it starts."""
    print("no such library", file=sys.stderr, flush=True)
    os._exit(5)


def once(images: ImageMap) -> FakeDriver:
    """Can be made once: the file that it writes keeps it from a second time."""
    with Path(os.environ["ONCE"]).open("x"):
        return counting(images)
