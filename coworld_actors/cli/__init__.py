"""The command line: one file per command, no logic that a library caller would miss."""

from __future__ import annotations

import sys
import traceback

import click

from coworld_actors.cli.exits import Exit, complain
from coworld_actors.cli.run import run
from coworld_protocol.errors import CoworldError

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="coworld-actors")
def cli() -> None:
    """Run Coworlds: games, players, reporters and graders as supervised actors.

    Exit codes: 0 all episodes good, 1 some failed, 2 usage or a refused manifest, 3 a precondition is missing, 4 our own
    fault, 5 nothing to run, 6 a gate failed, 130/143 interrupted after an orderly stop.
    """


cli.add_command(run)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; always ends with one of the documented exit codes."""
    try:
        code = cli.main(args=arguments, prog_name="coworld-actors", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        code = Exit.REFUSED
    except click.ClickException as error:
        error.show()
        code = Exit.REFUSED
    except (click.Abort, KeyboardInterrupt):
        code = Exit.INTERRUPTED
    except CoworldError as error:
        complain(error.lines())
        code = error.exit_code
    except Exception as error:  # noqa: BLE001 - the last line of defence; a defect of ours ends as one line and code 4
        if "--debug" in (arguments if arguments is not None else sys.argv):
            traceback.print_exc()
        complain(
            [
                f"internal error: {type(error).__name__}: {error}",
                "try: run the same command with --debug and report what it prints",
            ]
        )
        code = Exit.INTERNAL
    sys.exit(code if isinstance(code, int) else Exit.GOOD)
