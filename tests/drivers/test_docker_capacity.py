"""How many episodes there is room for, on a real engine and with answers that are none."""

from __future__ import annotations

import os
import stat
import uuid
from ipaddress import IPv4Network

import pytest

from coworld_drivers.docker_capacity import capacity, subnets_in_use
from coworld_drivers.docker_client import Docker, EngineGone
from coworld_drivers.docker_subnets import DEFAULT_RANGES, VARIABLE
from coworld_protocol.errors import Refused


@pytest.fixture
def network(engine):
    """Makes a network with a subnet; removed after the test."""
    made: list[str] = []

    def make(subnet: IPv4Network) -> str:
        name = f"coworld-{uuid.uuid4().hex[:12]}-capacity"
        engine.run("network", "create", "--label", "coworld.test=capacity", "--internal", "--subnet", str(subnet), name)
        made.append(name)
        return name

    yield make
    for name in made:
        engine.run("network", "rm", name)


async def free_range(docker: Docker) -> IPv4Network:
    """A /24 that no network of the engine has a part of."""
    taken = await subnets_in_use(docker)
    choices = [
        each
        for each in IPv4Network("192.168.128.0/17").subnets(new_prefix=24)
        if not any(each.overlaps(other) for other in taken)
    ]
    return choices[uuid.uuid4().int % len(choices)]


async def test_what_is_free_is_counted_beside_what_others_have(engine, network):
    """Of a /24 the games' network takes a quarter; three networks of 60 seats are left, and one less with each of somebody else."""
    docker = Docker()
    room = await free_range(docker)
    environ = {VARIABLE: str(room)}
    found = await capacity(docker, environ)
    assert (found.ranges, found.episodes, found.games) == ((room,), 3, 1000)
    subnet = list(room.subnets(new_prefix=28))[9]
    network(subnet)
    assert subnet in await subnets_in_use(docker)
    assert (await capacity(docker, environ)).episodes == 2


async def test_a_stock_engine_has_room_for_hundreds(engine):
    """Without the variable there is far more room than the thirty networks of an engine's own pools."""
    found = await capacity(Docker(), {})
    assert found.ranges == DEFAULT_RANGES
    assert found.episodes > 1000


async def test_a_range_that_is_none_is_refused(engine):
    """As for a run."""
    with pytest.raises(Refused):
        await capacity(Docker(), {VARIABLE: "8.8.8.0/24"})


@pytest.mark.parametrize(
    ("answer", "well"),
    [
        ("""echo '[{"Subnet":"10.7.0.0/24"},{"Subnet":"fd00::/64"}]'; echo null; echo '[]'""", True),
        ("""echo '[{"Subnet":"10.7.0.0/24"}]'; echo 'Error: No such network: x' >&2; exit 1""", True),
        ("""echo '[{"Subnet":"10.7'""", False),
        ("""echo '[{"Subnet":"10.7.0.0/99"}]'""", False),
        ("""echo 'something is wrong' >&2; exit 1""", False),
    ],
    ids=["several-kinds", "one-is-gone", "half", "nonsense", "complaint"],
)
async def test_answers_that_are_none_are_said_to_be(tmp_path, answer, well):
    """A network that is gone in between is no matter; half an answer is not taken for the whole."""
    place = tmp_path / "docker"
    place.write_text(f'#!/bin/sh\nif [ "$2" = ls ]; then echo a; echo b; exit 0; fi\n{answer}\n')
    place.chmod(place.stat().st_mode | stat.S_IXUSR)
    docker = Docker({**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
    if well:
        assert await subnets_in_use(docker) == [IPv4Network("10.7.0.0/24")]
    else:
        with pytest.raises(EngineGone):
            await subnets_in_use(docker)
