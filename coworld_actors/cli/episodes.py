"""`coworld-actors episodes`: what has been played, one of them closely, and once more."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coworld_actors.cli.exits import Exit, Outcome
from coworld_actors.cli.streams import Stream
from coworld_protocol.errors import Refused
from coworld_protocol.printable import printable

if TYPE_CHECKING:
    from coworld_actors.batch.browse import Browsed, EpisodeFilter, EpisodeView

__all__ = ["episodes"]

_STATUSES = ("good", "failed", "invalid", "infrastructure", "open")


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("episode", required=False)
@click.option("--status", type=click.Choice(_STATUSES), multiple=True, help="Only these.")
@click.option("--player", "players", metavar="NAME", multiple=True, help="Only those in which it had a seat.")
@click.option("--reason", "reasons", metavar="REASON", multiple=True, help="Only those that ended for it.")
@click.option("--variant", "variants", metavar="ID", multiple=True, help="Only those of this variant.")
@click.option("--seat-fault", is_flag=True, help="Only those in which a player ended by its own fault.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Rows of the list at most; 0 for all."
)
@click.option("--all-events", "events", is_flag=True, help="Every event of EPISODE instead of its timeline.")
@click.option("--rerun", is_flag=True, help="Play EPISODE of a batch once more: same seed, same seats, new directory.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="New directory for --rerun.  [default: runs/ID]",
)
@click.option(
    "--secret-env",
    "secrets",
    metavar="KEY[=VALUE]",
    multiple=True,
    help="Variable of the batch's players, for --rerun.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def episodes(
    directory: Path,
    episode: str | None,
    status: tuple[str, ...],
    players: tuple[str, ...],
    reasons: tuple[str, ...],
    variants: tuple[str, ...],
    seat_fault: bool,
    limit: int,
    events: bool,
    rerun: bool,
    output: Path | None,
    secrets: tuple[str, ...],
    as_json: bool,
    debug: bool,
) -> Callable[[], Outcome]:
    """List the episodes in DIRECTORY, or show one.

    DIRECTORY is a batch's, one of single runs such as runs/, or that of one episode. EPISODE is an index of the list or the
    beginning of an id.

    \b
    Examples:
      coworld-actors episodes runs/20260101-120000-0a1b2c3d --status failed
      coworld-actors episodes runs/20260101-120000-0a1b2c3d 17
      coworld-actors episodes runs/20260101-120000-0a1b2c3d 17 --rerun
      coworld-actors episodes runs --player greedy --seat-fault
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    # `main` looks for --debug itself: most of what it is for happens after this.
    del debug
    filters = any((status, players, reasons, variants, seat_fault))
    if episode is not None and filters:
        raise click.UsageError(
            "EPISODE names one episode, and the options that filter are for the list: leave them out."
        )
    if rerun and events:
        raise click.UsageError(
            "--rerun and --all-events do not go together: the new run's events are in its directory."
        )
    if not rerun and (output is not None or secrets):
        raise click.UsageError("--output and --secret-env are for --rerun.")
    from coworld_actors.batch.browse import EpisodeFilter

    wanted = EpisodeFilter(status=status, players=players, reasons=reasons, variants=variants, seat_fault=seat_fault)
    secret_env: Mapping[str, str] = {}
    if secrets:
        from coworld_actors.cli.batch_options import secret_variables

        secret_env = secret_variables(secrets)
    return functools.partial(
        _work, directory, episode, wanted, filters, limit, events, rerun, output, secret_env, as_json
    )


def _work(
    directory: Path,
    name: str | None,
    wanted: EpisodeFilter,
    filters: bool,
    limit: int,
    events: bool,
    again: bool,
    output: Path | None,
    secret_env: Mapping[str, str],
    as_json: bool,
) -> Outcome:
    from coworld_actors.batch.browse import Kind, browse, find

    browsed = browse(directory)
    if name is None and (browsed.kind is not Kind.EPISODE or filters):
        if events or again:
            raise Refused(
                f"{'--rerun' if again else '--all-events'} is for one episode",
                todo=f"name it: coworld-actors episodes {directory} INDEX",
            )
        return _list(browsed, wanted, limit, as_json)
    episode = find(browsed, name) if name is not None else browsed.episodes[0]
    if again:
        from coworld_actors.cli.episodes_again import rerun

        return rerun(browsed, episode, output=output, secret_env=secret_env, as_json=as_json)
    return _show_events(browsed, episode, as_json) if events else _show(browsed, episode, as_json)


def _list(browsed: Browsed, wanted: EpisodeFilter, limit: int, as_json: bool) -> Outcome:
    from coworld_actors.batch.browse import Kind, select
    from coworld_actors.cli.ctl_view import show
    from coworld_actors.cli.episodes_view import episode_rows, heading, left_out_line

    found = select(browsed, wanted)
    if browsed.kind is Kind.RUNS:
        # Whoever looks at runs has just made one.
        found.reverse()
    shown = found[:limit] if limit else found
    stdout = Stream(sys.stdout)
    if not as_json:
        stdout.write(f"{printable(heading(browsed))}\n")
        if shown:
            show(episode_rows(browsed, shown), stdout)
        more = left_out_line(len(shown), len(found), len(browsed.episodes))
        if more and browsed.episodes:
            stdout.write(f"{printable(more)}\n")
        for trouble in browsed.troubles:
            stdout.write(f"note: {printable(trouble)}\n")
    return _end(
        stdout,
        {
            "directory": str(browsed.directory),
            "kind": browsed.kind,
            "head": browsed.head,
            "episodes": shown,
            "found": len(found),
            "total": len(browsed.episodes),
            "troubles": browsed.troubles,
        },
    )


def _show(browsed: Browsed, episode: EpisodeView, as_json: bool) -> Outcome:
    from coworld_actors.batch.story import tell
    from coworld_actors.cli.ctl_view import show
    from coworld_actors.cli.episodes_view import seat_rows, story_end, story_head

    story = tell(browsed, episode)
    stdout = Stream(sys.stdout)
    if not as_json:
        for line in story_head(story):
            stdout.write(f"{printable(line)}\n")
        if story.episode.seats:
            show(seat_rows(story), stdout)
        for line in story_end(story, browsed, timeline=True):
            stdout.write(f"{printable(line)}\n")
    return _end(stdout, {"directory": str(browsed.directory), "kind": browsed.kind, "story": story})


def _show_events(browsed: Browsed, episode: EpisodeView, as_json: bool) -> Outcome:
    """Every event: a line each, as JSON or as `run --verbose` has it."""
    from coworld_actors.batch.story import event_records
    from coworld_actors.cli.ctl_view import event_line

    path = browsed.path(episode)
    if path is None or not path.is_dir():
        raise Refused(
            f"episode {episode.index} has no files",
            evidence=f"its directory was {episode.directory}" if episode.directory else "it left none",
            todo="batches with --keep failed keep the files of failed episodes only",
        )
    stdout = Stream(sys.stdout)
    shown, trouble = 0, ""
    for record in event_records(path):
        if isinstance(record, str):
            trouble = record
        elif as_json:
            stdout.write_utf8(record)
            shown += 1
        else:
            try:
                stdout.write(f"{event_line(record)}\n")
                shown += 1
            except ValueError as error:
                stdout.write(f"{printable(str(error))}\n")
        if stdout.failure is not None:
            break
    if trouble and not as_json:
        stdout.write(f"note: {printable(trouble)}\n")
    return _end(stdout, {"episode": episode, "events": shown, "trouble": trouble}, lines=True)


def _end(stdout: Stream, fields: Mapping[str, object], *, lines: bool = False) -> Outcome:
    stdout.flush()
    error = stdout.trouble("stdout")
    return Outcome(exit_code=Exit.GOOD if error is None else error.exit_code, error=error, fields=fields, lines=lines)
