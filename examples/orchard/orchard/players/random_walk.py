"""Wanders: each tick one of the five moves, by chance: `python -m orchard.players.random_walk`.

ORCHARD_PLAYER_SEED makes the walk repeatable, with the seat's number mixed in, so that seats differ; without it, what a batch
of episodes names as the seat's seed does.
"""

from __future__ import annotations

import random
from typing import get_args

from coworld_protocol.sdk.environment import environment
from coworld_protocol.sdk.player import connect_player, run_player
from coworld_protocol.switches import ENV_PLAYER_SEED
from orchard.messages import Direction, Final, Move, Observation, Welcome

_MOVES: tuple[Direction, ...] = get_args(Direction)


async def main() -> None:
    async with connect_player(Observation, final=Final, welcome=Welcome) as player:
        variables = environment()
        seed = variables.get("ORCHARD_PLAYER_SEED") or variables.get(ENV_PLAYER_SEED)
        chance = random.Random(f"{seed}/{player.slot}" if seed else None)
        async for seen in player:
            await player.send(Move(move=chance.choice(_MOVES), tick=seen.tick))


if __name__ == "__main__":
    raise SystemExit(run_player(main))
