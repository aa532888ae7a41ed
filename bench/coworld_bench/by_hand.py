"""An episode by hand: the game is started and awaited, then one player after the other, then the end. No runtime, no checks."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from coworld_bench.worlds import World
from coworld_drivers import ports
from coworld_drivers.driver import Address, Launch, Mount
from coworld_drivers.environment import role_environment
from coworld_drivers.scratch import scratch
from coworld_protocol import contract
from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.manifest import Runnable

__all__ = ["ByHand", "play_by_hand", "started"]

_LOOK_SECONDS = 0.001
_LIMIT = 120.0
_ESTABLISHED = "01"


class ByHand(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of such an episode goes, in seconds.

    Attributes:
        start: from the start of the game's process until the last player is connected.
        own: from then until the game has written its results.
    """

    start: float
    own: float


def play_by_hand(world: World) -> ByHand:
    """Play one.

    Raises:
        PreconditionMissing: it came to no end.
    """
    plan = world.plan
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(scratch("bench"))
        address = Address(host=ports.HOST, port=ports.claim())
        stack.callback(ports.release, address.port)
        tokens = [secrets.token_hex(16) for _ in plan.seats]
        config = place / "config.json"
        config.write_text(json.dumps({**plan.game_config, "tokens": tokens}))
        files = {
            contract.ENV_CONFIG_URI: config.as_uri(),
            contract.ENV_RESULTS_URI: (place / "results.json").as_uri(),
            contract.ENV_SAVE_REPLAY_URI: (place / "replay").as_uri(),
        }
        began = time.perf_counter()
        game = _start(stack, world, "game", plan.manifest.game.runnable, place, files, address)
        _until(lambda: _healthy(address), game, "the game did not become healthy")
        for seat, token in zip(plan.seats, tokens, strict=True):
            url = f"ws://{address}{contract.ROUTE_PLAYER}?slot={seat.slot}&token={token}"
            own = place / f"player-{seat.slot}"
            own.mkdir()
            assert seat.runnable is not None, "nobody plays a benchmark"
            player = _start(
                stack, world, f"player-{seat.slot}", seat.runnable, own, {contract.ENV_PLAYER_WS_URL: url}, None
            )
            seated_or_done = functools.partial(_seated, address, seat.slot + 1, player)
            _until(seated_or_done, player, "a player did not connect")
        seated = time.perf_counter()
        _until((place / "results.json").exists, game, "the game wrote no results")
        ended = time.perf_counter()
        try:
            code = game.wait(_LIMIT)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            raise PreconditionMissing(
                f"{world.title} played by hand came to no good end",
                evidence=f"exit code {code}; {_said(place, 'game')}",
                todo="play it with coworld-actors run to see why",
            )
    return ByHand(start=seated - began, own=ended - seated)


def _start(
    stack: contextlib.ExitStack,
    world: World,
    name: str,
    runnable: Runnable,
    own: Path,
    env: dict[str, str],
    address: Address | None,
) -> subprocess.Popen[bytes]:
    """What the process driver would start, with the same environment."""
    log = own / f"{name}.log"
    launch = Launch(
        name=name,
        role=runnable.type,
        image=runnable.image,
        run=runnable.run,
        env={**runnable.env, **env},
        mounts=(Mount(path=own, at="/own", writable=True),),
        stdout=log,
    )
    resolved = world.images.resolve(runnable.image, runnable.run, role=name)
    environ = role_environment(launch, resolved, environ=os.environ, mark="bench", address=address)
    return started(stack, resolved.argv, log, cwd=resolved.root, env=environ)


def started(
    stack: contextlib.ExitStack,
    argv: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program whose output goes to a log; leaving the stack kills and reaps it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _until(true: Callable[[], bool], process: subprocess.Popen[bytes], otherwise: str) -> None:
    limit = time.perf_counter() + _LIMIT
    while not true():
        over = process.poll() is not None
        if time.perf_counter() > limit or (over and not true()):
            raise PreconditionMissing(otherwise, evidence=f"exit code {process.poll()}")
        time.sleep(_LOOK_SECONDS)


def _healthy(address: Address) -> bool:
    try:
        with socket.create_connection((address.host, address.port), 1.0) as connection:
            connection.sendall(f"GET {contract.ROUTE_HEALTH} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def _seated(address: Address, count: int, player: subprocess.Popen[bytes]) -> bool:
    """Whether the game holds so many connections, as the kernel's table tells, or the player has played and gone already."""
    ending = f":{address.port:04X}"
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(ending) and row[3] == _ESTABLISHED for row in rows) >= count or player.poll() == 0


def _said(place: Path, name: str) -> str:
    lines = (place / f"{name}.log").read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"
