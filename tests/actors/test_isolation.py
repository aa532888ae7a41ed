"""P09: what goes wrong in one episode changes nothing in another. A differential run: the same hundred, with and without faults."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
import trio
from trio.testing import MockClock

from coworld_actors.actors import (
    Actor,
    ActorError,
    ActorSystem,
    AutoShutdown,
    Backoff,
    ChildSpec,
    Request,
    Restart,
    RestartPolicy,
    Strategy,
    SupervisorSpec,
    events,
    open_system,
)
from coworld_actors.testing import EventLog, Fault, FaultPlan

EPISODES = 100
PLAYERS = 3


class Move(Request[int], frozen=True):
    tick: int


class Player(Actor[Move]):
    async def handle(self, message: Move) -> int:
        await trio.sleep(0.01)
        return message.tick


class Game(Actor[None]):
    """Asks its players in turn, seven ticks long; whoever crashes over it misses that tick."""

    async def on_start(self) -> None:
        self.context.spawn(self.play)

    async def play(self) -> None:
        house = self.context.path.rpartition("/")[0]
        for tick in range(7):
            await trio.sleep(1)
            for number in range(PLAYERS):
                player = self.context.system.registry.find(f"{house}/players/player-{number}")
                if player is not None:
                    with suppress(ActorError):
                        await player.ask(Move(tick), deadline=0.5)
        self.context.stop()


def episode(number: int) -> SupervisorSpec:
    """One episode; every one has a crash of its own, at a tick of its own, and comes back after a back-off with jitter."""
    draw = Random(number)
    own = FaultPlan(faults=(Fault(path=f"*/player-{draw.randrange(PLAYERS)}", message=1 + draw.randrange(4)),))
    players = SupervisorSpec(
        strategy=draw.choice(list(Strategy)),
        restarts=RestartPolicy(max_restarts=5, backoff=Backoff(first=0.3, jitter=0.9)),
        children=tuple(ChildSpec(name=f"player-{slot}", start=Player) for slot in range(PLAYERS)),
    )
    spec = SupervisorSpec(
        auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
        scope=f"e-{number}",
        children=(
            ChildSpec(name="players", start=players, restart=Restart.TRANSIENT),
            ChildSpec(name="game", start=Game, restart=Restart.TEMPORARY, significant=True),
        ),
    )
    return own.apply(spec)


async def play_all(plans: dict[int, FaultPlan], seed: int) -> EventLog:
    """All episodes at once in one system, those that have a plan with their plan's faults on top."""

    async def play_one(system: ActorSystem, number: int) -> None:
        await trio.sleep(number * 0.017)
        spec = plans[number].apply(episode(number)) if number in plans else episode(number)
        with trio.move_on_after(60), suppress(ActorError):
            house = await system.start_supervisor(f"episode-{number}", spec)
            await house.wait()

    async with open_system(random=Random(seed)) as system:
        log = EventLog(system.events)
        async with trio.open_nursery() as nursery:
            for number in range(EPISODES):
                nursery.start_soon(play_one, system, number)
        assert system.registry.matching("episode-") == [] or plans
    return log


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_faults_of_some_episodes_leave_no_trace_in_the_others(seed):
    """Byte by byte: every event, its virtual time, its jittered delays; 35 of 100 episodes crash, hang and give up meanwhile."""
    bad = Random(seed).sample(range(EPISODES), 35)
    plans = {
        number: FaultPlan.random(
            seed * 1000 + number, [f"episode-{number}/*", f"episode-{number}/players/player-1"], faults=4
        )
        for number in bad
    }
    sound, faulty = (trio.run(play_all, faults, seed, clock=MockClock(autojump_threshold=0)) for faults in ({}, plans))
    disturbed = 0
    for number in range(EPISODES):
        scope = f"e-{number}"
        if number in plans:
            disturbed += sound.lines(scope=scope) != faulty.lines(scope=scope)
            continue
        assert sound.lines(scope=scope) == faulty.lines(scope=scope)
        assert {event.reason for event in sound.of(events.RestartScheduled, scope=scope)} == {"crashed"}
    assert disturbed > 25
    assert faulty.of(events.ChildKilled) or faulty.of(events.RestartLimitReached)
