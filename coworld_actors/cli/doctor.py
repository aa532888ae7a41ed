"""`coworld-actors doctor`: whether this machine can play, and what to do where it cannot."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from coworld_actors.cli.exits import Exit, Outcome
from coworld_actors.cli.streams import Stream
from coworld_actors.runtime.place import DRIVERS
from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.printable import printable

if TYPE_CHECKING:
    from coworld_actors.doctor.finding import Finding

__all__ = ["doctor"]

_NAME_WIDTH = 18


@click.command()
@click.option(
    "--driver",
    "drivers",
    type=click.Choice(DRIVERS),
    multiple=True,
    help="What has to work; may be given several times. What only others need is a warning at most.  [default: process]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def doctor(drivers: tuple[str, ...], as_json: bool, debug: bool) -> Callable[[], Outcome]:
    """Look at everything that playing needs: Python, processes, room, disk, docker, kubectl, what was left behind.

    Each line begins with ok, warn or fail; the line below says what to do. Nothing is changed. Ends with 0 when nothing failed,
    with 3 when something did.
    """
    # `main` looks for --debug itself.
    del debug
    return functools.partial(_look, frozenset(drivers or ("process",)), as_json)


def _look(drivers: frozenset[str], as_json: bool) -> Outcome:
    import trio

    from coworld_actors.doctor.checkup import examine, worst
    from coworld_actors.doctor.finding import Status, Surroundings
    from coworld_actors.doctor.standard import CHECKS

    stdout = Stream(sys.stdout)

    def show(finding: Finding) -> None:
        stdout.write(f"{finding.status.value:4}  {finding.name:{_NAME_WIDTH}}{printable(finding.text)}\n")
        if finding.todo:
            stdout.write(f"{'':{6 + _NAME_WIDTH}}try: {printable(finding.todo)}\n")
        stdout.flush()

    surroundings = Surroundings(drivers=drivers)
    look = functools.partial(examine, CHECKS, surroundings, tell=(lambda _: None) if as_json else show)
    findings = trio.run(look)
    counts = {status: sum(finding.status is status for finding in findings) for status in Status}
    status = worst(findings)
    if not as_json:
        stdout.write(", ".join(f"{count} {each.value}" for each, count in counts.items()) + "\n")
        stdout.flush()
    error = stdout.trouble("stdout")
    if error is None and status is Status.FAIL:
        failed = [finding.name for finding in findings if finding.status is Status.FAIL]
        error = PreconditionMissing(
            f"{', '.join(failed)}: without {'this' if len(failed) == 1 else 'these'} nothing can be played "
            f"with --driver {' and '.join(sorted(drivers))}",
            todo="do what the lines that begin with fail advise, then run doctor again",
        )
    fields = {"status": status, "drivers": sorted(drivers), "findings": findings}
    return Outcome(exit_code=Exit.GOOD if error is None else error.exit_code, error=error, fields=fields)
