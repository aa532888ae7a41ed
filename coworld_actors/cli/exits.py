"""Exit codes are API: what each means, and how an error becomes lines on stderr."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import click

from coworld_protocol.errors import CoworldError

__all__ = ["Exit", "complain", "error_document"]


class Exit(enum.IntEnum):
    """What the process ends with.

    130 and 143 are those of a shell: ended by SIGINT or SIGTERM, after an orderly stop.
    """

    GOOD = 0
    FAILED = 1
    REFUSED = 2
    PRECONDITION = 3
    INTERNAL = 4
    NOTHING = 5
    GATE = 6
    INTERRUPTED = 130
    TERMINATED = 143


def complain(lines: Iterable[str]) -> None:
    """Show an error on stderr; only its first line is marked."""
    for number, line in enumerate(lines):
        click.echo(f"error: {line}" if number == 0 else f"  {line}", err=True)


def error_document(error: CoworldError) -> dict[str, object]:
    """The error as `--json` shows it."""
    document: dict[str, object] = {
        "type": type(error).__name__,
        "what": error.what,
        "evidence": error.evidence,
        "todo": error.todo,
        "where": error.where,
    }
    problems = getattr(error, "problems", None)
    if problems:
        document["problems"] = [{"path": p.path, "found": p.found, "allowed": p.allowed} for p in problems]
    return document
