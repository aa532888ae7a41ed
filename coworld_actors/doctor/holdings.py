"""What an engine holds already: networks beside which ours have to find room, and what dead runs have left."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from coworld_actors.doctor.finding import Check, Finding, Status, Surroundings
from coworld_drivers.docker_capacity import SEATS, Capacity, capacity
from coworld_drivers.docker_client import Docker
from coworld_drivers.docker_gc import Leftovers, find_leftovers
from coworld_protocol.errors import CoworldError

__all__ = ["check_holdings", "judge_capacity", "judge_leftovers"]

FEW_NETWORKS = 64
"""Episodes at once that every machine should have room for."""


async def check_holdings(here: Surroundings) -> Sequence[Finding]:
    """Both at once, each for no longer than one call may take twice; of an engine that answers."""
    found: dict[str, Sequence[Finding]] = {}

    async def look(name: str, check: Check) -> None:
        try:
            with trio.fail_after(2 * here.patience):
                found[name] = await check(here)
        except trio.TooSlowError:
            text = f"the engine did not tell within {2 * here.patience:g} s"
            found[name] = [_not_told(name, text, "see what the engine is doing (its log)", here)]
        except CoworldError as error:
            text = error.what + (f": {error.evidence}" if error.evidence else "")
            found[name] = [_not_told(name, text, error.todo, here)]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, "docker networks", _networks)
        nursery.start_soon(look, "docker leftovers", _leftovers)
    return [*found["docker networks"], *found["docker leftovers"]]


async def _networks(here: Surroundings) -> Sequence[Finding]:
    return [judge_capacity(await capacity(Docker(here.environ, patience=0), here.environ), here)]


async def _leftovers(here: Surroundings) -> Sequence[Finding]:
    return [judge_leftovers(await find_leftovers(Docker(here.environ, patience=0), patience=0))]


def judge_capacity(room: Capacity, here: Surroundings) -> Finding:
    """How many episodes can have a network of their own.

    Args:
        room: what there is.
        here: which drivers have to work.
    """
    ranges = ", ".join(map(str, room.ranges))
    text = f"room for {room.episodes:,} episodes of up to {SEATS} seats at once in {ranges}, {room.games:,} of them in one run"
    if room.episodes >= FEW_NETWORKS:
        return Finding(name="docker networks", status=Status.OK, text=text)
    return Finding(
        name="docker networks",
        status=Status.WARN if room.episodes else here.missing("docker"),
        text=text,
        todo="remove networks that nobody needs (coworld-actors gc, docker network prune), or name a range that is free in "
        "COWORLD_ACTORS_SUBNETS",
    )


def judge_leftovers(found: Leftovers) -> Finding:
    """What there is of ours on the engine."""
    text = f"{found.living} containers and networks of runs that are alive"
    if found.elsewhere:
        text += f", {len(found.elsewhere)} of another machine or container"
    if not found.dead:
        return Finding(name="docker leftovers", status=Status.OK, text=f"none; {text}")
    return Finding(
        name="docker leftovers",
        status=Status.WARN,
        text=f"{len(found.dead)} containers and networks of runs that are dead; {text}",
        todo="run `coworld-actors gc`, which removes what has no living owner",
    )


def _not_told(name: str, text: str, todo: str, here: Surroundings) -> Finding:
    status = here.missing("docker") if name == "docker networks" else Status.WARN
    if "doctor" in todo:
        # What the driver advises; whoever reads this is there already.
        todo = "see what `docker network ls` and `docker ps --all` say"
    return Finding(name=name, status=status, text=text, todo=todo)
