"""`coworld-actors init`: the first files of a game or a player."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from coworld_actors.cli.exits import Exit, Outcome
from coworld_actors.cli.streams import Stream
from coworld_protocol.printable import printable

if TYPE_CHECKING:
    from coworld_actors.package.scaffold import Begun

__all__ = ["init"]

_PATH = click.Path(path_type=Path)
_NAME = click.option("--name", metavar="NAME", help="What it is called; otherwise as DIR.")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there.")
_DEBUG = click.option("--debug", is_flag=True, help="Show tracebacks.")


@click.group(invoke_without_command=True)
@click.pass_context
def init(context: click.Context) -> int:
    """Begin a game or a player: a small complete one that plays at once, to be changed into another.

    DIR is new or empty; nothing is ever overwritten.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
    return Exit.REFUSED


@init.command()
@click.argument("directory", metavar="DIR", type=_PATH)
@_NAME
@_JSON
@_DEBUG
def game(directory: Path, name: str | None, as_json: bool, debug: bool) -> Callable[[], Outcome]:
    """A game with rules in one class, two players, pages for people, a manifest, a Dockerfile and tests.

    \b
    Example:
      coworld-actors init game berry-race
      coworld-actors run berry-race/coworld_manifest.json
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    del debug

    def work() -> Outcome:
        from coworld_actors.package.scaffold import init_game

        return _end(init_game(directory, name), as_json)

    return work


@init.command()
@click.argument("directory", metavar="DIR", type=_PATH)
@click.option("--manifest", metavar="MANIFEST", help="The game to play, by path or address; otherwise Orchard.")
@_NAME
@_JSON
@_DEBUG
def player(
    directory: Path, manifest: str | None, name: str | None, as_json: bool, debug: bool
) -> Callable[[], Outcome]:
    """A player in one file, with a Dockerfile and a test.

    It plays Orchard. For the game of another manifest it listens, shows what the game says and has the places for an answer;
    the game's own description of its messages is put beside it.

    \b
    Examples:
      coworld-actors init player my-bot
      coworld-actors init player my-bot --manifest berry-race/coworld_manifest.json
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    del debug

    def work() -> Outcome:
        from coworld_actors.package.scaffold import init_player

        return _end(init_player(directory, name, manifest), as_json)

    return work


def _end(begun: Begun, as_json: bool) -> Outcome:
    if not as_json:
        stdout = Stream(sys.stdout)
        stdout.write(printable(f"{begun.directory} has {len(begun.files)} files; begin with its README.md") + "\n")
        for command in begun.commands:
            stdout.write(f"  {printable(command)}\n")
        stdout.flush()
    return Outcome(exit_code=Exit.GOOD, fields=msgspec.to_builtins(begun))
