"""A lockstep episode: a game process and one process per player, both ends of the same kind.

The game is pinned to one core, all players share the other. A full run looks as well at what happens when the kernel chooses:
it likes to put two processes that wake each other on one core, where waking up costs least and nobody gains by not sleeping.
"""

from __future__ import annotations

import contextlib
import functools

import msgspec

from coworld_bench.contestants import Contestant, rival_command
from coworld_bench.harness import interleave
from coworld_bench.plan import Cell, Plan, figure_of_rates
from coworld_bench.rivals import RIVALS
from coworld_bench.rivals.job import token
from coworld_bench.scenarios.echo import size_name
from coworld_drivers.scratch import scratch

__all__ = ["CELLS", "PAIRS", "Pair", "run"]

CELLS = ((1, 200), (2, 200), (4, 2048))
"""Players and bytes of an observation."""

_END_SECONDS = 30.0


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A game and its players.

    Attributes:
        name: on the command line and in results.
        title: in tables.
        game: rival that plays the game.
        player: rival that plays each player.
        unix: over a Unix socket.
        quick: it is part of a quick run.
        anywhere: it is also measured without pinning.
    """

    name: str
    title: str
    game: str
    player: str
    unix: bool = False
    quick: bool = True
    anywhere: bool = False

    @property
    def missing(self) -> str:
        """What it would need and is not installed."""
        return RIVALS[self.game].missing or RIVALS[self.player].missing


PAIRS = (
    Pair(name="sdk", title="ours, GameServer and connect_player", game="sdk", player="sdk", anywhere=True),
    Pair(
        name="sdk-unix",
        title="the same over a Unix socket",
        game="sdk",
        player="sdk",
        unix=True,
        quick=False,
        anywhere=True,
    ),
    Pair(
        name="picows-uvloop",
        title="picows + uvloop, both ends",
        game="picows-uvloop",
        player="picows-uvloop",
        anywhere=True,
    ),
    Pair(
        name="websockets", title="websockets, asyncio, both ends", game="websockets", player="websockets", quick=False
    ),
    Pair(
        name="fastapi",
        title="FastAPI on uvicorn, websockets players",
        game="fastapi",
        player="websockets",
        anywhere=True,
    ),
    Pair(
        name="fastapi-uvloop",
        title="FastAPI on uvicorn + uvloop, websockets players",
        game="fastapi-uvloop",
        player="websockets",
        quick=False,
    ),
    Pair(
        name="trio-websocket",
        title="trio-websocket, both ends",
        game="trio-websocket",
        player="trio-websocket",
        quick=False,
    ),
)


class _Ticks(msgspec.Struct, frozen=True):
    ticks: int
    seconds: float


def run(plan: Plan) -> list[Cell]:
    """Measure every cell; each measurement is an episode with processes of its own."""
    pairs = [
        pair
        for pair in PAIRS
        if not pair.missing and (pair.name in plan.names if plan.names else pair.quick or not plan.quick)
    ]
    cells = []
    cases = [(players, size, True) for players, size in CELLS]
    if not plan.quick:
        cases += [(players, size, False) for players, size in CELLS]
    for players, size, pinned in cases:
        title = f"{players} player{'s' if players > 1 else ''}, {size_name(size)}{'' if pinned else ', not pinned'}"
        contestants = {
            pair.name: functools.partial(play, plan, pair, players, size, pinned=pinned)
            for pair in pairs
            if pinned or pair.anywhere
        }
        found = interleave(contestants, plan.rounds, progress=plan.progress, about=f"lockstep {title}")
        figures = {name: figure_of_rates(rates) for name, rates in found.items()}
        cells.append(
            Cell(scenario="lockstep", title=title, connections=players, size=size, unit="ticks/s", figures=figures)
        )
    return cells


def play(plan: Plan, pair: Pair, players: int, size: int, *, pinned: bool = True) -> float:
    """One episode; ticks per second after the warm-up."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch("bench"))
        unix = str(folder / "game.sock") if pair.unix else ""
        command = rival_command(
            RIVALS[pair.game],
            "game",
            seats=players,
            size=size,
            warmup=plan.warmup,
            seconds=plan.seconds,
            folder=str(folder),
            unix=unix,
        )
        game = Contestant(command, core=plan.cores.server if pinned else None)
        stack.callback(game.close)
        port = game.port()
        for slot in range(players):
            url = f"ws://127.0.0.1:{port}"
            url += f"/player?slot={slot}&token={token(slot)}" if pair.game == "sdk" else f"/?slot={slot}"
            command = rival_command(RIVALS[pair.player], "player", url=url, unix=unix)
            player = Contestant(command, core=plan.cores.load if pinned else None)
            stack.callback(player.close)
        found = msgspec.json.decode(game.line('{"ticks"', plan.warmup + plan.seconds + _END_SECONDS), type=_Ticks)
    return found.ticks / found.seconds
