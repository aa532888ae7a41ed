"""The grader: how close the lead was, from 0 (nobody else picked anything) to 1 (the best two are level).

Run it with `python -m orchard.grader`.
"""

from __future__ import annotations

import msgspec

from coworld_protocol.errors import Refused
from coworld_protocol.sdk.roles import Grade, open_bundle, run_role, write_grade
from orchard.messages import Results

__all__ = ["GRADER_ID", "CloseGrade", "grade"]

GRADER_ID = "orchard-closeness"


class CloseGrade(Grade, frozen=True, kw_only=True):
    """The grade and what it was made from.

    Attributes:
        scale: what `score` means.
        margin: fruit between the best and the second best seat.
        total: fruit picked by everybody.
        contested: fruit that several foragers reached together.
        winner_slot: the best seat; None when several share the lead.
    """

    scale: str
    margin: int
    total: int
    contested: int
    winner_slot: int | None


def grade(results: Results) -> CloseGrade:
    """1 minus the lead of the best seat over the second best, as a share of the best score; 1 when nobody picked anything."""
    first, second = sorted(results.scores, reverse=True)[:2]
    return CloseGrade(
        grader_id=GRADER_ID,
        score=round(1 - (first - second) / first, 4) if first else 1.0,
        scale="0: the best seat stands alone; 1: the two best are level",
        margin=first - second,
        total=sum(results.scores),
        contested=results.contested,
        winner_slot=results.winner,
    )


def main() -> None:
    data = open_bundle().read("results")
    if data is None:
        raise Refused("The bundle has no results.", todo="grade episodes that succeeded")
    try:
        results = msgspec.json.decode(data, type=Results)
    except msgspec.MsgspecError as error:
        todo = "use this grader on Orchard episodes"
        raise Refused("The bundle's results are not Orchard's.", evidence=str(error), todo=todo) from error
    write_grade(grade(results))


if __name__ == "__main__":
    raise SystemExit(run_role(main))
