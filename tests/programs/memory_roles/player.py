"""A player of the sum game."""

from __future__ import annotations

import sys

import trio

from coworld_protocol.sdk.environment import environment
from coworld_protocol.sdk.player import connect_player, player_url, run_player
from memory_roles.game import Add, Last, Seen


async def main() -> None:
    variables = environment()
    behaviour = variables.get("BEHAVIOUR", "plays")
    if behaviour == "never connects":
        await trio.sleep_forever()
    if behaviour == "leaves before":
        return
    if behaviour == "is stubborn":
        with trio.CancelScope(shield=True), trio.move_on_after(float(variables["SECONDS"])):
            await trio.sleep_forever()
    url = player_url()
    if behaviour == "guesses":
        url = f"{url}x"
    async with connect_player(Seen, final=Last, url=url, reconnect_seconds=0.5) as player:
        print(f"I am {variables['ME']} in {variables['HOME'].rpartition('/')[2]}")
        async for seen in player:
            if seen.tick == 1:
                await _misbehave(behaviour)
            await player.send(Add(add=int(variables["ME"]), tick=seen.tick))


async def _misbehave(behaviour: str) -> None:
    match behaviour:
        case "crashes":
            print("about to fail", file=sys.stderr)
            raise ValueError("cannot think")
        case "exits":
            sys.exit(5)
        case "exits with words":
            sys.exit("no more ideas")
        case "sleeps":
            await trio.sleep_forever()
        case _:
            pass


async def play(number: str, *, times: str = "1") -> None:
    """The same as a function with arguments."""
    async with connect_player(Seen, final=Last) as player:
        async for seen in player:
            await player.send(Add(add=int(number) * int(times), tick=seen.tick))


def plain() -> None:
    """No coroutine."""


if __name__ == "__main__":
    raise SystemExit(run_player(main))
