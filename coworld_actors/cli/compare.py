"""`coworld-actors compare`: which of two players is the better one."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import click

from coworld_actors.cli.batch_options import (
    batch_options,
    handling_options,
    output_options,
    resume_option,
    world_options,
)
from coworld_actors.cli.exits import Outcome
from coworld_protocol.errors import Refused

__all__ = ["compare"]

MAX_BLOCKS = 2000
"""Blocks after which an undecided comparison ends."""


@click.command()
@click.argument("manifest", required=False)
@click.argument("players", metavar="A B", nargs=-1)
@click.option(
    "--nelo0", metavar="E", type=float, default=0.0, show_default=True, help="H0: A is better by this normalised Elo."
)
@click.option(
    "--nelo1", metavar="E", type=float, default=20.0, show_default=True, help="H1: A is better by this normalised Elo."
)
@click.option(
    "--alpha", metavar="P", type=float, default=0.05, show_default=True, help="Chance of H1 while H0 is true."
)
@click.option("--beta", metavar="P", type=float, default=0.05, show_default=True, help="Chance of H0 while H1 is true.")
@click.option(
    "--max-blocks",
    metavar="B",
    type=click.IntRange(min=1),
    default=MAX_BLOCKS,
    show_default=True,
    help="End undecided after so many.",
)
@batch_options
@world_options
@handling_options
@resume_option
@output_options
@click.pass_context
def compare(
    context: click.Context, /, manifest: str | None, players: tuple[str, ...], **_: Any
) -> Callable[[], Outcome]:
    """Play A against B until it is known whether A is better. Ends with 0 if it is, and with 6 if it is not or not known.

    Every seed is played with all seatings, and the episodes of one seed are one observation. After each the ratio of the two
    hypotheses' likelihoods is compared with its bounds; it ends as soon as one of them is reached.

    \b
    Examples:
      coworld-actors compare coworld_manifest.json greedy random
      coworld-actors compare coworld_manifest.json new:1 old:1 --image new:1=./new --image old:1=./old --nelo1 20
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    from coworld_actors.batch.options import BatchKind
    from coworld_actors.cli.batch import play_batch
    from coworld_actors.cli.batch_options import given
    from coworld_actors.cli.batch_request import batch_request

    values = context.params
    resumed = values["resume"] is not None
    if len(players) != 2 and not (resumed and not players) and manifest is not None:
        raise Refused(
            f"compare needs two players, and {len(players) or 'none'} {'is' if len(players) < 2 else 'are'} given",
            evidence=f"given: {', '.join(players)}" if players else "",
            todo="name two, or use run to play with any number" if players else "name two: compare MANIFEST A B",
        )
    _check_bounds(values)
    said = not resumed or "max_blocks" in given(context)
    request = batch_request(
        context,
        BatchKind.COMPARE,
        manifest=manifest,
        players=players,
        rounds=values["max_blocks"] if said else None,
        blocks=True,
    )
    return functools.partial(play_batch, request)


def _check_bounds(values: dict[str, Any]) -> None:
    for name in ("nelo0", "nelo1"):
        if not math.isfinite(values[name]):
            raise Refused(f"--{name} {values[name]} is no Elo difference", todo="give a number, such as 10")
    if not values["nelo0"] < values["nelo1"]:
        raise Refused(
            f"--nelo0 {values['nelo0']:g} is not below --nelo1 {values['nelo1']:g}",
            todo="give a smaller --nelo0 or a larger --nelo1",
        )
    for name in ("alpha", "beta"):
        if not 0 < values[name] < 0.5:
            raise Refused(
                f"--{name} {values[name]:g} is no chance of an error",
                todo="give a number above 0 and below 0.5, such as 0.05",
            )
