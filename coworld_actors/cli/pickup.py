"""`coworld-actors pickup`: what a player is worth in the place of others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from coworld_actors.cli.batch_options import (
    amount_options,
    batch_options,
    handling_options,
    output_options,
    resume_option,
    world_options,
)
from coworld_actors.cli.exits import Outcome
from coworld_protocol.errors import Refused

__all__ = ["pickup"]

ROUNDS = 10
"""Episodes of each line-up, unless something else is said: enough for an interval."""


@click.command()
@click.argument("manifest", required=False)
@click.argument("candidate", metavar="CANDIDATE", nargs=-1)
@click.option("--pool", metavar="PLAYER", multiple=True, help="Somebody whose place it could take; any number of them.")
@amount_options
@batch_options
@world_options
@handling_options
@resume_option
@output_options
@click.pass_context
def pickup(
    context: click.Context, /, manifest: str | None, candidate: tuple[str, ...], **_: Any
) -> Callable[[], Outcome]:
    """Play CANDIDATE on all seats, on all but one, ... and on none, the pool on the others: its value over replacement.

    -n counts the episodes of each of these line-ups (10 unless said); all of them are played with the same seeds.

    \b
    Example:
      coworld-actors pickup coworld_manifest.json greedy --pool random --pool sweeper -n 20
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    from coworld_actors.batch.options import BatchKind
    from coworld_actors.cli.batch import play_batch
    from coworld_actors.cli.batch_request import batch_request

    values = context.params
    resumed = values["resume"] is not None
    if manifest is not None and len(candidate) != 1 and not (resumed and not candidate):
        raise Refused(
            f"pickup looks at one candidate, and {len(candidate) or 'none'} {'are' if len(candidate) > 1 else 'is'} given",
            todo="name one, and everybody whose place it could take with --pool",
        )
    if manifest is not None and not resumed and not values["pool"]:
        raise Refused("pickup needs somebody whose place the candidate could take", todo="name them: --pool PLAYER")
    if len(values["variants"]) > 1:
        raise Refused(
            "pickup looks at one variant",
            evidence=f"given: {', '.join(values['variants'])}",
            todo="look at one after the other",
        )
    number, blocks = values["number"], values["blocks"]
    if number is not None and blocks is not None:
        raise Refused("-n and --blocks do not go together", todo="leave one of them out")
    rounds = number if blocks is None else blocks
    request = batch_request(
        context,
        BatchKind.PICKUP,
        manifest=manifest,
        players=candidate,
        pool=values["pool"],
        rounds=ROUNDS if rounds is None and not resumed else rounds,
        blocks=blocks is not None,
    )
    return functools.partial(play_batch, request)
