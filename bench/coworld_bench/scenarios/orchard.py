"""Orchard in lockstep with greedy players in processes of their own: our SDK, and the same rules on FastAPI with `websockets` players.

The game is pinned to one core, all players share the other, so most of a tick is the players' own: 64 of them choose one after
another. Ticks are counted from the moment at which every seat is taken.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from pathlib import Path

import msgspec

from coworld_bench.contestants import Contestant
from coworld_bench.harness import interleave
from coworld_bench.plan import Cell, Plan, figure_of_rates
from coworld_bench.rivals import RIVALS
from coworld_bench.rivals.job import token
from coworld_drivers.scratch import scratch
from coworld_protocol import contract
from coworld_protocol.errors import PreconditionMissing

__all__ = ["CONTESTANTS", "SEATS", "missing", "play", "run"]

SEATS = 64
QUICK_SEATS = 8
VARIANT = "big"

CONTESTANTS = {
    "orchard-sdk": "ours, GameServer and connect_player",
    "orchard-fastapi": "FastAPI on uvicorn, websockets players",
}

_TICKS = 150
_EPISODE_SECONDS = 300.0
_MANIFEST = "coworld_manifest.json"


def folder() -> Path:
    """Where Orchard is, in a checkout."""
    return Path(__file__).parents[3] / "examples" / "orchard"


def missing(name: str) -> str:
    """What a contestant would need and is not there."""
    if not (folder() / _MANIFEST).exists():
        return "a checkout's examples/orchard"
    return RIVALS["fastapi"].missing if name == "orchard-fastapi" else ""


def run(plan: Plan) -> list[Cell]:
    """Measure it; each measurement is an episode with processes of its own. At most three rounds: starting takes longest."""
    seats = QUICK_SEATS if plan.quick else SEATS
    contestants = {
        name: functools.partial(play, plan, name, seats, _TICKS)
        for name in CONTESTANTS
        if not missing(name) and (not plan.names or name in plan.names)
    }
    if not contestants:
        return []
    title = f"{seats} greedy players"
    found = interleave(contestants, min(plan.rounds, 3), progress=plan.progress, about=f"orchard {title}")
    figures = {name: figure_of_rates(rates) for name, rates in found.items()}
    return [Cell(scenario="orchard", title=title, connections=seats, size=0, unit="ticks/s", figures=figures)]


def play(plan: Plan, name: str, seats: int, ticks: int) -> float:
    """One episode; ticks per second once everybody is seated."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(scratch("bench"))
        config = place / "config.json"
        config.write_bytes(msgspec.json.encode(_config(seats, ticks)))
        environ = {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder()), os.environ.get("PYTHONPATH", ""))))}
        ours = name == "orchard-sdk"
        if ours:
            command = [sys.executable, "-m", "orchard.game"]
            environ |= {
                contract.ENV_CONFIG_URI: config.as_uri(),
                contract.ENV_RESULTS_URI: (place / "results.json").as_uri(),
                contract.ENV_SAVE_REPLAY_URI: (place / "replay.json").as_uri(),
                contract.ENV_HOST: "127.0.0.1",
                contract.ENV_PORT: "0",
            }
        else:
            command = [sys.executable, "-m", "coworld_bench.rivals.orchard_fastapi", str(config)]
        game = Contestant(command, core=plan.cores.server, environ=environ)
        stack.callback(game.close)
        port = int(game.line("listening on port ", 60).split()[3]) if ours else game.port()
        for slot in range(seats):
            url = f"ws://127.0.0.1:{port}{contract.ROUTE_PLAYER}?slot={slot}&token={token(slot)}"
            if ours:
                command = [sys.executable, "-m", "orchard.players.greedy"]
                player = Contestant(command, core=plan.cores.load, environ=environ | {contract.ENV_PLAYER_WS_URL: url})
            else:
                command = [sys.executable, "-m", "coworld_bench.rivals.orchard_websockets", url]
                player = Contestant(command, core=plan.cores.load, environ=environ)
            stack.callback(player.close)
        # "the episode is over: 150 ticks in 1.50 s, 100.0 per second"
        words = game.line("the episode is over: ", _EPISODE_SECONDS).split()
    played, seconds = int(words[4]), float(words[7])
    if played != ticks:
        raise PreconditionMissing(f"{name} played {played} ticks and not {ticks}.", todo="run it by hand to see why")
    # Our game says hundredths of a second.
    return played / max(seconds, 0.005)


def _config(seats: int, ticks: int) -> dict[str, object]:
    manifest = msgspec.json.decode((folder() / _MANIFEST).read_bytes())
    chosen = next(variant for variant in manifest["variants"] if variant["id"] == VARIANT)
    return {
        **chosen["game_config"],
        "players": chosen["game_config"]["players"][:seats],
        "tokens": [token(slot) for slot in range(seats)],
        "max_ticks": ticks,
        "mode": "lockstep",
        "tick_timeout_seconds": 60,
    }
