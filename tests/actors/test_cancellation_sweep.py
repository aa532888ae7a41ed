"""One scenario, cancelled, stopped or killed at every step of the scheduler: nothing leaks, and no message is lost uncounted."""

from __future__ import annotations

import msgspec
import pytest
import trio
from trio.testing import MockClock

from coworld_actors.actors import (
    Actor,
    ActorError,
    Backoff,
    ChildSpec,
    MailboxPolicy,
    Request,
    RestartPolicy,
    State,
    StopReason,
    Strategy,
    SupervisorSpec,
    open_system,
)
from coworld_actors.actors.children import Intent


class Note(msgspec.Struct, frozen=True):
    takes: float = 0.0
    crash: bool = False


class Ask(Request[int], frozen=True):
    pass


class Gone(msgspec.Struct, frozen=True):
    down: object


class Member(Actor[Note | Ask | Gone]):
    def __init__(self, scenario) -> None:
        self.scenario = scenario

    async def on_start(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.context.name == "b" and self.context.incarnation == 1:
            raise ValueError("cannot start again at once")
        self.scenario.open += 1
        self.context.spawn(self._beside)
        if (other := self.scenario.refs.get("a")) is not None:
            self.context.watch(other, Gone)

    async def _beside(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.scenario.open -= 1

    async def handle(self, message):
        match message:
            case Note():
                await trio.sleep(message.takes)
                if message.crash:
                    raise ValueError("told to")
            case Ask():
                return 1
        return None

    async def on_stop(self, reason: StopReason) -> None:
        await trio.sleep(0.25)


class Scenario:
    """Three actors in a group, crashes, waiting senders, asks, a late start and a hand-made stop."""

    def __init__(self) -> None:
        self.refs = {}
        self.open = 0
        self.asks = 0
        self.ended_asks = 0
        self.house = None

    async def run(self) -> None:
        async with open_system() as system:
            policy = RestartPolicy(max_restarts=5, backoff=Backoff(first=0.5, jitter=0))
            spec = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, restarts=policy)
            self.house = await system.start_supervisor("house", spec)
            for name in "abc":
                mailbox = MailboxPolicy(capacity=2)
                self.refs[name] = await self.house.start_actor(
                    ChildSpec(name=name, start=lambda: Member(self), mailbox=mailbox, shutdown=1.0)
                )
            async with trio.open_nursery() as nursery:
                for name in "abc":
                    nursery.start_soon(self.talk, name)
                    nursery.start_soon(self.ask, name)
                await self.refs["b"].tell(Note(crash=True))
                late = await self.house.start_actor(ChildSpec(name="d", start=lambda: Member(self)))
                self.refs["d"] = late
                await late.stop()
            await trio.sleep(20)
            # Whatever happened meanwhile, nobody who is to come back has been forgotten.
            assert {info.state for info in self.house.children()} <= {State.RUNNING}
            await self.refs["a"].drain()

    async def talk(self, name: str) -> None:
        for number in range(4):
            try:
                await self.refs[name].tell(Note(takes=0.1 * number))
            except ActorError:
                return

    async def ask(self, name: str) -> None:
        self.asks += 1
        try:
            await self.refs[name].ask(Ask(), deadline=2.0)
        except ActorError:
            pass
        finally:
            self.ended_asks += 1

    def check(self) -> None:
        assert self.open == 0, "every background task has ended"
        assert self.asks == self.ended_asks
        for ref in self.refs.values():
            box = ref.statistics()
            assert (box.queued, box.in_hand, box.waiting) == (0, 0, 0)
            assert box.sent == box.handled + box.dead + box.refused
            assert not ref.alive


class AtStep(trio.abc.Instrument):
    """Calls `act` after the scheduler's n-th step; counts the steps."""

    def __init__(self, step: int, act) -> None:
        self.steps = 0
        self._step = step
        self._act = act

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self._step:
            self._act()


def run_once(step: int, how: str) -> int:
    """Run the scenario and do `how` at `step`; returns the number of steps it took."""
    scenario = Scenario()
    scope = trio.CancelScope()

    def act() -> None:
        if how == "cancel the block":
            scope.cancel(reason="sweep")
        elif scenario.house is not None and how == "stop the supervisor":
            scenario.house._child.request(Intent.STOP)
        elif how == "kill an actor" and (ref := scenario.refs.get("b")) is not None:
            ref._child.request(Intent.KILL)

    instrument = AtStep(step, act)

    async def main() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            with scope:
                await scenario.run()
        except* ActorError:
            # What the scenario's own calls get to hear when their actors are taken from under them.
            pass
        assert trio.lowlevel.current_statistics().tasks_living == before
        scenario.check()

    trio.run(main, clock=MockClock(autojump_threshold=0), instruments=[instrument])
    return instrument.steps


@pytest.mark.parametrize("how", ["cancel the block", "stop the supervisor", "kill an actor"])
def test_nothing_leaks_whenever_it_is_cut_short(how):
    """Every step of the scenario is a place where it can happen."""
    steps = run_once(0, how)
    assert steps > 100
    for step in range(1, steps + 1):
        run_once(step, how)
