"""What an engine is and can do."""

import json
import os
from pathlib import Path

import pytest

from coworld_drivers.docker_client import Docker, DockerRefused
from coworld_drivers.docker_engine import Engine, ask_engine, pin_engine
from coworld_drivers.docker_gc import wills
from coworld_protocol.errors import PreconditionMissing
from tests.docker_engine import Engine as RealEngine

ABLE = {
    "ServerVersion": "20.10.24+dfsg1",
    "OSType": "linux",
    "NCPU": 2,
    "MemoryLimit": True,
    "SwapLimit": False,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "SecurityOptions": ["name=seccomp,profile=default"],
}


def saying(tmp_path: Path, answer: str) -> Docker:
    """An engine that says this of itself."""
    (tmp_path / "answer").write_text(answer)
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    program.chmod(0o755)
    return Docker({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})


async def test_the_real_engine_is_understood(engine: RealEngine):
    """Its version is the client's word for it, it has processors, and its containers are Linux's."""
    found = await ask_engine(Docker())
    assert found.server_version == engine.version
    assert found.ncpu >= 1
    assert found.os_type == "linux"


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:2375", "ssh://me:word@far", "npipe:////./pipe/docker_engine"])
async def test_an_engine_elsewhere_is_refused(tmp_path: Path, endpoint: str):
    """Its directories and ports are not this machine's; what an address holds besides its kind is not said."""
    with pytest.raises(PreconditionMissing, match="engine of this machine") as caught:
        await pin_engine(saying(tmp_path, endpoint))
    assert "DOCKER_HOST" in caught.value.todo
    assert "word" not in caught.value.evidence


async def test_the_engine_of_a_run_stays_the_same(tmp_path: Path):
    """Also for the janitor: a user may choose another context while roles run."""
    docker = saying(tmp_path, "unix:///run/one.sock\n")
    docker.client.environ["DOCKER_CONTEXT"] = "another"
    (containers, _) = wills(docker, "r1")
    await pin_engine(docker)
    assert docker.client.environ["DOCKER_HOST"] == containers.environ["DOCKER_HOST"] == "unix:///run/one.sock"
    assert "DOCKER_CONTEXT" not in containers.environ


async def test_limits_follow_what_the_engine_can_do(tmp_path: Path):
    """What it cannot limit is not asked for and is said, swap aside: without it memory is limited all the same."""
    able = await ask_engine(saying(tmp_path, json.dumps(ABLE)))
    assert able.shortcomings == ()
    confinement = able.confinement(trust=False, writable_root=False)
    assert (confinement.memory, confinement.swap, confinement.cpus) == (True, False, 2.0)
    assert confinement.user == f"{os.getuid()}:{os.getgid()}"
    weak = await ask_engine(saying(tmp_path, json.dumps({**ABLE, "MemoryLimit": False, "CpuCfsQuota": False})))
    assert weak.shortcomings == ("this engine cannot limit memory, processors of a role",)
    assert weak.confinement(trust=False, writable_root=False).cpus == 0.0


@pytest.mark.parametrize(
    ("options", "user", "namespace"),
    [
        (["name=rootless"], "0:0", ""),
        (["name=userns"], f"{os.getuid()}:{os.getgid()}", "host"),
        (None, f"{os.getuid()}:{os.getgid()}", ""),
    ],
)
def test_files_are_ours_whatever_the_engine_does_with_users(options: list[str] | None, user: str, namespace: str):
    """A rootless engine's root is who runs it; where users are mapped, our containers are not."""
    engine = Engine(security_options=None if options is None else tuple(options))
    confinement = engine.confinement(trust=False, writable_root=False)
    assert (confinement.user, confinement.user_namespace) == (user, namespace)


def test_trust_keeps_the_image_as_it_is():
    """Its user, the engine's capabilities, its root."""
    confinement = Engine().confinement(trust=True, writable_root=False)
    assert (confinement.user, confinement.capabilities, confinement.writable_root) == ("", True, True)


@pytest.mark.parametrize(
    ("version", "old"), [("19.03.8", True), ("20.10.5", False), ("28.2.2", False), ("master", False)]
)
def test_an_old_engine_is_named(version: str, *, old: bool):
    """Before 20.10; a version without numbers is taken as new."""
    engine = Engine(server_version=version, memory_limit=True, pids_limit=True, cpu_cfs_quota=True)
    assert bool(engine.shortcomings) is old


async def test_windows_containers_are_refused(tmp_path: Path):
    """With what to do."""
    with pytest.raises(PreconditionMissing, match="made for Linux"):
        await ask_engine(saying(tmp_path, json.dumps({**ABLE, "OSType": "windows"})))


@pytest.mark.parametrize("answer", ["", "{", "[]", '{"NCPU": "many"}', "{}"])
async def test_an_answer_that_is_none(tmp_path: Path, answer: str):
    """Half a document, another one, or a client that answers without an engine."""
    with pytest.raises(DockerRefused):
        await ask_engine(saying(tmp_path, answer))
