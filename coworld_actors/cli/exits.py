"""Exit codes are API: what each means, and how an end becomes lines on stderr and, when asked for, one document on stdout."""

from __future__ import annotations

import contextlib
import enum
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from types import FrameType

import msgspec

from coworld_actors.cli.streams import Stream, encodable
from coworld_protocol.errors import CoworldError, ManifestRefused
from coworld_protocol.printable import printable

__all__ = ["Exit", "Interrupted", "Outcome", "answer", "complain", "error_document", "handling", "worse"]


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


class Interrupted(CoworldError):
    """A signal ended the command before there was an outcome."""

    exit_code = Exit.INTERRUPTED


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended.

    Attributes:
        exit_code: what the process ends with.
        episodes: the record of every episode that has one.
        error: what went wrong outside of the episodes.
        fields: what its document has instead of the episodes; None for the episodes.
        lines: stdout has had an object a line, and the document is one more line.
    """

    exit_code: int
    episodes: tuple[msgspec.Struct, ...] = ()
    error: CoworldError | None = None
    fields: Mapping[str, object] | None = None
    lines: bool = False


def answer(outcome: Outcome, *, as_json: bool) -> int:
    """Say how it ended: the error on stderr, and the document on stdout if that was asked for.

    Returns:
        The exit code: the outcome's, unless the document could not be written for another reason than a reader who has gone.
    """
    if outcome.error is not None:
        complain(outcome.error.lines())
    if not as_json:
        return outcome.exit_code
    document = {
        "exit_code": int(outcome.exit_code),
        **({"episodes": outcome.episodes} if outcome.fields is None else outcome.fields),
        "error": None if outcome.error is None else error_document(outcome.error),
    }
    stdout = Stream(sys.stdout)
    data = msgspec.json.encode(document)
    stdout.write_utf8((data if outcome.lines else msgspec.json.format(data, indent=2)) + b"\n")
    trouble = stdout.trouble("stdout")
    if trouble is None:
        return outcome.exit_code
    complain(trouble.lines())
    return worse(outcome.exit_code, trouble)


def worse(code: int, error: CoworldError) -> int:
    """The exit code when something of our own goes wrong beside an episode: an interrupt stays one, and so does a refusal."""
    return error.exit_code if code in {Exit.GOOD, Exit.FAILED} else code


def complain(lines: Iterable[str]) -> None:
    """Show an error on stderr; only its first line is marked, and there is one piece of advice.

    Names, last words and paths in it are strangers': nothing in it reaches the terminal as a control code.
    """
    stderr = Stream(sys.stderr)
    advised = False
    for number, line in enumerate(lines):
        if number == 0:
            advised = "; try: " in line
            stderr.write(f"error: {printable(line)}\n")
        elif not (advised and line.startswith("try: ")):
            stderr.write(f"  {printable(line)}\n")
    stderr.flush()


def error_document(error: CoworldError) -> dict[str, object]:
    """The error as `--json` shows it."""
    document: dict[str, object] = {
        "type": type(error).__name__,
        "what": encodable(error.what),
        "evidence": encodable(error.evidence),
        "todo": encodable(error.todo),
        "where": encodable(error.where),
    }
    if isinstance(error, ManifestRefused):
        document["problems"] = [
            {"path": encodable(each.path), "found": encodable(each.found), "allowed": encodable(each.allowed)}
            for each in error.problems
        ]
    return document


@contextlib.contextmanager
def handling(
    number: signal.Signals, handler: Callable[[int, FrameType | None], None] | signal.Handlers
) -> Generator[None]:
    """Handle a signal in another way while the block runs, unless whoever started us wants it ignored."""
    before = signal.getsignal(number)
    ours = threading.current_thread() is threading.main_thread() and before not in {None, signal.SIG_IGN}
    if ours:
        signal.signal(number, handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(number, before)
