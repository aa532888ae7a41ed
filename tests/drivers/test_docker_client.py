"""What the answers of the docker client mean."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from coworld_drivers.command import Completed
from coworld_drivers.docker_client import Docker, DockerRefused, EngineGone, Trouble, find_docker, trouble_of
from coworld_protocol.errors import PreconditionMissing
from tests.docker_engine import Engine

SAID = [
    (
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        Trouble.ENGINE_AWAY,
    ),
    ("error during connect: Get http://x/v1.41/info: EOF", Trouble.ENGINE_AWAY),
    (
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
        Trouble.FORBIDDEN,
    ),
    ("Error: No such container: a", Trouble.NOT_FOUND),
    ("Error response from daemon: No such image: a:latest", Trouble.NOT_FOUND),
    ("Error response from daemon: network x not found", Trouble.NOT_FOUND),
    ('Conflict. The container name "/a" is already in use by container "0f"', Trouble.CONFLICT),
    ("removal of container a is already in progress", Trouble.CONFLICT),
    ("Pool overlaps with other one on this address space", Trouble.OVERLAP),
    ("could not find an available, non-overlapping IPv4 address pool among the defaults", Trouble.OVERLAP),
    ("Bind for 127.0.0.1:80 failed: port is already allocated", Trouble.PORT_TAKEN),
    ("mkdir /x: device or resource busy", Trouble.BUSY),
    ("net/http: TLS handshake timeout", Trouble.BUSY),
    ("unknown flag: --nonsense", Trouble.OTHER),
]


@pytest.mark.parametrize(("said", "trouble"), SAID)
def test_complaints_are_understood(said: str, trouble: Trouble):
    """By their words: the exit code is the same for each of them."""
    assert trouble_of(Completed(code=125, stdout=b"", stderr=said)) is trouble


def test_a_client_that_was_ended_is_worth_another_try():
    """By us, because its time was over; by somebody else, which says nothing about the engine."""
    assert trouble_of(Completed(code=None, stdout=b"", stderr="")) is Trouble.NO_ANSWER
    assert trouble_of(Completed(code=-9, stdout=b"", stderr="")) is Trouble.BUSY


def test_no_docker_on_path(tmp_path: Path):
    """Said with the next step."""
    with pytest.raises(PreconditionMissing, match="not on PATH"):
        find_docker({"PATH": str(tmp_path)})


def scripted(tmp_path: Path, script: str) -> Docker:
    """An engine whose client is a shell script."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Docker({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}, patience=5.0)


async def test_a_busy_engine_is_asked_again(tmp_path: Path):
    """Until it works; how often it was away is counted."""
    script = f"""
    echo x >> {tmp_path}/calls
    case $(wc -l < {tmp_path}/calls) in
      1) echo "i/o timeout" >&2; exit 1;;
      2) echo "Cannot connect to the Docker daemon" >&2; exit 1;;
      *) echo done;;
    esac"""
    docker = scripted(tmp_path, script)
    assert (await docker.ask("x", what="nothing works")).text == "done"
    assert docker.times_away == 1


async def test_what_cannot_be_done_is_not_tried_again(tmp_path: Path):
    """The complaint becomes the evidence, the caller's words the sentence."""
    docker = scripted(tmp_path, f"echo x >> {tmp_path}/calls; echo 'unknown flag: --x' >&2; exit 125")
    with pytest.raises(DockerRefused, match="it cannot be made") as caught:
        await docker.ask("x", what="it cannot be made")
    assert caught.value.evidence == "unknown flag: --x"
    assert (tmp_path / "calls").read_text().count("x") == 1


async def test_an_engine_that_stays_away_is_given_up(tmp_path: Path):
    """After the patience, with what to do."""
    docker = scripted(tmp_path, "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    with pytest.raises(EngineGone) as caught:
        await docker.ask("x", what="nothing works", patience=0.5)
    assert "DOCKER_HOST" in caught.value.todo


async def test_questions_that_come_at_once_share_a_call(tmp_path: Path):
    """The first goes alone, all that wait for it go together; names without an answer are answered None."""
    answer = json.dumps([{"Name": f"/c{number}", "State": {}} for number in range(5)])
    (tmp_path / "answer").write_text(answer)
    docker = scripted(
        tmp_path,
        f'echo "$*" >> {tmp_path}/calls; sleep 0.3; cat {tmp_path}/answer; echo No such container: c5 >&2; exit 1',
    )
    found: dict[str, Any] = {}

    async def ask(name: str) -> None:
        found[name] = await docker.inspect(name)

    async with trio.open_nursery() as nursery:
        await nursery.start(docker.serve)
        async with trio.open_nursery() as askers:
            for number in range(6):
                askers.start_soon(ask, f"c{number}")
        docker.close()
    assert found["c3"]["Name"] == "/c3"
    assert found["c5"] is None
    assert len((tmp_path / "calls").read_text().splitlines()) <= 2


async def test_half_an_answer_is_nobodys_end(tmp_path: Path):
    """A client that breaks off in the middle of a document is trouble of the engine, and everybody who asked hears of it."""
    docker = scripted(tmp_path, 'printf \'[{"Name": "/a", "Sta\'')
    async with trio.open_nursery() as nursery:
        await nursery.start(docker.serve)
        with pytest.raises(EngineGone, match="cannot be looked at"):
            await docker.inspect("a")
        docker.close()


async def test_who_is_cancelled_leaves_the_others_their_answer(tmp_path: Path):
    """Also when it was the one whose question began the call."""
    docker = scripted(tmp_path, 'sleep 0.3; echo \'[{"Name": "/a"}]\'')
    async with trio.open_nursery() as nursery:
        await nursery.start(docker.serve)
        async with trio.open_nursery() as askers:

            async def impatient() -> None:
                with trio.move_on_after(0.1):
                    await docker.inspect("a")

            askers.start_soon(impatient)
            await trio.sleep(0.05)
            with trio.fail_after(30):
                assert await docker.inspect("a") == {"Name": "/a"}
        docker.close()


async def test_a_container_is_asked_about_and_removed(engine: Engine, python_image: str):
    """By the real engine; what is gone already is no error, twice at once neither."""
    name = f"coworld-test-client-{os.getpid()}"
    docker = Docker()
    engine.run("create", "--name", name, "--network", "none", python_image, "true")
    async with trio.open_nursery() as nursery:
        await nursery.start(docker.serve)
        seen = await docker.inspect(name)
        assert seen is not None
        assert seen["State"]["Status"] == "created"
        async with trio.open_nursery() as removers:
            removers.start_soon(docker.remove, name)
            removers.start_soon(docker.remove, name)
        await docker.remove(name)
        assert await docker.inspect(name) is None
        docker.close()
