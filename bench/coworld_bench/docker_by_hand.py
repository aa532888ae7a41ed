"""Paint Arena in containers by hand: `docker run` for the game and, once that is healthy, for both players at once. Nothing is checked.

No runtime is below that which starts the same containers with the engine's own client, one after the other where the contract wants
it so: what it costs is the engine's and the game's.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from coworld_bench.by_hand import started
from coworld_bench.worlds import World
from coworld_drivers import labels
from coworld_protocol import contract
from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.manifest import Runnable

__all__ = ["Ground", "play_in_containers", "prepared"]

_LOOK_SECONDS = 0.005
_LIMIT = 120.0
_PLACE = "/coworld"


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What several episodes share.

    Attributes:
        docker: the client's path.
        network: where their containers meet; made beforehand.
        labels: of all containers, by which `coworld-actors gc` finds those of a killed benchmark.
    """

    docker: str
    network: str
    labels: tuple[str, ...]


@contextlib.contextmanager
def prepared(docker: str) -> Generator[Ground]:
    """A network for episodes by hand; it goes with the block, and what is still in it too.

    Raises:
        PreconditionMissing: the engine makes none.
    """
    run = uuid.uuid4().hex
    ground = Ground(docker=docker, network=f"coworld-bench-{run[:12]}", labels=labels.as_options(labels.of_run(run)))
    made = subprocess.run(
        [docker, "network", "create", *ground.labels, ground.network], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise PreconditionMissing(
            "there is no network for containers by hand",
            evidence=made.stderr.strip(),
            todo="run `coworld-actors doctor`",
        )
    try:
        yield ground
    finally:
        listed = subprocess.run(
            [docker, "ps", "--all", "--quiet", *labels.having(labels.RUN, run)],
            capture_output=True,
            text=True,
            check=False,
        )
        if names := listed.stdout.split():
            subprocess.run([docker, "rm", "--force", "--volumes", *names], capture_output=True, check=False)
        subprocess.run([docker, "network", "rm", ground.network], capture_output=True, check=False)


def play_in_containers(world: World, ground: Ground, place: Path, *, episodes: int = 1) -> None:
    """Play episodes, all at once; returns when their last container is gone.

    Args:
        world: Paint Arena.
        ground: where.
        place: an empty directory.
        episodes: how many.

    Raises:
        PreconditionMissing: one of them came to no good end.
    """
    with ThreadPoolExecutor(episodes) as threads:
        for done in [threads.submit(_play, world, ground, place / str(number)) for number in range(episodes)]:
            done.result()


def _play(world: World, ground: Ground, place: Path) -> None:
    plan = world.plan
    place.mkdir()
    name = f"{ground.network}-{secrets.token_hex(4)}"
    port = _free_port()
    tokens = [secrets.token_hex(16) for _ in plan.seats]
    (place / "config.json").write_text(json.dumps({**plan.game_config, "tokens": tokens}))
    files = {
        contract.ENV_HOST: contract.CONTAINER_HOST,
        contract.ENV_PORT: str(contract.CONTAINER_PORT),
        contract.ENV_CONFIG_URI: f"file://{_PLACE}/config.json",
        contract.ENV_RESULTS_URI: f"file://{_PLACE}/results.json",
        contract.ENV_SAVE_REPLAY_URI: f"file://{_PLACE}/replay",
    }
    with contextlib.ExitStack() as stack:
        game = _run(
            stack,
            ground,
            name,
            plan.manifest.game.runnable,
            files,
            place / "game.log",
            ("--publish", f"127.0.0.1:{port}:{contract.CONTAINER_PORT}", "--volume", f"{place}:{_PLACE}"),
        )
        _until_healthy(port, game, place)
        players = []
        for seat, token in zip(plan.seats, tokens, strict=True):
            assert seat.runnable is not None, "nobody plays a benchmark"
            query = urlencode({contract.QUERY_SLOT: seat.slot, contract.QUERY_TOKEN: token})
            url = f"ws://{name}:{contract.CONTAINER_PORT}{contract.ROUTE_PLAYER}?{query}"
            env = {contract.ENV_PLAYER_WS_URL: url, contract.ENV_ENGINE_WS_URL: url}
            log = place / f"player-{seat.slot}.log"
            players.append(_run(stack, ground, f"{name}-{seat.slot}", seat.runnable, env, log))
        codes = [_code(process) for process in (game, *players)]
        if any(codes) or not (place / "results.json").exists():
            raise _bad("came to no good end", f"exit codes {codes}; {_said(place / 'game.log')}")


def _run(
    stack: contextlib.ExitStack,
    ground: Ground,
    name: str,
    runnable: Runnable,
    env: Mapping[str, str],
    log: Path,
    words: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    variables = [word for pair in {**runnable.env, **env}.items() for word in ("--env", "=".join(pair))]
    command = [ground.docker, "run", "--rm", "--name", name, "--network", ground.network, *ground.labels, *words]
    entry = ["--entrypoint", runnable.run[0]] if runnable.run else []
    return started(stack, [*command, *variables, *entry, runnable.image, *runnable.run[1:]], log)


def _until_healthy(port: int, game: subprocess.Popen[bytes], place: Path) -> None:
    request = f"GET {contract.ROUTE_HEALTH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    limit = time.perf_counter() + _LIMIT
    while game.poll() is None and time.perf_counter() < limit:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.sendall(request)
            if b" 200 " in connection.recv(64):
                return
        time.sleep(_LOOK_SECONDS)
    raise _bad("did not become healthy", _said(place / "game.log"))


def _code(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_LIMIT)
    except subprocess.TimeoutExpired:
        return None


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _said(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"


def _bad(what: str, evidence: str) -> PreconditionMissing:
    return PreconditionMissing(
        f"Paint Arena in containers by hand {what}",
        evidence=evidence,
        todo="play it with `coworld-actors run --driver docker` to see why",
    )
