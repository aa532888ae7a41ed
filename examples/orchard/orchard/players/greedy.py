"""Goes to the nearest ripe fruit that nobody else is nearer to: `python -m orchard.players.greedy`."""

from __future__ import annotations

from heapq import nsmallest

from coworld_protocol.sdk.player import connect_player, run_player
from orchard.messages import Direction, Final, Move, Observation, Welcome

__all__ = ["choose"]


def choose(welcome: Welcome, seen: Observation) -> Direction:
    """The next step towards the best fruit: near to us, and no rival nearer to it. No fruit: stay."""
    width, height = welcome.width, welcome.height
    # How far apart two rows or columns are on the torus, by their difference: negative ones count from a list's end, as they should.
    down = [min(rows, height - rows) for rows in range(height)]
    across = [min(columns, width - columns) for columns in range(width)]
    y, x = divmod(seen.foragers[welcome.slot], width)
    offers = [
        (down[cell // width - y] + across[cell % width - x], cell)
        for cell, state in zip(welcome.trees, seen.ripe, strict=True)
        if state == "1"
    ]
    if not offers:
        return "stay"
    rivals = [divmod(cell, width) for slot, cell in enumerate(seen.foragers) if slot != welcome.slot]
    # Rivals are looked at for the few nearest trees only: with 64 seats the rest would cost more than it is worth.
    for far, cell in nsmallest(4, offers):
        row, column = divmod(cell, width)
        for b, a in rivals:
            if down[row - b] + across[column - a] < far:
                break
        else:
            return _towards(row - y, column - x, width, height)
    row, column = divmod(min(offers)[1], width)
    return _towards(row - y, column - x, width, height)


def _towards(down: int, across: int, width: int, height: int) -> Direction:
    down = (down + height // 2) % height - height // 2
    across = (across + width // 2) % width - width // 2
    if abs(across) >= abs(down) and across:
        return "right" if across > 0 else "left"
    if down:
        return "down" if down > 0 else "up"
    return "stay"


async def main() -> None:
    async with connect_player(Observation, final=Final, welcome=Welcome) as player:
        async for seen in player:
            await player.send(Move(move=choose(player.welcome, seen), tick=seen.tick))
        if player.final is not None:
            print(f"seat {player.slot} picked {player.final.scores[player.slot]} fruit")


if __name__ == "__main__":
    raise SystemExit(run_player(main))
