"""`coworld-actors play`: sit down and play, or watch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from coworld_actors.cli.batch_options import output_options, world_options
from coworld_actors.cli.exits import Outcome
from coworld_protocol.errors import Refused

__all__ = ["play"]

ALL = "all"


@click.command()
@click.argument("manifest")
@click.argument("players", metavar="[PLAYER]...", nargs=-1)
@click.option(
    "--seat",
    "seats",
    metavar="N|all",
    multiple=True,
    help="A seat that is yours, from 0 on; without any you watch.",
)
@click.option(
    "--open/--no-open",
    "browser",
    default=None,
    help="Open the pages in a browser.  [default: on a terminal with a screen]",
)
@world_options
@output_options
@click.pass_context
def play(context: click.Context, /, manifest: str, players: tuple[str, ...], **_: Any) -> Callable[[], Outcome]:
    """Play the Coworld that MANIFEST describes yourself, or watch others: one episode, with its pages in your browser.

    PLAYERs, or the manifest's own, have the seats that you do not take. The episode goes on until it ends or Ctrl-C ends it. The
    addresses of your seats are shown here and written nowhere: whoever has one has the seat.

    \b
    Examples:
      coworld-actors play coworld_manifest.json --seat 0
      coworld-actors play coworld_manifest.json greedy --seat 0 --seat 2 --variant four --no-open
      coworld-actors play coworld_manifest.json greedy random
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    from coworld_actors.cli.single import Guests, play_single
    from coworld_actors.cli.single_request import single_options

    values = context.params
    if values["driver"] == "inproc":
        raise Refused(
            "nobody can play with --driver inproc",
            evidence="its games are tasks of this process and have no port for a browser",
            todo="leave --driver out, or use --driver docker",
        )
    if len(values["variants"]) > 1:
        raise Refused("play is one episode, and several variants are given", todo="name one --variant")
    guests = Guests(seats=_seats(values["seats"]), browser=values["browser"])
    return functools.partial(play_single, single_options(values, manifest, players, guests=guests))


def _seats(values: tuple[str, ...]) -> frozenset[int] | None:
    """The seats of `--seat`; None for all."""
    if ALL in values:
        return None
    for value in values:
        if not (value.isascii() and value.isdigit() and len(value) <= 4):
            raise Refused(f"--seat {value!r} is no seat", todo="write --seat N with N from 0 on, or --seat all")
    return frozenset(map(int, values))
