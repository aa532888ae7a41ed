"""Room for networks and what dead runs have left, on an engine that answers, is slow, or cannot be understood."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest
import trio

from coworld_actors.doctor.finding import Status, Surroundings
from coworld_actors.doctor.holdings import check_holdings, judge_capacity, judge_leftovers
from coworld_drivers.docker_capacity import Capacity
from coworld_drivers.docker_gc import Kind, Leftover, Leftovers
from tests.doctor.clients import calling, found, script

DOCKER = Surroundings(drivers=frozenset({"docker"}))
ONE = Leftover(kind=Kind.CONTAINER, id="1", name="one", owner="o", run="r")


@pytest.mark.parametrize(
    ("episodes", "here", "status"),
    [
        (1000, DOCKER, Status.OK),
        (64, DOCKER, Status.OK),
        (63, DOCKER, Status.WARN),
        (0, DOCKER, Status.FAIL),
        (0, Surroundings(), Status.WARN),
    ],
)
def test_the_number_of_networks_decides(episodes: int, here: Surroundings, status: Status) -> None:
    """None is a failure where docker has to work; fewer than anybody may want is a warning."""
    finding = judge_capacity(Capacity(ranges=(IPv4Network("10.9.0.0/16"),), episodes=episodes), here)
    assert finding.status is status
    assert f"room for {episodes:,} episodes" in finding.text
    assert "10.9.0.0/16" in finding.text
    assert bool(finding.todo) is (status is not Status.OK)


@pytest.mark.parametrize(
    ("leftovers", "status", "words"),
    [
        (Leftovers(), Status.OK, "none; 0 containers"),
        (Leftovers(living=7), Status.OK, "7 containers and networks of runs that are alive"),
        (Leftovers(elsewhere=(ONE,)), Status.OK, "1 of another machine"),
        (Leftovers(dead=(ONE, ONE), living=1), Status.WARN, "2 containers and networks of runs that are dead; 1 "),
    ],
)
def test_only_the_dead_are_leftovers(leftovers: Leftovers, status: Status, words: str) -> None:
    """What lives, or may live elsewhere, is only counted."""
    finding = judge_leftovers(leftovers)
    assert (finding.status, words in finding.text) == (status, True), finding


async def test_an_empty_engine(tmp_path: Path) -> None:
    """No networks, no containers: all the room there is."""
    findings = await check_holdings(calling(script(tmp_path, "docker", "exit 0"), "docker"))
    assert [(each.name, each.status) for each in findings] == [
        ("docker networks", Status.OK),
        ("docker leftovers", Status.OK),
    ]


async def test_ranges_that_cannot_be_used_are_a_failure(tmp_path: Path) -> None:
    """The driver would refuse them as well; the rest is still told."""
    path = script(tmp_path, "docker", "exit 0")
    findings = await check_holdings(calling(path, "docker", COWORLD_ACTORS_SUBNETS="8.8.8.0/24"))
    assert found(findings, "docker networks").status is Status.FAIL
    assert "COWORLD_ACTORS_SUBNETS" in found(findings, "docker networks").text
    assert found(findings, "docker leftovers").status is Status.OK


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exec sleep 1000", "did not tell within 1 s"),
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", "Cannot connect"),
    ],
)
async def test_an_engine_that_does_not_tell(tmp_path: Path, text: str, words: str) -> None:
    """Both are told as unknown, in time, with a next step."""
    with trio.fail_after(60):
        findings = await check_holdings(calling(script(tmp_path, "docker", text), "docker", patience=0.5))
    assert [each.status for each in findings] == [Status.FAIL, Status.WARN]
    assert all(words in each.text and each.todo for each in findings), findings
