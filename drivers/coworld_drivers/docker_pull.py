"""Fetching an image: `docker pull` with a deadline, sentences about how far it is, and what its complaints mean.

Complaints of a registry and of the engine look alike (`connection refused`), so that a pull has a table of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import trio

from coworld_drivers.command import Completed, discard
from coworld_drivers.docker_client import Docker, EngineGone, Trouble
from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.printable import printable

__all__ = ["NARRATION_SECONDS", "PULL_SECONDS", "Layers", "pull"]

PULL_SECONDS = 1800.0
"""For one image: 4 GB at some 20 Mbit/s."""

NARRATION_SECONDS = 5.0
"""Between two sentences about one image."""

TRIES = 3
"""A registry that is busy is asked again; the engine keeps the layers that it has."""

_FIRST_PAUSE = 1.0
_CHUNK = 64 * 1024
_LINE_LIMIT = 4096
"""Characters of one line, and of the complaint that is kept."""

_LAYER = re.compile(r"([0-9a-f]{8,64}): (\S.*)")

_ENGINE_AWAY = re.compile(
    r"cannot connect to the docker daemon|is the docker daemon running|error during connect|daemon is shutting down"
    r"|permission denied while trying to connect",
    re.IGNORECASE,
)
_PASSING = re.compile(
    r"timeout|deadline exceeded|\bEOF\b|connection reset|broken pipe|too ?many ?requests|\b50[0234]\b|try again"
    r"|temporary failure in name resolution",
    re.IGNORECASE,
)
_NEXT_STEPS: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(sign, re.IGNORECASE), todo)
    for sign, todo in (
        (r"no matching manifest|does not match the specified platform", "build it for this engine's architecture"),
        (r"too ?many ?requests", "log in with `docker login`, or wait until the registry's limit is over"),
        (r"unauthorized|access denied|denied:|authentication required|credentials", "log in with `docker login`"),
        (r"no space left", "make room where the engine keeps its images (`docker system df` shows what is there)"),
        (
            r"no such host|connection refused|unreachable|server misbehaving|no route to host|certificate",
            "check the network and the registry's name",
        ),
    )
)


class Layers:
    """How far a pull is, from the client's lines; one that does not speak to a terminal names no bytes."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def hear(self, line: str) -> None:
        """Take in a line of the client's."""
        if found := _LAYER.fullmatch(line.strip()):
            self._states[found[1]] = found[2]

    def __str__(self) -> str:
        """`2 of 5 layers`, downloaded and unpacked."""
        done = sum(state in {"Pull complete", "Already exists"} for state in self._states.values())
        return f"{done} of {len(self._states)} layers"

    def __bool__(self) -> bool:
        return bool(self._states)


async def pull(docker: Docker, image: str, *, log: Callable[[str], None], seconds: float = PULL_SECONDS) -> None:
    """Fetch an image.

    Args:
        docker: the engine.
        image: its reference.
        log: receives a sentence at the beginning, at the end, and every few seconds in between.
        seconds: for everything, tries and pauses included.

    Raises:
        EngineGone: no engine answers.
        PreconditionMissing: it was not fetched, with the reason and the next step.
    """
    start = trio.current_time()
    log(f"pulling image {printable(image)}")
    layers = Layers()
    done = Completed(code=None, stdout=b"", stderr="")
    with trio.move_on_after(seconds) as limit:
        pause = _FIRST_PAUSE
        for left in reversed(range(TRIES)):
            done = await _once(docker, image, layers, log)
            if done.ok or not left or not _worth_another(done):
                break
            log(f"pulling image {printable(image)} again: {printable(done.complaint)}")
            await trio.sleep(pause)
            pause *= 2
    took = trio.current_time() - start
    if limit.cancelled_caught:
        so_far = str(layers) if layers else "the registry had not named a layer"
        raise PreconditionMissing(
            f"image {image!r} cannot be pulled",
            evidence=f"it was not here after {seconds:g} s: {so_far}",
            todo=f"run `docker pull {image}` yourself, then run again",
        )
    if done.ok:
        log(f"pulled image {printable(image)} in {took:.1f} s")
        return
    if _ENGINE_AWAY.search(done.stderr):
        raise EngineGone(f"image {image!r} cannot be pulled", Trouble.ENGINE_AWAY, evidence=done.complaint)
    raise PreconditionMissing(
        f"image {image!r} cannot be pulled", evidence=done.complaint, todo=_next_step(done.stderr)
    )


def _worth_another(done: Completed) -> bool:
    # A client that somebody killed has said nothing.
    return (done.code is not None and done.code < 0) or bool(
        _PASSING.search(done.stderr) or _ENGINE_AWAY.search(done.stderr)
    )


def _next_step(complaint: str) -> str:
    return next((todo for sign, todo in _NEXT_STEPS if sign.search(complaint)), "")


async def _once(docker: Docker, image: str, layers: Layers, log: Callable[[str], None]) -> Completed:
    """One call of `docker pull`; the client is gone when this ends, and with it the engine's work for it."""
    process = await docker.client.start(("pull", image))
    assert process.stdout is not None
    assert process.stderr is not None
    said = _Said(layers, image, log)
    complaint = bytearray()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_lines, process.stdout, said.line)
            nursery.start_soon(_keep_end, process.stderr, complaint)
            await process.wait()
    finally:
        # Restores: no client of ours is left, cancelled or not.
        await discard(process)
    return Completed(code=process.returncode, stdout=b"", stderr=complaint.decode(errors="replace"))


class _Said:
    """Turns lines into a sentence now and then."""

    def __init__(self, layers: Layers, image: str, log: Callable[[str], None]) -> None:
        self._layers = layers
        self._image = image
        self._log = log
        self._next = trio.current_time() + NARRATION_SECONDS

    def line(self, line: str) -> None:
        self._layers.hear(line)
        if self._layers and trio.current_time() >= self._next:
            self._next = trio.current_time() + NARRATION_SECONDS
            self._log(f"pulling image {printable(self._image)}: {self._layers}")


async def _lines(stream: trio.abc.ReceiveStream, hear: Callable[[str], None]) -> None:
    rest = b""
    while data := await stream.receive_some(_CHUNK):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            hear(line[:_LINE_LIMIT].decode(errors="replace"))
        # A line without end is forgotten: nothing that the client says has that length.
        rest = rest[:_LINE_LIMIT]


async def _keep_end(stream: trio.abc.ReceiveStream, into: bytearray) -> None:
    while data := await stream.receive_some(_CHUNK):
        into += data
        del into[:-_LINE_LIMIT]
