"""The options of every command that plays: declared once, read once."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from coworld_actors.runtime.place import DRIVERS, Place
from coworld_drivers.driver import Pull
from coworld_protocol.contract import RUNTIME_VARIABLES
from coworld_protocol.errors import Refused

if TYPE_CHECKING:
    from coworld_actors.episode.spec import TapSpec

__all__ = [
    "BATCH_ONLY",
    "amount_options",
    "batch_options",
    "given",
    "handling_options",
    "output_options",
    "pairs",
    "place_of",
    "player_access",
    "resume_option",
    "secret_variables",
    "tap_spec",
    "world_options",
]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

if TYPE_CHECKING:
    _ParallelType = click.ParamType[int | None]
else:
    # Older versions of click cannot say what a type converts to.
    _ParallelType = click.ParamType

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Seconds(click.FloatRange):
    """A time that ends: `nan` and `inf` are floats, but no clock can keep them."""

    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a {self.name}.", param, ctx)
        return seconds


class _Parallel(_ParallelType):
    """`auto`, or a number of episodes."""

    name = "number of episodes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or isinstance(value, int):
            return value
        if value == "auto":
            return None
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither auto nor a number of episodes from 1 on.", param, ctx)
        return number


def _all(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Several decorators as one, shown in the help in this order."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def place_of(values: Mapping[str, Any], *, outside: bool) -> Place:
    """Where roles run, as said.

    Args:
        values: of the options.
        outside: whether players need more of the network than their game.

    Raises:
        Refused: what does not go together.
    """
    return Place(driver=values["driver"], trust=values["trust"], outside=outside, pull=Pull(values["pull"]))


def world_options(command: _Command) -> _Command:
    """What is played and how an episode is watched."""
    return _all(
        click.option(
            "--driver",
            type=click.Choice(DRIVERS),
            default="process",
            show_default=True,
            help="Where roles run: local processes, containers, or tasks in this process for games and players on the SDK.",
        ),
        click.option(
            "--trust",
            is_flag=True,
            help="Containers run as their image's user, with its capabilities, a writable root and the network outside.",
        ),
        click.option(
            "--pull",
            type=click.Choice([each.value for each in Pull]),
            default=Pull.MISSING.value,
            show_default=True,
            help="When a registry is asked for an image.",
        ),
        click.option(
            "--variant",
            "variants",
            metavar="ID",
            multiple=True,
            help="Variant of the manifest; without it the certification fixture is played. Several make a batch.",
        ),
        click.option(
            "--set",
            "overrides",
            metavar="KEY=JSON",
            multiple=True,
            help="Change the game's configuration; KEY may be dotted.",
        ),
        click.option(
            "--image", "images", metavar="NAME=DIR", multiple=True, help="Directory that holds an image's files."
        ),
        click.option(
            "--run",
            "run_tokens",
            metavar="TOKEN",
            multiple=True,
            help="Command of the given PLAYERs, one token per option.",
        ),
        click.option(
            "--secret-env",
            "secrets",
            metavar="KEY[=VALUE]",
            multiple=True,
            help="Variable for the players, shown nowhere.",
        ),
        click.option(
            "--use-bedrock",
            is_flag=True,
            help="Give the players the credentials of the `aws` program, and the network that they need.",
        ),
        click.option("--aws-profile", metavar="NAME", help="Whose credentials --use-bedrock takes."),
        click.option(
            "--aws-region", metavar="NAME", help="Region of --use-bedrock.  [default: AWS_REGION, or the profile's]"
        ),
        click.option(
            "--use-llm",
            is_flag=True,
            help="Give the players COWORLD_LLM_ENDPOINT or else OPENROUTER_API_KEY, and COWORLD_LLM_MODEL, of this environment, "
            "and the network that they need.",
        ),
        click.option(
            "--compat",
            type=click.Choice(["current", "auto"]),
            default="current",
            show_default=True,
            help="auto also plays games of the contract's versions up to 0.1.7, by their old names.",
        ),
        click.option(
            "--timeout",
            metavar="SECONDS",
            type=_Seconds(min=0, min_open=True),
            default=3600.0,
            show_default=True,
            help="Until the game has to have ended.",
        ),
        click.option("--verify-replay", is_flag=True, help="Load the replay into the game again."),
        click.option(
            "--reports/--no-reports",
            default=None,
            help="Let reporters and graders work on what a good episode left.  [default: for a single episode, not in batches]",
        ),
        click.option("--tap", is_flag=True, help="Stand between players and game and measure how long players take."),
        click.option(
            "--budget",
            metavar="LIMIT:TIMES,...",
            help="How often an answer may take longer, such as 55ms:320,1s:10; exceeded ends with 6. Implies --tap.",
        ),
        click.option(
            "--record",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Keep all traffic of the players in this new file; see `coworld-actors traffic`. In a batch a plain name: "
            "there is one in the directory of every episode. Implies --tap.",
        ),
        click.option(
            "--chaos",
            metavar="SPEC",
            help="Trouble on purpose, such as "
            "'delay=20ms jitter=10ms stall=0.01:500ms drop=0.001 halfclose=0.001 seed=7 seats=0,2'. Implies --tap.",
        ),
    )(command)


def amount_options(command: _Command) -> _Command:
    """How much is played."""
    return _all(
        click.option(
            "-n",
            "--episodes",
            "number",
            metavar="N",
            type=click.IntRange(min=1),
            help="Play N episodes of each variant.",
        ),
        click.option(
            "--blocks",
            metavar="B",
            type=click.IntRange(min=1),
            help="Play B blocks: every seed once with each seating, analysed together.",
        ),
    )(command)


def batch_options(command: _Command) -> _Command:
    """What else decides what a batch plays."""
    return _all(
        click.option(
            "--seating",
            type=click.Choice(["shuffle", "rotate", "fixed"]),
            default="rotate",
            show_default=True,
            help="Who sits where: one seat further every time, by lot, or as given.",
        ),
        click.option(
            "--seed",
            metavar="S",
            type=click.IntRange(min=0),
            default=42,
            show_default=True,
            help="Of the first round; every round has the next one.",
        ),
        click.option(
            "--seed-key", metavar="KEY", help="Where the game's configuration takes it.  [default: found by name]"
        ),
        click.option(
            "--pin",
            "pins",
            metavar="KEY=VALUE",
            multiple=True,
            help="A declared key of the game's configuration that stays the same in every episode, such as a map's seed.",
        ),
        click.option(
            "--score-direction",
            type=click.Choice(["higher", "lower"]),
            default="higher",
            show_default=True,
            help="Which score is the better one.",
        ),
    )(command)


def handling_options(command: _Command) -> _Command:
    """How a batch is played; may be another way when it is taken up again."""
    return _all(
        click.option(
            "--parallel",
            metavar="P|auto",
            type=_Parallel(),
            default=None,
            help="Episodes at once.  [default: auto, what the machine can take]",
        ),
        click.option(
            "--warm",
            type=click.Choice(["auto", "off"]),
            default="auto",
            show_default=True,
            help="Fork roles from a process that has already imported what they need.",
        ),
        click.option(
            "--workers",
            metavar="W",
            type=click.IntRange(min=1),
            help="Processes for the episodes of --driver inproc.  [default: one per core]",
        ),
        click.option(
            "--retries",
            metavar="R",
            type=click.IntRange(min=0),
            default=2,
            show_default=True,
            help="Times that an episode is played again which the machine has spoilt.",
        ),
        click.option(
            "--max-failures",
            metavar="K",
            type=click.IntRange(min=0),
            help="End early once more than K episodes have failed.",
        ),
        click.option(
            "--keep",
            type=click.Choice(["all", "failed"]),
            default="all",
            show_default=True,
            help="Whose files stay; every episode's line does.",
        ),
        click.option(
            "--on-interrupt",
            type=click.Choice(["cancel", "finish"]),
            default="cancel",
            show_default=True,
            help="What a first Ctrl-C does to running episodes.",
        ),
    )(command)


def resume_option(command: _Command) -> _Command:
    """Taking up a batch again."""
    return click.option(
        "--resume",
        metavar="DIR",
        type=click.Path(file_okay=True, path_type=Path),
        help="Go on with the batch in this directory; nothing is played twice.",
    )(command)


def output_options(command: _Command) -> _Command:
    """Where it goes and what is shown."""
    return _all(
        click.option(
            "--output",
            type=click.Path(file_okay=False, path_type=Path),
            help="New directory for the run's files.  [default: runs/ID]",
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there."),
        click.option(
            "--events",
            type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
            help="Write every event to this file, one JSON object a line; - for stdout.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="Show only the outcome."),
        click.option("-v", "--verbose", is_flag=True, help="Show every event."),
        click.option("--debug", is_flag=True, help="Show tracebacks."),
    )(command)


BATCH_ONLY: Mapping[str, str] = {
    "seating": "--seating",
    "seed": "--seed",
    "seed_key": "--seed-key",
    "pins": "--pin",
    "score_direction": "--score-direction",
    "round_robin": "--round-robin",
    "parallel": "--parallel",
    "warm": "--warm",
    "workers": "--workers",
    "retries": "--retries",
    "max_failures": "--max-failures",
    "keep": "--keep",
    "on_interrupt": "--on-interrupt",
}
"""Options that a single episode has no use for, by parameter."""


def given(context: click.Context) -> frozenset[str]:
    """Names of the parameters that the command line itself has; the others have their defaults."""
    said = {click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.ENVIRONMENT}
    # An argument that may be left out counts as said even when it was not.
    return frozenset(
        name for name, value in context.params.items() if context.get_parameter_source(name) in said and value != ()
    )


def pairs(values: tuple[str, ...], option: str, form: str) -> dict[str, str]:
    """Options of the form `NAME=...` as a mapping."""
    found: dict[str, str] = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name or not text:
            raise Refused(f"{option} {value!r} is not of the form {form}", todo=f"write {option} {form}")
        found[name] = text
    return found


def secret_variables(values: tuple[str, ...]) -> dict[str, str]:
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


class PlayerAccess(NamedTuple):
    """What players are given beside their seat.

    Attributes:
        secret_env: variables that are shown nowhere.
        outside: whether they need more of the network than their game.
    """

    secret_env: Mapping[str, str]
    outside: bool


def player_access(values: Mapping[str, Any]) -> PlayerAccess:
    """What --secret-env, --use-bedrock and --use-llm give the players; what is said one by one counts more.

    Args:
        values: of the command's options, by parameter.

    Raises:
        Refused: names that are none, or options that do not go together.
        PreconditionMissing: this machine has nothing to reach the provider with.
    """
    secrets = secret_variables(values["secrets"])
    names = ("use_bedrock", "aws_profile", "aws_region", "use_llm")
    if all(values[name] in {None, False} for name in names):
        return PlayerAccess(secrets, outside=False)
    import trio

    from coworld_actors.runtime.provider_secrets import ProviderAccess, provider_secrets

    bedrock, profile, region, llm = (values[name] for name in names)
    access = ProviderAccess(bedrock=bedrock, profile=profile, region=region, llm=llm)
    return PlayerAccess({**trio.run(provider_secrets, access), **secrets}, outside=access.outside)


def tap_spec(*, tap: bool, budget: str | None, record: Path | None, chaos: str | None) -> TapSpec | None:
    """How the traffic is watched; None for not at all.

    Raises:
        Refused: a budget or chaos that cannot be read.
    """
    if not tap and (budget, record, chaos) == (None, None, None):
        return None
    from coworld_actors.episode.spec import TapSpec

    return TapSpec.parse(budget=budget, recording=record, chaos=chaos)
