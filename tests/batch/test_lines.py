"""The line of an episode: what its record says, and what the batch makes of it."""

from __future__ import annotations

import pytest

from coworld_actors.batch.lines import WORKER_LOST, line_of, lost_line, unplayed_line
from coworld_actors.batch.local import WorkerLost
from coworld_actors.batch.records import EpisodeLine, SeatLatency, Status
from coworld_actors.episode.record import EpisodeRecord
from coworld_actors.episode.verdict import Blame, EndReason, SeatEnd
from coworld_actors.traffic.latency import Latency
from coworld_actors.traffic.report import TapReport, TapSeatReport
from coworld_protocol.errors import CoworldError, InternalFault, PreconditionMissing
from tests.batches import scheduled
from tests.records import bad, record, seat


def of(made: EpisodeRecord, *, overload: str = "") -> EpisodeLine:
    return line_of(
        scheduled(7, (1, 0)), made, overload=overload, seed_applied=True, attempts=2, directory="episodes/e7"
    )


def test_a_good_episode() -> None:
    """Scores go to the entrants that sat there."""
    line = of(record())
    assert (line.index, line.variant, line.block, line.seed, line.attempts) == (7, "duel", 7, 49, 2)
    assert (line.status, line.reason, line.blame, line.message) == (Status.GOOD, "completed", "nobody", "")
    assert [(each.entrant, each.score, each.end) for each in line.seats] == [(1, 0.0, "finished"), (0, 1.0, "finished")]
    assert line.counts
    assert line.directory == "episodes/e7"


@pytest.mark.parametrize("reason", EndReason)
def test_every_end_has_its_status(reason: EndReason) -> None:
    """What the machine or we are to blame for may be played again; what a role is to blame for may not."""
    made = record() if reason is EndReason.COMPLETED else record(bad(reason, evidence="the proof"))
    line = of(made)
    if reason is EndReason.COMPLETED:
        assert line.status is Status.GOOD
    elif reason in {EndReason.INFRASTRUCTURE, EndReason.INTERNAL, EndReason.CANCELLED}:
        assert line.status is Status.INFRASTRUCTURE
    else:
        assert line.status is Status.FAILED
        assert line.message == "it went wrong: the proof"
    assert line.reason == reason
    assert line.counts is (reason is EndReason.COMPLETED)


def test_an_episode_on_a_choking_machine_proves_nothing() -> None:
    """Neither a failure nor scores count, and what shows it is kept."""
    for made in (record(), record(bad(EndReason.TIMED_OUT))):
        line = of(made, overload="the loop was late by 3 s")
        assert line.status is Status.INVALID
        assert line.overload == "the loop was late by 3 s"
        assert not line.counts
    assert of(record(bad(EndReason.INFRASTRUCTURE)), overload="late").status is Status.INFRASTRUCTURE


def test_a_seat_that_failed_says_why() -> None:
    """Evidence is kept where there is a fault, and there only."""
    seats = (seat(0, SeatEnd.CRASHED, fault=True, evidence="exit code 3"), seat(1, evidence="exit code 0"))
    first, second = of(record(seats=seats)).seats
    assert (first.fault, first.evidence, second.fault, second.evidence) == (True, "exit code 3", False, "")


@pytest.mark.parametrize(
    ("end", "early", "status"),
    [
        (SeatEnd.CRASHED, True, Status.FAILED),
        (SeatEnd.OUT_OF_MEMORY, True, Status.FAILED),
        (SeatEnd.START_FAILED, False, Status.FAILED),
        (SeatEnd.NEVER_CONNECTED, False, Status.FAILED),
        (SeatEnd.CRASHED, False, Status.GOOD),
        (SeatEnd.OVERSTAYED, False, Status.GOOD),
    ],
)
def test_a_game_without_one_of_its_players_measures_nobody(end: SeatEnd, early: bool, status: Status) -> None:
    """Such an episode is that player's failure and nobody's loss; what goes wrong once the game is over changes no score."""
    made = record(seats=(seat(0), seat(1, end, fault=True, early=early, evidence="exit code 3")))
    line = of(made)
    assert (line.status, line.counts) == (status, status is Status.GOOD)
    if status is Status.FAILED:
        assert (line.reason, line.blame) == ("player_failed", "players")
        assert line.message == f"the game was played without player p1 in seat 1, which ended as {end}: exit code 3"
        assert of(made, overload="late").status is Status.INVALID


def test_without_scores_it_does_not_count() -> None:
    """A good episode whose game names no scores says nothing about players."""
    assert not of(record(seats=(seat(0, score=None), seat(1, score=None)))).counts


def test_latency_comes_from_the_tap() -> None:
    """Ticks of a ticked seat, answers of any other, nothing of one that never answered."""
    answers = Latency(count=5, p50=0.1, p99=0.2, max=0.3)
    ticks = Latency(count=9, p50=1.0, p99=2.0, max=3.0)
    seats = (TapSeatReport(slot=0, answers=answers), TapSeatReport(slot=1, answers=answers, corrected=ticks))
    report = TapReport(seats=seats)
    first, second = of(record(tap=report)).seats
    assert first.latency == SeatLatency(answers=5, p50=0.1, p99=0.2, longest=0.3)
    assert second.latency == SeatLatency(answers=9, p50=1.0, p99=2.0, longest=3.0)
    silent = TapReport(seats=(TapSeatReport(slot=0),))
    assert [each.latency for each in of(record(tap=silent)).seats] == [None, None]


def test_a_defect_of_ours_has_seats_without_ends() -> None:
    """The record of such an episode has no seats; the line says who would have sat there."""
    line = of(record(bad(EndReason.INTERNAL, Blame.INFRASTRUCTURE), seats=()))
    assert [(each.entrant, each.score, each.end) for each in line.seats] == [(1, None, ""), (0, None, "")]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(PreconditionMissing("no room", evidence="0 bytes"), "infrastructure"), (InternalFault("a defect"), "internal")],
)
def test_what_could_not_be_played(error: CoworldError, reason: str) -> None:
    """It is the machine's or ours, and says what it was."""
    line = unplayed_line(scheduled(3), error, seconds=1.5, seed_applied=False, attempts=3, directory="")
    assert (line.status, line.reason, line.blame) == (Status.INFRASTRUCTURE, reason, "infrastructure")
    assert line.message == ("no room: 0 bytes" if error.evidence else "a defect")
    assert (line.attempts, line.seconds, line.seed_applied) == (3, 1.5, False)


def test_a_lost_worker_is_held_against_an_episode_only_when_it_was_alone() -> None:
    """With others in the process nobody knows whose doing it was."""
    lost = WorkerLost("the worker was killed by SIGSEGV")
    shared = lost_line(scheduled(3), lost, seconds=1, alone=False, seed_applied=True, attempts=1, directory="")
    alone = lost_line(scheduled(3), lost, seconds=1, alone=True, seed_applied=True, attempts=2, directory="")
    assert (shared.status, shared.blame) == (Status.INFRASTRUCTURE, "infrastructure")
    assert (alone.status, alone.blame) == (Status.FAILED, "game")
    assert shared.reason == alone.reason == WORKER_LOST
    assert alone.message == "the worker was killed by SIGSEGV"
