"""What a keeper does with episodes that no worker has seen, and with what it is told too late."""

from __future__ import annotations

from pathlib import Path

from coworld_actors.batch.local import WorkerLost
from coworld_actors.batch.workers.keeper import Flight
from coworld_actors.batch.workers.wire import play_of
from coworld_actors.episode.spec import EpisodeSpec
from coworld_actors.manifest.load import load_manifest
from coworld_actors.manifest.seats import build_plan
from tests.records import record

ORCHARD = Path(__file__).parents[3] / "examples/orchard"


def flight() -> Flight:
    plan = build_plan(load_manifest(ORCHARD), variant="duel")
    return Flight(play_of(EpisodeSpec(plan=plan, directory=Path("x")), 0), b"", lambda: None)


def test_only_the_first_end_of_a_flight_counts() -> None:
    """A record that comes before its worker's death stays a record, and a loss stays a loss."""
    first, second = flight(), flight()
    first.land(record())
    first.land(None, WorkerLost("too late"))
    assert first.record == record()
    assert first.error is None
    second.land(None, WorkerLost("lost"))
    second.land(record())
    assert second.record is None
    assert isinstance(second.error, WorkerLost)


def test_a_flight_that_nobody_saw_can_be_handed_on() -> None:
    """It has neither a record nor an error, so whoever waits tries another worker."""
    bounced = flight()
    bounced.land(None, unseen=True)
    assert bounced.over.is_set()
    assert (bounced.record, bounced.error, bounced.unseen) == (None, None, True)
