"""What the tests of the docker driver share: roles in containers of an image with a Python."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coworld_drivers.docker import DockerDriver
from coworld_drivers.docker_site import DockerSite
from coworld_drivers.driver import Launch, Mount
from tests.docker_engine import Engine

__all__ = ["LONG", "SERVER", "SLEEPER", "Bench", "bench", "clients_of"]

LONG = 120.0
"""Far more seconds than anything here takes, also on a busy machine."""

SLEEPER = "import time; time.sleep(600)"
"""A role that does nothing until it is ended."""

SERVER = """
import http.server, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer((os.environ['COGAME_HOST'], int(os.environ['COGAME_PORT'])), Handler).serve_forever()
"""
"""A game that answers everything with `ok`."""


class Bench:
    """Starts roles in containers of an image with a Python.

    Args:
        image: the image.
        directory: for logs and the roles' own directories.
        engine: for looks from outside.
    """

    def __init__(self, image: str, directory: Path, engine: Engine) -> None:
        self.image = image
        self.directory = directory
        self.engine = engine
        self.notes: list[str] = []

    def launch(self, name: str, code: str, **changes: Any) -> Launch:
        """A role that runs Python code; its own directory is named like it."""
        own = self.directory / f"{name}-own"
        own.mkdir(exist_ok=True)
        fields: dict[str, Any] = {
            "name": name,
            "role": name.partition("-")[0],
            "image": self.image,
            "run": ("python", "-c", code),
            "stdout": self.directory / f"{name}.out",
            "stderr": self.directory / f"{name}.err",
            "mounts": (Mount(path=own, at="/coworld-artifact", writable=True),),
        }
        return Launch(**fields | changes)

    def driver(self, **options: Any) -> DockerDriver:
        """A driver whose notes are kept."""
        return DockerDriver(log=self.notes.append, **options)

    @asynccontextmanager
    async def site(self, seats: int = 2, *, doorway: bool = False, **options: Any) -> AsyncGenerator[DockerSite]:
        """A site of a driver of its own."""
        async with self.driver(**options) as driver, driver.open_site("e", seats=seats, doorway=doorway) as site:
            yield site

    def out(self, name: str) -> str:
        """What a role wrote to standard output."""
        return (self.directory / f"{name}.out").read_text()

    def left(self, driver: DockerDriver) -> str:
        """What of a driver's run is on the engine."""
        mine = ("--filter", f"label=coworld.run={driver.run}")
        return self.engine.run("ps", "-aq", *mine).stdout + self.engine.run("network", "ls", "-q", *mine).stdout


@pytest.fixture
def bench(python_image: str, tmp_path: Path, engine: Engine) -> Bench:
    """Roles in containers."""
    return Bench(python_image, tmp_path, engine)


def clients_of(word: str, container: str) -> list[int]:
    """The client processes that were called with both words."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().decode(errors="replace").split("\0")
            if word in words and container in words:
                found.append(int(entry.parent.name))
    return found
