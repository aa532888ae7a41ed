"""Ports of a game besides the contract's one: the manifest's wish, the choice of host ports, and what the game is told (contract 2.8)."""

from __future__ import annotations

import errno
import json
from collections import deque
from collections.abc import Collection, Sequence

import msgspec

from coworld_drivers import ports
from coworld_drivers.driver import ExtraPort, MachineFault, StartFailed
from coworld_protocol import contract
from coworld_protocol.errors import Refused
from coworld_protocol.extra_ports import BadExtraPorts, wished_ports

__all__ = ["ATTEMPTS", "HOST", "choose_outside", "parse_extra_ports", "port_variables", "same_outside"]

HOST = ports.HOST
"""Nobody but this machine reaches them."""

ATTEMPTS = 100
"""Draws of a free port before there is none."""

# Chosen, and perhaps not listened at yet: another episode that starts now is not to be given the same.
_recent: deque[int] = deque(maxlen=256)


def parse_extra_ports(text: str) -> tuple[ExtraPort, ...]:
    """The ports that a manifest wishes for.

    Args:
        text: value of `COWORLD_LOCAL_EXTRA_PORTS` in the game's `env`; blank wishes for nothing.

    Raises:
        Refused: an entry means nothing, is out of range or repeated.
    """
    try:
        return tuple(ExtraPort(inside=inside, outside=outside) for inside, outside in wished_ports(text))
    except BadExtraPorts as error:
        raise Refused(
            f"the game's {contract.ENV_LOCAL_EXTRA_PORTS} cannot be honoured",
            evidence=str(error),
            todo="put it right in game.runnable.env of the manifest, or leave it out",
        ) from error


def port_variables(chosen: Sequence[ExtraPort]) -> dict[str, str]:
    """What a game is told about its extra ports; nothing when it has none.

    Args:
        chosen: all with a port outside.
    """
    if not chosen:
        return {}
    places = {str(port.inside): {"host": HOST, "port": port.outside} for port in chosen}
    return {
        **{contract.local_port_variable(port.inside): f"{HOST}:{port.outside}" for port in chosen},
        contract.ENV_LOCAL_PORTS_JSON: json.dumps(places, sort_keys=True, separators=(",", ":")),
    }


def choose_outside(wishes: Sequence[ExtraPort], taken: Collection[int]) -> tuple[ExtraPort, ...]:
    """The same ports, each with a port outside: the one it wishes for, or a free one.

    Args:
        wishes: as parsed.
        taken: ports of this machine that are promised to others, such as the game's main one.

    Raises:
        StartFailed: a wished port is the game's main one or promised to others.
        MachineFault: a wished port is in use, or none is free.
    """
    promised = {*taken, *(wish.outside for wish in wishes if wish.outside is not None)}
    chosen: list[ExtraPort] = []
    for port in wishes:
        if port.outside is None:
            outside = _free_port(promised)
            promised.add(outside)
            chosen.append(msgspec.structs.replace(port, outside=outside))
            continue
        if port.outside in taken:
            raise StartFailed(
                f"the game's extra port {port.inside} cannot be {port.outside} on this machine, which is in use by this run",
                todo=f"write {port.inside} alone in {contract.ENV_LOCAL_EXTRA_PORTS}, so that a free port is chosen",
            )
        error = ports.obstacle(port.outside)
        if error is not None and error.errno == errno.EADDRINUSE:
            raise _not_free(port.inside, port.outside, error)
        chosen.append(port)
    return tuple(chosen)


def same_outside(wishes: Sequence[ExtraPort]) -> tuple[ExtraPort, ...]:
    """The same ports for a place without a network of its own, where outside is inside; claimed until `ports.release`.

    Raises:
        StartFailed: another port outside is wished for.
        MachineFault: a port is in use, or may not be listened at.
    """
    chosen: list[ExtraPort] = []
    try:
        for wish in wishes:
            chosen.append(_claimed(wish))  # noqa: PERF401 - what was claimed before a failure is given back
    except BaseException:
        for port in chosen:
            ports.release(port.inside)
        raise
    return tuple(chosen)


def _claimed(wish: ExtraPort) -> ExtraPort:
    if wish.outside not in {None, wish.inside}:
        raise StartFailed(
            f"the game's extra port {wish.inside} cannot be {wish.outside} on this machine: "
            "a local process listens where it listens, nothing maps its ports",
            evidence=f"{contract.ENV_LOCAL_EXTRA_PORTS} asks for {wish.inside}:{wish.outside}",
            todo=f"write {wish.inside} alone there, or use --driver docker",
        )
    error = ports.claim_this(wish.inside)
    if error is not None:
        raise _not_free(wish.inside, wish.inside, error)
    return ExtraPort(inside=wish.inside, outside=wish.inside)


def _not_free(inside: int, outside: int, error: OSError) -> MachineFault:
    if error.errno != errno.EADDRINUSE:
        return MachineFault(
            f"the game cannot listen at its extra port {inside}",
            evidence=f"{HOST}:{outside}: {error.strerror}",
            todo="use --driver docker, or a game with a port from 1024 on",
        )
    return MachineFault(
        f"the game's extra port {inside} is not free on this machine",
        evidence=f"{HOST}:{outside} is in use, by another program or another episode",
        todo=f"end what listens there (`ss -ltnp 'sport = :{outside}'` names it), and play one episode at a time",
    )


def _free_port(promised: Collection[int]) -> int:
    for _ in range(ATTEMPTS):
        # As for main ports: below the range from which the kernel gives ports to outgoing connections.
        port = ports.claim()
        ports.release(port)
        if port not in promised and port not in _recent:
            _recent.append(port)
            return port
    raise MachineFault(
        "no free TCP port was found for an extra port of the game",
        evidence=f"{ATTEMPTS} draws from the ports of {HOST}",
        todo="end other servers of this machine, or run fewer episodes at a time",
    )
