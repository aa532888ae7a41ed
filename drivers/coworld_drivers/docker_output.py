"""A container's output, carried by one client after the other: whoever ends a client loses neither a byte nor the end.

The first client is the `docker start --attach` that starts the container. When it is lost, `docker logs --follow` begins at the
beginning, and what is known already is skipped. A client whose engine goes away says so on standard error, where the role's own
words go: lines that look like a client's are kept back until more follows, and what is skipped is compared as far as it is at hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

import trio

from coworld_drivers.command import discard
from coworld_drivers.docker_client import Docker
from coworld_drivers.docker_state import state_of
from coworld_drivers.driver import StartFailed
from coworld_drivers.output import OutputLog

__all__ = ["ContainerOutput"]

_CHUNK = 64 * 1024

AGAIN_PAUSE = 0.15
"""Seconds before another client is started in place of one that was lost."""

ALIVE_LOOK = 15.0
"""Seconds between two looks at a running container, whose client may have missed its end."""

KILLED_LOOK = 0.5
"""Seconds between two such looks at a container that was killed."""

SILENCE = 2.0
"""Seconds without output after which the client of a container that has ended is not waited for."""

RECENT = 4096
"""Bytes that are compared when output begins at the beginning again; a client's complaint is shorter."""

_OWN_WORDS = re.compile(
    rb'^(?:time="[^"\n]*" level=(?:error|fatal)|unexpected EOF|error during connect|error waiting for container|Error response from daemon'
    rb"|Cannot connect to the Docker daemon)[^\n]*(?:\n[^\n]*){0,3}\n?\Z",
    re.MULTILINE,
)
"""How the last lines of a client look that complains by itself, in the words of clients from 20.10 to 28."""

LAST_WORDS_SECONDS = 15.0
LAST_WORDS_TRIES = 3
"""Clients that are asked for what an ended container has said, of which somebody may end one or another."""


class ContainerOutput:
    """Writes what a role says to its logs.

    Args:
        docker: the engine.
        logs: standard output, and standard error unless that is merged; closed by `aclose`.

    Attributes:
        client: the one that carries now; None before `follow`.
    """

    def __init__(self, docker: Docker, logs: Sequence[OutputLog]) -> None:
        self.client: trio.Process | None = None
        self.logs = tuple(logs)
        self._docker = docker
        self._container = ""
        self._known = (_Known(), _Known())
        self._doubted = b""
        self._again = False
        self._read_at = 0.0
        self._doubtful = trio.Event()

    async def follow(self, container: str, client: trio.Process) -> None:
        """From now on it is the output of that container, and this is the client that starts it."""
        await self._discard()
        self.client = client
        self._container = container
        self._known = (_Known(), _Known())
        self._doubted = b""
        self._again = False
        self._doubtful = trio.Event()

    async def go_on(self) -> None:
        """Go on with another client: the last one was lost.

        Raises:
            StartFailed: the client program cannot be started any more.
        """
        await self._discard()
        self._begin_again()
        await trio.sleep(AGAIN_PAUSE)
        self.client = await self._docker.client.start(("logs", "--follow", self._container))

    async def carry(self) -> None:
        """Carry output until the client ends, or has nothing to say any more of a container that has ended."""
        assert self.client is not None
        await self._carry(self.client)

    def doubt(self) -> None:
        """The container may have ended without its client noticing: look soon."""
        self._doubtful.set()

    async def last_words(self, code: int) -> None:
        """Ask once more for what a container has said that ended with this exit code, unless its client saw that end."""
        told = self.client is not None and self.client.returncode == code and not self._doubted
        if told and not self._again:
            return
        with trio.move_on_after(LAST_WORDS_SECONDS):
            for _ in range(LAST_WORDS_TRIES):
                self._begin_again()
                last = await self._docker.client.start(("logs", self._container))
                await self._carry(last)
                if last.returncode == 0:
                    break
                # The code of this client is never the role's: what it complains about is its own.
                self._doubted = b""

    async def aclose(self) -> None:
        """End the client and close the logs. Bounded."""
        try:
            await self._discard()
        finally:
            if self._doubted:
                self.logs[-1].write(self._doubted)
                self._doubted = b""
            for log in self.logs:
                log.close()

    def _begin_again(self) -> None:
        """The next client says everything from the beginning on, and with it what was the role's of what was kept back."""
        self._again = True
        self._doubted = b""
        for known in self._known:
            known.again()

    async def _discard(self) -> None:
        if self.client is not None:
            await discard(self.client)

    async def _carry(self, client: trio.Process) -> None:
        self._read_at = trio.current_time()
        try:
            async with trio.open_nursery() as both:
                both.start_soon(self._leave, both.cancel_scope)
                async with trio.open_nursery() as pumps:
                    for number, stream in enumerate((client.stdout, client.stderr)):
                        assert stream is not None
                        pumps.start_soon(self._pump, stream, number)
                await client.wait()
                both.cancel_scope.cancel()
        finally:
            # Restores: no client of ours is left, also one that was left waiting. Bounded inside.
            await discard(client)

    async def _leave(self, scope: trio.CancelScope) -> None:
        """Wait no longer for a client that does not notice that its container has ended."""
        while True:
            with trio.move_on_after(ALIVE_LOOK):
                await self._doubtful.wait()
            if self._doubtful.is_set():
                await trio.sleep(KILLED_LOOK)
            with suppress(StartFailed):
                seen = await self._docker.inspect(self._container)
                if seen is None or state_of(seen).over:
                    break
        until = self._read_at + SILENCE
        while trio.current_time() < until:
            await trio.sleep_until(until)
            until = self._read_at + SILENCE
        scope.cancel()

    async def _pump(self, stream: trio.abc.ReceiveStream, number: int) -> None:
        log = self.logs[min(number, len(self.logs) - 1)]
        known = self._known[number]
        while data := await stream.receive_some(_CHUNK):
            self._read_at = trio.current_time()
            if number == 1:
                data, self._doubted = _apart(self._doubted + bytes(data))
            if new := known.new(bytes(data)):
                log.write(new)


class _Known:
    """What is known of one stream of a container, of which every client but the first begins at the beginning."""

    def __init__(self) -> None:
        self._seen = 0
        self._recent = b""
        self._at = 0

    def again(self) -> None:
        """What comes next is the beginning."""
        self._at = 0

    def new(self, data: bytes) -> bytes:
        """What of the next piece was not known."""
        if self._at < self._seen:
            blind = self._seen - len(self._recent)
            skip = min(max(0, blind - self._at), len(data))
            self._at += skip
            data = data[skip:]
            if data:
                same = _alike(data, self._recent[self._at - blind :])
                self._at += same
                data = data[same:]
            if not data:
                return b""
            # What else was taken for the role's was a client's own.
            self._recent = self._recent[: self._at - blind]
        self._at += len(data)
        self._seen = self._at
        self._recent = (self._recent + data[-RECENT:])[-RECENT:]
        return data


def _alike(one: bytes, other: bytes) -> int:
    """With how many equal bytes both begin."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _apart(data: bytes) -> tuple[bytes, bytes]:
    """A role's output, and the last lines of it if a client may have said them."""
    found = _OWN_WORDS.search(data, max(0, len(data) - RECENT))
    return (data, b"") if found is None else (data[: found.start()], data[found.start() :])
