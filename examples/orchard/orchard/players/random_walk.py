"""Wanders: each tick one of the five moves, by chance: `python -m orchard.players.random_walk`.

ORCHARD_PLAYER_SEED makes the walk repeatable; the seat's number is mixed in, so that seats differ.
"""

from __future__ import annotations

import os
import random
from typing import get_args

from coworld_protocol.sdk.player import connect_player, run_player
from orchard.messages import Direction, Final, Move, Observation, Welcome

_MOVES: tuple[Direction, ...] = get_args(Direction)


async def main() -> None:
    async with connect_player(Observation, final=Final, welcome=Welcome) as player:
        seed = os.environ.get("ORCHARD_PLAYER_SEED")
        chance = random.Random(f"{seed}/{player.slot}" if seed else None)
        async for seen in player:
            await player.send(Move(move=chance.choice(_MOVES), tick=seen.tick))


if __name__ == "__main__":
    raise SystemExit(run_player(main))
