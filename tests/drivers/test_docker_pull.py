"""Fetching an image: what is said meanwhile, how long it may take, and what its complaints mean."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from coworld_drivers import docker_pull
from coworld_drivers.docker_client import Docker, DockerRefused, EngineGone
from coworld_drivers.docker_pull import Layers, pull
from coworld_protocol.errors import PreconditionMissing
from tests.fake_dockers import FakeDocker

LINES = """\
3.11-slim: Pulling from library/python
0123456789ab: Pulling fs layer
1123456789ab: Already exists
2123456789ab: Waiting
0123456789ab: Verifying Checksum
0123456789ab: Download complete
0123456789ab: Pull complete
Digest: sha256:0123456789ab0123456789ab
Status: Downloaded newer image for python:3.11-slim
"""


def fake(tmp_path: Path, *rules: dict[str, object]) -> FakeDocker:
    return FakeDocker(tmp_path / "fake", *({"match": "^pull", **rule} for rule in rules), real="/bin/false")


async def refusal(docker: FakeDocker, **options: float) -> tuple[PreconditionMissing, list[str]]:
    notes: list[str] = []
    with pytest.raises(PreconditionMissing) as caught:
        await pull(Docker(docker.environ), "a:1", log=notes.append, **options)
    return caught.value, notes


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(docker_pull, "_FIRST_PAUSE", 0.0)


def test_layers_are_counted():
    """Those that are unpacked, and those that were there before; what is no layer is not counted."""
    layers = Layers()
    assert not layers
    for line in LINES.splitlines():
        layers.hear(line)
    assert str(layers) == "2 of 3 layers"
    assert layers


async def test_progress_is_told_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A sentence at the beginning and at the end; in between no more than one in a time."""
    monkeypatch.setattr(docker_pull, "NARRATION_SECONDS", 0.0)
    docker = fake(tmp_path, {"stdout": LINES})
    notes: list[str] = []
    await pull(Docker(docker.environ), "a:1", log=notes.append)
    assert notes[0] == "pulling image a:1"
    assert notes[-1].startswith("pulled image a:1 in ")
    assert "pulling image a:1: 2 of 3 layers" in notes
    monkeypatch.setattr(docker_pull, "NARRATION_SECONDS", 3600.0)
    notes.clear()
    await pull(Docker(docker.environ), "a:1", log=notes.append)
    assert len(notes) == 2


async def test_a_pull_that_takes_too_long(tmp_path: Path, running, until):
    """Its client is ended, and how far it was is told."""
    docker = fake(tmp_path, {"stdout": LINES, "hang": True, "deaf": True})
    error, _ = await refusal(docker, seconds=6.0)
    assert error.what == "image 'a:1' cannot be pulled"
    assert error.evidence == "it was not here after 6 s: 2 of 3 layers"
    assert "docker pull a:1" in error.todo
    (pid,) = docker.pids
    assert not running(pid)


async def test_a_pull_that_nobody_waits_for_any_more(tmp_path: Path, running, until):
    """Cancelled, it leaves no client."""
    docker = fake(tmp_path, {"hang": True})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: pull(Docker(docker.environ), "a:1", log=lambda _: None))
        await until(lambda: docker.pids)
        nursery.cancel_scope.cancel()
    assert not running(docker.pids[0])


@pytest.mark.parametrize(
    ("said", "todo"),
    [
        ("Error response from daemon: manifest for a:1 not found: manifest unknown: manifest unknown", ""),
        (
            "Error response from daemon: pull access denied for a, repository does not exist or may require 'docker login'",
            "docker login",
        ),
        ("Error response from daemon: Head https://r/v2/a: unauthorized: authentication required", "docker login"),
        ("no matching manifest for linux/amd64 in the manifest list entries", "architecture"),
        ("write /var/lib/docker/tmp/x: no space left on device", "make room"),
        ('Get "https://r/v2/": dial tcp: lookup r on 10.0.0.1:53: no such host', "network"),
        ('Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused', "network"),
    ],
)
async def test_what_stays_wrong_is_not_tried_again(tmp_path: Path, said: str, todo: str):
    """The registry's reason is told, with a next step where there is one."""
    docker = fake(tmp_path, {"stderr": said, "code": 1})
    error, _ = await refusal(docker)
    assert error.what == "image 'a:1' cannot be pulled"
    assert error.evidence in said
    assert todo in error.todo
    assert not isinstance(error, DockerRefused)
    assert len(docker.calls) == 1


@pytest.mark.parametrize(
    "said",
    [
        "net/http: TLS handshake timeout",
        "dial tcp 10.0.0.1:443: i/o timeout",
        "unexpected EOF",
        "received unexpected HTTP status: 503 Service Unavailable",
        "toomanyrequests: You have reached your pull rate limit",
        "read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer",
    ],
)
async def test_what_passes_is_tried_again(tmp_path: Path, said: str):
    """Once is not seen by the caller but for a sentence; three times is a refusal."""
    docker = fake(tmp_path, {"times": 1, "stderr": said, "code": 1}, {"stdout": LINES})
    notes: list[str] = []
    await pull(Docker(docker.environ), "a:1", log=notes.append)
    assert any("again" in note and said in note for note in notes)
    assert len(docker.calls) == 2
    docker.script({"match": "^pull", "stderr": said, "code": 1})
    error, _ = await refusal(docker)
    assert error.evidence == said
    assert len(docker.calls) == docker_pull.TRIES


async def test_a_client_that_was_killed_is_called_again(tmp_path: Path):
    """It says nothing about the image."""
    docker = fake(tmp_path, {"times": 1, "signal": int(signal.SIGKILL)}, {"stdout": LINES})
    await pull(Docker(docker.environ), "a:1", log=lambda _: None)
    assert len(docker.calls) == 2


async def test_an_engine_that_is_away(tmp_path: Path):
    """Is no fault of the image's."""
    docker = fake(
        tmp_path,
        {"stderr": "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "code": 1},
    )
    error, _ = await refusal(docker)
    assert isinstance(error, EngineGone)


async def test_floods_are_read_and_forgotten(tmp_path: Path):
    """Megabytes without a line's end neither block the client nor stay in memory."""
    docker = fake(tmp_path, {"flood": 5_000_000, "stdout": LINES})
    notes: list[str] = []
    await pull(Docker(docker.environ), "a:1", log=notes.append)
    docker.script({"match": "^pull", "flood": 5_000_000, "code": 1})
    error, _ = await refusal(docker)
    assert len(error.evidence) <= 400


async def test_nothing_of_a_stranger_reaches_the_terminal_raw(tmp_path: Path):
    """A registry's escape sequences are spelled out."""
    docker = fake(tmp_path, {"times": 1, "stderr": "\x1b[31mtimeout", "code": 1}, {"stdout": LINES})
    notes: list[str] = []
    await pull(Docker(docker.environ), "a:1", log=notes.append)
    assert not [note for note in notes if "\x1b" in note]
