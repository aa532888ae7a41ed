"""The exception tree of the whole project; every failure has one type, one owner and one exit code.

    CoworldError
      Refused               the caller's input cannot be used                  exit 2
        ManifestRefused     ... because the manifest breaks a rule
      PreconditionMissing   the machine lacks something the run needs          exit 3
      InternalFault         a defect of ours                                   exit 4

An episode that goes wrong is not an exception: it is a verdict (`coworld_actors.episode.verdict`), exit 1.

Further branches live beside what raises them: the actor core's own tree in `coworld_actors.actors.errors`, a driver's in
`coworld_drivers.driver`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, overload

import msgspec

__all__ = [
    "CoworldError",
    "InternalFault",
    "ManifestRefused",
    "PreconditionMissing",
    "Problem",
    "Refused",
    "alone",
    "leaves",
]


class CoworldError(Exception):
    """A failure with at most four lines to show: what, the evidence, what to do, where the files are.

    Args:
        what: one sentence that names seat, role or file.
        evidence: the fact it rests on: exit code, signal, last log line.
        todo: the next step for the reader.
        where: a path to look at.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, what: str, *, evidence: str = "", todo: str = "", where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.evidence = evidence
        self.todo = todo
        self.where = where

    def lines(self) -> list[str]:
        """The error as a user sees it: one to four lines, unlabelled first, the rest labelled."""
        labelled = (("evidence", self.evidence), ("try", self.todo), ("files", self.where))
        return [self.what, *(f"{label}: {text}" for label, text in labelled if text)]


class Refused(CoworldError):
    """The caller's input cannot be used as it is; nothing was started."""

    exit_code: ClassVar[int] = 2


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One broken rule of a document.

    Attributes:
        path: JSON path of the offending value, `$.player[0].id`.
        found: what is there, shortened.
        allowed: what would be accepted.
    """

    path: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}; allowed: {self.allowed}"


class ManifestRefused(Refused):
    """A manifest breaks rules; `problems` has every one of them, not only the first."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            f"{source} is refused: {count}", todo="correct the values named above and run the command again"
        )
        self.source = source
        self.problems = tuple(problems)

    def lines(self) -> list[str]:
        """The headline, one line per problem, then the next step."""
        return [self.what, *(f"  {problem}" for problem in self.problems), f"try: {self.todo}"]


class PreconditionMissing(CoworldError):
    """The machine lacks something that the run needs: an executable, an image's mapping, a port, a writable directory."""

    exit_code: ClassVar[int] = 3


class InternalFault(CoworldError):
    """A defect of this program; the message asks for a report."""

    exit_code: ClassVar[int] = 4


@overload
def alone(error: Exception) -> Exception: ...
@overload
def alone(error: BaseException) -> BaseException: ...
def alone(error: BaseException) -> BaseException:
    """What a group of one holds, else the error itself: nurseries wrap whatever passes them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions inside nested groups, in order; the error itself if it is no group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
