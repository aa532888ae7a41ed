"""From findings to a verdict: one test per reason, and the order between them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coworld_actors.episode.findings import (
    ABSENT_LOOKS,
    Aborted,
    Facts,
    GameEnded,
    InfrastructureFault,
    NeverServed,
    SeatEnded,
    StartFault,
    Violation,
    ViolationKind,
)
from coworld_actors.episode.judge import STALL_SILENCE, judge, seat_reports
from coworld_actors.episode.verdict import Blame, EndReason, ReplayCheck, ResultsCheck, SeatEnd, Verdict
from coworld_drivers.driver import ExitKind, ExitStatus
from coworld_protocol.contract import ErrorType

CLEAN = ExitStatus(kind=ExitKind.EXITED, code=0)
FAILED = ExitStatus(kind=ExitKind.EXITED, code=7)
KILLED = ExitStatus(kind=ExitKind.SIGNALLED, signal=11)
STOPPED = ExitStatus(kind=ExitKind.SIGNALLED, signal=15, stopped=True)
OOM = ExitStatus(kind=ExitKind.OOM, signal=9)
LOST = ExitStatus(kind=ExitKind.LOST)
SEATS = [("p", "P", "logs/policy_agent_0.log"), ("q", "Q", "logs/policy_agent_1.log")]


def facts(**more: object) -> Facts:
    found = Facts(
        slots=2,
        healthy=True,
        frame_seen=True,
        game_ended=GameEnded(at=10.0, status=CLEAN),
        started={0: 1.0, 1: 1.0},
        connected={0, 1},
        looked_at=9.0,
        misses={0: ABSENT_LOOKS, 1: ABSENT_LOOKS},
        seats={slot: SeatEnded(at=10.5, slot=slot, status=CLEAN) for slot in (0, 1)},
    )
    for name, value in more.items():
        setattr(found, name, value)
    return found


def ruling(found: Facts, results: ResultsCheck | None = None, replay: ReplayCheck | None = None) -> Verdict:
    results = results or ResultsCheck(scores=(1.0, 2.0))
    return judge(found, seat_reports(found, SEATS, results), results, replay)


def end_of(status: ExitStatus | None, **more: object) -> SeatEnd:
    at = more.pop("at", 10.5)
    overstayed = more.pop("overstayed", False)
    ended = SeatEnded(at=at, slot=0, status=status, overstayed=overstayed)  # type: ignore[arg-type]
    return seat_reports(facts(seats={0: ended}, **more), SEATS, None)[0].end


def test_a_person_is_blamed_for_nothing() -> None:
    """Neither for not having come, nor for having left: a seat of a person has an end of its own."""
    found = facts(
        people=frozenset({0}), started={1: 1.0}, connected={1}, seats={1: SeatEnded(at=10.5, slot=1, status=CLEAN)}
    )
    for tapped in (False, True):
        found.tapped = tapped
        mine, other = seat_reports(found, SEATS, ResultsCheck(scores=(1.0, 2.0)))
        assert (mine.end, mine.fault, mine.connected, mine.score) == (SeatEnd.PERSON, False, None, 1.0)
        assert other.end is SeatEnd.FINISHED
        assert ruling(found).good
    silent = facts(people=frozenset({0}), aborted=Aborted(at=9.0, deadline=True, silence=1.0), game_ended=None)
    assert ruling(silent, ResultsCheck(error=ErrorType.RESULTS_MISSING)).reason is EndReason.TIMED_OUT


def test_a_game_that_was_not_probed_may_have_shown_nothing() -> None:
    """Only who held it to `/global` misses its first frame."""
    found = facts(frame_seen=False)
    reports = seat_reports(found, SEATS, None)
    assert judge(found, reports, ResultsCheck(), probed=False).good
    assert judge(found, reports, ResultsCheck()).reason is EndReason.CONTRACT_VIOLATED


def test_a_clean_episode_is_good_and_blames_nobody() -> None:
    """Clean exits and valid results are a completed episode with every seat finished."""
    verdict = ruling(facts())
    assert verdict == Verdict(good=True, reason=EndReason.COMPLETED)
    reports = seat_reports(facts(), SEATS, ResultsCheck(scores=(1.0, 2.0)))
    assert [(r.end, r.score, r.fault) for r in reports] == [
        (SeatEnd.FINISHED, 1.0, False),
        (SeatEnd.FINISHED, 2.0, False),
    ]


@pytest.mark.parametrize(
    ("status", "more", "end"),
    [
        # Exit code 0 without ever having connected, with time to connect: it never came.
        (CLEAN, {"at": 5.0}, SeatEnd.NEVER_CONNECTED),
        (CLEAN, {"at": 10.5}, SeatEnd.NEVER_CONNECTED),
        # It left before the game was over, so it had no reason to, however short the game was.
        (CLEAN, {"at": 5.0, "started": {0: 9.0}}, SeatEnd.NEVER_CONNECTED),
        # The game was over before anybody could have connected.
        (CLEAN, {"at": 10.5, "started": {0: 9.0}}, SeatEnd.FINISHED),
        (STOPPED, {"at": 10.5, "started": {0: 9.0}}, SeatEnd.STOPPED),
        (STOPPED, {"at": 10.5, "started": {0: 9.0}, "overstayed": True}, SeatEnd.OVERSTAYED),
        # No look is needed, nor would one help.
        (STOPPED, {"at": 10.5, "looked_at": None, "misses": {}}, SeatEnd.NEVER_CONNECTED),
        (STOPPED, {"at": 1.5}, SeatEnd.STOPPED),
        # A crash is a crash.
        (FAILED, {"at": 5.0}, SeatEnd.CRASHED),
        (OOM, {"at": 5.0}, SeatEnd.OUT_OF_MEMORY),
    ],
)
def test_with_a_tap_it_is_known_who_never_connected(status: ExitStatus, more: dict[str, object], end: SeatEnd) -> None:
    """Absence is proven then, and no longer only likely."""
    assert end_of(status, connected={1}, tapped=True, **more) is end
    assert end_of(status, tapped=True, **more) is not SeatEnd.NEVER_CONNECTED


def test_with_a_tap_every_seat_says_whether_it_was_connected() -> None:
    """Also one that did nothing wrong."""
    ended = {slot: SeatEnded(at=10.5, slot=slot, status=STOPPED) for slot in (0, 1)}
    found = facts(connected={0}, tapped=True, seats=ended, started={0: 9.0, 1: 9.0})
    assert [report.connected for report in seat_reports(found, SEATS, None)] == [True, False]


@pytest.mark.parametrize(
    ("found", "results", "replay", "reason", "error", "blame"),
    [
        (
            facts(never_served=NeverServed(at=1, fault=StartFault.EXITED, status=FAILED)),
            None, None, EndReason.GAME_START_FAILED, ErrorType.GAME_UNHEALTHY, Blame.GAME,
        ),
        (
            facts(never_served=NeverServed(at=1, fault=StartFault.EXITED, status=OOM)),
            None, None, EndReason.GAME_OUT_OF_MEMORY, ErrorType.GAME_UNHEALTHY, Blame.GAME,
        ),
        (
            facts(never_served=NeverServed(at=1, fault=StartFault.EXITED, status=LOST)),
            None, None, EndReason.INFRASTRUCTURE, ErrorType.PLATFORM_ERROR, Blame.INFRASTRUCTURE,
        ),
        (
            facts(never_served=NeverServed(at=1, fault=StartFault.NEVER_HEALTHY)),
            None, None, EndReason.GAME_NEVER_HEALTHY, ErrorType.GAME_UNHEALTHY, Blame.GAME,
        ),
        (
            facts(never_served=NeverServed(at=1, fault=StartFault.NOT_LAUNCHED)),
            None, None, EndReason.GAME_START_FAILED, ErrorType.GAME_UNHEALTHY, Blame.GAME,
        ),
        (
            facts(game_ended=GameEnded(at=9, status=KILLED)),
            None, None, EndReason.GAME_CRASHED, ErrorType.GAME_UNHEALTHY, Blame.GAME,
        ),
        (
            facts(game_ended=GameEnded(at=9, status=OOM)),
            None, None, EndReason.GAME_OUT_OF_MEMORY, ErrorType.GAME_UNHEALTHY, Blame.GAME,
        ),
        (
            facts(game_ended=GameEnded(at=9, status=LOST)),
            None, None, EndReason.INFRASTRUCTURE, ErrorType.PLATFORM_ERROR, Blame.INFRASTRUCTURE,
        ),
        (
            facts(violation=Violation(at=2, kind=ViolationKind.BAD_TOKEN, message="lets everybody in")),
            None, None, EndReason.CONTRACT_VIOLATED, ErrorType.GAME_CONTRACT_VIOLATION, Blame.GAME,
        ),
        (
            facts(
                violation=Violation(at=2, kind=ViolationKind.FIRST_FRAME, message="no frame"),
                seats={1: SeatEnded(at=3, slot=1, status=FAILED)},
            ),
            None, None, EndReason.PLAYER_FAILED, ErrorType.PLAYER_ERROR, Blame.PLAYERS,
        ),
        (
            facts(game_ended=GameEnded(at=9, status=STOPPED), aborted=Aborted(at=9, deadline=True, silence=0.5)),
            ResultsCheck(error=ErrorType.RESULTS_MISSING),
            None, EndReason.TIMED_OUT, ErrorType.EPISODE_TIMEOUT, Blame.GAME,
        ),
        (
            facts(
                game_ended=GameEnded(at=9, status=STOPPED),
                aborted=Aborted(at=9, deadline=True, silence=STALL_SILENCE),
            ),
            ResultsCheck(error=ErrorType.RESULTS_MISSING),
            None, EndReason.STALLED, ErrorType.EPISODE_TIMEOUT, Blame.GAME,
        ),
        (
            facts(game_ended=GameEnded(at=9, status=STOPPED), aborted=Aborted(at=9, deadline=True, silence=0.5)),
            None, None, EndReason.STALLED, ErrorType.EPISODE_TIMEOUT, Blame.GAME,
        ),
        (
            facts(
                game_ended=GameEnded(at=9, status=STOPPED),
                aborted=Aborted(at=9, deadline=True, silence=0.5),
                seats={0: SeatEnded(at=5, slot=0, status=KILLED)},
            ),
            ResultsCheck(error=ErrorType.RESULTS_MISSING),
            None, EndReason.PLAYER_FAILED, ErrorType.PLAYER_ERROR, Blame.PLAYERS,
        ),
        (
            facts(), ResultsCheck(error=ErrorType.RESULTS_MISSING),
            None, EndReason.RESULTS_MISSING, ErrorType.RESULTS_MISSING, Blame.GAME,
        ),
        (
            facts(), ResultsCheck(error=ErrorType.RESULTS_MALFORMED),
            None, EndReason.RESULTS_MALFORMED, ErrorType.RESULTS_MALFORMED, Blame.GAME,
        ),
        (
            facts(), None, ReplayCheck(error=ErrorType.REPLAY_MISSING, message="no replay"),
            EndReason.REPLAY_MISSING, ErrorType.REPLAY_MISSING, Blame.GAME,
        ),
        (
            facts(), None, ReplayCheck(error=ErrorType.REPLAY_UNLOADABLE, message="cannot load"),
            EndReason.REPLAY_UNLOADABLE, ErrorType.REPLAY_UNLOADABLE, Blame.GAME,
        ),
        (
            facts(fault=InfrastructureFault(at=1, message="disk full")),
            None, None, EndReason.INFRASTRUCTURE, ErrorType.PLATFORM_ERROR, Blame.INFRASTRUCTURE,
        ),
        (
            facts(game_ended=None, aborted=Aborted(at=1, deadline=False)),
            None, None, EndReason.CANCELLED, ErrorType.EPISODE_INCONCLUSIVE, Blame.CALLER,
        ),
    ],
)  # fmt: skip
def test_each_reason_has_its_error_type_and_its_blame(
    found: Facts,
    results: ResultsCheck | None,
    replay: ReplayCheck | None,
    reason: EndReason,
    error: ErrorType,
    blame: Blame,
) -> None:
    """What was found decides reason, error type and blame, each exactly one."""
    verdict = ruling(found, results, replay)
    assert (verdict.good, verdict.reason, verdict.error_type, verdict.blame) == (False, reason, error, blame)
    assert verdict.message


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (end_of(CLEAN), SeatEnd.FINISHED),
        (end_of(CLEAN, at=4.0), SeatEnd.LEFT_EARLY),
        (end_of(FAILED), SeatEnd.CRASHED),
        (end_of(KILLED), SeatEnd.CRASHED),
        (end_of(OOM), SeatEnd.OUT_OF_MEMORY),
        (end_of(LOST), SeatEnd.UNKNOWN),
        (end_of(None), SeatEnd.START_FAILED),
        (end_of(STOPPED), SeatEnd.STOPPED),
        (end_of(STOPPED, overstayed=True), SeatEnd.OVERSTAYED),
        (end_of(STOPPED, connected=set()), SeatEnd.NEVER_CONNECTED),
        (end_of(STOPPED, connected=set(), looked_at=2.0), SeatEnd.STOPPED),
        (end_of(STOPPED, connected=set(), looked_at=None), SeatEnd.STOPPED),
        (end_of(STOPPED, connected=set(), misses={0: ABSENT_LOOKS - 1}), SeatEnd.STOPPED),
    ],
)
def test_each_seat_end_is_told_apart(end: SeatEnd, expected: SeatEnd) -> None:
    """Crash, memory, stay, absence and a failed start are different ends."""
    assert end is expected


def test_a_seat_that_was_never_started_says_so() -> None:
    """When the game fails before the players' turn, their seats are empty and nobody's fault."""
    reports = seat_reports(facts(seats={}, started={}), SEATS, None)
    assert [(report.end, report.fault) for report in reports] == [(SeatEnd.NOT_STARTED, False)] * 2


def test_a_good_episode_with_bad_seats_stays_good_and_names_them_all() -> None:
    """Verdict and blame are two things; every bad seat is reported, not only the first."""
    seats = {slot: SeatEnded(at=11, slot=slot, status=FAILED, tail="boom") for slot in (0, 1)}
    found = facts(seats=seats)
    verdict = ruling(found)
    assert verdict.good
    assert verdict.failed_seats == (0, 1)
    reports = seat_reports(found, SEATS, ResultsCheck(scores=(1.0, 2.0)))
    assert all("exit code 7" in report.evidence and "boom" in report.evidence for report in reports)


def test_the_crash_of_the_game_comes_before_the_probe_that_it_broke() -> None:
    """A dying game fails its probes; the exit is the reason."""
    violation = Violation(at=2, kind=ViolationKind.CLIENT_PAGE, message="refused")
    assert (
        ruling(facts(violation=violation, game_ended=GameEnded(at=2, status=KILLED))).reason is EndReason.GAME_CRASHED
    )


status = st.sampled_from([CLEAN, FAILED, KILLED, STOPPED, OOM, LOST])


@given(
    start=st.none() | st.builds(NeverServed, at=st.just(1.0), fault=st.sampled_from(StartFault)),
    game=st.none() | st.builds(GameEnded, at=st.just(10.0), status=status),
    violation=st.none()
    | st.builds(Violation, at=st.just(1.0), kind=st.sampled_from(ViolationKind), message=st.just("m")),
    fault=st.none() | st.just(InfrastructureFault(at=1.0, message="m")),
    aborted=st.none()
    | st.builds(Aborted, at=st.just(1.0), deadline=st.booleans(), silence=st.sampled_from([1.0, math.inf])),
    seats=st.dictionaries(
        st.sampled_from([0, 1]),
        st.builds(SeatEnded, at=st.floats(0, 20), slot=st.just(0), status=st.none() | status, overstayed=st.booleans()),
    ),
    error=st.sampled_from([None, ErrorType.RESULTS_MISSING, ErrorType.RESULTS_MALFORMED]),
)
def test_whatever_was_found_there_is_exactly_one_reason(
    start: NeverServed | None,
    game: GameEnded | None,
    violation: Violation | None,
    fault: InfrastructureFault | None,
    aborted: Aborted | None,
    seats: dict[int, SeatEnded],
    error: ErrorType | None,
) -> None:
    """No combination of facts is without a verdict; a good one has no error and no cause for one."""
    found = facts(never_served=start, game_ended=game, violation=violation, fault=fault, aborted=aborted, seats=seats)
    verdict = ruling(found, ResultsCheck(error=error))
    assert verdict.good == (verdict.error_type is None) == (verdict.reason is EndReason.COMPLETED)
    too_late = found.over_by_itself
    if any((start, violation, fault, aborted and not too_late, error)):
        assert not verdict.good


@pytest.mark.parametrize("deadline", [True, False])
def test_a_deadline_or_interrupt_after_the_games_own_end_changes_nothing(deadline: bool) -> None:
    """What came too late cannot be the reason: the game had ended by itself and its results count."""
    assert ruling(facts(aborted=Aborted(at=11, deadline=deadline))).good


def test_who_fails_after_the_results_is_not_to_blame_for_a_game_that_stays() -> None:
    """A crash after the results were written cannot have kept the game from exiting."""
    found = facts(
        game_ended=GameEnded(at=20, status=STOPPED),
        aborted=Aborted(at=19, deadline=True, silence=0.5),
        results_at=5.0,
        seats={1: SeatEnded(at=6, slot=1, status=FAILED)},
    )
    verdict = ruling(found)
    assert (verdict.reason, verdict.blame, verdict.failed_seats) == (EndReason.STALLED, Blame.GAME, (1,))


def test_a_player_that_found_the_game_gone_has_no_fault() -> None:
    """Started just before the game's end, never seen there, failed after it: orphaned, and nobody's fault."""
    late = facts(started={0: 9.5, 1: 1.0}, connected=set(), seats={0: SeatEnded(at=10.5, slot=0, status=FAILED)})
    report = seat_reports(late, SEATS, None)[0]
    assert (report.end, report.fault) == (SeatEnd.ORPHANED, False)
    assert seat_reports(facts(seats={0: SeatEnded(at=10.5, slot=0, status=FAILED)}), SEATS, None)[0].fault


def test_a_deadline_before_health_is_a_game_that_never_became_healthy() -> None:
    """A short deadline says the same as the start-up limit, with the game's last answer."""
    found = facts(
        healthy=False, last_answer="HTTP status 503", game_ended=None, aborted=Aborted(at=3, deadline=True), seats={}
    )
    verdict = ruling(found, ResultsCheck(error=ErrorType.RESULTS_MISSING))
    assert verdict.reason is EndReason.GAME_NEVER_HEALTHY
    assert "503" in verdict.evidence


def test_a_game_that_ends_without_a_frame_breaks_the_contract() -> None:
    """`/global` has to show something before the end."""
    assert ruling(facts(frame_seen=False)).reason is EndReason.CONTRACT_VIOLATED


def test_an_end_that_nobody_observed_is_never_a_good_one() -> None:
    """Without any finding the defect is ours."""
    verdict = ruling(Facts(slots=0))
    assert (verdict.reason, verdict.error_type) == (EndReason.INTERNAL, ErrorType.CRASH)


@pytest.mark.parametrize(
    ("error", "reason", "blame"),
    [
        (ErrorType.PLATFORM_ERROR, EndReason.INFRASTRUCTURE, Blame.INFRASTRUCTURE),
        (ErrorType.EPISODE_INCONCLUSIVE, EndReason.CANCELLED, Blame.CALLER),
    ],
)
def test_a_replay_that_could_not_be_verified_blames_no_game(error: ErrorType, reason: EndReason, blame: Blame) -> None:
    """A taken port or an interrupt says nothing about the replay."""
    verdict = ruling(facts(), replay=ReplayCheck(error=error, message="m"))
    assert (verdict.reason, verdict.blame) == (reason, blame)
