"""The referee: keeps the first fact of a kind, and knows how long a player may stay."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from coworld_actors.actors import ActorRef, ChildSpec, Restart, SupervisorRef
from coworld_actors.episode.findings import (
    Aborted,
    GameEnded,
    GameStarted,
    InfrastructureFault,
    Looked,
    MayStay,
    NeverServed,
    SeatConnected,
    SeatEnded,
    SeatStarted,
    StartFault,
    Violation,
    ViolationKind,
)
from coworld_actors.episode.referee import Findings, Referee, RefereeMessage
from coworld_drivers.driver import ExitKind, ExitStatus

CLEAN = ExitStatus(kind=ExitKind.EXITED, code=0)
STOPPED = ExitStatus(kind=ExitKind.SIGNALLED, signal=15, stopped=True)
GRACE = 30.0


@pytest.fixture
async def referee(house: SupervisorRef) -> ActorRef[RefereeMessage]:
    """A referee of two seats; a test that waits asks for `autojump_clock`."""
    spec = ChildSpec(name="referee", start=lambda: Referee(2, GRACE), restart=Restart.TEMPORARY)
    return await house.start_actor(spec)


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (ExitStatus(kind=ExitKind.LOST, detail="the engine went away"), True),
        (ExitStatus(kind=ExitKind.LOST, stopped=True), False),
        (STOPPED, False),
        (None, False),
    ],
)
async def test_a_player_that_was_lost_is_the_machines_fault(
    referee: ActorRef[RefereeMessage], status: ExitStatus | None, fault: bool
) -> None:
    """While the game goes on; not one that we have stopped."""
    await referee.tell(SeatEnded(at=5, slot=1, status=status))
    facts = await referee.ask(Findings(), deadline=5)
    assert (facts.fault is not None) is fault
    if facts.fault is not None:
        assert facts.fault.message == "player 1 was lost: end unknown (the engine went away)"


async def test_a_player_that_was_lost_after_the_game_spoils_nothing(referee: ActorRef[RefereeMessage]) -> None:
    """The result is there; its seat's end is unknown, that is all."""
    await referee.tell(GameEnded(at=4, status=CLEAN))
    await referee.tell(SeatEnded(at=5, slot=1, status=ExitStatus(kind=ExitKind.LOST)))
    assert (await referee.ask(Findings(), deadline=5)).fault is None


async def test_facts_are_kept(referee: ActorRef[RefereeMessage]) -> None:
    """What was told is what is found, seat by seat."""
    for message in (
        GameStarted(at=1),
        SeatStarted(at=2, slot=0),
        SeatStarted(at=2.5, slot=1),
        SeatConnected(at=3, slot=1),
        Looked(at=4),
        SeatEnded(at=5, slot=0, status=CLEAN, tail="bye"),
        GameEnded(at=6, status=CLEAN),
    ):
        await referee.tell(message)
    facts = await referee.ask(Findings(), deadline=5)
    assert (facts.slots, facts.healthy, facts.started, facts.connected) == (2, True, {0: 2, 1: 2.5}, {1})
    assert facts.looked_at == 4
    assert facts.seats[0].tail == "bye"
    assert facts.game_ended == GameEnded(at=6, status=CLEAN)


async def test_the_first_of_what_can_happen_once_counts(referee: ActorRef[RefereeMessage]) -> None:
    """What follows from a fault must not hide it."""
    for at in (1, 2):
        await referee.tell(Violation(at=at, kind=ViolationKind.BAD_TOKEN, message="m"))
        await referee.tell(NeverServed(at=at, fault=StartFault.EXITED))
        await referee.tell(InfrastructureFault(at=at, message="m"))
        await referee.tell(Aborted(at=at, deadline=at == 1))
    facts = await referee.ask(Findings(), deadline=5)
    found = (facts.violation, facts.never_served, facts.fault, facts.aborted)
    assert [fact.at for fact in found if fact is not None] == [1, 1, 1, 1]


async def test_after_the_games_end_nobody_is_looked_for(referee: ActorRef[RefereeMessage]) -> None:
    """Then nobody is connected, whoever was: a late look proves no absence."""
    await referee.tell(Looked(at=3))
    await referee.tell(GameEnded(at=4, status=CLEAN))
    await referee.tell(Looked(at=60))
    assert (await referee.ask(Findings(), deadline=5)).looked_at == 3


async def test_players_share_one_grace_from_the_games_end(
    autojump_clock: trio.testing.MockClock, referee: ActorRef[RefereeMessage]
) -> None:
    """All who still stay are sent away at the same moment, as having used it up; so is one that asks later."""
    start = trio.current_time()
    answers: list[tuple[float, bool]] = []

    async def stay(after: float) -> None:
        await trio.sleep(after)
        used_up = await referee.ask(MayStay(), deadline=math.inf)
        answers.append((trio.current_time() - start, used_up))

    await referee.tell(GameEnded(at=start, status=CLEAN))
    async with trio.open_nursery() as nursery:
        for after in (0.0, 10.0, 29.0, 45.0):
            nursery.start_soon(stay, after)
    assert [used_up for _, used_up in answers] == [True] * 4
    assert [at for at, _ in answers] == pytest.approx([GRACE, GRACE, GRACE, 45.0])


@pytest.mark.parametrize(
    "why", [None, GameEnded(at=0.0, status=STOPPED), Aborted(at=0.0, deadline=True), Aborted(at=0.0, deadline=False)]
)
async def test_where_the_game_did_not_end_by_itself_there_is_no_grace(
    autojump_clock: trio.testing.MockClock, referee: ActorRef[RefereeMessage], why: GameEnded | Aborted | None
) -> None:
    """A player whose game still plays, was stopped or called off has nothing to wait for, and overstays nothing."""
    if why is not None:
        await referee.tell(why)
    start = trio.current_time()
    assert await referee.ask(MayStay(), deadline=GRACE / 2) is False
    assert trio.current_time() == start


async def test_calling_it_off_ends_a_grace_that_has_begun(
    autojump_clock: trio.testing.MockClock, referee: ActorRef[RefereeMessage]
) -> None:
    """Whoever interrupts an episode does not wait for its players."""
    answers: list[bool] = []

    async def stay() -> None:
        answers.append(await referee.ask(MayStay(), deadline=math.inf))

    await referee.tell(GameEnded(at=trio.current_time(), status=CLEAN))
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stay)
        await trio.sleep(1)
        await referee.tell(Aborted(at=trio.current_time(), deadline=False))
    assert answers == [False]
    assert trio.current_time() - start < GRACE / 2
