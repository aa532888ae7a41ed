"""Which subnets an engine's networks have, and how many more there is room for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

import msgspec

from coworld_drivers.command import Completed
from coworld_drivers.docker_client import Docker, DockerRefused, EngineGone, Trouble, trouble_of
from coworld_drivers.docker_network_kinds import MOST_GAMES, Kind, prefix_for
from coworld_drivers.docker_subnets import FRONT_PREFIXES, FRONT_SHARE, Subnets, host_routes, ranges_of

__all__ = ["SEATS", "Capacity", "capacity", "subnets_in_use"]

SEATS = 60
"""Players of the episodes that are counted: a network of theirs has 64 addresses, a quarter of what a /24 has."""

_LOOK_SECONDS = 30.0


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine has room for.

    Attributes:
        ranges: where subnets are taken from.
        episodes: networks of `SEATS` seats that fit at the same time beside what others have now.
        games: of one run at the same time, however many networks there is room for.
    """

    ranges: tuple[IPv4Network, ...]
    episodes: int
    games: int = MOST_GAMES


async def capacity(docker: Docker, environ: Mapping[str, str] = os.environ) -> Capacity:
    """How many episodes the ranges have room for on this engine now.

    Raises:
        Refused: `COWORLD_ACTORS_SUBNETS` is not what it should be.
        DockerRefused: the engine's networks cannot be looked at.
    """
    ranges = ranges_of(environ)
    subnets = Subnets(ranges, seed=0.0)
    subnets.learn(await subnets_in_use(docker), host_routes())
    subnets.take(FRONT_PREFIXES, share=FRONT_SHARE)
    free = subnets.count(prefix_for(Kind.ISOLATED, SEATS))
    return Capacity(ranges=tuple(each.network for each in ranges), episodes=free)


async def subnets_in_use(docker: Docker) -> list[IPv4Network]:
    """The subnets of all networks of an engine.

    Raises:
        DockerRefused: they cannot be looked at.
    """
    listed = await docker.ask("network", "ls", "--quiet", "--no-trunc", what="the engine's networks cannot be listed")
    ids = listed.text.split()
    if not ids:
        return []
    form = "{{json .IPAM.Config}}"

    def weigh(done: Completed) -> Trouble | None:
        # One that is gone in the meantime is complained about; what is known of the others is on stdout.
        trouble = None if done.ok else trouble_of(done)
        return None if trouble is Trouble.NOT_FOUND else trouble

    what = "the engine's networks cannot be looked at"
    try:
        done = await docker.ask(
            *("network", "inspect", "--format", form, *ids), what=what, timeout=_LOOK_SECONDS, weigh=weigh
        )
    except DockerRefused as refused:
        raise EngineGone(what, refused.trouble, evidence=refused.evidence) from refused
    found: list[IPv4Network] = []
    try:
        for line in done.stdout.splitlines():
            for each in msgspec.json.decode(line, type=list[dict[str, Any]] | None) or ():
                subnet = str(each.get("Subnet", ""))
                if "." in subnet:
                    found.append(IPv4Network(subnet, strict=False))
    except (msgspec.DecodeError, ValueError) as error:
        what = "what the docker client says of networks cannot be read"
        raise EngineGone(what, Trouble.OTHER, evidence=str(error), todo="run `docker network ls`") from error
    return found
