"""`coworld-actors run`: play an episode, or many, and say who won."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from coworld_actors.cli.batch_options import (
    BATCH_ONLY,
    amount_options,
    batch_options,
    given,
    handling_options,
    output_options,
    resume_option,
    world_options,
)
from coworld_actors.cli.exits import Outcome
from coworld_protocol.errors import Refused

__all__ = ["run", "scrimmage"]


@click.command()
@click.argument("manifest", required=False)
@click.argument("players", metavar="[PLAYER]...", nargs=-1)
@amount_options
@batch_options
@click.option(
    "--round-robin", is_flag=True, help="With more players than seats: every choice of players that fits the seats."
)
@world_options
@handling_options
@resume_option
@output_options
@click.pass_context
def run(context: click.Context, /, manifest: str | None, players: tuple[str, ...], **_: Any) -> Callable[[], Outcome]:
    """Play the Coworld that MANIFEST describes: one episode, or with -n or --blocks a batch with standings at its end.

    A PLAYER is a player id of the manifest, an image, cmd:"..." or py:module:function, and may go on with
    ,name=TEXT ,share=N ,env.KEY=VALUE ,arg.KEY=VALUE. Players share the seats; without any, the manifest's own are seated.

    \b
    Examples:
      coworld-actors run coworld_manifest.json
      coworld-actors run coworld_manifest.json greedy random --variant duel --set max_ticks=50
      coworld-actors run coworld_manifest.json my-bot --image my-bot=./bot --run python --run bot.py
      coworld-actors run coworld_manifest.json my-bot --budget 55ms:320,1s:10 --record traffic.cwt
      coworld-actors run coworld_manifest.json greedy random -n 200 --parallel auto
      coworld-actors run --resume runs/latest
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    values = context.params
    if (values["number"], values["blocks"], values["resume"]) == (None, None, None) and len(values["variants"]) < 2:
        return _single(context, manifest, players)
    return _batch(context, manifest, players)


@click.command()
@click.argument("manifest", required=False)
@click.argument("players", metavar="PLAYER", nargs=-1)
@amount_options
@batch_options
@world_options
@handling_options
@resume_option
@output_options
@click.pass_context
def scrimmage(
    context: click.Context, /, manifest: str | None, players: tuple[str, ...], **_: Any
) -> Callable[[], Outcome]:
    """Play one PLAYER against itself: it has every seat. Otherwise this is `run`.

    \b
    Example:
      coworld-actors scrimmage coworld_manifest.json greedy -n 20
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    if len(players) != 1 and context.params["resume"] is None:
        raise Refused(
            f"scrimmage seats one player everywhere, and {len(players) or 'none'} {'is' if not players else 'are'} given",
            todo="name one player, or use run for several",
        )
    values = context.params
    if (values["number"], values["blocks"], values["resume"]) == (None, None, None) and len(values["variants"]) < 2:
        return _single(context, manifest, players)
    return _batch(context, manifest, players)


def _batch(context: click.Context, manifest: str | None, players: tuple[str, ...]) -> Callable[[], Outcome]:
    from coworld_actors.batch.options import BatchKind
    from coworld_actors.cli.batch import play_batch
    from coworld_actors.cli.batch_request import batch_request

    number, blocks = context.params["number"], context.params["blocks"]
    if number is not None and blocks is not None:
        raise Refused(
            "-n and --blocks do not go together",
            evidence="-n counts episodes, --blocks counts groups of episodes with all seatings of one seed",
            todo="leave one of them out",
        )
    request = batch_request(
        context,
        BatchKind.RUN,
        manifest=manifest,
        players=players,
        rounds=number if blocks is None else blocks,
        blocks=blocks is not None,
    )
    return functools.partial(play_batch, request)


def _single(context: click.Context, manifest: str | None, players: tuple[str, ...]) -> Callable[[], Outcome]:
    from coworld_actors.cli.single import play_single
    from coworld_actors.cli.single_request import single_options

    if manifest is None:
        raise click.MissingParameter(ctx=context, param_hint="'MANIFEST'", param_type="argument")
    useless = [option for name, option in BATCH_ONLY.items() if name in given(context)]
    if useless:
        raise Refused(
            f"{useless[0]} is for batches, and this is a single episode", todo="add -n 1, or leave the option out"
        )
    return functools.partial(play_single, single_options(context.params, manifest, players))
