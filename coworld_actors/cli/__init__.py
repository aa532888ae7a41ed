"""The command line: one file per command, no logic that a library caller would miss."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence

import click

from coworld_actors.cli.bench import bench
from coworld_actors.cli.build import build
from coworld_actors.cli.compare import compare
from coworld_actors.cli.ctl import ctl
from coworld_actors.cli.doctor import doctor
from coworld_actors.cli.episodes import episodes
from coworld_actors.cli.exits import Exit, Interrupted, Outcome, answer, handling
from coworld_actors.cli.gc import gc
from coworld_actors.cli.init import init
from coworld_actors.cli.pickup import pickup
from coworld_actors.cli.play import play
from coworld_actors.cli.replay import replay
from coworld_actors.cli.run import run, scrimmage
from coworld_actors.cli.streams import Stream
from coworld_actors.cli.traffic import traffic
from coworld_protocol.errors import CoworldError, InternalFault, Refused, alone, leaves
from coworld_protocol.printable import printable

__all__ = ["main"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False, invoke_without_command=True
)
@click.version_option(package_name="coworld-actors")
@click.pass_context
def cli(context: click.Context) -> int:
    """Run Coworlds: games, players, reporters and graders as supervised actors.

    Exit codes: 0 all episodes good, 1 some failed, 2 usage or a refused manifest, 3 a precondition is missing or the machine
    failed, 4 our own fault, 5 nothing to run, 6 a gate failed, 130/143 interrupted after an orderly stop.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
    return Exit.REFUSED


cli.add_command(bench)
cli.add_command(build)
cli.add_command(compare)
cli.add_command(ctl)
cli.add_command(doctor)
cli.add_command(episodes)
cli.add_command(gc)
cli.add_command(init)
cli.add_command(pickup)
cli.add_command(play)
cli.add_command(replay)
cli.add_command(run)
cli.add_command(scrimmage)
cli.add_command(traffic)


class _Terminated(BaseException):
    """SIGTERM while nothing is running yet, or any more, that could be stopped in order."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; always ends with one of the documented exit codes.

    Every end passes here, whatever its cause, so `--json` has its one document in each of them.
    """
    words = sys.argv[1:] if arguments is None else arguments
    with handling(signal.SIGTERM, _raise_terminated):
        try:
            outcome = _work(words)
        except (Exception, BaseExceptionGroup, KeyboardInterrupt, _Terminated) as error:  # noqa: BLE001 - the last line of defence
            if _has_flag(words, "--debug"):
                _show_traceback(error)
            outcome = _outcome_of(error)
    # There is nothing left to stop: a signal ends the process at once, rather than a second time in words.
    with handling(signal.SIGINT, signal.SIG_DFL):
        code = answer(outcome, as_json=_has_flag(words, "--json"))
    sys.exit(code)


def _work(words: list[str]) -> Outcome:
    """Read the command line, then do what it says.

    A command that takes its time returns its work instead of doing it: click would make exit code 1 of any broken pipe in it.
    """
    returned = cli.main(args=words, prog_name="coworld-actors", standalone_mode=False)
    if callable(returned):
        returned = returned()
    if isinstance(returned, Outcome):
        return returned
    return Outcome(exit_code=returned if isinstance(returned, int) else Exit.GOOD)


def _outcome_of(error: BaseException) -> Outcome:
    """What a command that raised ends with; a defect of ours is one line and code 4."""
    match alone(error):
        case _Terminated():
            failure: CoworldError = Interrupted("stopped by SIGTERM before there was an outcome")
            return Outcome(exit_code=Exit.TERMINATED, error=failure)
        case KeyboardInterrupt() | click.Abort():
            failure = Interrupted("stopped by SIGINT before there was an outcome")
        case click.ClickException() as refused:
            context = refused.ctx if isinstance(refused, click.UsageError) else None
            command = context.command_path if context is not None else "coworld-actors"
            failure = Refused(refused.format_message(), todo=f"{command} --help says what can be given")
        case CoworldError() as known:
            failure = known
        case defect:
            failure = InternalFault(
                f"internal error: {type(defect).__name__}: {defect}",
                evidence="; ".join(f"{type(each).__name__}: {each}" for each in leaves(defect))
                if isinstance(defect, BaseExceptionGroup)
                else "",
                todo="run the same command with --debug and report what it prints",
            )
    return Outcome(exit_code=failure.exit_code, error=failure)


def _show_traceback(error: BaseException) -> None:
    stderr = Stream(sys.stderr)
    for line in "".join(traceback.format_exception(error)).splitlines():
        stderr.write(f"{printable(line)}\n")
    stderr.flush()


def _has_flag(words: Sequence[str], flag: str) -> bool:
    """Whether a flag is given, also on a command line that click refuses to read; an option's value is no flag."""
    with_value = {
        name
        for option in _command_of(words).params
        if isinstance(option, click.Option) and not option.is_flag
        for name in option.opts
    }
    rest = iter(words)
    for word in rest:
        if word == "--":
            return False
        if word == flag:
            return True
        if word in with_value:
            next(rest, None)
    return False


def _raise_terminated(*_: object) -> None:
    raise _Terminated


def _command_of(words: Sequence[str]) -> click.Command:
    """The command that is named: its options are the ones whose values are none."""
    command: click.Command = cli
    for word in words:
        if isinstance(command, click.Group):
            command = command.commands.get(word, command)
    return command
