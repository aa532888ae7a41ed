"""Behind `run -n`, `compare` and `pickup`: a new batch or an old one, played, summed up and shown."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping
from pathlib import Path

import click
import trio

from coworld_actors.batch.conclusion import conclude, write_down
from coworld_actors.batch.events import BatchEvent
from coworld_actors.batch.options import BatchOptions, Keep
from coworld_actors.batch.preparation import Prepared, check_machine, prepare_batch
from coworld_actors.batch.session import find_room
from coworld_actors.batch.store import BatchStore, read_batch
from coworld_actors.cli.batch_outcome import exit_code_of, show
from coworld_actors.cli.batch_play import play_under_signals
from coworld_actors.cli.batch_progress import BatchProgress
from coworld_actors.cli.batch_records import BatchRecords, refuse_taken
from coworld_actors.cli.batch_request import BatchRequest
from coworld_actors.cli.batch_screen import BatchScreen
from coworld_actors.cli.exits import Outcome, worse
from coworld_actors.cli.single import link_latest, refuse_undecodable
from coworld_protocol.errors import Refused

__all__ = ["play_batch"]


def play_batch(request: BatchRequest) -> Outcome:
    """Play a batch as asked and show how it went.

    Raises:
        CoworldError: nothing was played.
    """
    refuse_undecodable({"--output": request.output, "--events": request.events, "--resume": request.resume})
    options = _options(request)
    secrets = _secrets(request, options)
    prepared = prepare_batch(options)
    tell_user = functools.partial(click.echo, err=True)
    trio.run(functools.partial(check_machine, pull=request.handling.pull, note=tell_user), prepared, secrets)
    there = find_room(prepared, request.handling)
    if options.budget is not None and request.handling.keep is Keep.FAILED:
        raise Refused(
            "--budget and --keep failed do not go together",
            evidence="the budget's verdict on a good episode is among its files",
            todo="leave one of them out",
        )
    if request.events is not None:
        refuse_taken(request.events)
    screen = BatchScreen(request.detail, off_stdout=request.as_json or request.streams)
    for warning in (*prepared.loaded.warnings, *there.notes):
        screen.note(f"warning: {warning}")
    for note in prepared.plans.notes:
        screen.note(f"note: {note}")
    with contextlib.ExitStack() as stack:
        # The directory first: a batch that may not be played leaves no empty file behind.
        store = stack.enter_context(_store(request, prepared))
        records = None if request.events is None else stack.enter_context(BatchRecords(request.events))
        progress = BatchProgress(prepared.schedule, store.lines.values())

        def tell(event: BatchEvent) -> None:
            progress.take(event)
            if prepared.comparison is not None:
                progress.remark = prepared.comparison.remark
            screen.tell(event)
            if records is not None:
                records.tell(event)

        with screen.follow(progress, f"{prepared.title}  {store.directory}"):
            play = functools.partial(play_under_signals, as_json=request.as_json)
            played = trio.run(play, prepared, store, request.handling, there, screen, tell, secrets)
        found = conclude(prepared, store, stopped=played.end.stopped)
        unwritten = write_down(prepared, store, found)
        code = exit_code_of(found, played)
        show(screen, prepared, found)
        error = played.end.error or unwritten or screen.trouble or (None if records is None else records.trouble)
        code = worse(code, error) if error is not None else code
        if records is not None:
            records.done(code, directory=str(store.directory))
        return Outcome(exit_code=code, error=error, fields=found.fields(), lines=request.streams)


def _options(request: BatchRequest) -> BatchOptions:
    if request.resume is None:
        return request.options()
    if not request.resume.is_dir():
        raise Refused(
            f"--resume {request.resume} is no directory of a batch",
            todo="name the directory that the batch was told to use, such as runs/latest",
        )
    head, _ = read_batch(request.resume)
    return request.resumed(head.options)


def _secrets(request: BatchRequest, options: BatchOptions) -> Mapping[str, str]:
    """A batch that is taken up again needs its secrets again: they were kept nowhere."""
    found = dict(request.secret_env)
    for name in options.secrets:
        if name not in found:
            if name not in os.environ:
                raise Refused(
                    f"the batch was begun with --secret-env {name}, whose value was not kept",
                    todo=f"export {name} first, or write --secret-env {name}=VALUE",
                )
            found[name] = os.environ[name]
    return found


def _store(request: BatchRequest, prepared: Prepared) -> BatchStore:
    if request.resume is not None:
        return BatchStore.resume(request.resume, prepared.head)
    directory = request.output or Path("runs") / prepared.head.id
    store = BatchStore.create(directory, prepared.head)
    if request.output is None:
        # At once: `--resume runs/latest` is for runs that could say nothing any more.
        link_latest(directory)
    return store
