"""What the drivers' tests share: hostile programs as an image, and ways to watch processes from outside."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from coworld_drivers.driver import Launch
from coworld_drivers.handle import ProcessHandle
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver, ProcessSite

PROGRAMS = Path(__file__).parent / "programs"
PATIENCE = 30.0


class Bench:
    """A driver with the hostile programs as its only image, and a directory for logs."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.notes: list[str] = []

    def driver(self, **options: object) -> ProcessDriver:
        return ProcessDriver(load_images(None, {"programs": str(PROGRAMS)}), log=self.notes.append, **options)

    @asynccontextmanager
    async def site(self, **options: object) -> AsyncIterator[ProcessSite]:
        async with self.driver(**options) as driver, driver.open_site("e") as site:
            yield site

    def launch(self, *run: str, name: str = "role", **fields: object) -> Launch:
        fields.setdefault("stdout", self.logs / f"{name}.log")
        return Launch(name=name, role="player", image="programs", run=run, **fields)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def running() -> Callable[[int], bool]:
    """Whether a process exists and is no zombie."""

    def look(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return look


async def _until(condition: Callable[[], Any], limit: float = PATIENCE) -> Any:
    with trio.fail_after(limit):
        while True:
            value = condition()
            if isawaitable(value):
                value = await value
            if value:
                return value
            await trio.sleep(0.01)


@pytest.fixture
def until() -> Callable:
    """Wait until a condition, plain or async, holds; returns its value."""
    return _until


@pytest.fixture
def descriptors() -> Callable[[], set[tuple[str, str]]]:
    """The open descriptors of this process and what they lead to, the event loop's own excepted."""

    def look() -> set[tuple[str, str]]:
        found = set()
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                found.add((entry.name, str(entry.readlink())))
        return {entry for entry in found if not entry[1].startswith("anon_inode")}

    return look


@pytest.fixture
def said() -> Callable:
    """Wait until a role has printed a line that starts with a word; returns the rest of the line."""

    async def wait(handle: ProcessHandle, word: str) -> str:
        def look() -> list[str]:
            return [line.removeprefix(word).strip() for line in handle.tail().splitlines() if line.startswith(word)]

        await _until(look)
        return look()[0]

    return wait


@pytest.fixture
def gone() -> Callable[[Callable[[], bool], float], float]:
    """Wait until a condition holds, at most so many seconds; returns how long it took."""

    def wait(condition: Callable[[], bool], limit: float) -> float:
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < limit, f"not within {limit} s"
            time.sleep(0.02)
        return time.monotonic() - start

    return wait
