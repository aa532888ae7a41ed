"""`coworld-actors bench players`: who answers how fast."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coworld_actors.cli.exits import Exit, Outcome, complain
from coworld_actors.cli.streams import Stream
from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

    from coworld_actors.traffic.latency import Latency
    from coworld_bench.players import Interval, PlayersReport

__all__ = ["players"]

_WIDTH = 110
"""Columns of the table where no terminal has any."""


@click.command()
@click.argument("manifest")
@click.argument("names", metavar="[PLAYER]...", nargs=-1)
@click.option(
    "--episodes",
    type=click.IntRange(1, 10_000),
    default=5,
    show_default=True,
    metavar="N",
    help="Episodes of each player.",
)
@click.option(
    "--variant", metavar="ID", help="Variant of the manifest; without it the certification fixture is played."
)
@click.option(
    "--set", "settings", metavar="KEY=JSON", multiple=True, help="Change the game's configuration; KEY may be dotted."
)
@click.option("--image", "images", metavar="NAME=DIR", multiple=True, help="Directory that holds an image's files.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write table and curves to this file, one page that needs no other.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say how each episode went.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def players(
    manifest: str,
    names: tuple[str, ...],
    episodes: int,
    variant: str | None,
    settings: tuple[str, ...],
    images: tuple[str, ...],
    html: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> Callable[[], Outcome]:
    """Measure how long each PLAYER of a Coworld takes to answer, side by side.

    A PLAYER is a player id of the manifest or an image; without any, every player of the manifest is measured. Each plays its episodes
    in all seats, through the tap, and the players take turns.

    \b
    Examples:
      coworld-actors bench players coworld_manifest.json
      coworld-actors bench players coworld_manifest.json greedy my-bot:1 --episodes 20 --html players.html
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    del debug
    return functools.partial(_measure, manifest, names, episodes, variant, settings, images, html, as_json, quiet)


def _measure(
    manifest: str,
    names: tuple[str, ...],
    episodes: int,
    variant: str | None,
    settings: tuple[str, ...],
    images: tuple[str, ...],
    html: Path | None,
    as_json: bool,
    quiet: bool,
) -> Outcome:
    import trio

    from coworld_actors.cli.batch_options import pairs
    from coworld_actors.manifest.load import load_manifest
    from coworld_actors.manifest.seats import build_plan
    from coworld_bench.players import measure
    from coworld_drivers.images import load_images
    from coworld_drivers.process import ProcessDriver

    loaded = load_manifest(manifest)
    known = load_images(loaded.directory, pairs(images, "--image", "NAME=DIR"))
    plans = [
        (name, build_plan(loaded, players=(name,), variant=variant, overrides=settings, known_images=known.names()))
        for name in dict.fromkeys(names or (entry.id for entry in loaded.manifest.player))
    ]
    stderr = Stream(sys.stderr)

    def note(text: str) -> None:
        stderr.write(f"{printable(text)}\n")
        stderr.flush()

    if html is not None:
        # Before an hour of episodes rather than after it.
        _write(html, "")
    report = trio.run(
        functools.partial(
            measure, plans, ProcessDriver(known, log=note), episodes, progress=(lambda _: None) if quiet else note
        )
    )
    if html is not None:
        from coworld_bench.players_page import page

        _write(html, page(report))
    if not as_json:
        _print(report)
    for player in report.players:
        if player.failed:
            count = f"{player.failed} of {player.failed + player.episodes} episodes of {player.player} do not count"
            complain([f"{count}: {player.trouble}", "try: play one with `coworld-actors run` and look at its files"])
        elif player.faults:
            seats = "1 seat" if player.faults == 1 else f"{player.faults} seats"
            complain(
                [
                    f"{player.player} ended in {seats} by its own fault: {player.trouble}",
                    "try: look at its log in a `run`",
                ]
            )
    return Outcome(exit_code=_exit_code(report), fields={"report": report})


def _exit_code(report: PlayersReport) -> int:
    if report.interrupted is not None:
        return 128 + report.interrupted
    return Exit.FAILED if any(player.failed or player.faults for player in report.players) else Exit.GOOD


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PreconditionMissing(
            f"--html {file} cannot be written: {error.strerror}", todo="name a file in a directory that can be written"
        ) from error


def _print(report: PlayersReport) -> None:
    from rich.console import Console
    from rich.text import Text

    stdout = Stream(sys.stdout)
    console = Console(file=stdout.file, highlight=False, width=None if stdout.isatty() else _WIDTH)
    title = f"{report.coworld}  {report.variant}  each player in every seat"
    answers = [(player.player, player.episodes, player.answers, player.intervals) for player in report.players]
    console.print(_table(title, "answers", answers))
    if report.corrects():
        ticks = [(one.player, one.episodes, one.corrected, one.corrected_intervals) for one in report.players]
        console.print(
            _table("corrected: every tick counts, missed ones included; - where no pace was seen", "ticks", ticks)
        )
    for player in report.players:
        if player.note:
            console.print(Text(printable(f"{player.player}: {player.note}")), soft_wrap=True)
    ran = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    console.print(Text(printable(f"in brackets: 95 % intervals from resampling episodes; {ran}")), soft_wrap=True)
    stdout.flush()


def _table(title: str, counted: str, players: Sequence[tuple[str, int, Latency | None, Sequence[Interval]]]) -> Table:
    """One series of every player: its name, its episodes, the series and its quantiles. A table never mixes two series."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from coworld_actors.traffic.report import seconds_text, span_text
    from coworld_bench.players import QUANTILES

    table = Table(title=Text(printable(title)), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("player")
    for name in ("episodes", counted, *("longest" if share == 1 else f"p{share * 100:g}" for share in QUANTILES)):
        table.add_column(name, justify="right", no_wrap=True)
    for name, episodes, series, intervals in players:
        cells: list[str] = []
        for interval in intervals:
            around = ""
            if interval.low is not None and interval.high is not None:
                around = f"\n[{span_text(interval.low, interval.high)}]"
            cells.append(f"{seconds_text(interval.value)}{around}")
        count = "-" if series is None else str(series.count)
        row = [str(episodes), count, *(cells or ["-"] * len(QUANTILES))]
        table.add_row(Text(printable(name)), *map(Text, row))
    return table
