"""Runtimes with a control socket: in this process, and in processes of their own that can be killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import trio

from coworld_actors.control.server import ControlLimits, open_control
from coworld_actors.runtime.opening import open_runtime
from coworld_actors.runtime.runtime import Runtime
from coworld_drivers.images import load_images
from coworld_drivers.process import ProcessDriver
from tests.coworlds import IMAGE, PROGRAMS, scripted_manifest, write_coworld

ROOT = Path(__file__).parent.parent
HOST = PROGRAMS / "hosted_runtime.py"


@asynccontextmanager
async def controlled(
    path: Path | None = None, *, limits: ControlLimits | None = None, **more: Any
) -> AsyncGenerator[tuple[Runtime, Path]]:
    """A runtime of this process, and where its control socket is."""
    places: list[Path] = []

    @asynccontextmanager
    async def attach(runtime: Runtime) -> AsyncGenerator[None]:
        async with open_control(path, limits=limits)(runtime) as place:
            places.append(place)
            yield

    driver = ProcessDriver(load_images(None, {IMAGE: str(PROGRAMS)}))
    async with open_runtime(driver, attach=[attach], **more) as runtime:
        yield runtime, places[0]


@contextmanager
def own_place() -> Generator[Path]:
    """An empty directory whose path is short enough for sockets in it, for the time of a block."""
    path = Path(tempfile.mkdtemp(prefix="rt"))
    yield path
    shutil.rmtree(path)


class Raw:
    """A client that says what it likes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def say(self, line: bytes | dict[str, Any]) -> None:
        data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
        await self.stream.send_all(data)

    async def hear(self) -> dict[str, Any] | None:
        """The next reply; None at the end."""
        while b"\n" not in self._buffer:
            with trio.fail_after(60):
                data = await self.stream.receive_some()
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        await self.say({"type": kind, **fields})
        reply = await self.hear()
        assert reply is not None
        return reply


@asynccontextmanager
async def raw(path: Path) -> AsyncGenerator[Raw]:
    """Connect, and read the greeting."""
    async with await trio.open_unix_socket(path) as stream:
        client = Raw(stream)
        greeting = await client.hear()
        assert greeting is not None
        assert greeting["type"] == "hello"
        yield client


class Host:
    """A process with a runtime in it."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self.process = process
        self.name = name

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, message: str) -> None:
        """Give a message to its one actor that sits still, and wait until it has it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{message}\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


@contextmanager
def hosting(
    directory: Path, name: str = "farm", *, episodes: int = 0, parallel: int = 2, behaviour: str = "endless"
) -> Generator[Host]:
    """A host that has opened its runtime and started its episodes, until the block ends."""
    manifest = write_coworld(directory / f"{name}-coworld", scripted_manifest(behaviour))
    process = subprocess.Popen(
        [sys.executable, HOST, name, manifest, directory / f"{name}-runs", str(episodes), str(parallel)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == {"name": name}
            yield Host(process, name)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
