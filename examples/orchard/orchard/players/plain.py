"""A player without any code of this project, to show that the protocol is all it takes: `python -m orchard.players.plain`.

It needs the public `websockets` library, looks only at its own forager and walks straight to the nearest ripe fruit.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def nearest_step(here: int, fruit: list[int], width: int, height: int) -> str:
    """The move towards the nearest of some cells; `stay` when there is none."""
    y, x = divmod(here, width)
    best, move = width + height, "stay"
    for cell in fruit:
        row, column = divmod(cell, width)
        down = (row - y + height // 2) % height - height // 2
        across = (column - x + width // 2) % width - width // 2
        if abs(down) + abs(across) < best:
            best = abs(down) + abs(across)
            if across:
                move = "right" if across > 0 else "left"
            else:
                move = "down" if down > 0 else "up" if down < 0 else "stay"
    return move


def play(url: str) -> int:
    world: dict[str, Any] = {}
    # The game answers pings, but a player that thinks for long should not be cut off by its own library's clock.
    with connect(url, ping_timeout=None, max_size=None, proxy=None) as socket:
        try:
            for text in socket:
                message = json.loads(text)
                if message["type"] == "welcome":
                    world = message
                elif message["type"] == "final":
                    print("scores:", *message["scores"])
                    return 0
                elif message["type"] == "observation":
                    fruit = [cell for cell, state in zip(world["trees"], message["ripe"], strict=True) if state == "1"]
                    here = message["foragers"][world["slot"]]
                    move = nearest_step(here, fruit, world["width"], world["height"])
                    socket.send(json.dumps({"move": move, "tick": message["tick"]}))
        except ConnectionClosed as closed:
            print(f"the game closed the connection: {closed}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    url = os.environ.get("COWORLD_PLAYER_WS_URL") or os.environ.get("COGAMES_ENGINE_WS_URL")
    if not url:
        sys.exit("COWORLD_PLAYER_WS_URL is not set; start the player with coworld-actors run, or set it by hand")
    sys.exit(play(url))
