"""`coworld-actors replay`: look at a game that has been played."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import click

from coworld_actors.cli.batch_options import pairs
from coworld_actors.cli.exits import Outcome
from coworld_actors.episode.dialect import Compat
from coworld_drivers.driver import Pull

__all__ = ["replay"]


@click.command()
@click.argument("source", metavar="FILE|RUN_DIR")
@click.option(
    "--manifest",
    metavar="MANIFEST",
    help="Of the game; a FILE needs it.  [default: what the run of RUN_DIR was played from]",
)
@click.option(
    "--verify", "--verify-replay", "verify", is_flag=True, help="Only see whether it loads, and exit with 0 or 1."
)
@click.option(
    "--open/--no-open",
    "browser",
    default=None,
    help="Open the page in a browser.  [default: on a terminal with a screen]",
)
@click.option(
    "--driver",
    type=click.Choice(["process", "docker"]),
    help="Where the game runs.  [default: where the episode was played, else process]",
)
@click.option("--trust", is_flag=True, help="As for `run`: the container is kept from the machine by little.")
@click.option(
    "--pull",
    type=click.Choice([each.value for each in Pull]),
    default=Pull.MISSING.value,
    show_default=True,
    help="When a registry is asked for the game's image.",
)
@click.option(
    "--compat",
    type=click.Choice([each.value for each in Compat]),
    default=Compat.CURRENT.value,
    show_default=True,
    help="Generations of games: with auto also those that know the older names only.",
)
@click.option("--image", "images", metavar="NAME=DIR", multiple=True, help="Directory that holds an image's files.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there.")
@click.option("-q", "--quiet", is_flag=True, help="Show only the page's address.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def replay(
    source: str,
    manifest: str | None,
    verify: bool,
    browser: bool | None,
    driver: str | None,
    trust: bool,
    pull: str,
    compat: str,
    images: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> Callable[[], Outcome]:
    """Show a replay: its game is started again with nothing else to see, and its page is opened. Ctrl-C ends it.

    A run's directory names its replay and its manifest; a FILE does not. It may be a file:// or http(s):// address; what ends in .z or .gz is
    unpacked.

    \b
    Examples:
      coworld-actors replay runs/latest
      coworld-actors replay old.replay.gz --manifest coworld_manifest.json
      coworld-actors replay runs/latest --verify
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    from coworld_actors.cli.replay_show import ReplayOptions, show_replay
    from coworld_actors.cli.screen import Detail

    del debug
    return functools.partial(
        show_replay,
        ReplayOptions(
            source=source,
            manifest=manifest,
            verify=verify,
            browser=browser,
            driver=driver,
            trust=trust,
            pull=Pull(pull),
            compat=Compat(compat),
            images={name: str(Path(text)) for name, text in pairs(images, "--image", "NAME=DIR").items()},
            detail=Detail.QUIET if quiet else Detail.NORMAL,
            as_json=as_json,
        ),
    )
