"""Records of episodes that nobody played, for what only shows or stores them."""

from __future__ import annotations

from typing import Any

import msgspec

from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd, SeatReport, Verdict
from coworld_protocol.contract import ErrorType

__all__ = ["bad", "record", "seat"]

GOOD = Verdict(good=True, reason=EndReason.COMPLETED)


def seat(slot: int, end: SeatEnd = SeatEnd.FINISHED, *, fault: bool = False, **more: Any) -> SeatReport:
    """One seat's report."""
    fields: dict[str, Any] = {"score": float(slot), "log": f"logs/policy_agent_{slot}.log", **more}
    return SeatReport(slot=slot, player=f"p{slot}", name=f"P {slot}", end=end, fault=fault, **fields)


def bad(reason: EndReason, blame: Blame = Blame.GAME, **more: Any) -> Verdict:
    """A verdict on an episode that does not count."""
    fields: dict[str, Any] = {"error_type": ErrorType.GAME_UNHEALTHY, "message": "it went wrong", **more}
    return Verdict(good=False, reason=reason, blame=blame, **fields)


def record(verdict: Verdict = GOOD, **changes: Any) -> EpisodeRecord:
    """A record of two seats."""
    made = EpisodeRecord(
        id="e-1",
        coworld="orchard",
        game_version="1.2.3",
        variant="duel",
        driver="process",
        started="2030-01-01T00:00:00.000+00:00",
        seconds=1.5,
        verdict=verdict,
        seats=(seat(0), seat(1)),
        reports=(),
        phases=(),
        actors=(),
        directory="runs/e-1",
    )
    return msgspec.structs.replace(made, **changes)
