"""The embedding services as what they are: processes with a port, asked over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import httpx
import pytest
import trio

from coworld_drivers.janitor import MARK, marked
from tests.coworlds import scripted_manifest, write_coworld

__all__ = ["Events", "Service", "ServiceFactory", "quick_coworld", "service", "start_service"]

EXAMPLES = Path(__file__).parents[3] / "examples" / "embedding"
LONG = 100.0
"""Seconds: far beyond what anything here takes on a machine that does five other things."""

ServiceFactory = Callable[..., "AbstractAsyncContextManager[Service]"]


def quick_coworld(directory: Path, name: str = "quick", seats: int = 1) -> Path:
    """A Coworld whose episodes cost a few hundredths of a second; its game and its players misbehave when asked to."""
    manifest = scripted_manifest(players=["plays", "crashes_mid", "crashes_at_once"])
    manifest["game"]["name"] = name
    manifest["game"]["runnable"]["run"] = ["python", "-S", "-E", "quick_game.py"]
    properties = manifest["game"]["config_schema"]["properties"]
    properties["tokens"] |= {"minItems": seats, "maxItems": seats}
    properties["pause"] = {"type": "number", "minimum": 0}
    for player in manifest["player"]:
        player["run"] = ["python", "-S", "-E", "quick_player.py"]
    manifest["certification"]["players"] = [{"player_id": "plays"}] * seats
    return write_coworld(directory, manifest)


class Events:
    """What a browser's EventSource does: the number and the document of every event, until the server ends the stream.

    httpx has no part in this: its nested generators cannot be left before their end.

    Attributes:
        stream: the connection.
        comments: the lines that are for nobody.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.comments: list[bytes] = []
        self._http = h11.Connection(h11.CLIENT)
        self._buffer = bytearray()

    async def ask(self, request: h11.Request) -> None:
        """Send the request and read the head of the answer."""
        await self.stream.send_all((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))
        response = await self._next()
        assert isinstance(response, h11.Response)
        assert response.status_code == 200
        assert dict(response.headers)[b"content-type"].startswith(b"text/event-stream")

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> tuple[int, dict[str, Any]]:
        while True:
            while b"\n\n" not in self._buffer:
                event = await self._next()
                if isinstance(event, h11.EndOfMessage):
                    assert not self._buffer
                    raise StopAsyncIteration
                assert isinstance(event, h11.Data)
                self._buffer += event.data
            block, _, rest = self._buffer.partition(b"\n\n")
            self._buffer = rest
            fields = dict(line.split(b": ", 1) for line in bytes(block).split(b"\n"))
            if b"" in fields:
                self.comments.append(fields[b""])
            else:
                return int(fields[b"id"]), json.loads(fields[b"data"])

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            with trio.fail_after(LONG):
                self._http.receive_data(await self.stream.receive_some())
        return event


@asynccontextmanager
async def follow(port: int, request: h11.Request) -> AsyncGenerator[Events]:
    """A stream of server-sent events on a connection of its own."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        events = Events(stream)
        await events.ask(request)
        yield events


class Service:
    """A service that runs, and a client for it.

    Attributes:
        code: how it is expected to exit.
    """

    def __init__(self, process: trio.Process, client: httpx.AsyncClient, runs: Path, log: Path, mark: str) -> None:
        self.code = 0
        self.process = process
        self.client = client
        self.runs = runs
        self.mark = mark
        self._log = log

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text()

    async def post(self, *, expect: int = 202, **wish: Any) -> httpx.Response:
        """Ask for an episode of `quick`."""
        response = await self.client.post("/episodes", json={"coworld": "quick", **wish})
        assert response.status_code == expect, response.text
        return response

    async def start(self, **wish: Any) -> str:
        """Ask for an episode of `quick`; returns its id."""
        return str((await self.post(**wish)).json()["id"])

    async def get(self, path: str) -> dict[str, Any]:
        """A document."""
        response = await self.client.get(path)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def events(self, episode: str, *, after: int | None = None) -> AbstractAsyncContextManager[Events]:
        """An episode's events: `async with service.events(episode) as events`; leaving the block hangs up."""
        headers = [("Host", "localhost")] + ([] if after is None else [("Last-Event-ID", str(after))])
        return follow(self.port, h11.Request(method="GET", target=f"/episodes/{episode}/events", headers=headers))

    async def all_events(self, episode: str, *, after: int | None = None) -> list[tuple[int, dict[str, Any]]]:
        """An episode's events up to its end."""
        async with self.events(episode, after=after) as events:
            return [each async for each in events]

    async def outcome(self, episode: str) -> dict[str, Any]:
        """Wait for an episode's end; returns what the service says of it then."""
        await self.all_events(episode)
        return await self.get(f"/episodes/{episode}")

    @property
    def port(self) -> int:
        """Where it listens."""
        port = self.client.base_url.port
        assert port is not None
        return port

    async def raw(self, data: bytes) -> bytes:
        """What it answers to these bytes, until it hangs up.

        A server that answers before it has read everything hangs up with a reset (RFC 9112, 9.6); its answer comes first.
        """
        answer = b""
        with trio.fail_after(LONG):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(data)
                    async for more in stream:
                        answer += more
        return answer

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until `/healthz` says so."""
        while not condition(await self.get("/healthz")):
            await trio.sleep(0.02)

    async def terminate(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self.process.send_signal(number)
        with trio.fail_after(LONG):
            return await self.process.wait()


async def _port(process: trio.Process, log: Path) -> int:
    with trio.fail_after(LONG):
        while True:
            ended, text = process.poll(), await trio.Path(log).read_text()
            if found := re.search(r"(?:listening|running) on http://127\.0\.0\.1:(\d+)", text):
                return int(found[1])
            assert ended is None, text
            await trio.sleep(0.05)


@pytest.fixture
def start_service(tmp_path: Path, session_mark: str, request: pytest.FixtureRequest) -> ServiceFactory:
    """Makes services; each lives for the time of an `async with` block and has to end well."""

    @asynccontextmanager
    async def start(name: str, *options: str, coworlds: Sequence[Path] = ()) -> AsyncGenerator[Service]:
        coworlds = coworlds or [quick_coworld(tmp_path / "coworld")]
        mark = f"{session_mark}.{uuid.uuid4().hex}"
        log, temporary, runs = tmp_path / "log.txt", tmp_path / "temporary", tmp_path / "runs"
        temporary.mkdir()
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--port", "0", "--runs", str(runs), *options]
        for path in coworlds:
            command += ["--coworld", str(path)]
        environment: Mapping[str, str] = {**os.environ, MARK: mark, "TMPDIR": str(temporary), "PYTHONWARNINGS": "error"}
        with log.open("wb") as output:
            process = await trio.lowlevel.open_process(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            port = await _port(process, log)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=LONG) as client:
                yield (service := Service(process, client, runs, log, mark))
            if process.poll() is None:
                process.terminate()
            with trio.fail_after(LONG):
                assert await process.wait() == service.code, log.read_text()
            await _nothing_left(mark, port, temporary)
            # Indented ones belong to the log line of an actor that has crashed; others would be the service's own.
            assert not re.search("^Traceback", log.read_text(), re.MULTILINE), log.read_text()
        except BaseException:
            sys.stderr.write(log.read_text())
            raise
        finally:
            if process.poll() is None:
                process.kill()
                # Restores: no zombie. A killed process is gone at once.
                with trio.move_on_after(10, shield=True):
                    await process.wait()

    return start


async def _nothing_left(mark: str, port: int, temporary: Path) -> None:
    # The janitor is told of an orderly end and needs a moment to leave.
    with trio.fail_after(LONG):
        while marked(mark):
            await trio.sleep(0.05)
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", port)
    assert os.listdir(temporary) == []


@pytest.fixture(params=["trio_service", "fastapi_service"])
async def service(request: pytest.FixtureRequest, start_service: ServiceFactory) -> AsyncGenerator[Service]:
    """Each of the two services, with room for one episode at the table and two in the queue."""
    async with start_service(request.param, "--parallel", "1", "--queue", "2", "--keep", "3") as running:
        yield running
