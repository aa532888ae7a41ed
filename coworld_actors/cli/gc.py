"""`coworld-actors gc`: remove what dead runs have left, and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from coworld_actors.cli.exits import Exit, Interrupted, Outcome
from coworld_protocol.errors import CoworldError

if TYPE_CHECKING:
    from coworld_drivers.docker_gc import Leftover, Leftovers, Removal

__all__ = ["NotRemoved", "gc"]

PATIENCE = 2.0
"""Seconds that an engine that is busy or restarting is waited for."""


class NotRemoved(CoworldError):
    """Something of a dead run is still there."""

    exit_code = Exit.FAILED


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else there.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def gc(dry_run: bool, as_json: bool, debug: bool) -> Callable[[], Outcome]:
    """Remove what dead runs have left: containers and networks, control sockets, temporary directories.

    Only what carries our labels, or is our own by its place and name, and whose process is dead. What belongs to a living run, to
    another machine on a shared engine, or to somebody else stays; so does every directory of an episode or a batch.

    Exit codes: 0 done, or nothing to remove; 1 something could not be removed.
    """
    # `main` looks for --debug itself.
    del debug
    return functools.partial(_collect, dry_run=dry_run, as_json=as_json)


def _collect(*, dry_run: bool, as_json: bool) -> Outcome:
    import sys

    import trio

    from coworld_actors.cli.ctl_view import Sheet, show
    from coworld_actors.cli.ctl_work import until_sigterm
    from coworld_actors.cli.exits import complain
    from coworld_actors.cli.streams import Stream
    from coworld_actors.control.leftovers import find_remnants, remove_remnant
    from coworld_drivers.docker_gc import Leftovers
    from coworld_protocol.printable import printable

    items: list[dict[str, Any]] = []
    looked = Leftovers()
    not_looked_at = ""
    terminated = False

    async def work() -> None:
        nonlocal looked, not_looked_at, terminated
        with until_sigterm() as scope:
            looked, removal, not_looked_at = await _engine(dry_run=dry_run)
            items.extend(_engine_items(looked, removal))
        terminated = scope.cancelled_caught

    trio.run(work)
    if terminated:
        interrupted = Interrupted("stopped by SIGTERM; what was not removed is found again the next time")
        return Outcome(exit_code=Exit.TERMINATED, error=interrupted, fields={})
    remnants, troubles = find_remnants()
    for remnant in remnants:
        reason = "" if dry_run else remove_remnant(remnant)
        state = "dead" if dry_run else "kept" if reason else "removed"
        items.append(
            {
                "kind": str(remnant.kind),
                "name": str(remnant.path),
                "id": "",
                "owner": "",
                "run": "",
                "created": remnant.since,
                "state": state,
                "reason": reason,
            }
        )
    stdout, stderr = Stream(sys.stdout), Stream(sys.stderr)
    gone = [each for each in items if each["state"] in {"removed", "dead"}]
    kept = [each for each in items if each["state"] == "kept"]
    elsewhere = [each for each in items if each["state"] == "elsewhere"]
    if not as_json:
        headings = ("what", "name", "owner", ">age", "would be" if dry_run else "is")
        if items:
            show(Sheet(headings, [_row(each) for each in items]), stdout)
        if not gone and not kept:
            stdout.write("nothing to remove\n")
    if not_looked_at:
        stderr.write(f"note: containers and networks were not looked at: {printable(not_looked_at)}\n")
    if elsewhere:
        stderr.write(
            "note: what other machines or containers have made can only be removed where they are, or by hand: "
            "docker rm --force, docker network rm\n"
        )
    stderr.flush()
    for trouble in troubles:
        complain(trouble.lines())
    stdout.flush()
    error: CoworldError | None = None
    if kept:
        error = NotRemoved(
            f"{len(kept)} of {len(kept) + len(gone)} could not be removed",
            evidence=f"{kept[0]['name']}: {kept[0]['reason']}",
            todo="remove the cause, then run the same command again",
        )
    else:
        error = stdout.trouble("stdout")
    return Outcome(
        exit_code=Exit.GOOD if error is None else error.exit_code,
        error=error,
        fields={
            "dry_run": dry_run,
            "removed": [] if dry_run else _public(gone),
            "would_remove": _public(gone) if dry_run else [],
            "kept": _public(kept),
            "elsewhere": _public(elsewhere),
            "living": looked.living,
            "not_looked_at": not_looked_at,
        },
    )


async def _engine(*, dry_run: bool) -> tuple[Leftovers, Removal | None, str]:
    """What is found on the engine, what became of it, and why it was not looked at."""
    from coworld_drivers.docker_client import Docker
    from coworld_drivers.docker_gc import Kept, Leftovers, Removal, find_leftovers, remove_leftovers
    from coworld_protocol.errors import PreconditionMissing

    try:
        docker = Docker(patience=PATIENCE)
        found = await find_leftovers(docker)
    except PreconditionMissing as error:
        return Leftovers(), None, _sentence(error)
    if dry_run or not found.dead:
        return found, None, ""
    try:
        return found, await remove_leftovers(docker, found), ""
    except PreconditionMissing as error:
        return found, Removal(kept=tuple(Kept(leftover=each, reason=_sentence(error)) for each in found.dead)), ""


def _sentence(error: CoworldError) -> str:
    return f"{error.what} ({error.evidence})" if error.evidence else error.what


def _engine_items(found: Leftovers, removal: Removal | None) -> Iterable[dict[str, Any]]:
    reasons = {} if removal is None else {each.leftover.id: each.reason for each in removal.kept}
    for each in found.dead:
        state = "dead" if removal is None else "kept" if each.id in reasons else "removed"
        yield _engine_item(each, state, reasons.get(each.id, ""))
    for each in found.elsewhere:
        yield _engine_item(each, "elsewhere", "")


def _engine_item(each: Leftover, state: str, reason: str) -> dict[str, Any]:
    return {
        "kind": str(each.kind),
        "name": each.name,
        "id": each.id,
        "owner": each.owner,
        "run": each.run,
        "created": each.created,
        "state": state,
        "reason": reason,
    }


def _row(each: Mapping[str, Any]) -> tuple[str, ...]:
    import time

    from coworld_actors.cli.ctl_view import duration
    from coworld_drivers.labels import as_owner

    owner = as_owner(each["owner"])
    title = owner.title if owner is not None else each["owner"] or "-"
    words = {
        "dead": "removed",
        "removed": "removed",
        "elsewhere": "left alone: its process cannot be seen from here",
        "kept": f"not removed: {each['reason']}",
    }
    age = None if each["created"] is None else time.time() - each["created"]
    return (each["kind"], each["name"], title, duration(age), words[each["state"]])


def _public(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Items as the document has them: where they are listed says what became of them."""
    from coworld_actors.cli.streams import encodable

    return [
        {key: encodable(value) if isinstance(value, str) else value for key, value in each.items() if key != "state"}
        for each in items
    ]
