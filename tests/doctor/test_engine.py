"""Docker as it is here, and every way in which it can be missing."""

from __future__ import annotations

import json
import os
import shlex
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from coworld_actors.doctor.engine import Engine, check_engine, judge_engine, release_of
from coworld_actors.doctor.finding import Status, Surroundings
from tests.docker_engine import Engine as RealEngine
from tests.doctor.clients import VERSIONS, calling, docker_of, found, script

GOOD: Mapping[str, Any] = {
    "OSType": "linux",
    "Architecture": "x86_64",
    "CgroupVersion": "2",
    "CgroupDriver": "systemd",
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
    "Driver": "overlay2",
    "DockerRootDir": "/nowhere/docker",
    "ServerVersion": "27.1.0",
    "ClientInfo": {"Plugins": [{"Name": "compose", "Version": "v2"}, {"Name": "buildx", "Version": "v0.1"}]},
}


def described(endpoint: str = "", **changes: Any) -> Engine:
    return Engine(info={**GOOD, **changes}, endpoint=endpoint, now=0.0)


async def test_the_real_engine_is_described(engine: RealEngine) -> None:
    """Client, engine, limits, storage and plugins of this machine, none of them a failure."""
    findings = await check_engine(Surroundings(drivers=frozenset({"docker"}), patience=60))
    names = [finding.name for finding in findings]
    assert names[:5] == ["docker", "docker engine", "docker limits", "docker storage", "docker build"]
    assert all(finding.status is not Status.FAIL for finding in findings), findings


@pytest.mark.parametrize(("drivers", "status"), [(("docker",), Status.FAIL), (("process",), Status.WARN)])
async def test_without_a_client_there_is_one_line(tmp_path: Path, drivers: tuple[str, ...], status: Status) -> None:
    """It fails only where docker has to work."""
    (finding,) = await check_engine(Surroundings(drivers=frozenset(drivers), environ={"PATH": str(tmp_path)}))
    assert (finding.name, finding.status) == ("docker", status)
    assert finding.todo


async def test_a_dead_socket_is_an_engine_that_is_down(engine: RealEngine, tmp_path: Path) -> None:
    """The client is still told; the engine's line says where to look."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    for place in ("dead.sock", "nobody.sock"):
        here = Surroundings(
            drivers=frozenset({"docker"}),
            environ={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/{place}"},
            patience=60,
        )
        findings = await check_engine(here)
        assert [finding.name for finding in findings] == ["docker", "docker engine"]
        assert findings[0].status is Status.OK
        assert findings[1].status is Status.FAIL
        assert "no engine answers" in findings[1].text
        assert "DOCKER_HOST" in findings[1].todo


async def test_a_hanging_client_is_left_alone(tmp_path: Path) -> None:
    """It is ended after the patience, and nothing else is asked of it."""
    path = script(tmp_path / "bin", "docker", f"echo call >> {tmp_path}/calls\nsleep 1000")
    with trio.fail_after(60):
        (finding,) = await check_engine(calling(path, "docker", patience=0.5))
    assert (finding.status, finding.name) == (Status.FAIL, "docker")
    assert "did not answer within 0.5 s" in finding.text
    assert (tmp_path / "calls").read_text() == "call\n"


async def test_an_engine_that_hangs_when_it_is_asked_about_itself(tmp_path: Path) -> None:
    """The client's line stays, and the engine's says that it did not answer."""
    path = docker_of(tmp_path / "bin", GOOD)
    script(path, "docker", f'[ "$1" = info ] && exec sleep 1000\nexec cat {path}/answers/"$1"')
    with trio.fail_after(60):
        findings = await check_engine(calling(path, "docker", patience=2))
    assert "`docker info` did not answer" in found(findings, "docker engine").text


async def test_no_permission_says_how_to_get_it(tmp_path: Path) -> None:
    """An engine that is there and not for this user is another trouble than one that is away."""
    words = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
    path = script(
        tmp_path / "bin",
        "docker",
        f"""echo '{{"Client":{{"Version":"24.0"}},"Server":null}}'
echo '{words}' >&2
exit 1""",
    )
    findings = await check_engine(calling(path, "docker"))
    assert found(findings, "docker").status is Status.OK
    assert found(findings, "docker engine").status is Status.FAIL
    assert "not for this user" in found(findings, "docker engine").text
    assert "group docker" in found(findings, "docker engine").todo


@pytest.mark.parametrize("words", ["half a docum", '{"Client": 7}', "[]", "{}", ""])
async def test_another_program_of_that_name(tmp_path: Path, words: str) -> None:
    """What does not answer like a docker client is not taken for one."""
    (finding,) = await check_engine(calling(script(tmp_path / "bin", "docker", f"echo '{words}'"), "docker"))
    assert finding.status is Status.FAIL
    assert "no client that we know" in finding.text


async def test_an_answer_cut_off_in_the_middle(tmp_path: Path) -> None:
    """Half a description is no description."""
    path = docker_of(tmp_path / "bin", GOOD)
    (path / "answers/info").write_text(json.dumps(GOOD)[:40])
    findings = await check_engine(calling(path, "docker"))
    assert found(findings, "docker engine").status is Status.FAIL


async def test_a_good_engine_is_good_throughout(tmp_path: Path) -> None:
    """Client and engine of different versions are fine from the oldest supported one on."""
    findings = await check_engine(calling(docker_of(tmp_path / "bin", GOOD, VERSIONS), "docker"))
    assert {finding.status for finding in findings} == {Status.OK}, findings


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [
        ({"ServerVersion": "19.03.13"}, "docker engine", Status.FAIL, "older than 20.10"),
        ({"ServerVersion": "dev"}, "docker engine", Status.WARN, "engine dev"),
        ({"OSType": "windows"}, "docker engine", Status.FAIL, "no Linux containers"),
        ({"SystemTime": "1970-01-01T01:00:00.123456789Z"}, "docker engine", Status.WARN, "3600 s"),
        ({"SystemTime": "yesterday"}, "docker engine", Status.OK, "engine 27.1.0"),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, "docker engine", Status.OK, "rootless"),
        ({"SwapLimit": False}, "docker limits", Status.WARN, "no limits of swap:"),
        ({"PidsLimit": False, "MemoryLimit": False}, "docker limits", Status.WARN, "no limits of memory, pids:"),
        ({"CgroupDriver": "none"}, "docker limits", Status.WARN, "no limits of memory, swap, cpu, pids:"),
        ({"Driver": "vfs"}, "docker storage", Status.WARN, "copy of its whole image"),
        ({"ClientInfo": {"Plugins": []}}, "docker build", Status.WARN, "neither compose nor buildx"),
        ({"ClientInfo": {"Plugins": None}}, "docker build", Status.WARN, "neither compose nor buildx"),
        ({"ClientInfo": {"Plugins": [{"Name": "compose", "Version": "v2"}]}}, "docker build", Status.OK, "no buildx"),
        (
            {"ClientInfo": {"Plugins": [{"Name": "compose", "Err": "bad"}, {"Name": "buildx"}]}},
            "docker build",
            Status.WARN,
            "buildx; no compose",
        ),
    ],
)
def test_what_an_engine_lacks(changes: dict[str, Any], name: str, status: Status, words: str) -> None:
    """Each in its own line, with what to do; the others stay good."""
    findings = judge_engine(described(**changes), Surroundings(drivers=frozenset({"docker"})))
    finding = found(findings, name)
    assert (finding.status, words in finding.text) == (status, True), finding
    assert bool(finding.todo) is (status is not Status.OK)
    assert {each.status for each in findings if each.name != name} == {Status.OK}


def test_an_engine_elsewhere_is_told_without_its_password() -> None:
    """It does not see our directories; whatever stands before the host is nobody's business."""
    remote = described(endpoint="ssh://me:secret@far.example.org")
    finding = found(judge_engine(remote, Surroundings(drivers=frozenset({"docker"}))), "docker engine")
    assert finding.status is Status.FAIL
    assert "ssh://far.example.org" in finding.text
    assert "secret" not in finding.text


@pytest.mark.parametrize(
    ("text", "release"),
    [("20.10.24+dfsg1", (20, 10)), ("v28.2.2", (28, 2)), ("19.03", (19, 3)), ("dev", None), ("", None)],
)
def test_versions_are_read_by_their_first_two_numbers(text: str, release: tuple[int, int] | None) -> None:
    """Distributions add words of their own."""
    assert release_of(text) == release


@pytest.mark.parametrize(
    "complaint",
    [
        'Failed to initialize: unable to resolve docker endpoint: context "nope": context not found: open /a/meta.json',
        'Error: unable to resolve docker endpoint: context "nope" does not exist: not found',
        'Current context "nope" is not found on the file system, please check your config file',
    ],
)
async def test_a_context_that_is_not_there_is_told(tmp_path: Path, complaint: str) -> None:
    """The client is known; what it was told is wrong."""
    path = script(tmp_path / "bin", "docker", f"echo {shlex.quote(complaint)} >&2; exit 1")
    (finding,) = await check_engine(calling(path, "docker"))
    assert (finding.status, "context that is not there" in finding.text) == (Status.FAIL, True)
    assert "DOCKER_CONTEXT" in finding.todo


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:2375", "ssh://far.example.org", "npipe:////./pipe/docker"])
def test_what_the_driver_refuses_is_refused_here(endpoint: str) -> None:
    """An engine that is not reached by a file fails where docker has to work, whatever its version."""
    for version in ("27.1.0", "dev"):
        remote = described(endpoint=endpoint, ServerVersion=version)
        for drivers, status in ((("docker",), Status.FAIL), (("process",), Status.WARN)):
            head = judge_engine(remote, Surroundings(drivers=frozenset(drivers)))[0]
            assert (head.status, "the docker driver refuses it" in head.text) == (status, True)
            assert "DOCKER_HOST" in head.todo
