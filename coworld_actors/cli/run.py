"""`coworld-actors run`: play an episode and say who won."""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coworld_actors.cli.exits import Outcome
from coworld_protocol import contract
from coworld_protocol.errors import Refused

if TYPE_CHECKING:
    from coworld_actors.episode.spec import TapSpec

__all__ = ["pairs", "run"]


RUNTIME_VARIABLES = frozenset(value for name, value in vars(contract).items() if name.startswith("ENV_"))
"""What a role learns from the runtime and from nobody else."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def pairs(values: tuple[str, ...], option: str, form: str) -> dict[str, str]:
    """Options of the form `NAME=...` as a mapping."""
    found: dict[str, str] = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name or not text:
            raise Refused(f"{option} {value!r} is not of the form {form}", todo=f"write {option} {form}")
        found[name] = text
    return found


def _secrets(values: tuple[str, ...]) -> dict[str, str]:
    """`KEY=VALUE`, or `KEY` alone for the value in our own environment, where no process list shows it."""
    secrets: dict[str, str] = {}
    for value in values:
        key, sign, text = value.partition("=")
        if not key:
            raise Refused("--secret-env needs a name", todo="write --secret-env KEY or --secret-env KEY=VALUE")
        if not _VARIABLE.fullmatch(key):
            raise Refused(
                f"--secret-env {key!r}: this is no name of a variable",
                evidence="letters, digits and _, the first one no digit",
                todo="write --secret-env KEY or --secret-env KEY=VALUE",
            )
        if key in RUNTIME_VARIABLES:
            raise Refused(f"--secret-env {key}: this variable is set by the runtime", todo="leave it out")
        if not sign:
            if key not in os.environ:
                raise Refused(
                    f"--secret-env {key}: there is no such variable in the environment",
                    todo=f"export {key} first, or write --secret-env {key}=VALUE",
                )
            text = os.environ[key]
        secrets[key] = text
    return secrets


class _Seconds(click.FloatRange):
    """A time that ends: `nan` and `inf` are floats, but no clock can keep them."""

    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a {self.name}.", param, ctx)
        return seconds


def _tap(budget: str | None, record: Path | None, chaos: str | None) -> TapSpec:
    from coworld_actors.episode.chaos import parse_chaos
    from coworld_actors.episode.spec import TapSpec
    from coworld_actors.traffic.budget import parse_budget

    return TapSpec(
        budget=parse_budget(budget) if budget is not None else None,
        recording=record,
        chaos=parse_chaos(chaos) if chaos is not None else None,
    )


@click.command()
@click.argument("manifest")
@click.argument("players", metavar="[PLAYER]...", nargs=-1)
@click.option("--driver", type=click.Choice(["process"]), default="process", show_default=True, help="Where roles run.")
@click.option(
    "--variant", metavar="ID", help="Variant of the manifest; without it the certification fixture is played."
)
@click.option(
    "--set", "settings", metavar="KEY=JSON", multiple=True, help="Change the game's configuration; KEY may be dotted."
)
@click.option("--image", "images", metavar="NAME=DIR", multiple=True, help="Directory that holds an image's files.")
@click.option(
    "--run", "run_tokens", metavar="TOKEN", multiple=True, help="Command of the given PLAYERs, one token per option."
)
@click.option(
    "--secret-env", "secrets", metavar="KEY[=VALUE]", multiple=True, help="Variable for the players, shown nowhere."
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=_Seconds(min=0, min_open=True),
    default=3600.0,
    show_default=True,
    help="Until the game has to have ended.",
)
@click.option("--verify-replay", is_flag=True, help="Load the replay into the game again.")
@click.option("--no-reports", is_flag=True, help="Skip reporters and graders.")
@click.option("--tap", is_flag=True, help="Stand between players and game and measure how long players take.")
@click.option(
    "--budget",
    metavar="LIMIT:TIMES,...",
    help="How often an answer may take longer, such as 55ms:320,1s:10; exceeded ends with 6. Implies --tap.",
)
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep all traffic of the players in this new file; see `coworld-actors traffic`. Implies --tap.",
)
@click.option(
    "--chaos",
    metavar="SPEC",
    help="Trouble on purpose, such as 'delay=20ms jitter=10ms stall=0.01:500ms drop=0.001 halfclose=0.001 seed=7 seats=0,2'. "
    "Implies --tap.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="New directory for the run's files.  [default: runs/ID]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there.")
@click.option(
    "--events",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every event to this file, one JSON object a line.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show only the outcome.")
@click.option("-v", "--verbose", is_flag=True, help="Show every event.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def run(
    manifest: str,
    players: tuple[str, ...],
    driver: str,
    variant: str | None,
    settings: tuple[str, ...],
    images: tuple[str, ...],
    run_tokens: tuple[str, ...],
    secrets: tuple[str, ...],
    timeout: float,
    verify_replay: bool,
    no_reports: bool,
    tap: bool,
    budget: str | None,
    record: Path | None,
    chaos: str | None,
    output: Path | None,
    as_json: bool,
    events: Path | None,
    quiet: bool,
    verbose: bool,
    debug: bool,
) -> Callable[[], Outcome]:
    """Play one episode of the Coworld that MANIFEST describes.

    A PLAYER is a player id of the manifest or an image. One fills every seat; otherwise give one for each seat. Without any,
    the manifest's own players are seated.

    \b
    Examples:
      coworld-actors run coworld_manifest.json
      coworld-actors run coworld_manifest.json greedy random --variant duel --set max_ticks=50
      coworld-actors run coworld_manifest.json my-bot --image my-bot=./bot --run python --run bot.py
      coworld-actors run coworld_manifest.json my-bot --budget 55ms:320,1s:10 --record traffic.cwt
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    # `main` looks for --debug itself: most of what it is for happens after this.
    del driver, debug
    from coworld_actors.cli.play import Options, play
    from coworld_actors.cli.screen import Detail
    from coworld_actors.episode.spec import Limits

    return functools.partial(
        play,
        Options(
            manifest=manifest,
            players=players,
            variant=variant,
            overrides=settings,
            images=pairs(images, "--image", "NAME=DIR"),
            run=run_tokens,
            secret_env=_secrets(secrets),
            limits=Limits(timeout=timeout),
            verify_replay=verify_replay,
            reports=not no_reports,
            tap=_tap(budget, record, chaos) if tap or (budget, record, chaos) != (None, None, None) else None,
            output=output,
            events=events,
            detail=Detail.QUIET if quiet else Detail.VERBOSE if verbose else Detail.NORMAL,
            as_json=as_json,
        ),
    )
