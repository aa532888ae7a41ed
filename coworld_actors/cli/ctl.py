"""`coworld-actors ctl`: see and steer the runtimes that are running."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from coworld_actors.cli.exits import Exit, Outcome
from coworld_protocol.errors import Refused

__all__ = ["ctl"]

Command = TypeVar("Command", bound=Callable[..., Any])
Work = Callable[[], Outcome]

_OPTIONS = (
    click.option(
        "--runtime", "which", metavar="NAME|PID", default="", help="Only this one; a name's beginning will do."
    ),
    click.option(
        "--socket", "path", type=click.Path(path_type=Path), help="Only the runtime with this control socket."
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there."),
    click.option("--debug", is_flag=True, help="Show tracebacks."),
)


def _options(command: Command) -> Command:
    """The options that every command has."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _work(name: str, options: dict[str, Any], *arguments: Any, **more: Any) -> Work:
    """What `main` is to do for a command; imports late, so that --help stays quick."""
    from coworld_actors.cli import ctl_work

    # `main` looks for --debug itself.
    target = ctl_work.Target(which=options["which"], path=options["path"], as_json=options["as_json"])
    return functools.partial(getattr(ctl_work, name), target, *arguments, **more)


@click.group(invoke_without_command=True)
@click.pass_context
def ctl(context: click.Context) -> int:
    """See and steer the runtimes of this user that are running, through their control sockets.

    Reading commands show all of them. Those that change something need exactly one, and one episode: ids and names may be
    shortened to a beginning that no other has. Every command takes --json.

    Exit codes: 0 done, 2 usage, or an id that is unknown or means several, 3 no runtime is running or one does not answer.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
    return Exit.REFUSED


@ctl.command("list")
@_options
def list_(**options: Any) -> Work:
    """Runtimes: name, process, age, episodes, socket."""
    return _work("show_list", options)


@ctl.command()
@click.argument("prefix", default="")
@_options
def tree(prefix: str, **options: Any) -> Work:
    """Living actors and supervisors, as a tree; with PREFIX those whose path begins so."""
    return _work("show_tree", options, prefix)


@ctl.command()
@click.argument("prefix", default="")
@_options
def episodes(prefix: str, **options: Any) -> Work:
    """Episodes that run or wait; with PREFIX those whose id begins so."""
    return _work("show_episodes", options, prefix)


@ctl.command()
@_options
def statistics(**options: Any) -> Work:
    """Counters of each runtime."""
    return _work("show_statistics", options)


@ctl.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until the runtime has stopped.")
@click.option("--episode", metavar="PREFIX", default="", help="Only of episodes whose id begins so.")
@click.option("--after", metavar="SEQ", type=click.IntRange(min=0), default=0, help="Only what came after this number.")
@_options
def events(follow: bool, episode: str, after: int, **options: Any) -> Work:
    """What has happened lately, as far as it is kept.

    With --json stdout has one object a line: `record` with the record, `lost` with a count when this reader was too slow, `end`
    with the last number; and, as the last line, exit code and error.
    """
    return _work("show_events", options, follow=follow, episode=episode, after=after)


@ctl.command()
@click.option(
    "--over",
    metavar="SECONDS",
    type=click.FloatRange(min=0, max=1e9),
    default=10.0,
    show_default=True,
    help="What something may take without being named.",
)
@_options
def anomalies(over: float, **options: Any) -> Work:
    """What is still running, and for how long; and what looks wrong."""
    if math.isnan(over):
        raise Refused("--over nan is no number of seconds", todo="write --over 10")
    return _work("show_anomalies", options, over)


@ctl.command()
@click.argument("episode", metavar="ID")
@click.option("--reason", metavar="TEXT", default="called off with ctl cancel", help="For the episode's record.")
@_options
def cancel(episode: str, reason: str, **options: Any) -> Work:
    """Call an episode off, in order and without waiting for its end."""
    if not episode:
        raise Refused("an empty ID means every episode", todo="give an id, or its beginning; ctl episodes lists them")
    if not 0 < len(reason) <= 1000:
        raise Refused("--reason has 1 to 1000 characters", todo="say it in one sentence")
    return _work("cancel", options, episode, reason)


@ctl.command()
@_options
def pause(**options: Any) -> Work:
    """Begin no further episode; those that run go on."""
    return _work("pause", options)


@ctl.command()
@_options
def resume(**options: Any) -> Work:
    """Begin the episodes that wait."""
    return _work("resume", options)


@ctl.command("set")
@click.argument("setting", metavar="parallel=N")
@_options
def set_(setting: str, **options: Any) -> Work:
    """Change how many episodes run at once. Those that run are not disturbed."""
    name, _, value = setting.partition("=")
    if name != "parallel" or not (value.isascii() and value.isdigit() and 0 < len(value) < 7 and int(value)):
        raise Refused(f"{setting!r} cannot be set", todo="write parallel=N, with N an integer of at least 1")
    return _work("set_parallel", options, int(value))
