"""Behind `coworld-actors episodes DIR EPISODE --rerun`: the same seed, the same seats, a new directory."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import trio

from coworld_actors.batch.browse import Browsed, EpisodeView
from coworld_actors.batch.preparation import Prepared, check_machine, prepare_batch
from coworld_actors.batch.repeat import contrast
from coworld_actors.batch.schedule import Scheduled
from coworld_actors.batch.specs import COMMAND_PREFIX, FUNCTION_PREFIX
from coworld_actors.batch.store import BatchHead, differences, read_batch
from coworld_actors.cli.episodes_view import repeat_lines
from coworld_actors.cli.exits import Outcome, worse
from coworld_actors.cli.screen import Detail, Screen
from coworld_actors.cli.single import exit_code_of, play_spec, refuse_undecodable
from coworld_actors.cli.streams import Stream
from coworld_actors.episode.spec import new_id
from coworld_actors.runtime.driver_choice import choose_driver
from coworld_protocol.errors import Refused
from coworld_protocol.printable import printable

__all__ = ["rerun"]


def rerun(
    browsed: Browsed, episode: EpisodeView, *, output: Path | None, secret_env: Mapping[str, str], as_json: bool
) -> Outcome:
    """Play an episode of a batch once more and say what is not the same.

    Args:
        browsed: the batch.
        episode: of it.
        output: a new directory; below `runs/` unless it is named.
        secret_env: values of the batch's secret variables, which it has not kept.
        as_json: whether stdout belongs to one document.

    Raises:
        Refused: it cannot be played as it was.
        PreconditionMissing: something that it needs is not on this machine.
    """
    head = browsed.head
    if head is None:
        raise Refused(
            "a single run does not keep what it was played from",
            evidence=f"{browsed.directory} has no batch.json",
            todo="run the same command again; `run -n 1` keeps it",
        )
    _check_surroundings(head, secret_env)
    prepared = prepare_batch(head.options)
    trio.run(check_machine, prepared, secret_env)
    changed = differences(head, prepared.head)
    scheduled = _scheduled(browsed, episode, prepared, changed)
    identity = new_id()
    directory = output or Path("runs") / identity
    refuse_undecodable({"--output": directory})
    spec = prepared.spec_maker(secret_env)(identity, prepared.plans.plan(scheduled), directory)
    screen = Screen(Detail.NORMAL, as_json=as_json)
    for change in changed:
        screen.note(f"warning: this is not what was played before: {change}")
    driver = choose_driver(head.options.place(), prepared.plans.images, screen.note)
    record, received = trio.run(play_spec, spec, driver, screen, None, as_json)
    screen.outcome(record, interrupted=received is not None)
    found = contrast(episode, browsed.path(episode), record)
    out = Stream(sys.stderr if as_json else sys.stdout)
    if received is None:
        for line in repeat_lines(episode, found):
            out.write(f"{printable(line)}\n")
    out.flush()
    error = screen.trouble or (None if as_json else out.trouble("stdout"))
    code = exit_code_of(record, received)
    return Outcome(
        exit_code=worse(code, error) if error else code,
        error=error,
        fields={"before": episode, "episodes": (record,), "contrast": found, "changed": changed},
    )


def _check_surroundings(head: BatchHead, secret_env: Mapping[str, str]) -> None:
    options = head.options
    local = [each for each in (*options.players, *options.pool) if each.startswith((COMMAND_PREFIX, FUNCTION_PREFIX))]
    if local and options.directory != str(Path.cwd()):
        raise Refused(
            "this batch has players that are started in the working directory, which is another one now",
            evidence=f"{local[0]} was started in {options.directory}",
            todo=f"cd {options.directory} first",
        )
    missing = [name for name in options.secrets if name not in secret_env]
    if missing:
        raise Refused(
            f"the players had the secret variable {missing[0]}, whose value is kept nowhere",
            todo=" ".join(f"--secret-env {name}" for name in missing),
        )
    unknown = [name for name in secret_env if name not in options.secrets]
    if unknown:
        raise Refused(f"the players of this batch had no secret variable {unknown[0]}", todo="leave it out")


def _scheduled(browsed: Browsed, episode: EpisodeView, prepared: Prepared, changed: list[str]) -> Scheduled:
    """Who sat where with which seed: as it is written down, else as the schedule has it."""
    head = browsed.head
    assert head is not None
    if head.entrants and prepared.plans.names != head.entrants:
        raise Refused(
            "the players of this batch are others now",
            evidence=f"they were {', '.join(head.entrants)} and are {', '.join(prepared.plans.names)}",
            todo="undo what has changed in the manifest, or run a new batch",
        )
    for line in read_batch(browsed.directory)[1]:
        if line.index == episode.index:
            seats = {variant.id: variant.seats for variant in prepared.plans.variants}
            if seats.get(line.variant) != len(line.seats):
                raise Refused(
                    f"variant {line.variant} has {seats.get(line.variant, 0)} seats now, and had {len(line.seats)}",
                    todo="undo what has changed in the manifest, or run a new batch",
                )
            return Scheduled(
                index=line.index,
                variant=line.variant,
                lineup=line.lineup,
                block=line.block,
                seed=line.seed,
                seats=tuple(seat.entrant for seat in line.seats),
            )
    if changed:
        raise Refused(
            f"episode {episode.index} has no end yet, and the batch would be another one now",
            evidence="; ".join(changed),
            todo=f"undo that, or look at the files in {browsed.directory / episode.directory}",
        )
    return prepared.schedule.episodes[episode.index]
